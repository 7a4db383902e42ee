//! Methods other than GET.

use std::net::SocketAddr;

use super::{announce, announce_target, counts, scrape_target, scraped};
use crate::clients::http::{Connection, ask, get, head, request};
use crate::flavour::{has, only_with};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    head_gets_the_status_and_the_header_of_get,
    head_of_an_announce_remembers_nothing_and_is_not_counted,
    head_of_a_full_scrape_is_none,
    a_connection_stays_in_step_after_head,
    head_may_arrive_in_pieces,
    methods_that_are_known_are_not_allowed,
    methods_that_are_not_known_are_not_implemented,
    methods_that_are_refused_have_no_row_of_their_own,
    methods_that_are_refused_are_malformed_requests_of_the_metrics,
];

const KEEP: &str = "Connection: keep-alive\r\n";

fn head_gets_the_status_and_the_header_of_get() {
    let tracker = Start::loopback().config("tracker.redirect_url https://a.example/\n").run();
    for &server in tracker.https() {
        announce(server, 1, "port=1&left=1");
        for target in [
            &announce_target(0, "port=1&left=1&event=stopped"),
            &announce_target(0, "port=65536"),
            "/announce",
            &scrape_target([1, 2]),
            "/scrape",
            "/scrape?",
            "/sc",
            "/stats",
            "/stats?mode=everything",
            "/stats?mode=top10",
            "/stats?mode=s24s",
            "/stats?mode=busy",
            "/stats?mode=version",
            "/stats?mode=tpbs&format=txt",
            "/stats?mode=statedump",
            "/stats?mode=nonsense",
            "/stats?info_hash=x",
            "/metrics",
            "/nowhere",
            "/",
        ] {
            let (got, header) = (get(server, target), head(server, target));
            assert_eq!(header.status_line, got.status_line, "{target}");
            for name in ["content-type", "connection", "transfer-encoding", "content-encoding", "vary", "location"] {
                assert_eq!(header.header(name), got.header(name), "{name} of {target}");
            }
            let is_walk = ["everything", "top10", "s24s"].iter().any(|mode| target.ends_with(mode));
            if target.contains("info_hash=%") && got.status == 200 || is_walk {
                assert_eq!(header.header("content-length"), None, "it would have to be made: {target}");
            } else if target.starts_with("/stats") || target == "/metrics" {
                // Their numbers change between the two.
                assert_eq!(header.header("content-length").is_some(), got.header("content-length").is_some());
            } else {
                assert_eq!(header.header("content-length"), got.header("content-length"), "{target}");
            }
        }
    }
}

fn head_of_an_announce_remembers_nothing_and_is_not_counted() {
    let tracker = Tracker::start(&[]);
    for (n, &server) in (0..).zip(tracker.https()) {
        for parameters in ["port=1&left=0&event=completed", "port=1&left=1", "port=2&left=1&event=started"] {
            assert_eq!(head(server, &announce_target(n, parameters)).status, 200);
            assert_eq!(head(server, &announce_target(n, parameters).replacen("announce", "ann", 1)).status, 200);
        }
        assert_eq!(head(server, &scrape_target([n])).status, 200);
        assert_eq!(counts(&announce(server, n, "port=3&left=1")), (0, 0, 1));
        // Nor does it take away what is there.
        head(server, &announce_target(n, "port=3&left=1&event=stopped"));
        assert_eq!(scraped(server, n), (0, 0, 1));
    }
    let families = tracker.https().len();
    let page = |mode: &str| get(tracker.http(), &format!("/stats?mode={mode}")).text();
    let line = |mode: &str, at| page(mode).lines().nth(at).unwrap().parse::<usize>().unwrap();
    assert_eq!((line("torr", 0), line("peer", 0)), (families, families));
    assert_eq!((line("tcp4", 1), line("scrp", 0), line("completed", 0)), (families, families, 0));
    assert_eq!(page("renew").lines().filter(|row| !row.ends_with(" 0")).count(), 0);
}

fn head_of_a_full_scrape_is_none() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    for target in ["/scrape", "/stats?mode=tpbs", "/stats?mode=statedump"] {
        let header = head(tracker.http(), target);
        assert_eq!((header.status, header.header("transfer-encoding")), (200, Some("chunked")), "{target}");
    }
    assert!(get(tracker.http(), "/stats?mode=fscr").text().starts_with("0\n0\n"));
}

fn a_connection_stays_in_step_after_head() {
    let tracker = Tracker::start(&[]);
    let mut connection = Connection::open(tracker.http());
    let ask_head = |target: &str| format!("HEAD {target} HTTP/1.1\r\n{KEEP}\r\n");
    let full = if has("fullscrape") { 200 } else { 404 };
    let announce = announce_target(0, "port=1");
    let targets = [(&*announce, 200), ("/nowhere", 404), ("/announce", 200), ("/scrape", full), ("/scrape?", 400)];
    for (target, status) in targets {
        connection.send(ask_head(target));
        let header = connection.reply_to_head();
        assert_eq!((header.status, header.header("connection")), (status, Some("keep-alive")), "{target}");
    }
    // The same without waiting for each.
    connection.send(targets.map(|(target, _)| ask_head(target) + &request(&announce, KEEP)).concat());
    for (_, status) in targets {
        assert_eq!(connection.reply_to_head().status, status);
        assert_eq!(counts(&connection.reply().bencode()), (0, 0, 1));
    }
    // The statistics always close.
    connection.send(ask_head("/stats") + &request(&announce, ""));
    let header = connection.reply_to_head();
    assert_eq!((header.status, header.header("connection")), (200, Some("close")));
    assert_eq!(connection.rest(), b"");
}

fn head_may_arrive_in_pieces() {
    let tracker = Tracker::start(&[]);
    for method in ["HEAD", "OPTIONS", "get"] {
        let mut connection = Connection::open(tracker.http());
        for piece in
            format!("{method} /stats HTTP/1.1\r\n\r").split_inclusive(|letter: char| letter.is_ascii_punctuation())
        {
            connection.send(piece);
        }
        connection.try_send(b"\n");
        assert!(connection.rest().starts_with(match method {
            "HEAD" => b"HTTP/1.1 200 ",
            "OPTIONS" => b"HTTP/1.1 405 ",
            _ => b"HTTP/1.1 501 ",
        }));
    }
    let mut connection = Connection::open(tracker.http());
    connection.send("HEA");
    connection.finish_sending();
    assert_eq!(connection.last_reply().status, 400);
}

/// Asserts that each method is refused with this status, whatever its target and behind it, and the connection closed.
fn each_is_refused(methods: &[&str], status_line: &str, allow: Option<&str>) {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1&left=1");
    for method in methods {
        for target in [&*target, "/", "/nowhere", "*", "a.example:80", "http://a.example/stats"] {
            for behind in ["", "Content-Length: 5\r\n\r\nhello", "\r\nGET /stats HTTP/1.1\r\n\r\n", "no colon\r\n\r\n"]
            {
                let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{KEEP}{behind}\r\n");
                let reply = ask(tracker.http(), head.as_bytes());
                assert_eq!(reply.status_line, status_line, "{head}");
                assert_eq!((reply.header("allow"), reply.header("connection")), (allow, Some("close")), "{head}");
                let title = status_line.strip_prefix("HTTP/1.1 ").unwrap();
                assert_eq!(reply.text(), format!("<title>{title}</title>\n"));
            }
        }
    }
    assert_eq!(counts(&announce(tracker.http(), 0, "port=9")), (0, 0, 1), "nobody was taken in");
}

fn methods_that_are_known_are_not_allowed() {
    let methods = ["POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    each_is_refused(&methods, "HTTP/1.1 405 Method Not Allowed", Some("GET, HEAD"));
}

fn methods_that_are_not_known_are_not_implemented() {
    let methods = ["get", "Head", "X", "GETS", "PROPFIND", "M-SEARCH", "!#$%&'*+-.^_`|~9"];
    each_is_refused(&methods, "HTTP/1.1 501 Not Implemented", None);
}

/// Sends three requests with methods that are refused.
fn refused(server: SocketAddr) {
    for (method, status) in [("POST", 405), ("OPTIONS", 405), ("get", 501)] {
        assert_eq!(ask(server, format!("{method} / HTTP/1.1\r\n\r\n").as_bytes()).status, status);
    }
}

fn methods_that_are_refused_have_no_row_of_their_own() {
    let tracker = Tracker::start(&[]);
    refused(tracker.http());
    let herr = get(tracker.http(), "/stats?mode=herr").text();
    assert_eq!(herr, "302 RED 0\n400 ... 0\n400 PAR 0\n400 COM 0\n403 IP  0\n404 INV 0\n500 SRV 0\n402 PAY 0\n");
    let everything = get(tracker.http(), "/stats?mode=everything").text();
    assert!(everything.contains("code=\"400 Parse Error\">0<"), "{everything}");
}

fn methods_that_are_refused_are_malformed_requests_of_the_metrics() {
    only_with("metrics");
    let tracker = Tracker::start(&[]);
    refused(tracker.http());
    assert_eq!(ask(tracker.http(), b"nonsense\r\n\r\n").status, 400);
    let family = if tracker.http().is_ipv4() { "ipv4" } else { "ipv6" };
    let page = get(tracker.http(), "/metrics").text();
    let sample = format!("opentracker_errors_total{{protocol=\"http\",kind=\"malformed\",family=\"{family}\"}} 4");
    assert!(page.lines().any(|line| line == sample), "{page}");
}
