//! The limits on what strangers can send and keep open.

use std::fs;

use super::{announce, announce_target, counts};
use crate::clients::http::{Connection, ask, request};
use crate::clients::udp::{Announce, Client};
use crate::flavour::info_hash;
use crate::harness::tests;
use crate::tracker::{Start, Tracker, only_as_root};

tests![
    a_request_head_has_at_most_8_kib,
    a_request_head_without_an_end_is_refused_when_it_is_too_long,
    a_request_head_with_too_many_lines_is_refused,
    when_file_descriptors_run_out_udp_goes_on_and_http_recovers,
    a_limit_above_that_of_the_system_is_logged_once,
];

/// An announce with a request head of exactly `len` bytes.
fn head_of(len: usize, in_target: bool) -> String {
    let target = announce_target(0, "port=1");
    let (before, after) = if in_target {
        (format!("GET {target}&x="), " HTTP/1.1\r\n\r\n")
    } else {
        (format!("GET {target} HTTP/1.1\r\nX: "), "\r\n\r\n")
    };
    format!("{before}{}{after}", "a".repeat(len - before.len() - after.len()))
}

fn a_request_head_has_at_most_8_kib() {
    let tracker = Tracker::start(&[]);
    for in_target in [true, false] {
        assert_eq!(counts(&ask(tracker.http(), head_of(8192, in_target).as_bytes()).bencode()), (0, 0, 1));
        for len in [8193, 10_000, 20_000, 60_000] {
            let mut connection = Connection::open(tracker.http());
            connection.try_send(head_of(len, in_target).as_bytes());
            assert_eq!(connection.last_reply().status, 400, "{len}");
        }
    }
}

fn a_request_head_without_an_end_is_refused_when_it_is_too_long() {
    let tracker = Tracker::start(&[]);
    for start in ["GET /", "GET / HTTP/1.1\r\nX: ", "\r\n", "GET / HTTP/1.1\r\n"] {
        let mut connection = Connection::open(tracker.http());
        let filling = if start.ends_with('\n') { "A: b\r\n".repeat(2000) } else { "a".repeat(12_000) };
        connection.try_send(format!("{start}{filling}").as_bytes());
        // The client's side stays open: the tracker answers and closes.
        assert_eq!(connection.last_reply().status, 400);
    }
}

fn a_request_head_with_too_many_lines_is_refused() {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1");
    ask(tracker.http(), request(&target, &"A: b\r\n".repeat(60)).as_bytes()).bencode();
    assert_eq!(ask(tracker.http(), request(&target, &"A: b\r\n".repeat(1000)).as_bytes()).status, 400);
}

fn when_file_descriptors_run_out_udp_goes_on_and_http_recovers() {
    // Nobody else sees which files it has open.
    only_as_root();
    let workers = "listen.tcp_workers 1\nlisten.udp_workers 1\n";
    let mut tracker = Start::loopback().config(workers).with_open_files(64).run();
    let said_at_the_start = tracker.log().len();
    let pid = tracker.pid();
    let open_files = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let at_the_start = open_files();
    let client = Client::new(tracker.udp());
    let mut idle: Vec<_> = (0..150).map(|_| Connection::open(tracker.http())).collect();
    idle.iter_mut().for_each(|connection| connection.send("G"));
    // The HTTP worker may not have accepted them yet.
    tracker.wait_for_log("TCP connections are in use");
    assert_eq!(counts(&announce(tracker.http(), 0, "port=1")), (0, 0, 1));
    for port in 2..=100 {
        let announced = client.announce(&Announce::leecher(info_hash(0), port));
        assert_eq!(announced.leechers, u32::from(port));
    }
    assert!(open_files() > at_the_start + 5, "it takes in as many as it can");
    assert!(open_files() < 60, "and leaves some files for the lists that it reads");
    drop(idle);
    for _ in 0..50 {
        announce(tracker.http(), 0, "port=1");
    }
    let log = tracker.stop();
    let since = &log[said_at_the_start..];
    let complaints: Vec<_> = since.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(matches!(complaints[..], [one] if one.contains("connection")), "one line, no flood: {complaints:#?}");
}

fn a_limit_above_that_of_the_system_is_logged_once() {
    let tracker = Start::loopback().config("limits.connections 1000\n").with_open_files(200).run();
    announce(tracker.http(), 0, "port=1");
    let log = tracker.stop();
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("limits.connections is 1000")).collect();
    assert!(matches!(complaints[..], [line] if line.contains("200 open files") && line.contains("WARN")), "{log}");
}
