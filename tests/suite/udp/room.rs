//! Room is made before it is needed: nobody keeps others out, and swarms of honest size stay whole.

use std::fs;
use std::net::IpAddr;

use crate::clients::http::get;
use crate::clients::udp::{Announce, COMPLETED, Client, ERROR, STOPPED};
use crate::flavour::{IPV4, IPV6, has, hex, info_hash, only_with, serves};
use crate::harness::{skip, tests};
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    torrents_that_one_address_makes_up_keep_nobody_out,
    torrents_that_one_address_completes_and_leaves_keep_nobody_out,
    ports_of_one_address_in_many_torrents_keep_nobody_out,
    swarms_of_honest_size_stay_whole_while_others_spray,
    what_was_taken_is_counted_and_logged_once_in_a_while,
    an_honestly_full_tracker_takes_nothing,
];

/// An info hash that somebody has made up.
fn made_up(n: u32) -> [u8; 20] {
    let mut hash = *b"made up by somebody.";
    hash[..4].copy_from_slice(&n.to_be_bytes());
    hash
}

/// The address of client 1 of a network: other networks have other numbers. There is one network of IPv6 loopback
/// addresses.
fn of_network(tracker: &Tracker, n: u8) -> Client {
    let ip = if tracker.udp().is_ipv4() { IpAddr::from([127, 0, n, 1]) } else { IPV6 };
    Client::at(ip, tracker.udp())
}

/// Most networks have to be IPv4, of which there are many on the loopback interface.
fn only_with_networks() {
    if !serves(IPV4) {
        skip("this build does not serve IPv4, and IPv6 has one loopback address");
    }
}

/// A tracker with these limits, that serves all torrents that are made up here.
fn limited(limits: &str) -> Tracker {
    let start = Start::loopback().config(&format!("[limits]\n{limits}\n"));
    if has("accesslist-white") {
        let listed = (0..=u8::MAX).map(info_hash).chain((0..2000).map(made_up));
        fs::write(start.path("whitelist"), listed.map(|hash| hex(hash) + "\n").collect::<String>()).unwrap();
    }
    start.run()
}

/// Announces, and returns whether the tracker has a place for it.
fn is_let_in(client: &Client, announce: &Announce) -> bool {
    let reply = client.exchange(&announce.packet(client.id, client.next_transaction()));
    reply[..4] != ERROR.to_be_bytes()
}

/// Announces a torrent of its own until it is let in, and stays. Where there is one network, it is the sprayer's, so a
/// newcomer's torrent may be among those that are taken while there is still room to be made: it tries again.
#[track_caller]
fn gets_in(client: &Client, torrent: [u8; 20]) {
    let announce = Announce::leecher(torrent, 6881);
    let is_in = || client.counts(torrent) == (0, 0, 1);
    let let_in = wait_until(|| (is_let_in(client, &announce) && (serves(IPV4) || is_in())).then_some(()));
    assert!(let_in.is_some(), "{torrent:02x?} is kept out");
    assert!(!serves(IPV4) || is_in(), "{:?}", client.counts(torrent));
}

/// What the page of everything says was taken: torrents and peers.
fn taken(tracker: &Tracker) -> (u64, u64) {
    let page = get(tracker.http(), "/stats?mode=everything").text().to_owned();
    let (_, taken) = page.split_once("<taken_for_room>").expect("what was taken");
    let numbers: Vec<_> = taken.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    (numbers[0], numbers[1])
}

/// Waits until enough was taken: it goes on while clients are answered.
#[track_caller]
fn was_taken(tracker: &Tracker, is_enough: impl Fn((u64, u64)) -> bool) {
    let enough = wait_until(|| is_enough(taken(tracker)).then_some(()));
    assert!(enough.is_some(), "only {:?} were taken", taken(tracker));
}

fn torrents_that_one_address_makes_up_keep_nobody_out() {
    let tracker = limited("torrents = 1000");
    let sprayer = of_network(&tracker, 1);
    for n in 0..1000 {
        is_let_in(&sprayer, &Announce::leecher(made_up(n), 1));
    }
    // More come while a newcomer tries, and after him another.
    gets_in(&of_network(&tracker, 2), info_hash(0));
    for n in 1000..1200 {
        is_let_in(&sprayer, &Announce::leecher(made_up(n), 1));
    }
    gets_in(&of_network(&tracker, 3), info_hash(1));
    was_taken(&tracker, |(torrents, _)| torrents > 0);
    if serves(IPV4) {
        assert_eq!(sprayer.counts(info_hash(0)), (0, 0, 1), "who is in stays in");
    }
}

fn torrents_that_one_address_completes_and_leaves_keep_nobody_out() {
    let tracker = limited("torrents = 1000");
    let (sprayer, other) = (of_network(&tracker, 1), of_network(&tracker, 2));
    for port in [1, 2] {
        for event in [COMPLETED, STOPPED] {
            other.announce(&Announce::seeder(info_hash(0), port).event(event));
        }
    }
    for n in 0..1000 {
        for event in [COMPLETED, STOPPED] {
            is_let_in(&sprayer, &Announce::seeder(made_up(n), 1).event(event));
        }
    }
    gets_in(&other, info_hash(1));
    assert_eq!(other.counts(info_hash(0)), (0, 2, 0), "two downloads are more than one");
    was_taken(&tracker, |(torrents, _)| torrents > 0);
}

fn ports_of_one_address_in_many_torrents_keep_nobody_out() {
    only_with_networks();
    let tracker = limited("peers = 1000");
    let (sprayer, other) = (of_network(&tracker, 1), of_network(&tracker, 2));
    let swarm = info_hash(0);
    for port in 1..=3 {
        other.announce(&Announce::leecher(swarm, port));
    }
    other.announce(&Announce::seeder(swarm, 4).event(COMPLETED));
    // Few of each torrent, and some in the swarm of others.
    for n in 0..120 {
        for port in 1..=10 {
            is_let_in(&sprayer, &Announce::leecher(made_up(n), port));
        }
    }
    for port in 1..=10 {
        is_let_in(&sprayer, &Announce::leecher(swarm, 1000 + port));
    }
    let newcomer = of_network(&tracker, 3);
    let endpoint = newcomer.endpoint(6881);
    let is_handed_out = || {
        newcomer.announce(&Announce::leecher(swarm, 6881));
        other.announce(&Announce::leecher(swarm, 1)).peers.contains(&endpoint).then_some(())
    };
    assert!(wait_until(is_handed_out).is_some(), "the newcomer is kept out");
    let peers = newcomer.announce(&Announce { num_want: 200, ..Announce::leecher(swarm, 6881) }).peers;
    for port in 1..=4 {
        assert!(peers.contains(&other.endpoint(port)), "{port} of {peers:?}");
    }
    assert_eq!(newcomer.counts(swarm).1, 1);
    was_taken(&tracker, |(_, peers)| peers > 0);
}

fn swarms_of_honest_size_stay_whole_while_others_spray() {
    only_with_networks();
    let tracker = limited("torrents = 500\npeers = 1000");
    // Networks 10 to 49 have swarms with each other and torrents of their own, up to the share.
    let honest: Vec<_> = (10..50).map(|n| of_network(&tracker, n)).collect();
    for (n, client) in (0_u8..).zip(&honest) {
        for torrent in 0..5 {
            client.announce(&Announce::leecher(info_hash(torrent), 1));
        }
        for own in 0..4 {
            client.announce(&Announce::seeder(info_hash(10 + 4 * n + own), 1));
        }
    }
    let counts = |client: &Client| {
        let torrents: Vec<_> = (0..170).map(info_hash).collect();
        torrents.chunks(70).flat_map(|torrents| client.scrape(torrents)).collect::<Vec<_>>()
    };
    let before = counts(&honest[0]);
    let (one, other) = (of_network(&tracker, 1), of_network(&tracker, 2));
    for n in 0..600 {
        is_let_in(&one, &Announce::leecher(made_up(n.into()), 1));
        is_let_in(&other, &Announce::leecher(made_up(u32::from(n % 50) + 1000), 1 + n));
    }
    gets_in(&of_network(&tracker, 3), info_hash(200));
    was_taken(&tracker, |(torrents, _)| torrents > 0);
    assert_eq!(counts(&honest[0]), before);
}

fn what_was_taken_is_counted_and_logged_once_in_a_while() {
    let mut tracker = limited("torrents = 300");
    let sprayer = of_network(&tracker, 1);
    for round in 0..4_u8 {
        for n in 0..300 {
            is_let_in(&sprayer, &Announce::leecher(made_up(300 * u32::from(round) + n), 1));
        }
        gets_in(&of_network(&tracker, 2), info_hash(round));
    }
    let said = "torrents and 0 other peers of 1 network with more than a fair share";
    tracker.wait_for_log(said);
    let log = tracker.log();
    assert!(log.contains("WARN") && log.contains("room ran short (limits.torrents, limits.peers)"), "{log}");
    assert_eq!(log.matches("room ran short").count(), 1, "{log}");
    let network = if tracker.udp().is_ipv4() { "(127.0.1.0/24 had most)" } else { "(::/48 had most)" };
    assert_eq!(log.contains(network), has("log-networks"), "{log}");
}

/// As the last test, for who reads the metrics.
fn an_honestly_full_tracker_takes_nothing() {
    only_with_networks();
    only_with("metrics");
    let tracker = limited("torrents = 100");
    for network in 10..20 {
        let client = of_network(&tracker, network);
        for n in 0..10 {
            client.announce(&Announce::leecher(info_hash(10 * (network - 10) + n), 1));
        }
    }
    let newcomer = of_network(&tracker, 1);
    for n in 0..200 {
        assert!(!is_let_in(&newcomer, &Announce::leecher(info_hash(200), 1)), "{n}");
    }
    let metrics = get(tracker.http(), "/metrics").text().to_owned();
    assert!(metrics.contains("\nopentracker_torrents 100\n"), "{metrics}");
    for name in ["opentracker_taken_torrents_total 0", "opentracker_taken_peers_total 0"] {
        assert!(metrics.contains(&format!("\n{name}\n")), "{metrics}");
    }
}
