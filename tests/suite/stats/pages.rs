//! What each page says.

use super::{MODES, networks_page, page};
use crate::clients::http::{get, get_from, get_with};
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{has, info_hash, upper_hex};
use crate::harness::tests;
use crate::http::{announce, announce_target, scrape_target};
use crate::tracker::Tracker;

tests![
    peers_and_torrents_are_counted,
    connections_and_scrapes_are_counted,
    full_scrapes_are_counted,
    the_largest_torrents_are_listed,
    the_networks_with_the_most_peers_are_listed,
    downloads_are_counted,
    the_version_has_a_page,
    pages_are_uncompressed_unchunked_and_end_the_connection,
    unknown_modes_are_400,
];

/// The four lines of a page: two numbers, the uptime, and a text.
#[track_caller]
fn block(page: &str) -> (u64, u64, String, String) {
    assert!(!page.ends_with('\n'), "{page:?}");
    let lines: Vec<_> = page.split('\n').collect();
    let [first, second, third, fourth] = lines[..] else { panic!("{page:?}") };
    let seconds: u64 = third.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(third, format!("{seconds} seconds ({} hours)", seconds / 3600));
    (first.parse().unwrap(), second.parse().unwrap(), third.into(), fourth.into())
}

fn peers_and_torrents_are_counted() {
    let tracker = Tracker::start(&[]);
    assert_eq!(page(tracker.http(), "peer"), "0\n0\nopentracker serving 0 torrents\nopentracker");
    assert_eq!(page(tracker.http(), "torr"), "0\n0\nopentracker serving 0 torrents\nopentracker");
    for (n, parameters) in [(0, "port=1&left=0"), (0, "port=2&left=1"), (1, "port=1&left=1"), (2, "port=1&left=0")] {
        announce(tracker.http(), n, parameters);
    }
    let peers = "4\n2\nopentracker serving 3 torrents\nopentracker";
    assert_eq!(page(tracker.http(), "peer"), peers);
    assert_eq!(get(tracker.http(), "/stats").text(), peers, "the default");
    assert_eq!(get(tracker.http(), "/stats?").text(), peers);
    assert_eq!(get(tracker.http(), "/stats?unknown=1").text(), peers);
    assert_eq!(page(tracker.http(), "torr"), "3\n0\nopentracker serving 3 torrents\nopentracker");
    // An empty torrent is removed at once, unless it has a download.
    announce(tracker.http(), 1, "port=1&event=stopped");
    announce(tracker.http(), 2, "port=1&left=0&event=completed");
    announce(tracker.http(), 2, "port=1&left=0&event=stopped");
    assert_eq!(page(tracker.http(), "peer"), "2\n1\nopentracker serving 2 torrents\nopentracker");
}

fn connections_and_scrapes_are_counted() {
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    announce(tracker.http(), 0, "port=2");
    get(tracker.http(), &scrape_target([0])).bencode();
    get(tracker.http(), "/nowhere");
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(0), 3));
    client.scrape(&[info_hash(0)]);
    client.scrape(&[info_hash(0)]);
    client.scrape(&[info_hash(0)]);

    // The connection that asks is one of them.
    let (accepted, successful, _, last) = block(&page(tracker.http(), "tcp4"));
    assert_eq!((accepted, successful), (5, 2));
    assert!(last.starts_with("opentracker tcp4 stats, ") && last.ends_with(" success/s."), "{last}");

    let (accepted, successful, _, last) = block(&page(tracker.http(), "udp4"));
    assert_eq!((accepted, successful), (5, 2), "datagrams, and of them connects and announces");
    assert!(last.starts_with("opentracker udp4 stats, "), "{last}");

    let (accepted, successful, third, last) = block(&page(tracker.http(), "conn"));
    assert_eq!((accepted, successful), (7 + 5, 2 + 2));
    let seconds = third.split(' ').next().unwrap().parse::<u64>().unwrap().max(1);
    let expected = format!("opentracker connections, {} conns/s :: {} success/s.", 12 / seconds, 4 / seconds);
    assert_eq!(last, expected);

    let (tcp, udp, _, last) = block(&page(tracker.http(), "scrp"));
    assert_eq!((tcp, udp), (1, 3));
    assert!(last.starts_with("opentracker scrape stats, ") && last.ends_with(" scrape/s (tcp and udp)"), "{last}");

    let (records, nothing, _, last) = block(&page(tracker.http(), "syncs"));
    assert_eq!((records, nothing), (0, 0));
    assert!(last.starts_with("opentracker connections, ") && last.ends_with(" success/s."), "{last}");
}

fn full_scrapes_are_counted() {
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    let bytes: usize = (0..3).map(|_| get(tracker.http(), "/scrape")).map(|reply| reply.sent().len()).sum();
    let expected = if has("fullscrape") { (3000, bytes as u64) } else { (0, 0) };
    let (thousands, sent, _, last) = block(&page(tracker.http(), "fscr"));
    assert_eq!((thousands, sent), expected);
    assert!(last.starts_with("opentracker full scrape stats, ") && last.ends_with(" bytes/s."), "{last}");
}

fn the_largest_torrents_are_listed() {
    let tracker = Tracker::start(&[]);
    let empty = "Top 10 torrents by peers:\nTop 10 torrents by seeds:\nTop 10 torrents by leechers:\n";
    assert_eq!(page(tracker.http(), "top10"), empty);
    // Torrent n has n seeders and a leecher; 20 has two leechers.
    for n in 0..=12 {
        (1..=n).for_each(|port| drop(announce(tracker.http(), n, &format!("port={port}&left=0"))));
        announce(tracker.http(), n, "port=99&left=1");
    }
    announce(tracker.http(), 20, "port=1");
    announce(tracker.http(), 20, "port=2");
    let row = |number: u8, n: u8| format!("\t{number}\t{}\n", upper_hex(info_hash(n)));
    let expected = |most: usize| {
        // The info hash decides between equal ones.
        let peers = (2..=12).rev().map(|n| row(n + 1, n)).chain([row(2, 1), row(2, 20), row(1, 0)]);
        let seeds = (1..=12).rev().map(|n| row(n, n));
        let leechers = [row(2, 20)].into_iter().chain((0..=12).map(|n| row(1, n)));
        [
            format!("Top {most} torrents by peers:\n{}", peers.take(most).collect::<String>()),
            format!("Top {most} torrents by seeds:\n{}", seeds.take(most).collect::<String>()),
            format!("Top {most} torrents by leechers:\n{}", leechers.take(most).collect::<String>()),
        ]
        .concat()
    };
    assert_eq!(page(tracker.http(), "top10"), expected(10));
    assert_eq!(page(tracker.http(), "top100"), expected(100));
}

fn the_networks_with_the_most_peers_are_listed() {
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        announce(http, 0, "port=1");
        announce(http, 1, "port=1");
        announce(http, 1, "port=1");
        let client = Client::new(udp);
        client.announce(&Announce::seeder(info_hash(0), 2));
        if http.is_ipv4() {
            // Another /28 of the same /24.
            get_from([127, 0, 0, 17].into(), http, &announce_target(0, "port=3"), "").bencode();
        }
    }
    let ipv4 = [(28, "00000003: 127.0.0.0\n00000001: 127.0.0.16\n"), (24, "00000004: 127.0.0.0\n")];
    let ipv6 = "00000003: ::\n";
    assert_eq!(page(tracker.http(), "s24s"), networks_page(ipv4, [(64, ipv6), (48, ipv6)]));
}

fn downloads_are_counted() {
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1&left=0&event=completed");
    announce(tracker.http(), 0, "port=1&left=0&event=completed");
    announce(tracker.http(), 0, "port=2&left=5&event=completed");
    let client = Client::new(tracker.udp());
    client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
    let (downloads, nothing, third, last) = block(&page(tracker.http(), "completed"));
    assert_eq!((downloads, nothing), (2, 0));
    assert!(third.ends_with(" seconds (0 hours)"), "{third}");
    assert_eq!(last, "opentracker, 2 completed/h.");
}

fn the_version_has_a_page() {
    let tracker = Tracker::start(&[]);
    let version = page(tracker.http(), "version");
    assert!(version.starts_with("opentracker ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

fn pages_are_uncompressed_unchunked_and_end_the_connection() {
    let tracker = Tracker::start(&[]);
    for mode in MODES {
        let headers = "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n";
        // Reads to the end of the connection, as some monitors do.
        let reply = get_with(tracker.http(), &format!("/stats?mode={mode}"), headers);
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{mode}");
        assert_eq!((reply.header("transfer-encoding"), reply.header("content-encoding")), (None, None), "{mode}");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
    }
}

fn unknown_modes_are_400() {
    let tracker = Tracker::start(&[]);
    for mode in [
        "",
        "nonsense",
        "PEER",
        "peers",
        "top",
        "top1000",
        "peer%00",
        "%zz",
        "%ff%fe",
        "a-mode-with-a-very-long-name-indeed",
    ] {
        let reply = get(tracker.http(), &format!("/stats?mode={mode}"));
        assert_eq!((reply.status, reply.text().lines().count()), (400, 1), "{mode}");
    }
    let reply = get(tracker.http(), "/stats?mode=%70eer&other=1");
    assert_eq!((reply.status, reply.text().lines().count()), (200, 4));
}
