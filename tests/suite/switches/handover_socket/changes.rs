//! A new process with another configuration than that of the old one.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use super::{Post, Swarms, assert_untroubled, ended};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{hex, info_hash, loopback, loopbacks, only_with, wildcard};
use crate::harness::tests;
use crate::http::scraped;
use crate::tracker::{Start, Tracker, unused_port};
use crate::wait::MAX_WAIT;

tests![
    more_and_fewer_workers_answer_everybody,
    no_socket_is_opened_beside_those_at_which_the_predecessor_answers,
    an_address_can_be_added_and_another_removed,
    one_address_can_become_every_address_and_every_address_one,
    other_intervals_are_told_from_then_on,
    a_torrent_that_a_white_list_has_lost_is_left_out,
    a_torrent_that_a_black_list_names_is_left_out,
    what_is_beyond_the_limits_is_left_out,
    the_port_of_a_cluster_is_no_obstacle,
    a_tracker_that_handed_nothing_over_can_begin_to,
];

/// Asks from so many ports that every worker's socket is asked.
#[track_caller]
fn assert_every_worker_answers(tracker: &Tracker) {
    for _ in 0..40 {
        Client::unconnected(tracker.udp().ip(), tracker.udp()).connect();
        scraped(tracker.http(), 1);
    }
}

fn more_and_fewer_workers_answer_everybody() {
    only_with("handover");
    let post = Post::new();
    let with =
        |workers: u16| post.start().config(&format!("listen.udp.workers {workers}\nlisten.tcp_workers {workers}\n"));
    let mut tracker = with(2).run();
    let swarms = Swarms::announced(&tracker);
    for workers in [5, 1, 3, 1, 1, 4] {
        let next = with(workers).run();
        ended(std::mem::replace(&mut tracker, next));
        swarms.assert_served(&tracker);
        assert_every_worker_answers(&tracker);
    }
    assert_untroubled(&tracker.stop());
}

fn no_socket_is_opened_beside_those_at_which_the_predecessor_answers() {
    only_with("handover");
    let post = Post::new();
    let with =
        |workers: u16| post.start().config(&format!("listen.udp.workers {workers}\nlisten.tcp_workers {workers}\n"));
    let old = with(1).run();
    let new = with(4).run();
    ended(old);
    assert_every_worker_answers(&new);
    let (estate, _) = post.take_over(new);
    assert_eq!(estate.sockets.len(), 2 * loopbacks().len(), "one of each protocol and family");
}

/// A tracker that listens on these ports of the loopback address.
fn on_ports(post: &Post, addresses: &[(SocketAddr, SocketAddr)]) -> Start {
    let start = addresses.iter().fold(Start::minimal(), |start, (tcp, udp)| {
        start.args(["-i", &tcp.ip().to_string(), "-p", &tcp.port().to_string(), "-P", &udp.port().to_string()])
    });
    post.add_to(start)
}

/// Asserts that nobody answers there.
#[track_caller]
fn assert_closed(tcp: SocketAddr, udp: SocketAddr) {
    assert_eq!(TcpStream::connect_timeout(&tcp, MAX_WAIT).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let socket = UdpSocket::bind((udp.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
    socket.connect(udp).unwrap();
    socket.send(b"x").unwrap();
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn an_address_can_be_added_and_another_removed() {
    only_with("handover");
    let post = Post::new();
    let zero = SocketAddr::new(loopback(), 0);
    let addresses =
        |tracker: &Tracker| -> Vec<_> { tracker.https().iter().copied().zip(tracker.udps().iter().copied()).collect() };
    let old = on_ports(&post, &[(zero, zero)]).run();
    let first = addresses(&old)[0];
    let swarms = Swarms::announced(&old);

    let both = on_ports(&post, &[(zero, zero), first]).run();
    ended(old);
    let [second, again] = addresses(&both)[..] else { panic!("{:?}", both.udps()) };
    assert_eq!(again, first, "port 0 does not stand for one that is named");
    assert_ne!((second.0, second.1), first);
    swarms.assert_served(&both);
    let client = Client::new(second.1);
    assert_eq!(client.announce(&Announce::leecher(info_hash(1), 1)).leechers, 1);

    let one = on_ports(&post, &[second]).run();
    ended(both);
    assert_eq!(addresses(&one), [second]);
    assert_closed(first.0, first.1);
    assert_eq!(client.counts(info_hash(1)), (2, 1, 1));
    one.stop();
}

fn one_address_can_become_every_address_and_every_address_one() {
    only_with("handover");
    let post = Post::new();
    let ip = loopback();
    // One that the system chooses for one address may be in use on another.
    let port = unused_port();
    let at = |ip: IpAddr| on_ports(&post, &[((ip, port).into(), (ip, port).into())]).run();
    let mut tracker = at(ip);
    let client = Client::new((ip, port).into());
    client.announce(&Announce::leecher(info_hash(1), 1));
    for next in [wildcard(ip), ip] {
        let new = at(next);
        assert_eq!(new.udps()[0], (next, port).into());
        ended(std::mem::replace(&mut tracker, new));
        assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
        assert_eq!(scraped((ip, port).into(), 1), (0, 0, 1));
    }
    tracker.stop();
}

fn other_intervals_are_told_from_then_on() {
    only_with("handover");
    let post = Post::new();
    let told = |tracker: &Tracker| Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(1), 1)).interval;
    let old = post.start().config("tracker.interval 1800\n").run();
    let swarms = Swarms::announced(&old);
    assert!(told(&old) > 1200);
    let new = post.start().config("tracker.interval 600\n").run();
    ended(old);
    swarms.assert_served(&new);
    assert!(told(&new) <= 660);
    new.stop();
}

/// Starts one whose list is this file with these torrents; returns it when it has taken over.
fn listing(post: &Post, key: &str, torrents: impl IntoIterator<Item = u8>) -> Tracker {
    let start = post.start();
    let listed: String = torrents.into_iter().map(|n| hex(info_hash(n)) + "\n").collect();
    fs::write(start.path("other list"), listed).unwrap();
    start.config(&format!("{key} = 'other list'\n")).run()
}

/// Asserts that a tracker has all swarms but that of torrent 3, and that it says so.
#[track_caller]
fn assert_left_out(new: Tracker) {
    let client = Client::new(new.udp());
    let families = u32::try_from(loopbacks().len()).unwrap();
    for n in 0..5 {
        let counts = if n == 3 { (0, 0, 0) } else { (2 * families, families, u32::from(n) * families) };
        assert_eq!(client.counts(info_hash(n)), counts, "{n}");
    }
    let log = new.stop();
    let left_out = format!("; left out: {} of torrents that are not served here\n", 5 * families);
    assert!(log.contains(&left_out), "{left_out} is not in\n{log}");
}

fn a_torrent_that_a_white_list_has_lost_is_left_out() {
    only_with("handover");
    only_with("accesslist-white");
    let post = Post::new();
    let old = post.start().run();
    Swarms::announced(&old);
    let new = listing(&post, "access.whitelist", (0..=u8::MAX).filter(|n| *n != 3));
    ended(old);
    assert_left_out(new);
}

fn a_torrent_that_a_black_list_names_is_left_out() {
    only_with("handover");
    only_with("accesslist-black");
    let post = Post::new();
    let old = post.start().run();
    Swarms::announced(&old);
    let new = listing(&post, "access.blacklist", [3]);
    ended(old);
    assert_left_out(new);
}

fn what_is_beyond_the_limits_is_left_out() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    Swarms::announced(&old);
    let new = post.start().config("limits.peers 3\n").run();
    ended(old);
    let client = Client::new(new.udp());
    let kept: u32 = (0..5).map(|n| client.counts(info_hash(n))).map(|(seeders, _, leechers)| seeders + leechers).sum();
    assert!((1..20).contains(&kept), "{kept}");
    let log = new.stop();
    assert!(log.contains("for want of room (limits.torrents, limits.peers)"), "{log}");
}

fn the_port_of_a_cluster_is_no_obstacle() {
    only_with("handover");
    only_with("sync-live");
    let post = Post::new();
    let port = unused_port();
    let start = || post.start().config(&format!("livesync.cluster.listen 127.0.0.1:{port}\n"));
    let old = start().run();
    let swarms = Swarms::announced(&old);
    let new = start().run();
    ended(old);
    swarms.assert_served(&new);
    new.stop();
}

fn a_tracker_that_handed_nothing_over_can_begin_to() {
    only_with("handover");
    // Without the key nothing is taken, and where the ports are taken nothing is started.
    let post = Post::new();
    let old = Tracker::start(&[]);
    let taken = on_ports(&post, &[(old.http(), old.udp())]);
    taken.finish().refuses(1, &["in use"]);
    assert_eq!(fs::read_dir(post.named(".")).unwrap().count(), 0, "no socket is left of a start that failed");
    old.stop();
}
