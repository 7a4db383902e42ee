//! `zstd`: full scrapes are compressed for clients that accept it, with `gzip` or without.

use super::fullscrape::fill;
use crate::clients::http::{ask, get, get_with};
use crate::flavour::{has, only_where_clients_choose, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce_target, scrape_target};
use crate::tracker::Tracker;

tests![
    small_answers_are_sent_as_they_are,
    without_it_nothing_is_compressed_with_it,
    with_it_full_scrapes_are_compressed_for_those_who_accept_it,
    with_it_and_gzip_the_heavier_one_wins_and_zstd_among_equals,
];

const PAGES: [&str; 4] = ["/scrape", "/stats?mode=tpbs", "/stats?mode=tpbs&format=bin", "/stats?mode=statedump"];

/// With the switch or without: only full scrapes are ever compressed.
fn small_answers_are_sent_as_they_are() {
    let tracker = Tracker::start(&[]);
    for target in [&announce_target(0, "port=1"), &scrape_target([0]), "/stats", "/stats?mode=version", "/nowhere"] {
        let reply = get_with(tracker.http(), target, "Accept-Encoding: zstd\r\n");
        assert_eq!((reply.header("content-encoding"), reply.header("transfer-encoding")), (None, None), "{target}");
        assert!(reply.header("content-length").is_some(), "{target}");
    }
}

fn without_it_nothing_is_compressed_with_it() {
    only_without("zstd");
    only_without("gzip-always");
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 3);
    for target in PAGES {
        let reply = get_with(tracker.http(), target, "Accept-Encoding: zstd\r\n");
        assert_eq!(reply.header("content-encoding"), None, "{target}");
        assert_eq!(reply.content(), get(tracker.http(), target).content());
    }
}

fn with_it_full_scrapes_are_compressed_for_those_who_accept_it() {
    only_with("zstd");
    only_where_clients_choose();
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 200);
    for target in PAGES {
        let plain = get(tracker.http(), target);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
        for accepted in ["zstd", "br, ZSTD;q=0.2, *;q=0.1", "*", "zstd;q=0.5, identity;q=0.5"] {
            let reply = get_with(tracker.http(), target, &format!("Accept-Encoding: {accepted}\r\n"));
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
            assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
            assert_eq!(reply.header("content-encoding"), Some("zstd"));
            assert!(reply.sent().len() < plain.content().len() * 3 / 4, "{target}");
            assert_eq!(reply.content(), plain.content(), "{target} {accepted}");
        }
        for refused in ["", "identity", "zstd;q=0", "*;q=0", "zstd;q=0.5, identity", "zstd;q=1.5", "zstd2"] {
            let reply = get_with(tracker.http(), target, &format!("Accept-Encoding: {refused}\r\n"));
            assert_eq!((reply.header("content-encoding"), reply.content()), (None, plain.content()), "{refused}");
        }
        let head = format!("GET {target} HTTP/1.0\r\nAccept-Encoding: zstd\r\n\r\n");
        let reply = ask(tracker.http(), head.as_bytes());
        assert_eq!((reply.header("transfer-encoding"), reply.header("content-encoding")), (None, Some("zstd")));
        assert_eq!(reply.content(), plain.content());
    }
}

fn with_it_and_gzip_the_heavier_one_wins_and_zstd_among_equals() {
    only_with("zstd");
    only_where_clients_choose();
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 3);
    let gzip = has("gzip").then_some("gzip");
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=0.7, zstd;q=0.7", Some("zstd")),
        ("gzip;q=0.8, zstd;q=0.7", gzip.or(Some("zstd"))),
        ("*, zstd;q=0.9", gzip),
        ("x-gzip, identity;q=0", gzip),
        ("zstd;q=0, *", gzip),
    ] {
        for target in PAGES {
            let reply = get_with(tracker.http(), target, &format!("Accept-Encoding: {accepted}\r\n"));
            assert_eq!(reply.header("content-encoding"), expected, "{target} {accepted}");
        }
    }
}
