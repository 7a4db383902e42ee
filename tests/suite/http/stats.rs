//! `/stats`: monitors parse it byte for byte.

use std::net::SocketAddr;

use super::{announce, scrape_target};
use crate::clients::http::{get, get_with};
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::info_hash;
use crate::tracker::Tracker;

const MODES: &[&str] = &["peer", "torr", "conn", "tcp4", "udp4", "completed", "version"];

/// The page of a mode.
#[track_caller]
fn page(server: SocketAddr, mode: &str) -> String {
    let reply = get(server, &format!("/stats?mode={mode}"));
    assert_eq!(reply.status, 200, "{mode}");
    reply.text()
}

/// The two numbers of a page, then its third line with the seconds replaced, then the fourth.
#[track_caller]
fn block(page: &str) -> (u64, u64, String, String) {
    assert!(!page.ends_with('\n'), "{page:?}");
    let lines: Vec<_> = page.split('\n').collect();
    let [first, second, third, fourth] = lines[..] else { panic!("{page:?}") };
    let seconds: u64 = third.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(third, format!("{seconds} seconds ({} hours)", seconds / 3600));
    (first.parse().unwrap(), second.parse().unwrap(), third.into(), fourth.into())
}

#[test]
fn peers_and_torrents() {
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
    // Empty torrents are gone at once, unless somebody completed them.
    announce(tracker.http(), 1, "port=1&event=stopped");
    announce(tracker.http(), 2, "port=1&left=0&event=completed");
    announce(tracker.http(), 2, "port=1&left=0&event=stopped");
    assert_eq!(page(tracker.http(), "peer"), "2\n1\nopentracker serving 2 torrents\nopentracker");
}

#[test]
fn connections() {
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
    assert_eq!((accepted, successful), (5, 3));
    assert!(last.starts_with("opentracker tcp4 stats, ") && last.ends_with(" success/s."), "{last}");

    let (accepted, successful, _, last) = block(&page(tracker.http(), "udp4"));
    assert_eq!((accepted, successful), (1, 4));
    assert!(last.starts_with("opentracker udp4 stats, "), "{last}");

    let (accepted, successful, third, last) = block(&page(tracker.http(), "conn"));
    assert_eq!((accepted, successful), (7 + 1, 3 + 4));
    let seconds = third.split(' ').next().unwrap().parse::<u64>().unwrap().max(1);
    let expected = format!("opentracker connections, {} conns/s :: {} success/s.", 8 / seconds, 7 / seconds);
    assert_eq!(last, expected);
}

#[test]
fn downloads() {
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1&left=0&event=completed");
    announce(tracker.http(), 0, "port=1&left=0&event=completed");
    announce(tracker.http(), 0, "port=2&left=5&event=completed");
    let client = Client::new(tracker.udp());
    client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
    let (downloads, nothing, third, last) = block(&page(tracker.http(), "completed"));
    assert_eq!((downloads, nothing), (2, 0));
    let seconds = third.split(' ').next().unwrap().parse::<u64>().unwrap().max(1);
    assert_eq!(last, format!("opentracker, {} completed/h.", 2 * 3600 / seconds));
}

#[test]
fn the_version() {
    let tracker = Tracker::start(&[]);
    let version = page(tracker.http(), "version");
    assert!(version.starts_with("opentracker ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn pages_are_plain_whole_and_the_end_of_the_connection() {
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

#[test]
fn unknown_modes_are_400() {
    let tracker = Tracker::start(&[]);
    for mode in ["", "nonsense", "PEER", "peers", "peer%00", "%zz", "%ff%fe", "a-mode-with-a-very-long-name-indeed"] {
        let reply = get(tracker.http(), &format!("/stats?mode={mode}"));
        assert_eq!((reply.status, reply.text().lines().count()), (400, 1), "{mode}");
    }
    let reply = get(tracker.http(), "/stats?mode=%70eer&other=1");
    assert_eq!((reply.status, reply.text().lines().count()), (200, 4));
}
