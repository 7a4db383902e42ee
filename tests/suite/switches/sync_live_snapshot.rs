//! `sync-live`: a tracker that starts takes over what another one of its cluster knows. Here the tests are the donors.

pub(crate) mod donor;
pub(crate) mod endless;
pub(crate) mod strange;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::handover_socket::{Post, ended};
use super::handover_store::strange::leave_a_part;
use super::refuses_key;
use crate::clients::cluster::{ASK, Member, OFFER};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::service_manager::ServiceManager;
use crate::tracker::{Start, Tracker, unused_port};
use crate::wait::{MAX_WAIT, wait_until};

tests![
    without_it_its_keys_are_refused,
    a_joiner_takes_all_from_the_one_that_has_been_up_for_longest,
    a_donor_that_ends_midway_is_followed_by_the_next,
    a_donor_that_is_busy_is_asked_again,
    who_is_alone_is_ready_soon,
    who_answers_and_gives_nothing_is_waited_for_no_longer_than_the_wait,
    a_snapshot_that_is_too_large_is_the_last,
    nobody_is_asked_where_the_configuration_says_so,
    who_is_in_no_named_network_is_not_asked,
    who_takes_over_from_a_predecessor_asks_nobody,
    who_gets_only_a_part_from_a_predecessor_asks_for_the_rest,
];

/// Where the tracker under test is. The donors of the tests have the other addresses.
const TRACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NETWORKS: &str = "livesync.cluster.node_ip 127.0.0.0/8\n";

/// A tracker that is about to join a cluster, whose port no client takes: donors need it at other addresses.
fn joining(config: &str) -> Start {
    let listen = format!("livesync.cluster.listen {TRACKER}:{}\n", unused_port());
    Start::minimal().config(&listen).config(config).on_loopback()
}

/// Starts a tracker that looks for a snapshot, and waits until it has asked.
fn asks(config: &str) -> (Tracker, Member) {
    let mut tracker = joining(&[NETWORKS, config].concat()).begin();
    tracker.wait_for_log("live sync with group");
    let member = Member::of(&tracker);
    assert_eq!(member.receive_type(ASK).1, [0, 1]);
    (tracker, member)
}

/// A tracker that has been up for long, played by the test.
struct Donor {
    id: [u8; 4],
    member: Member,
    listener: TcpListener,
}

impl Donor {
    /// At 127.0.0.`number`, and on the port of the tracker's cluster.
    fn new(tracker: &Tracker, number: u8) -> Self {
        let ip = Ipv4Addr::new(127, 0, 0, number);
        let member = Member::of(tracker).moved_to(ip);
        let listener = TcpListener::bind((ip, member.port())).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { id: [number; 4], member, listener }
    }

    fn offers(&self, uptime: u32) {
        self.offers_on(self.member.port(), uptime);
    }

    fn offers_on(&self, port: u16, uptime: u32) {
        let port = port.to_be_bytes();
        let packet = [&self.id[..], &OFFER.to_be_bytes(), &[0, 1], &port, &uptime.to_be_bytes(), &[0; 16]].concat();
        self.member.send(&packet);
    }

    /// Waits for a joiner, and hears its greeting.
    #[track_caller]
    fn accept(&self) -> TcpStream {
        let mut stream = wait_until(|| self.try_accept()).expect("a joiner");
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), TRACKER, "it comes from the interface's address");
        let mut said = [0; 12];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(said[..], [&b"otsnap\0\x01"[..], &self.id].concat());
        stream
    }

    fn try_accept(&self) -> Option<TcpStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives these bytes to the next joiner, after the byte that says that they come.
    #[track_caller]
    fn gives(&self, bytes: &[u8]) {
        let mut stream = self.accept();
        stream.write_all(&[1]).unwrap();
        // It may have read enough.
        let _ = stream.write_all(bytes);
    }
}

/// What a tracker gives that knows so many peers of the first torrent. To be made before the tracker under test asks,
/// which waits for no longer than it says.
fn snapshot(peers: u8) -> Vec<u8> {
    let tracker = donor::start("");
    let client = Client::new(tracker.udp());
    (1..=peers).for_each(|port| _ = client.announce(&Announce::seeder(info_hash(1), port.into())));
    let mut stream = donor::connect(&tracker);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.remove(0), 1);
    bytes
}

/// How many seeders of the first torrent the tracker knows.
fn seeders(tracker: &Tracker) -> u32 {
    Client::new(tracker.udp()).counts(info_hash(1)).0
}

fn without_it_its_keys_are_refused() {
    only_without("sync-live");
    only_without("sync-nats");
    for key in ["sync.snapshot_wait", "sync.snapshot_rate", "sync.snapshot_max"] {
        refuses_key("sync-live or sync-nats", key, "1");
    }
}

fn a_joiner_takes_all_from_the_one_that_has_been_up_for_longest() {
    only_with("sync-live");
    let bytes = snapshot(7);
    let (tracker, _) = asks("");
    let [young, old] = [1, 3].map(|number| Donor::new(&tracker, number));
    young.offers(1000);
    old.offers(5000);
    old.gives(&bytes);
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 7);
    assert!(young.try_accept().is_none(), "one is enough");
    let log = tracker.stop();
    assert!(
        log.contains(&format!("taken a snapshot from 127.0.0.3:{}: {} bytes", old.member.port(), bytes.len())),
        "{log}"
    );
    assert!(log.contains("1 torrents, 7 peers") && log.contains("INFO ready"), "{log}");
}

fn a_donor_that_ends_midway_is_followed_by_the_next() {
    only_with("sync-live");
    let (part, whole) = (snapshot(7), snapshot(9));
    let (tracker, _) = asks("");
    let [first, second, third] = [1, 3, 4].map(|number| Donor::new(&tracker, number));
    [(&first, 3000), (&second, 2000), (&third, 1000)].iter().for_each(|(donor, uptime)| donor.offers(*uptime));
    first.gives(&part[..part.len() - 50]);
    // Nothing but the end of the connection.
    drop(second.accept());
    third.gives(&whole);
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 9);
    let log = tracker.stop();
    assert_eq!(log.matches("is given up: it stopped in the middle").count(), 2, "{log}");
}

fn a_donor_that_is_busy_is_asked_again() {
    only_with("sync-live");
    let bytes = snapshot(4);
    let (tracker, member) = asks("");
    let donor = Donor::new(&tracker, 1);
    donor.offers_on(0, 0);
    // It is past the time after which it would take itself for alone.
    (0..4).for_each(|_| _ = member.receive_type(ASK));
    donor.offers(1000);
    donor.accept().write_all(&[0]).unwrap();
    donor.offers(1000);
    donor.gives(&bytes);
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 4);
    let log = tracker.stop();
    let said = format!("INFO no snapshot from 127.0.0.1:{} yet: the other gives as many", donor.member.port());
    assert!(log.contains(&said) && !log.contains("WARN a snapshot"), "{log}");
}

fn who_is_alone_is_ready_soon() {
    only_with("sync-live");
    let (tracker, _) = asks("sync.snapshot_wait 600\n");
    let log = tracker.ready().stop();
    assert!(log.contains("nobody in the cluster has answered: there is no snapshot to take"), "{log}");
}

fn who_answers_and_gives_nothing_is_waited_for_no_longer_than_the_wait() {
    only_with("sync-live");
    let bytes = snapshot(5);
    let (tracker, _) = asks("sync.snapshot_wait 6\n");
    let donor = Donor::new(&tracker, 1);
    donor.offers(1000);
    let mut stream = donor.accept();
    let mut tracker = tracker.ready();
    assert!(tracker.log().contains("no snapshot is in over TCP after 6 s: ready without"), "{}", tracker.log());
    // It is still wanted.
    stream.write_all(&[&[1][..], &bytes].concat()).unwrap();
    tracker.wait_for_log("taken a snapshot from");
    assert_eq!(seeders(&tracker), 5);
}

fn a_snapshot_that_is_too_large_is_the_last() {
    only_with("sync-live");
    let bytes = snapshot(9);
    let (tracker, _) = asks("sync.snapshot_max 60\n");
    let [first, second] = [1, 3].map(|number| Donor::new(&tracker, number));
    first.offers(2000);
    second.offers(1000);
    first.gives(&bytes);
    let log = tracker.ready().stop();
    assert!(log.contains("is given up: it has more than 60 bytes (sync.snapshot_max)"), "{log}");
    assert!(second.try_accept().is_none());
}

fn nobody_is_asked_where_the_configuration_says_so() {
    only_with("sync-live");
    for config in ["sync.snapshot_wait 0\n", "sync.snapshot_max 0\n"] {
        let tracker = joining(&[NETWORKS, config].concat()).run();
        let member = Member::of(&tracker);
        assert!(member.hears_none(ASK, donor::ANSWER_TIME), "{config}");
        // Whoever has asked, before the member was there to hear it, says that there was no answer.
        assert!(!tracker.stop().contains("nobody in the cluster has answered"), "{config}");
    }
    // Whoever believes nobody asks nobody and serves nobody.
    let tracker = joining("").run();
    assert!(!tracker.stop().contains("snapshot"));
}

fn who_is_in_no_named_network_is_not_asked() {
    only_with("sync-live");
    let bytes = snapshot(3);
    let mut tracker = joining("livesync.cluster.node_ip 127.0.0.1\n").begin();
    tracker.wait_for_log("live sync with group");
    Member::of(&tracker).receive_type(ASK);
    let [stranger, member] = [9, 1].map(|number| Donor::new(&tracker, number));
    stranger.offers(5000);
    member.offers(1000);
    member.gives(&bytes);
    let tracker = tracker.ready();
    assert!(stranger.try_accept().is_none());
    assert_eq!(seeders(&tracker), 3);
}

fn who_takes_over_from_a_predecessor_asks_nobody() {
    only_with("sync-live");
    only_with("handover");
    let (post, port) = (Post::new(), unused_port());
    let config = format!("{NETWORKS}livesync.cluster.listen {TRACKER}:{port}\n");
    let first = post.add_to(joining(&config)).run();
    Client::new(first.udp()).announce(&Announce::seeder(info_hash(1), 1));
    let mut second = post.add_to(joining(&config)).run();
    assert!(!ended(first).contains("given a snapshot"));
    assert_eq!(seeders(&second), 1);
    // The port was the predecessor's, and is its own as soon as that is gone.
    second.wait_for_log(&format!("gives snapshots on tcp {TRACKER}:{port}"));
    let log = second.stop();
    assert!(
        log.contains(&format!("gives no snapshots until another program lets go of tcp {TRACKER}:{port}")),
        "{log}"
    );
    assert!(!log.contains("nobody in the cluster"), "{log}");
}

fn who_gets_only_a_part_from_a_predecessor_asks_for_the_rest() {
    only_with("sync-live");
    only_with("handover");
    let manager = ServiceManager::new(512);
    leave_a_part(&manager);
    let log = manager.start(joining(NETWORKS)).stop();
    for expected in ["but they end in the middle", "nobody in the cluster has answered: there is no snapshot to take"] {
        assert!(log.contains(expected), "{log}");
    }
}
