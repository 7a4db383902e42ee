//! `sync-nats`: a tracker that starts takes over what another one knows.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::clients::nats::{Server, only_with_nats_server};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    a_tracker_that_starts_has_all_peers_when_it_is_ready,
    when_the_donor_is_killed_in_the_middle_another_one_goes_on,
    without_others_or_a_connection_a_tracker_is_ready_all_the_same,
    who_gives_or_takes_no_snapshots_has_to_be_told_by_the_peers,
];

/// The torrent of all peers.
const TORRENT: u8 = 1;

/// A tracker at a server, with more configuration.
fn member(server: &Server, config: &str) -> Start {
    Start::loopback().config(&format!("{}{config}", server.config()))
}

/// Announces so many leechers.
fn fill(tracker: &Tracker, peers: u16) {
    let client = Client::new(tracker.udp());
    (1..=peers).for_each(|port| drop(client.announce(&Announce::leecher(info_hash(TORRENT), port))));
    assert_eq!(known(tracker.udp()), u32::from(peers));
}

/// How many peers the tracker at this address knows.
fn known(address: SocketAddr) -> u32 {
    Client::new(address).counts(info_hash(TORRENT)).2
}

#[track_caller]
fn wait_for_peers(tracker: &Tracker, peers: u32) {
    let found = wait_until(|| (known(tracker.udp()) == peers).then_some(()));
    assert!(found.is_some(), "{} instead of {peers}", known(tracker.udp()));
}

/// Where a tracker answers that has not said yet that it is ready.
pub(super) fn answers_at(tracker: &Tracker) -> SocketAddr {
    let address = || {
        let log = tracker.log();
        let (_, address) = log.lines().find_map(|line| line.split_once("listening on udp "))?;
        // The line may not be whole yet.
        log.contains("INFO features: ").then(|| address.parse().unwrap())
    };
    wait_until(address).unwrap_or_else(|| panic!("it listens nowhere:\n{}", tracker.log()))
}

fn a_tracker_that_starts_has_all_peers_when_it_is_ready() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let mut first = member(&server, "").run();
    fill(&first, 300);
    let mut second = member(&server, "sync.snapshot_wait = 20\n").run();
    assert_eq!(known(second.udp()), 300);
    second.wait_for_log("INFO taken a snapshot from the tracker ");
    first.wait_for_log("INFO given a snapshot to the tracker ");
    assert!(!first.log().contains("taken a snapshot"), "{}", first.log());
    // Whoever has taken one gives one.
    first.stop();
    let third = member(&server, "sync.snapshot_wait = 20\n").run();
    assert_eq!(known(third.udp()), 300);
    second.wait_for_log("INFO given a snapshot to the tracker ");
}

fn when_the_donor_is_killed_in_the_middle_another_one_goes_on() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    // 8 bytes for each peer: 16 pieces, one each second.
    let first = member(&server, "sync.snapshot_rate = 500\n").run();
    let mut second = member(&server, "").run();
    fill(&first, 1000);
    wait_for_peers(&second, 1000);
    // On a busy machine it could be the first to make an offer.
    second.signal(Signal::SIGSTOP);
    let mut joiner = member(&server, "sync.snapshot_wait = 60\n").begin();
    let address = answers_at(&joiner);
    let some = wait_until(|| Some(known(address)).filter(|&peers| peers > 0));
    assert!(some.is_some_and(|peers| peers < 1000), "{some:?} come from the first:\n{}", joiner.log());
    second.signal(Signal::SIGCONT);
    let pid = first.pid();
    assert_eq!(first.interrupt(pid, Signal::SIGKILL).code, None);
    assert!(!joiner.log().contains("INFO ready"), "{}", joiner.log());
    joiner = joiner.ready();
    assert_eq!(known(joiner.udp()), 1000);
    joiner.wait_for_log("is given up: it stopped in the middle; kept of it: ");
    joiner.wait_for_log("INFO taken a snapshot from the tracker ");
    second.wait_for_log("INFO given a snapshot to the tracker ");
}

fn without_others_or_a_connection_a_tracker_is_ready_all_the_same() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start_to_restart();
    let mut alone = member(&server, "").run();
    alone.wait_for_log("INFO nobody in the cluster has answered: there is no snapshot to take");
    let port = server.kill();
    let config = format!("sync.nats.servers = ['127.0.0.1:{port}']\nsync.snapshot_wait = 1\n");
    let mut early = Start::loopback().config(&config).run();
    fill(&alone, 10);
    // The snapshot is taken when there is a connection, although the tracker has said that it is ready.
    let _server = Server::restart(port, &[]);
    early.wait_for_log("INFO taken a snapshot from the tracker ");
    wait_for_peers(&early, 10);
}

fn who_gives_or_takes_no_snapshots_has_to_be_told_by_the_peers() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let giver = member(&server, "").run();
    fill(&giver, 10);
    for config in ["sync.snapshot_wait = 0\n", "sync.snapshot_max = 0\n"] {
        let log = member(&server, config).run().stop();
        assert!(!log.contains("snapshot"), "{log}");
    }
    drop(giver);
    let stingy = member(&server, "sync.snapshot_rate = 0\n").run();
    fill(&stingy, 10);
    let mut joiner = member(&server, "").run();
    joiner.wait_for_log("INFO nobody in the cluster has answered: there is no snapshot to take");
    // What it knows by now it was told as a change.
    assert!(!joiner.stop().contains("taken a snapshot"));
}
