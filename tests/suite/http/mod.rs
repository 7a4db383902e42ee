//! HTTP: BEP 3, 7, 23 and 48, as lenient as real clients need it.

pub(crate) mod announce;
pub(crate) mod connections;
pub(crate) mod lenient;
pub(crate) mod limits;
pub(crate) mod malformed;
pub(crate) mod methods;
pub(crate) mod paths;
pub(crate) mod pressure;
pub(crate) mod scrape;

use std::net::SocketAddr;

use crate::clients::bencode::Value;
use crate::clients::http::{get, percent};
use crate::clients::udp::{compact_ipv4, compact_ipv6};
use crate::flavour::info_hash;

/// The target of an announce for the torrent with these further parameters.
pub(crate) fn announce_target(n: u8, parameters: &str) -> String {
    format!("/announce?info_hash={}&{parameters}", percent(&info_hash(n)))
}

/// The target of a scrape for these torrents.
pub(crate) fn scrape_target(torrents: impl IntoIterator<Item = u8>) -> String {
    let hashes: Vec<_> = torrents.into_iter().map(|n| format!("info_hash={}", percent(&info_hash(n)))).collect();
    format!("/scrape?{}", hashes.join("&"))
}

/// Announces, and returns the dictionary in the reply.
#[track_caller]
pub(crate) fn announce(server: SocketAddr, n: u8, parameters: &str) -> Value {
    get(server, &announce_target(n, parameters)).bencode()
}

/// The peers of both families in the reply to an announce.
#[track_caller]
pub(crate) fn peers(announced: &Value) -> Vec<SocketAddr> {
    let mut peers = compact_ipv4(announced.text("peers"));
    if announced.find("peers6").is_some() {
        peers.extend(compact_ipv6(announced.text("peers6")));
    }
    peers
}

/// Complete, downloaded and incomplete.
pub(crate) type Counts = (i64, i64, i64);

/// The counts of one torrent in the reply to an announce or a scrape.
#[track_caller]
pub(crate) fn counts(dictionary: &Value) -> Counts {
    (dictionary.number("complete"), dictionary.number("downloaded"), dictionary.number("incomplete"))
}

/// The counts of one torrent in the reply to a scrape of it alone.
#[track_caller]
pub(crate) fn scraped(server: SocketAddr, n: u8) -> Counts {
    let answer = get(server, &scrape_target([n])).bencode();
    let files = answer.find("files").expect("files");
    assert_eq!(files.keys(), [info_hash(n)]);
    counts(files.find(info_hash(n)).expect("the torrent"))
}
