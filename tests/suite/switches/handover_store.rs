//! `handover` under a service manager: a restart that loses nothing, by what the manager keeps from one process to the
//! next.

pub(crate) mod strange;

use std::net::{SocketAddr, UdpSocket};

use nix::sys::signal::Signal;

use super::handover_socket::{Post, ended};
use crate::clients::http::{Connection, get, percent, request};
use crate::clients::udp::{Announce, COMPLETED, Client, STARTED, assert_header};
use crate::flavour::{self, endpoint, has, info_hash, loopback, loopbacks, only_with, only_without};
use crate::harness::{skip, tests};
use crate::service_manager::ServiceManager;
use crate::tracker::{Start, Tracker, unused_port};

tests![
    without_it_what_a_service_manager_keeps_is_closed_there_too,
    a_restart_keeps_peers_downloads_and_connection_ids,
    what_comes_between_two_processes_is_answered_by_the_second,
    ten_restarts_leave_nothing_behind,
    sockets_of_addresses_that_are_no_longer_configured_are_closed,
    a_wildcard_gives_way_to_an_address_of_its_port,
    other_numbers_of_workers_use_every_socket,
    what_a_predecessor_hands_over_is_given_to_the_manager_too,
    a_process_that_is_killed_leaves_its_sockets_alone,
    a_start_that_fails_loses_nothing,
    of_several_swarms_the_last_ones_are_taken,
    swarms_that_a_process_has_begun_to_read_are_taken_by_the_next,
    a_store_that_is_not_spoken_of_is_found,
    a_manager_without_a_store_loses_everything_and_that_is_said,
    a_store_that_is_too_small_keeps_what_fits,
    swarms_that_would_take_too_much_are_cut_short,
];

/// How many sockets a tracker has for each worker.
fn addresses() -> usize {
    2 * loopbacks().len()
}

/// With one worker of each protocol.
fn one_worker() -> Start {
    workers(1)
}

fn workers(number: u32) -> Start {
    Start::loopback().config(&format!("listen.udp_workers {number}\nlisten.tcp_workers {number}\n"))
}

/// The name of a socket in the store.
fn name(protocol: &str, address: SocketAddr, worker: u32) -> String {
    format!("{protocol}/{}/{worker}", address.to_string().replace(':', "_"))
}

/// The names of all sockets of a tracker.
fn names(tracker: &Tracker, workers: u32) -> Vec<String> {
    let protocols = [("tcp", tracker.https()), ("udp", tracker.udps())];
    let addresses =
        protocols.into_iter().flat_map(|(protocol, addresses)| addresses.iter().map(move |one| (protocol, one)));
    let names = addresses.flat_map(|(protocol, address)| (0..workers).map(move |n| name(protocol, *address, n)));
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Has a tracker end that knows one peer, a leecher of the torrent 1. Returns the peer's client.
fn leave_a_peer(manager: &ServiceManager) -> Client {
    let tracker = manager.start(one_worker());
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    tracker.stop();
    client
}

fn without_it_what_a_service_manager_keeps_is_closed_there_too() {
    only_without("handover");
    let manager = ServiceManager::new(512);
    // Nobody else is given it before the tracker binds it again.
    let socket = UdpSocket::bind((loopback(), unused_port())).unwrap();
    let address = socket.local_addr().unwrap();
    manager.keep("udp/x", socket);
    let tracker = manager
        .start(Start::minimal().config(&format!("listen.udp {address}\nlisten.tcp {}\n", endpoint(loopback(), 0))));
    assert_eq!(manager.kept(), [] as [&str; 0]);
    assert_eq!(tracker.udps(), [address]);
    Client::new(address).announce(&Announce::leecher(info_hash(0), 1));
    let log = tracker.stop();
    assert!(log.contains("WARN udp/x, which the service manager hands over, is closed"), "{log}");
    assert_eq!(manager.kept(), [] as [&str; 0]);
}

fn a_restart_keeps_peers_downloads_and_connection_ids() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let tracker = manager.start(one_worker());
    assert!(!tracker.log().contains("taken over") && !tracker.log().contains("starting empty"), "{}", tracker.log());
    let clients: Vec<_> = tracker.udps().iter().map(|address| Client::new(*address)).collect();
    for client in &clients {
        client.announce(&Announce::leecher(info_hash(1), 1).event(STARTED));
        client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
        client.announce(&Announce::leecher(info_hash(1), 2));
        client.announce(&Announce::seeder(info_hash(2), 3));
    }
    let all: Vec<_> = clients.iter().map(|client| client.scrape(&[info_hash(1), info_hash(2)])).collect();
    let expected = names(&tracker, 1);
    assert_eq!(expected.len(), addresses());
    manager.keeps(&expected);
    let log = tracker.stop();
    let peers = 3 * clients.len();
    assert!(log.contains(&format!("left 2 torrents and {peers} peers to the next process")), "{log}");
    assert_eq!(manager.kept().len(), addresses() + 1);
    assert!(manager.kept().contains(&"swarms".into()));

    let tracker = manager.start(one_worker());
    assert_eq!(names(&tracker, 1), expected, "port 0 is the port that it was");
    manager.keeps(&expected);
    let log = tracker.log();
    assert!(log.contains(&format!("taken over from the process before: 2 torrents, {peers} peers, ")), "{log}");
    for (client, all) in clients.iter().zip(all) {
        // By the connection id of the process before.
        assert_eq!(client.scrape(&[info_hash(1), info_hash(2)]), all);
    }
    for client in &clients {
        let (seeders, downloads, leechers) = client.counts(info_hash(1));
        let reply = client.announce(&Announce::leecher(info_hash(1), 4));
        assert_eq!((reply.seeders, reply.leechers), (seeders, leechers + 1));
        client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
        assert_eq!(client.counts(info_hash(1)).1, downloads, "a download is counted once");
    }
    assert!(tracker.stop().contains("left 2 torrents"));
}

fn what_comes_between_two_processes_is_answered_by_the_second() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let tracker = manager.start(one_worker());
    let (http, client) = (tracker.http(), Client::new(tracker.udp()));
    tracker.stop();
    let transactions: Vec<_> = (0..50).map(|port| (port, client.next_transaction())).collect();
    for (port, transaction) in &transactions {
        client.send(&Announce::leecher(info_hash(1), port + 1).packet(client.id, *transaction));
    }
    let mut connection = Connection::open(http);
    connection.send(request(&format!("/announce?info_hash={}&port=7&left=0", percent(&info_hash(2))), ""));
    let tracker = manager.start(one_worker());
    for (_, transaction) in transactions {
        assert_header(&client.receive(), 1, transaction);
    }
    assert_eq!(connection.last_reply().status, 200);
    assert_eq!(client.counts(info_hash(1)).2, 50);
    assert_eq!(client.counts(info_hash(2)).0, u32::from(http.is_ipv4() == tracker.udp().is_ipv4()));
    tracker.stop();
}

fn ten_restarts_leave_nothing_behind() {
    only_with("handover");
    let manager = ServiceManager::new(addresses() + 1);
    let mut tracker = manager.start(one_worker());
    let client = Client::new(tracker.udp());
    let expected = names(&tracker, 1);
    for port in 1..=10 {
        client.announce(&Announce::leecher(info_hash(1), port).event(STARTED));
        client.announce(&Announce::seeder(info_hash(1), port).event(COMPLETED));
        tracker.stop();
        assert_eq!(manager.kept().len(), expected.len() + 1, "{:?}", manager.kept());
        tracker = manager.start(one_worker());
        manager.keeps(&expected);
        assert_eq!(client.counts(info_hash(1)), (port.into(), port.into(), 0));
        let log = tracker.log();
        for wrong in ["service manager", "starting empty", "there was more"] {
            assert!(!log.contains(wrong), "{log}");
        }
    }
    tracker.stop();
}

fn sockets_of_addresses_that_are_no_longer_configured_are_closed() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let [one, other] = [unused_port(), unused_port()].map(|port| endpoint(loopback(), port));
    let config = |udp: &[&str]| {
        let lines: String = udp.iter().map(|address| format!("listen.udp {address}\n")).collect();
        Start::minimal().config(&format!("listen.udp_workers 1\nlisten.tcp_workers 1\nlisten.tcp {one}\n{lines}"))
    };
    let [one, other] = [&one, &other].map(String::as_str);
    let [at_one, at_other] = [one, other].map(|address| address.parse().unwrap());
    let tracker = manager.start(config(&[one, other]));
    manager.keeps(&[name("tcp", at_one, 0), name("udp", at_one, 0), name("udp", at_other, 0)]);
    Client::new(at_other).announce(&Announce::leecher(info_hash(1), 1));
    tracker.stop();
    let tracker = manager.start(config(&[one]));
    manager.keeps(&[name("tcp", at_one, 0), name("udp", at_one, 0)]);
    assert!(tracker.log().contains(&format!("closing a socket bound to udp {other}, which")), "{}", tracker.log());
    UdpSocket::bind(at_other).unwrap();
    assert_eq!(Client::new(at_one).counts(info_hash(1)), (0, 0, 1), "swarms are of all addresses");
    tracker.stop();
    // It is opened anew, and there is nothing of it that could have been kept.
    let tracker = manager.start(config(&[other, one]));
    manager.keeps(&[name("tcp", at_one, 0), name("udp", at_one, 0), name("udp", at_other, 0)]);
    assert_eq!(Client::new(at_other).counts(info_hash(1)), (0, 0, 1));
    tracker.stop();
}

fn a_wildcard_gives_way_to_an_address_of_its_port() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let port = unused_port();
    for ip in [flavour::wildcard(loopback()), loopback(), flavour::wildcard(loopback())] {
        let address = SocketAddr::new(ip, port);
        let config = format!("listen.udp {address}\nlisten.tcp {address}\n");
        let tracker = manager.start(Start::minimal().config(&config));
        Client::new(SocketAddr::new(loopback(), port)).announce(&Announce::leecher(info_hash(1), 1));
        tracker.stop();
        assert!(manager.kept().contains(&name("udp", address, 0)), "{:?}", manager.kept());
    }
}

fn other_numbers_of_workers_use_every_socket() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let mut sockets = 0;
    let mut clients: Vec<Client> = Vec::new();
    for number in [2, 1, 3, 1] {
        let tracker = manager.start(workers(number));
        sockets = sockets.max(number);
        manager.keeps(&names(&tracker, sockets));
        if clients.is_empty() {
            clients.extend((0..20).map(|_| Client::new(tracker.udp())));
        }
        // The system goes on sharing them out among all sockets that there are.
        for (port, client) in (1..).zip(&clients) {
            client.announce(&Announce::leecher(info_hash(1), port));
        }
        for _ in 0..20 {
            assert!(get(tracker.http(), "/stats").status < 500);
        }
        assert_eq!(clients[0].counts(info_hash(1)).2, 20);
        tracker.stop();
    }
}

fn what_a_predecessor_hands_over_is_given_to_the_manager_too() {
    only_with("handover");
    let post = Post::new();
    let old = post.add_to(workers(2)).run();
    let manager = ServiceManager::new(512);
    let new = manager.start(post.add_to(workers(2)));
    ended(old);
    manager.keeps(&names(&new, 2));
    let client = Client::new(new.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    new.stop();
    let again = manager.start(post.add_to(workers(2)));
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
    manager.keeps(&names(&again, 2));
    again.stop();
}

fn a_process_that_is_killed_leaves_its_sockets_alone() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let tracker = manager.start(one_worker());
    let expected = names(&tracker, 1);
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    let pid = tracker.pid();
    assert_eq!(tracker.interrupt(pid, Signal::SIGKILL).code, None);
    manager.keeps(&expected);
    let tracker = manager.start(one_worker());
    assert_eq!(names(&tracker, 1), expected);
    let log = tracker.log();
    assert!(log.contains("WARN starting empty: the process before has left its sockets"), "{log}");
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (0, 0, 0));
    tracker.stop();
}

fn a_start_that_fails_loses_nothing() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let client = leave_a_peer(&manager);
    let kept = manager.kept();
    manager.finish(one_worker().config("nonsense yes\n")).refuses(2, &["nonsense"]);
    manager.keeps(&kept);
    if has("accesslist-white") || has("accesslist-black") {
        let key = if has("accesslist-white") { "access.whitelist" } else { "access.blacklist" };
        manager.finish(one_worker().config(&format!("{key} nothing\n"))).refuses(1, &["nothing"]);
        manager.keeps(&kept);
    }
    let tracker = manager.start(one_worker());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
    tracker.stop();
}

fn of_several_swarms_the_last_ones_are_taken() {
    only_with("handover");
    for newest_first in [true, false] {
        let manager = ServiceManager::new(512);
        let tracker = manager.start(one_worker());
        let client = Client::new(tracker.udp());
        tracker.stop();
        let empty = manager.copy("swarms");
        let tracker = manager.start(one_worker());
        client.announce(&Announce::leecher(info_hash(1), 1));
        tracker.stop();
        let newest = manager.copy("swarms");
        manager.forget("swarms");
        for one in if newest_first { [newest, empty] } else { [empty, newest] } {
            manager.keep("swarms", one);
        }
        let tracker = manager.start(one_worker());
        assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
        manager.keeps(&names(&tracker, 1));
        tracker.stop();
    }
}

fn swarms_that_a_process_has_begun_to_read_are_taken_by_the_next() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let client = leave_a_peer(&manager);
    let swarms = manager.copy("swarms");
    manager.forget("swarms");
    manager.keep("swarms-tried", swarms);
    let tracker = manager.start(one_worker());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
    manager.keeps(&names(&tracker, 1));
    tracker.stop();
}

fn a_store_that_is_not_spoken_of_is_found() {
    only_with("handover");
    let manager = ServiceManager::older(512);
    let tracker = manager.start(one_worker());
    manager.keeps(&names(&tracker, 1));
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    tracker.stop();
    let tracker = manager.start(one_worker());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
    tracker.stop();
}

fn a_manager_without_a_store_loses_everything_and_that_is_said() {
    only_with("handover");
    for manager in [ServiceManager::new(0), ServiceManager::older(0)] {
        let tracker = manager.start(one_worker());
        let log = tracker.stop();
        assert_eq!(log.matches("the service manager keeps nothing over a restart").count(), 1, "{log}");
        assert!(!log.contains("to the next process"), "{log}");
        assert_eq!(manager.kept(), [] as [&str; 0]);
    }
}

fn a_store_that_is_too_small_keeps_what_fits() {
    only_with("handover");
    let mut manager = ServiceManager::new(2);
    let tracker = manager.start(one_worker());
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    let wanted = addresses() + 1;
    let said = format!("WARN sockets will be lost at a restart: FileDescriptorStoreMax=2 has to be {wanted}");
    let log = tracker.stop();
    assert!(log.contains(&said), "{log}");
    let kept = manager.kept();
    assert_eq!((kept.len(), kept[0].as_str()), (2, "swarms"));
    manager.set_max(wanted);
    let tracker = manager.start(one_worker());
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (0, 0, 1));
    manager.keeps(&names(&tracker, 1));
    tracker.stop();
}

fn swarms_that_would_take_too_much_are_cut_short() {
    only_with("handover");
    if has("accesslist-white") {
        skip("a white list has too few torrents");
    }
    let manager = ServiceManager::new(512);
    // In KiB: as large as any file may be.
    let limited = || one_worker().wrapped(&["bash", "-c", "ulimit -f 128 && exec \"$0\" \"$@\""]);
    let tracker = manager.start(limited());
    let client = Client::new(tracker.udp());
    let hash = |n: u16| {
        let mut hash = info_hash(0);
        hash[..2].copy_from_slice(&n.to_be_bytes());
        hash
    };
    for n in 0..5000 {
        client.announce(&Announce::leecher(hash(n), 1));
    }
    let log = tracker.stop();
    assert!(log.contains("peers to the next process, and not all, for want of memory"), "{log}");
    let tracker = manager.start(limited());
    let log = tracker.log();
    assert!(log.contains("there was more, but they end in the middle"), "{log}");
    let found = (0..5000).step_by(50).flat_map(|from| client.scrape(&Vec::from_iter((from..from + 50).map(hash))));
    let found = found.filter(|counts| counts.leechers == 1).count();
    assert!((1000..5000).contains(&found), "{found}");
    tracker.stop();
}
