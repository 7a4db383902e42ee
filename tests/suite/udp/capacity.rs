//! The limits on what strangers can make the tracker store.

use crate::clients::udp::{Announce, COMPLETED, Client, STOPPED};
use crate::flavour::info_hash;
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    torrents_beyond_the_limit_are_refused,
    an_empty_torrent_without_downloads_makes_room,
    peers_beyond_the_limit_are_answered_but_not_stored,
];

const FULL: &str = "This tracker is full. Please try again later.";

fn limited(limits: &str) -> Tracker {
    Start::loopback().config(&format!("[limits]\n{limits}\n")).run()
}

fn torrents_beyond_the_limit_are_refused() {
    let tracker = limited("torrents = 1");
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(0), 1));
    assert_eq!(client.refusal(&Announce::leecher(info_hash(1), 1)), FULL);
    assert_eq!(client.announce(&Announce::seeder(info_hash(0), 2)).leechers, 1, "who is in stays in");
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
    let stopped = client.announce(&Announce::leecher(info_hash(1), 1).event(STOPPED));
    assert_eq!((stopped.leechers, stopped.seeders), (0, 0));
}

fn an_empty_torrent_without_downloads_makes_room() {
    let tracker = limited("torrents = 1");
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(0), 1));
    client.announce(&Announce::leecher(info_hash(0), 1).event(STOPPED));
    client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
    assert_eq!(client.counts(info_hash(1)), (1, 1, 0));
}

fn peers_beyond_the_limit_are_answered_but_not_stored() {
    let tracker = limited("peers = 3");
    let client = Client::new(tracker.udp());
    for port in 1..=3 {
        client.announce(&Announce::leecher(info_hash(0), port));
    }
    let fourth = client.announce(&Announce::leecher(info_hash(0), 4));
    assert_eq!((fourth.leechers, fourth.peers.len()), (3, 3));
    assert_eq!(client.counts(info_hash(0)), (0, 0, 3));
    assert_eq!(client.refusal(&Announce::leecher(info_hash(1), 1)), FULL, "nobody is there to be handed out");
    assert_eq!(client.announce(&Announce::seeder(info_hash(0), 3)).seeders, 1, "who is in stays in");
    client.announce(&Announce::leecher(info_hash(0), 1).event(STOPPED));
    assert_eq!(client.announce(&Announce::leecher(info_hash(0), 4)).leechers, 2);
}
