//! `gzip`: full scrapes are compressed for clients that accept it.

use super::fullscrape::fill;
use crate::clients::http::{ask, get, get_with};
use crate::flavour::{has, only_where_clients_choose, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce_target, scrape_target};
use crate::tracker::Tracker;

tests![
    small_answers_are_sent_as_they_are,
    without_it_nothing_is_compressed,
    with_it_full_scrapes_are_compressed_for_those_who_accept_it,
];

const PAGES: [&str; 4] = ["/scrape", "/stats?mode=tpbs", "/stats?mode=tpbs&format=bin", "/stats?mode=statedump"];

/// With the switch or without: only full scrapes are ever compressed.
fn small_answers_are_sent_as_they_are() {
    let tracker = Tracker::start(&[]);
    for target in [&announce_target(0, "port=1"), &scrape_target([0]), "/stats", "/stats?mode=version", "/nowhere"] {
        let reply = get_with(tracker.http(), target, "Accept-Encoding: gzip\r\n");
        assert_eq!((reply.header("content-encoding"), reply.header("transfer-encoding")), (None, None), "{target}");
        assert!(reply.header("content-length").is_some(), "{target}");
    }
}

fn without_it_nothing_is_compressed() {
    only_without("gzip");
    only_without("zstd-always");
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 3);
    for target in PAGES {
        let reply = get_with(tracker.http(), target, "Accept-Encoding: gzip\r\n");
        let vary = has("zstd").then_some("Accept-Encoding");
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), (None, vary), "{target}");
        assert_eq!(reply.content(), get(tracker.http(), target).content());
    }
}

fn with_it_full_scrapes_are_compressed_for_those_who_accept_it() {
    only_with("gzip");
    only_where_clients_choose();
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 200);
    for target in PAGES {
        let plain = get(tracker.http(), target);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
        for accepted in ["gzip", "br, GZIP;q=0.2, *;q=0.1", "x-gzip", "*, zstd;q=0"] {
            let reply = get_with(tracker.http(), target, &format!("Accept-Encoding: {accepted}\r\n"));
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
            assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
            assert_eq!(reply.header("content-encoding"), Some("gzip"));
            assert!(reply.sent().len() < plain.content().len() * 3 / 4, "{target}");
            assert_eq!(reply.content(), plain.content(), "{target} {accepted}");
        }
        for refused in ["", "identity", "gzip;q=0", "*;q=0", "gzip;q=0.5, identity", "gzip;q=1.5", "gzip2"] {
            let reply = get_with(tracker.http(), target, &format!("Accept-Encoding: {refused}\r\n"));
            assert_eq!((reply.header("content-encoding"), reply.content()), (None, plain.content()), "{refused}");
        }
        let head = format!("GET {target} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
        let reply = ask(tracker.http(), head.as_bytes());
        assert_eq!((reply.header("transfer-encoding"), reply.header("content-encoding")), (None, Some("gzip")));
        assert_eq!(reply.content(), plain.content());
    }
}
