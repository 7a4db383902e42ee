//! Every counter has the right value after a known series of requests.

use std::fs;
use std::net::SocketAddr;

use roxmltree::Document;

use super::page;
use crate::clients::http::{ask, get};
use crate::clients::udp::{Announce, COMPLETED, Client, STOPPED};
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::http::{announce, scrape_target};
use crate::tracker::{Start, Tracker};

tests![every_counter_is_right_after_requests_over_both_protocols_and_all_families, totals_are_right_after_a_restart];

/// Every number of `mode=everything` in the order of the page, without the time and the id.
#[derive(Debug, PartialEq, Eq, Default)]
struct Everything {
    torrents: u64,
    walked: u64,
    peers: u64,
    seeds: u64,
    completed: u64,
    /// Accept, announce, scrape.
    tcp: [u64; 3],
    /// Overall, connect, announce, scrape, missmatch.
    udp: [u64; 5],
    livesync: u64,
    renewals: u64,
    /// From code 302 to code 500.
    errors: [u64; 9],
    stalls: u64,
    /// Torrents, peers.
    taken_for_room: [u64; 2],
}

#[track_caller]
fn everything(server: SocketAddr) -> Everything {
    let page = page(server, "everything");
    let document = Document::parse(&page).unwrap();
    let leaves = document.descendants().filter(|node| node.is_element() && node.first_element_child().is_none());
    let mut numbers = leaves.skip(3).map(|leaf| leaf.text().unwrap().parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    let everything = Everything {
        torrents: next(),
        walked: next(),
        peers: next(),
        seeds: next(),
        completed: next(),
        tcp: std::array::from_fn(|_| next()),
        udp: std::array::from_fn(|_| next()),
        livesync: next(),
        renewals: (0..45).map(|_| next()).sum(),
        errors: std::array::from_fn(|_| next()),
        stalls: next(),
        taken_for_room: std::array::from_fn(|_| next()),
    };
    assert_eq!(numbers.next(), None);
    everything
}

fn every_counter_is_right_after_requests_over_both_protocols_and_all_families() {
    let tracker = Start::loopback().config("tracker.redirect_url https://a.example/\n").run();
    assert_eq!(
        everything(tracker.http()),
        Everything { tcp: [1, 0, 0], ..Everything::default() },
        "the connection that asks is one of them"
    );
    for (at, (&http, &udp)) in (0_u8..).zip(tracker.https().iter().zip(tracker.udps())) {
        let torrent = 10 * at;
        over_http(http, torrent);
        over_udp(udp, torrent);
    }
    let families = tracker.https().len() as u64;
    // The effect of one `over_http` and one `over_udp`.
    let each = Everything {
        torrents: 3,
        walked: 3,
        peers: 4,
        seeds: 3,
        completed: 3,
        tcp: [16, 7, 2],
        udp: [10, 1, 5, 2, 1],
        renewals: 3,
        errors: [1, 1, 3, 0, 0, 0, 0, 2, 0],
        ..Everything::default()
    };
    let expected = Everything {
        torrents: each.torrents * families,
        walked: each.walked * families,
        peers: each.peers * families,
        seeds: each.seeds * families,
        completed: each.completed * families,
        tcp: each.tcp.map(|n| n * families),
        udp: each.udp.map(|n| n * families),
        renewals: each.renewals * families,
        errors: each.errors.map(|n| n * families),
        ..each
    };
    let asked_before = 1;
    let found = everything(tracker.http());
    let [accepted, announced, scraped] = found.tcp;
    assert_eq!(Everything { tcp: [accepted - asked_before - 1, announced, scraped], ..found }, expected);

    let n = |number: u64| number * families;
    let errors = format!(
        "302 RED {}\n400 ... {}\n400 PAR {}\n400 COM 0\n403 IP  0\n404 INV {}\n500 SRV 0\n402 PAY 0\n",
        n(1),
        n(1),
        n(3),
        n(2)
    );
    assert_eq!(page(tracker.http(), "herr"), errors);
    let renewals = page(tracker.http(), "renew");
    let rows: Vec<_> = renewals.lines().map(|row| row.split_once(' ').unwrap()).collect();
    assert_eq!(rows.len(), 45);
    assert!(rows.iter().zip(0..).all(|((minute, _), at)| *minute == format!("{at:02}")), "{renewals}");
    assert_eq!(rows.iter().map(|(_, times)| times.parse::<u64>().unwrap()).sum::<u64>(), n(3));
}

/// Opens 16 connections. Gives `torrent` a seeder that has completed, and the next one a leecher and a seeder.
fn over_http(server: SocketAddr, torrent: u8) {
    announce(server, torrent, "port=1&left=5&event=started");
    // The same peer completes, and says so twice.
    announce(server, torrent, "port=1&left=0&event=completed");
    announce(server, torrent, "port=1&left=0&event=completed");
    announce(server, torrent + 1, "port=1&left=5");
    announce(server, torrent + 1, "port=2&left=0");
    // A peer comes and goes, and so does its torrent.
    announce(server, torrent + 2, "port=1&left=5");
    announce(server, torrent + 2, "port=1&left=5&event=stopped");
    get(server, &scrape_target([torrent])).bencode();
    get(server, &scrape_target([torrent + 1, torrent + 2])).bencode();
    assert_eq!(get(server, "/").status, 302);
    assert_eq!(ask(server, b"nonsense\r\n\r\n").status, 400);
    for target in ["/announce?info_hash=short&port=1", "/stats?mode=nonsense", "/stats?mode=tpbs&format=nonsense"] {
        assert_eq!(get(server, target).status, 400, "{target}");
    }
    for target in ["/nowhere", "/x/announce"] {
        assert_eq!(get(server, target).status, 404, "{target}");
    }
}

/// Sends 10 datagrams. Gives torrent `torrent + 1` a download, and `torrent + 3` a seeder that has completed.
fn over_udp(server: SocketAddr, torrent: u8) {
    let client = Client::new(server);
    let (one, three) = (info_hash(torrent + 1), info_hash(torrent + 3));
    client.announce(&Announce::leecher(three, 3));
    client.announce(&Announce::seeder(three, 3).event(COMPLETED));
    client.announce(&Announce::seeder(one, 4).event(COMPLETED));
    client.announce(&Announce::seeder(one, 4).event(STOPPED));
    client.announce(&Announce::leecher(one, 5).event(STOPPED));
    client.scrape(&[one]);
    client.scrape(&[one, three]);
    // A datagram that is not answered, and a wrong connection id.
    client.send(b"short");
    client.exchange(&Announce::leecher(one, 6).packet(client.id ^ 1, 9));
}

/// With a state file, downloads outlive a restart; peers and counters do not.
fn totals_are_right_after_a_restart() {
    only_with("fullscrape");
    let first = Tracker::start(&[]);
    for n in 0..5 {
        announce(first.http(), n, "port=1&left=0&event=completed");
        announce(first.http(), n, "port=2&left=1");
    }
    announce(first.http(), 5, "port=1");
    assert_eq!(everything(first.http()).torrents, 6);
    let dump = get(first.http(), "/stats?mode=statedump").content();
    first.stop();

    let start = Start::loopback();
    fs::write(start.path("dump"), dump).unwrap();
    let second = start.args(["-l", "dump"]).run();
    let restored = Everything { torrents: 5, walked: 5, tcp: [1, 0, 0], ..Everything::default() };
    assert_eq!(everything(second.http()), restored);
    assert_eq!(page(second.http(), "peer"), "0\n0\nopentracker serving 5 torrents\nopentracker");
    assert_eq!(page(second.http(), "torr"), "5\n0\nopentracker serving 5 torrents\nopentracker");
    assert!(page(second.http(), "completed").starts_with("0\n0\n"), "since the start");

    announce(second.http(), 0, "port=1&left=0&event=completed");
    announce(second.http(), 9, "port=1");
    let after = Everything {
        torrents: 6,
        walked: 6,
        peers: 2,
        seeds: 1,
        completed: 1,
        tcp: [7, 2, 0],
        ..Everything::default()
    };
    assert_eq!(everything(second.http()), after);
}
