//! Unusual requests that real clients send and the original understands.

use std::fmt::Write as _;

use super::{announce_target, counts, scraped};
use crate::clients::http::{ask, get, get_with, percent};
use crate::flavour::info_hash;
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    extra_slashes_spaces_and_encoded_paths_are_understood,
    line_ends_and_http_versions_of_every_kind_are_understood,
    parameters_may_come_in_any_order_and_among_unknown_ones,
    an_info_hash_may_be_encoded_in_several_ways,
    a_plus_in_a_query_is_a_space,
    a_request_with_a_body_is_answered,
];

/// Asserts that each request, given as its target and the text behind it, is understood as an announce of one more
/// leecher.
fn each_is_an_announce(requests: impl IntoIterator<Item = (String, String)>) {
    let tracker = Tracker::start(&[]);
    let mut leechers = 0;
    for (target, end) in requests {
        leechers += 1;
        let request = format!("GET {target}&port={leechers} {end}");
        let answer = ask(tracker.http(), request.as_bytes()).bencode();
        assert_eq!(counts(&answer), (0, 0, leechers), "{request}");
    }
    assert!(leechers > 0);
}

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

fn extra_slashes_spaces_and_encoded_paths_are_understood() {
    let query = format!("info_hash={}", percent(&info_hash(0)));
    each_is_an_announce(
        [
            format!("/announce?{query}"),
            format!("//announce?{query}"),
            format!("/////announce?{query}"),
            format!("/announce ?{query}"),
            format!("/announce   ?{query}"),
            format!(" /announce?{query}"),
            format!("/%61nnounce?{query}"),
            format!("/%61%6E%6e%6F%75%6e%63%65?{query}"),
            format!("/%2Fannounce?{query}"),
            format!("/announce/?{query}"),
            format!("http://tracker.example:6969/announce?{query}"),
            format!("/announce?&&{query}&&"),
        ]
        .map(|target| (target, END.into())),
    );
}

fn line_ends_and_http_versions_of_every_kind_are_understood() {
    let target = announce_target(0, "left=1");
    each_is_an_announce(
        [
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.0\r\n\r\n",
            "HTTP/1.1\n\n",
            "HTTP/1.0\nHost: a\n\n",
            "HTTP/1.1\r\nUser-Agent: \r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
            " HTTP/1.1\r\nhost:a\r\n\r\n",
        ]
        .map(|end| (target.clone(), end.into())),
    );
}

fn parameters_may_come_in_any_order_and_among_unknown_ones() {
    let hash = percent(&info_hash(0));
    each_is_an_announce(
        [
            format!("left=1&info_hash={hash}"),
            format!("event=started&left=1&compact=1&info_hash={hash}&numwant=9&peer_id=-TEST00-abcdefghijkl&key=ab12"),
            format!("info_hash={hash}&peer_id=%zz&uploaded=x&downloaded=-1&corrupt=&supportcrypto=1&redundant"),
            format!("unknown=1&unknown=2&%zz=1&=&==&info_hash={hash}&x=%"),
            format!("info_hash={hash}&trackerid=%00%ff&ipv6=x&ipv4=y&a=b"),
            format!("info%5Fhash={hash}&l%65ft=%31"),
        ]
        .map(|query| (format!("/announce?{query}"), END.into())),
    );
}

fn an_info_hash_may_be_encoded_in_several_ways() {
    let hash = info_hash(0);
    let lower = hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    });
    let sparing = hash.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~/\\{}\"<".contains(&byte) {
            text.push(char::from(byte));
        } else if byte == b' ' {
            text.push('+');
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
        text
    });
    assert!(sparing.contains("%2B+"), "a plus and a space, as forms are encoded: {sparing}");
    each_is_an_announce(
        [percent(&hash), lower, sparing].map(|hash| (format!("/announce?info_hash={hash}"), END.into())),
    );
}

/// As PHP's and Python's `urlencode` and Java's `URLEncoder` write it.
fn form_encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b' ' => text.push('+'),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}

fn a_plus_in_a_query_is_a_space() {
    let tracker = Tracker::start(&[]);
    let hash = form_encoded(&info_hash(b' '));
    assert!(hash.contains('+') && hash.starts_with('+'));
    for &server in tracker.https() {
        let before = scraped(server, b' ').2;
        get(server, &format!("/announce?info_hash={hash}&port=1&left=1&event=started+")).bencode();
        assert_eq!(scraped(server, b' ').2, before + 1);
        let files = get(server, &format!("/scrape?info_hash={hash}")).bencode();
        assert_eq!(files.find("files").unwrap().keys(), [info_hash(b' ')]);
        // No number has a space in it, no word either.
        for target in [announce_target(0, "port=+1"), "/stats?mode=+peer".into(), "/stats?mode=peer+".into()] {
            assert_eq!(get(server, &target).status, 400, "{target}");
        }
        assert_eq!(get(server, "/stats?mode=herr&x=+&+=+").status, 200);
    }
}

fn a_request_with_a_body_is_answered() {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1");
    get_with(tracker.http(), &target, "Content-Length: 0\r\n").bencode();
    let request = format!("GET {target} HTTP/1.1\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello");
    let reply = ask(tracker.http(), request.as_bytes());
    assert_eq!(reply.header("connection"), Some("close"), "nothing behind it can be understood");
    reply.bencode();
    assert_eq!(get(tracker.http(), "/favicon.ico").status, 404);
}
