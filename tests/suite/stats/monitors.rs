//! One test for each way in which existing monitors read the statistics.

use std::net::SocketAddr;

use roxmltree::{Document, Node};

use super::page;
use crate::clients::http::{ask, get};
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{has, info_hash, only_with, upper_hex};
use crate::harness::tests;
use crate::http::{announce, scrape_target};
use crate::tracker::Tracker;

tests![
    monitors_read_elements_by_position,
    monitors_read_elements_by_path,
    order_and_nesting_are_the_same_in_every_build,
    the_tracker_id_lasts_for_a_run_and_is_the_one_in_the_cluster,
    monitors_read_lines_and_words,
    monitors_match_regular_expressions,
];

/// Starts a tracker with four peers, two of them seeders, in three torrents, and with one completed download.
fn tracker() -> Tracker {
    let tracker = Tracker::start(&[]);
    for (n, parameters) in [
        (0, "port=1&left=0&event=completed"),
        (0, "port=2&left=1"),
        (1, "port=1&left=1"),
        (2, "port=1&left=0"),
        (2, "port=1&left=0"),
    ] {
        announce(tracker.http(), n, parameters);
    }
    tracker
}

/// The child elements, without the text between them.
fn elements<'a>(node: Node<'a, 'a>) -> Vec<Node<'a, 'a>> {
    node.children().filter(Node::is_element).collect()
}

#[track_caller]
fn number(node: Node<'_, '_>) -> u64 {
    node.text().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{node:?}"))
}

/// `stats[3][0].text`, as scripts with an element tree read it.
fn monitors_read_elements_by_position() {
    let tracker = tracker();
    let page = page(tracker.http(), "everything");
    let document = Document::parse(&page).unwrap();
    let stats = elements(document.root_element());
    let inside = |at: usize| number(elements(stats[at])[0]);
    assert!(number(stats[2]) < 600, "seconds since the start");
    assert_eq!((inside(3), inside(4), inside(5), inside(6)), (3, 4, 2, 1), "torrents, peers, seeds, completed");
}

/// `torrents/count_mutex/text()`, as an exporter with XPath reads it.
fn monitors_read_elements_by_path() {
    let tracker = tracker();
    get(tracker.http(), "/nowhere");
    get(tracker.http(), &scrape_target([0])).bencode();
    let client = Client::new(tracker.udp());
    client.announce(&Announce::seeder(info_hash(1), 7).event(COMPLETED));
    client.scrape(&[info_hash(0)]);
    let page = page(tracker.http(), "everything");
    let document = Document::parse(&page).unwrap();
    let find = |path: &str| {
        path.split('/').fold(vec![document.root_element()], |nodes, name| {
            nodes.into_iter().flat_map(elements).filter(|node| node.has_tag_name(name)).collect()
        })
    };
    for (path, expected) in [
        ("torrents/count_mutex", 3),
        ("torrents/count_iterator", 3),
        ("peers/count", 5),
        ("seeds/count", 3),
        ("completed/count", 2),
        ("connections/tcp/accept", 8),
        ("connections/tcp/announce", 5),
        ("connections/tcp/scrape", 1),
        ("connections/udp/overall", 3),
        ("connections/udp/connect", 1),
        ("connections/udp/announce", 1),
        ("connections/udp/scrape", 1),
        ("connections/udp/missmatch", 0),
        ("connections/livesync/count", 0),
        ("debug/mutex_stall/count", 0),
        ("taken_for_room/torrents", 0),
        ("taken_for_room/peers", 0),
    ] {
        let found: Vec<_> = find(path).into_iter().map(number).collect();
        assert_eq!(found, [expected], "{path}");
    }
    assert!(find("uptime").into_iter().map(number).all(|seconds| seconds < 600));

    let renewals = find("debug/renew/count");
    let intervals: Vec<_> = renewals.iter().map(|node| node.attribute("interval").unwrap().to_owned()).collect();
    assert_eq!(intervals, (0..45).map(|minutes| format!("{minutes:02}")).collect::<Vec<_>>());
    assert_eq!(renewals.into_iter().map(number).sum::<u64>(), 1);
    let errors: Vec<_> = find("debug/http_error/count")
        .into_iter()
        .map(|node| (node.attribute("code").unwrap(), number(node)))
        .collect();
    let expected = [
        ("302 Redirect", 0),
        ("400 Parse Error", 0),
        ("400 Invalid Parameter", 0),
        ("400 Invalid Parameter (compact=0)", 0),
        ("400 Not Modest", 0),
        ("402 Payment Required", 0),
        ("403 Access Denied", 0),
        ("404 Not found", 1),
        ("500 Internal Server Error", 0),
    ];
    assert_eq!(errors, expected);
}

/// The name of an element and, in brackets, the outlines of its child elements.
fn outline(node: Node<'_, '_>) -> String {
    let names: Vec<_> = elements(node).into_iter().map(outline).collect();
    let name = node.tag_name().name();
    if names.is_empty() { name.into() } else { format!("{name}({})", names.join(" ")) }
}

fn order_and_nesting_are_the_same_in_every_build() {
    let page = page(Tracker::start(&[]).http(), "everything");
    let document = Document::parse(&page).unwrap();
    assert!(page.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<stats>\n"), "{page}");
    let counts = |n: usize| vec!["count"; n].join(" ");
    let expected = format!(
        "stats(tracker_id version uptime torrents(count_mutex count_iterator) peers(count) seeds(count) \
         completed(count) connections(tcp(accept announce scrape) udp(overall connect announce scrape missmatch) \
         livesync(count)) debug(renew({}) http_error({}) mutex_stall(count)) \
         taken_for_room(torrents peers))",
        counts(45),
        counts(9),
    );
    assert_eq!(outline(document.root_element()), expected);
    let stats = elements(document.root_element());
    assert!(number(stats[0]) > 0);
    assert_eq!(stats[1].text().unwrap().trim(), concat!("opentracker ", env!("CARGO_PKG_VERSION")));
}

#[track_caller]
fn tracker_id(server: SocketAddr) -> u64 {
    let page = page(server, "everything");
    let document = Document::parse(&page).unwrap();
    number(elements(document.root_element())[0])
}

fn the_tracker_id_lasts_for_a_run_and_is_the_one_in_the_cluster() {
    let (one, other) = (Tracker::start(&[]), Tracker::start(&[]));
    let id = tracker_id(one.http());
    assert_eq!(tracker_id(one.http()), id);
    assert_ne!(tracker_id(other.http()), id);
    if has("sync-live") {
        assert!(one.log().contains(&format!("tracker id {id:08x}")), "{id:08x}: {}", one.log());
    }
}

/// Lines 1 and 2, and the third word of line 3, as a plugin reads them that calls awk three times.
fn monitors_read_lines_and_words() {
    let tracker = tracker();
    let page = get(tracker.http(), "/stats").text();
    let line = |n: usize| page.lines().nth(n - 1).unwrap();
    let word = line(3).split_whitespace().nth(2).unwrap();
    assert_eq!((line(1), line(2), word), ("4", "2", "3"));
}

/// The matches of `[A-Z0-9]{40}:\d:\d`, from the left, without overlap.
fn matches(text: &str) -> Vec<&str> {
    const LEN: usize = 40 + ":0:0".len();
    let is_match = |bytes: &[u8]| {
        let (hash, numbers) = bytes.split_at(40);
        let is_hash = hash.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_hash && matches!(numbers, [b':', b'0'..=b'9', b':', b'0'..=b'9'])
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(bytes) = text.as_bytes().get(at..at + LEN) {
        if is_match(bytes) {
            found.push(&text[at..at + LEN]);
            at += LEN;
        } else {
            at += 1;
        }
    }
    found
}

/// `#[A-Z0-9]{40}:\d:\d#` over all of `mode=tpbs&format=txt`, as a web page matches it that asks over HTTP/1.0.
fn monitors_match_regular_expressions() {
    only_with("fullscrape");
    let tracker = tracker();
    let reply = ask(tracker.http(), b"GET /stats?mode=tpbs&format=txt HTTP/1.0\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(reply.content()).unwrap();
    let mut found = matches(&text);
    found.sort_unstable();
    let row = |n: u8, numbers: &str| format!("{}:{numbers}", upper_hex(info_hash(n)));
    assert_eq!(found, [row(0, "1:1"), row(1, "0:1"), row(2, "1:0")]);
}
