//! `handover`: a new process takes over from the one that runs, over a Unix socket.

pub(crate) mod changes;
pub(crate) mod killed;
pub(crate) mod load;
pub(crate) mod places;
pub(crate) mod predecessors;
pub(crate) mod successors;

use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process;

use nix::unistd::{User, geteuid};

use predecessors::hand_to;

use crate::clients::handover::{Estate, PAUSE, READY, Speaker, Stream, TAKEN, YOURS};
use crate::clients::http::{Connection, request};
use crate::clients::udp::{Announce, COMPLETED, CONNECT, Client, MAGIC, STOPPED, assert_header, header};
use crate::directory::Directory;
use crate::flavour::{info_hash, loopback, loopbacks, only_with, wildcard};
use crate::harness::tests;
use crate::http::{announce_target, peers, scrape_target, scraped};
use crate::tracker::{Start, Tracker, is_root, only_as_root};

tests![
    a_new_process_has_all_swarms_and_every_address_and_the_old_one_ends,
    a_chain_of_ten_loses_nothing,
    addresses_that_stand_for_every_address_are_taken_over,
    who_has_left_stays_away_and_who_has_come_is_there,
    what_waits_while_nobody_answers_is_answered,
    a_connection_that_is_under_way_is_finished_by_the_old_process,
    a_process_without_root_takes_over_a_port_below_1024_and_the_rest,
    the_socket_is_its_users_own_and_nobody_elses,
    the_log_says_what_came,
];

/// Where trackers hand over, one to the next.
pub(crate) struct Post(Directory);

impl Post {
    /// In a directory that belongs to whom the trackers become.
    pub(crate) fn new() -> Self {
        Self::of("nobody")
    }

    /// In a directory of this user.
    pub(crate) fn of(user: &str) -> Self {
        let directory = Directory::new();
        if is_root() {
            let user = User::from_name(user).unwrap().unwrap();
            chown(&directory.0, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        Self(directory)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.named("handover.sock")
    }

    pub(crate) fn named(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// A tracker that hands over here, and takes over; on a free port of each protocol, or those of the one before.
    pub(crate) fn start(&self) -> Start {
        self.add_to(Start::loopback())
    }

    /// One that is to hand over here, too.
    pub(crate) fn add_to(&self, start: Start) -> Start {
        start.config(&format!("tracker.handover {}\n", self.path().display()))
    }

    /// Has a fake successor take over from a tracker, which ends by itself.
    pub(crate) fn take_over(&self, tracker: Tracker) -> (Estate, Stream) {
        let taken = Speaker::connect(&self.path()).take_over();
        ended(tracker);
        taken
    }
}

/// Waits for the end of a tracker that another one has taken over from. Returns its log.
#[track_caller]
pub(crate) fn ended(tracker: Tracker) -> String {
    let exit = tracker.end();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("another process has taken over: stopping"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked at"), "{}", exit.stderr);
    exit.stderr
}

/// Swarms that a tracker has, and who asks for them.
pub(crate) struct Swarms {
    clients: Vec<Client>,
}

impl Swarms {
    /// How many torrents have peers.
    const TORRENTS: u8 = 5;
    /// One that was downloaded, and has no peers.
    const EMPTY: u8 = 100;

    /// Announces them at all addresses of a tracker.
    #[track_caller]
    pub(crate) fn announced(tracker: &Tracker) -> Self {
        let clients: Vec<_> = tracker.udps().iter().map(|address| Client::new(*address)).collect();
        for client in &clients {
            for n in 0..Self::TORRENTS {
                for port in 1..=u16::from(n) {
                    client.announce(&Announce::leecher(info_hash(n), port));
                }
                client.announce(&Announce::seeder(info_hash(n), 1000).event(COMPLETED));
                client.announce(&Announce::seeder(info_hash(n), 1001));
            }
            client.announce(&Announce::seeder(info_hash(Self::EMPTY), 1).event(COMPLETED));
            client.announce(&Announce::seeder(info_hash(Self::EMPTY), 1).event(STOPPED));
        }
        Self { clients }
    }

    /// Asserts that they are all there, over UDP with the connection ids of before, and over HTTP.
    #[track_caller]
    pub(crate) fn assert_served(&self, tracker: &Tracker) {
        // Those of both families count for the torrents of each, and there was a client for each.
        let families = u32::try_from(self.clients.len()).unwrap();
        for client in &self.clients {
            for n in 0..Self::TORRENTS {
                let counts = (2 * families, families, u32::from(n) * families);
                assert_eq!(client.counts(info_hash(n)), counts, "torrent {n}");
                let (seeders, downloads, leechers) = counts;
                let over_http = scraped(tracker.http(), n);
                assert_eq!(over_http, (seeders.into(), downloads.into(), leechers.into()), "torrent {n}");
            }
            assert_eq!(client.counts(info_hash(Self::EMPTY)), (0, families, 0), "a torrent without peers");
            // Who announces what it has announced before changes nothing.
            let n = Self::TORRENTS - 1;
            let mut handed = client.announce(&Announce::leecher(info_hash(n), 1)).peers;
            handed.sort_unstable();
            let others = (2..=u16::from(n)).chain([1000, 1001]);
            assert_eq!(handed, others.map(|port| client.endpoint(port)).collect::<Vec<_>>());
        }
    }
}

/// Asserts that trackers answer at the same addresses.
#[track_caller]
pub(crate) fn assert_same_addresses(one: &Tracker, other: &Tracker) {
    assert_eq!((one.udps(), one.https()), (other.udps(), other.https()));
}

/// Asserts that nothing in a log tells of anything that went wrong.
#[track_caller]
pub(crate) fn assert_untroubled(log: &str) {
    for trouble in ["ERROR", "handover came", "cannot ", "not permitted", "ermission denied", "does not end"] {
        assert!(!log.contains(trouble), "{trouble}:\n{log}");
    }
}

fn a_new_process_has_all_swarms_and_every_address_and_the_old_one_ends() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    let new = post.start().run();
    assert_same_addresses(&old, &new);
    assert_untroubled(&ended(old));
    swarms.assert_served(&new);
    assert_untroubled(&new.stop());
}

fn a_chain_of_ten_loses_nothing() {
    only_with("handover");
    let post = Post::new();
    let mut tracker = post.start().run();
    let swarms = Swarms::announced(&tracker);
    for _ in 0..10 {
        let next = post.start().run();
        assert_same_addresses(&tracker, &next);
        ended(std::mem::replace(&mut tracker, next));
        swarms.assert_served(&tracker);
    }
    assert_untroubled(&tracker.stop());
}

fn addresses_that_stand_for_every_address_are_taken_over() {
    only_with("handover");
    let post = Post::new();
    // The last one stands for all families of the build, on one port.
    let every = wildcard(*loopbacks().last().unwrap()).to_string();
    let start = || post.add_to(Start::minimal().args(["-i", &every, "-p", "0", "-P", "0"]));
    let old = start().run();
    let clients = |tracker: &Tracker| -> Vec<_> {
        loopbacks().iter().map(|ip| Client::new((*ip, tracker.udp().port()).into())).collect()
    };
    for client in clients(&old) {
        client.announce(&Announce::leecher(info_hash(0), 1));
    }
    let new = start().run();
    assert_same_addresses(&old, &new);
    assert_eq!(new.udps().len(), loopbacks().len());
    ended(old);
    for client in clients(&new) {
        assert_eq!(client.counts(info_hash(0)), (0, 0, u32::try_from(loopbacks().len()).unwrap()));
    }
    new.stop();
}

fn who_has_left_stays_away_and_who_has_come_is_there() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let client = Client::new(old.udp());
    let announce = |announce: Announce| client.announce(&Announce { num_want: 0, ..announce });
    for port in 1..=3 {
        announce(Announce::leecher(info_hash(0), port));
    }
    announce(Announce::leecher(info_hash(1), 1));
    let successor = Speaker::connect(&post.path());
    let estate = successor.ask();
    successor.say(READY, b"");
    let once = successor.take_once();
    // The old one still answers.
    announce(Announce::leecher(info_hash(0), 1).event(STOPPED));
    announce(Announce::seeder(info_hash(0), 2).event(COMPLETED));
    announce(Announce::leecher(info_hash(0), 4));
    announce(Announce::leecher(info_hash(1), 1).event(STOPPED));
    announce(Announce::seeder(info_hash(2), 9).event(COMPLETED));
    successor.say(PAUSE, b"");
    let changes = successor.take_changes(&once);
    successor.say(TAKEN, b"");
    successor.expect(YOURS);
    ended(old);
    let new = hand_to(post.start(), &estate, &Stream { once, changes });
    assert_eq!(client.counts(info_hash(0)), (1, 1, 2));
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
    assert_eq!(client.counts(info_hash(2)), (1, 1, 0));
    new.stop();
}

fn what_waits_while_nobody_answers_is_answered() {
    only_with("handover");
    const CLIENTS: u8 = 40;
    let post = Post::new();
    let old = post.start().config("listen.udp.workers 3\n").run();
    let (udp, http) = (old.udp(), old.http());
    let swarms = Swarms::announced(&old);
    let (estate, stream) = post.take_over(old);
    // Nobody answers now. The system shares clients out among the workers' sockets.
    let datagrams: Vec<_> = (0..CLIENTS).map(|_| Client::unconnected(udp.ip(), udp)).collect();
    datagrams.iter().for_each(|client| client.send(&header(MAGIC, CONNECT, 7)));
    let mut connections: Vec<_> = (0..CLIENTS).map(|_| Connection::open(http)).collect();
    let (early, late) = connections.split_at_mut(usize::from(CLIENTS / 2));
    early.iter_mut().for_each(|connection| connection.send(request(&scrape_target([1]), "")));
    let new = hand_to(post.start(), &estate, &stream);
    late.iter_mut().for_each(|connection| connection.send(request(&scrape_target([1]), "")));
    datagrams.iter().for_each(|client| assert_header(&client.receive(), CONNECT, 7));
    for connection in connections {
        assert!(connection.last_reply().bencode().find("files").is_some());
    }
    swarms.assert_served(&new);
    new.stop();
}

fn a_connection_that_is_under_way_is_finished_by_the_old_process() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    let mut under_way = Connection::open(old.http());
    let whole = request(&announce_target(1, "port=77&left=1"), "");
    let (one, other) = whole.split_at(whole.len() / 2);
    under_way.send(one);
    // Whoever is accepted after it has found it accepted.
    scraped(old.http(), 1);
    let new = post.start().run();
    under_way.send(other);
    let reply = under_way.last_reply().bencode();
    assert!(!peers(&reply).is_empty(), "{reply:?}");
    ended(old);
    swarms.assert_served(&new);
    new.stop();
}

/// A port below 1024 that is free on this address, for both protocols; another process of these tests begins to look
/// elsewhere.
fn low_port(address: IpAddr) -> u16 {
    const LOWEST: u16 = 700;
    const COUNT: u16 = 1024 - LOWEST;
    let begin = process::id() % u32::from(COUNT);
    let mut ports = (LOWEST..1024).cycle().skip(begin.try_into().unwrap()).take(COUNT.into());
    let is_free = |port: &u16| TcpListener::bind((address, *port)).is_ok() && UdpSocket::bind((address, *port)).is_ok();
    ports.find(is_free).expect("a free port below 1024")
}

fn a_process_without_root_takes_over_a_port_below_1024_and_the_rest() {
    only_with("handover");
    only_as_root();
    let post = Post::new();
    let port = low_port(loopback()).to_string();
    let start = || {
        let start = Start::minimal().args(["-i", &loopback().to_string(), "-p", &port, "-P", &port]);
        post.add_to(start).config("listen.udp.workers 2\nlisten.tcp_workers 2\n")
    };
    let old = start().run();
    let client = Client::new(old.udp());
    client.announce(&Announce::leecher(info_hash(0), 1));
    let second = start().started_by("nobody").run();
    ended(old);
    assert_same_addresses(&second, &second);
    // With more workers than there are sockets, which it cannot open.
    let third = start().config("listen.udp.workers 4\nlisten.tcp_workers 4\n").started_by("nobody").run();
    ended(second);
    assert_eq!(client.counts(info_hash(0)), (0, 0, 1));
    assert_eq!(scraped(third.http(), 0), (0, 0, 1));
    // And root again.
    let fourth = start().run();
    ended(third);
    assert_eq!(fourth.udp().port().to_string(), port);
    assert_eq!(client.counts(info_hash(0)), (0, 0, 1));
    assert_eq!(scraped(fourth.http(), 0), (0, 0, 1));
    fourth.stop();
}

fn the_socket_is_its_users_own_and_nobody_elses() {
    only_with("handover");
    for user in ["nobody", "daemon"] {
        let post = Post::of(user);
        let tracker = post.start().config(&format!("tracker.user {user}\n")).run();
        let socket = fs::symlink_metadata(post.path()).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        let owner = if is_root() { User::from_name(user).unwrap().unwrap().uid } else { geteuid() };
        assert_eq!(socket.uid(), owner.as_raw());
        let names: Vec<_> = fs::read_dir(post.named(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["handover.sock"]);
        tracker.stop();
    }
}

fn the_log_says_what_came() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    Swarms::announced(&old);
    let families = loopbacks().len();
    let new = post.start().run();
    let log = ended(old);
    let nobody = format!("no process answers at {}: there is nobody to take over from", post.path().display());
    assert!(log.contains(&nobody), "{log}");
    assert!(log.contains("another process asks to take over"), "{log}");
    let log = new.stop();
    assert!(!log.contains(&nobody), "{log}");
    assert!(log.contains(&format!("taking over from the process that answers at {}", post.path().display())), "{log}");
    let came = format!(
        "taken over from the process before: 6 torrents, {} peers, {} downloads\n",
        20 * families,
        6 * families
    );
    assert!(log.contains(&came), "{log}");
}
