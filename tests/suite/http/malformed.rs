//! Malformed requests: each part in turn.

use std::net::SocketAddr;

use fastrand::Rng;

use super::{announce, announce_target, counts};
use crate::clients::http::{Connection, Reply, ask, get, get_with, percent};
use crate::flavour::info_hash;
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    malformed_info_hashes_are_refused,
    malformed_numbers_are_refused,
    malformed_header_lines_are_refused,
    malformed_request_lines_are_refused,
    random_bytes_are_refused,
    requests_with_a_few_wrong_bytes_are_answered
];

/// Asserts that the reply is an error: a status, and a one-line title for browsers.
#[track_caller]
fn assert_error(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    let text = reply.text();
    assert!(text.starts_with(&format!("<title>{status} ")) && text.ends_with("</title>\n"), "{text}");
    assert_eq!((text.lines().count(), reply.header("content-type")), (1, Some("text/html")));
}

#[track_caller]
fn assert_400(server: SocketAddr, target: &str) {
    assert_error(&get(server, target), 400);
}

fn malformed_info_hashes_are_refused() {
    let tracker = Tracker::start(&[]);
    let hash = percent(&info_hash(0));
    for query in [
        "info_hash",
        "info_hash=",
        &format!("info_hash={}", percent(&info_hash(0)[..19])),
        &format!("info_hash={hash}%00"),
        &format!("info_hash={hash}a"),
        &format!("info_hash={}%", percent(&info_hash(0)[..19])),
        &format!("info_hash={}%4", percent(&info_hash(0)[..19])),
        &format!("info_hash={}%zz", percent(&info_hash(0)[..19])),
        &format!("info_hash={}%+1", percent(&info_hash(0)[..19])),
        &format!("info_hash={hash}%"),
        &format!("info_hash={hash}&info_hash={hash}"),
        &format!("info_hash={hash}&info_hash={}", percent(&info_hash(1))),
        &format!("info_hash={hash}&info_hash="),
        &format!("info_hash={}", "a".repeat(4000)),
    ] {
        assert_400(tracker.http(), &format!("/announce?port=1&{query}"));
        assert_400(tracker.http(), &format!("/announce?{query}&port=1"));
        if query.matches("info_hash").count() == 1 || query.ends_with('=') {
            assert_400(tracker.http(), &format!("/scrape?{query}"));
        }
    }
    assert_eq!(counts(&announce(tracker.http(), 0, "port=9")), (0, 0, 1), "nobody was taken in");
}

fn malformed_numbers_are_refused() {
    let tracker = Tracker::start(&[]);
    for value in ["65536", "-1", "abc", "", "1a", "%201", "1%20", "0x1", "1.0", "99999999999999999999", "-0", "%zz"] {
        assert_400(tracker.http(), &announce_target(0, &format!("port={value}")));
    }
    assert_400(tracker.http(), &announce_target(0, "port"));
    for (name, values) in
        [("numwant", ["abc", "", "1x", "1.5", "--1", "%zz"]), ("compact", ["no", "", "1x", "1.5", "-", "%4"])]
    {
        for value in values {
            assert_400(tracker.http(), &announce_target(0, &format!("port=1&{name}={value}")));
        }
    }
    assert_eq!(counts(&announce(tracker.http(), 0, "port=9")), (0, 0, 1), "nobody was taken in");
    assert_eq!(counts(&announce(tracker.http(), 0, "port=65535")), (0, 0, 2));
}

fn malformed_header_lines_are_refused() {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1");
    for line in [
        "no colon\r\n",
        ": no name\r\n",
        "Name : b\r\n",
        " Folded: b\r\n",
        "Two Words: b\r\n",
        "Nul: \0\r\n",
        "\0: nul\r\n",
        "(Name): b\r\n",
    ] {
        assert_error(&get_with(tracker.http(), &target, line), 400);
    }
    get_with(tracker.http(), &target, "Name:\r\nOther:b\r\nThird:   c  \r\nX-UTF-8: \u{e9}\r\n").bencode();
}

fn malformed_request_lines_are_refused() {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1");
    for line in [
        format!("POST {target} HTTP/2.0"),
        format!("HEAD {target}"),
        format!("(GET) {target} HTTP/1.1"),
        format!("GET\t{target} HTTP/1.1"),
        format!(" GET {target} HTTP/1.1"),
        format!("GET {target}"),
        format!("GET {target} HTTP/2.0"),
        format!("GET {target} HTTP/1.2"),
        format!("GET {target} http/1.1"),
        format!("GET {target} HTTP/1.1 x"),
        "GET HTTP/1.1".into(),
        "GET  HTTP/1.1".into(),
        "GET".into(),
        "\x16\x03\x01\x02\0\x01\0\x01".into(),
        "PRI * HTTP/2.0".into(),
        "nonsense".into(),
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2".into(),
        format!("GET /\x01 HTTP/1.1\r\nX: {target}"),
    ] {
        assert_error(&ask(tracker.http(), format!("{line}\r\nHost: a\r\n\r\n").as_bytes()), 400);
    }
    assert_eq!(counts(&announce(tracker.http(), 0, "port=9")), (0, 0, 1), "nobody was taken in");
}

fn random_bytes_are_refused() {
    let tracker = Tracker::start(&[]);
    let mut rng = Rng::with_seed(3);
    for _ in 0..300 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(300).collect();
        let mut connection = Connection::open(tracker.http());
        connection.try_send(&bytes);
        connection.try_send(b"\r\n\r\n");
        assert_error(&connection.last_reply(), 400);
    }
    assert_eq!(counts(&announce(tracker.http(), 0, "port=9")), (0, 0, 1));
}

fn requests_with_a_few_wrong_bytes_are_answered() {
    let tracker = Tracker::start(&[]);
    let mut rng = Rng::with_seed(7);
    let good =
        format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", announce_target(0, "port=1&left=1&numwant=5&event=started"));
    for _ in 0..500 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..rng.usize(1..5) {
            let place = rng.usize(..bytes.len());
            bytes[place] = rng.u8(..);
        }
        let mut connection = Connection::open(tracker.http());
        connection.try_send(&bytes);
        // The tracker would wait for the rest of a head whose end is missing.
        connection.finish_sending();
        let reply = connection.last_reply();
        assert!([200, 400, 404, 501].contains(&reply.status), "{} gets {reply:?}", bytes.escape_ascii());
    }
    announce(tracker.http(), 0, "port=9");
}
