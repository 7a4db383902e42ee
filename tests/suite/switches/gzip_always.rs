//! `gzip-always`: full scrapes are compressed with gzip, whatever clients say.

use super::fullscrape::fill;
use crate::clients::http::{ask, get, get_with, head};
use crate::flavour::{only_where_clients_choose, only_with};
use crate::harness::tests;
use crate::http::{announce_target, scrape_target};
use crate::tracker::Tracker;

tests![
    without_it_who_does_not_ask_for_a_coding_gets_pages_unchanged,
    with_it_every_full_scrape_is_compressed_whatever_the_client_says,
    with_it_nothing_else_is_compressed,
];

const PAGES: [&str; 4] = ["/scrape", "/stats?mode=tpbs", "/stats?mode=tpbs&format=bin", "/stats?mode=statedump"];

/// What a client can say of codings: nothing, that it wants none, another one, or nonsense.
const SAID: [&str; 12] = [
    "",
    "Accept-Encoding: \r\n",
    "Accept-Encoding: identity\r\n",
    "Accept-Encoding: gzip;q=0, zstd;q=0\r\n",
    "Accept-Encoding: *;q=0\r\n",
    "Accept-Encoding: identity, *;q=0\r\n",
    "Accept-Encoding: gzip\r\n",
    "Accept-Encoding: zstd\r\n",
    "Accept-Encoding: zstd, gzip;q=0.1\r\n",
    "Accept-Encoding: br\r\nAccept-Encoding: deflate\r\n",
    "Accept-Encoding: gzip;q=7, \"é\r\n",
    "TE: gzip\r\n",
];

pub(super) fn without_it_who_does_not_ask_for_a_coding_gets_pages_unchanged() {
    only_where_clients_choose();
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    for target in PAGES {
        for said in ["", "Accept-Encoding: identity, gzip;q=0.9, zstd;q=0.9\r\n", "Accept-Encoding: *;q=0\r\n"] {
            assert_eq!(get_with(tracker.http(), target, said).header("content-encoding"), None, "{target} {said}");
        }
    }
}

/// Asserts that all who ask for a full scrape get it in this coding.
#[track_caller]
pub(super) fn assert_coded_for_all(coding: &str) {
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 100);
    for &server in tracker.https() {
        for target in PAGES {
            let first = get(server, target);
            assert!(first.sent().len() < first.content().len() * 3 / 4, "{target}");
            for said in SAID {
                for version in ["1.1", "1.0"] {
                    let request = format!("GET {target} HTTP/{version}\r\nHost: a\r\n{said}\r\n");
                    let reply = ask(server, request.as_bytes());
                    assert_eq!((reply.status, reply.header("content-encoding")), (200, Some(coding)), "{request}");
                    // Nothing depends on what the client says.
                    assert_eq!(reply.header("vary"), None, "{request}");
                    assert_eq!(reply.header("transfer-encoding").is_some(), version == "1.1", "{request}");
                    assert!(reply.sent() == first.sent(), "{request}");
                }
            }
            assert_eq!(head(server, target).header("content-encoding"), Some(coding), "{target}");
        }
    }
}

/// Asserts that no other reply is coded.
#[track_caller]
pub(super) fn assert_nothing_else_is_coded() {
    let tracker = Tracker::start(&[]);
    for target in [&announce_target(0, "port=1"), &scrape_target([0]), "/stats", "/stats?mode=everything", "/nowhere"] {
        for said in SAID {
            let reply = get_with(tracker.http(), target, said);
            assert_eq!((reply.header("content-encoding"), reply.header("transfer-encoding")), (None, None), "{target}");
        }
    }
}

fn with_it_every_full_scrape_is_compressed_whatever_the_client_says() {
    only_with("gzip-always");
    assert_coded_for_all("gzip");
}

fn with_it_nothing_else_is_compressed() {
    only_with("gzip-always");
    assert_nothing_else_is_coded();
}
