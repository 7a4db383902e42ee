//! How long a connection stays open, and what may come over it.

use std::fs;

use super::{announce, announce_target, counts};
use crate::clients::http::{Connection, ask, request};
use crate::clients::udp::Client;
use crate::harness::tests;
use crate::tracker::{Start, Tracker, only_as_root};
use crate::wait::wait_until;

tests![
    a_connection_carries_one_request_unless_the_client_asks_for_more,
    a_connection_is_kept_open_for_a_client_that_asks,
    pipelined_requests_are_answered_in_order,
    a_malformed_request_ends_the_connection,
    statistics_always_end_the_connection,
    a_request_may_arrive_in_pieces,
    a_client_may_close_its_side_first,
    silent_clients_do_not_block_others,
    the_tracker_stops_while_clients_are_connected,
];

const KEEP: &str = "Connection: keep-alive\r\n";

fn a_connection_carries_one_request_unless_the_client_asks_for_more() {
    let tracker = Tracker::start(&[]);
    let target = announce_target(0, "port=1");
    for headers in [
        "",
        "Connection: close\r\n",
        "Connection: Upgrade\r\n",
        "Keep-Alive: 300\r\n",
        "Connection: keep-alive, close\r\n",
        "Connection: close, TE, Keep-Alive\r\n",
        "Connection: keep-alive\r\nConnection: Close\r\n",
        "Connection: CLOSE\r\nX: y\r\nconnection: keep-alive\r\n",
    ] {
        let twice = request(&target, headers).repeat(2);
        let reply = ask(tracker.http(), twice.as_bytes());
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(counts(&reply.bencode()), (0, 0, 1), "one reply and no more, whatever else was sent");
    }
    // HTTP/1.0 and HTTP/1.1 do not differ here.
    let reply = ask(tracker.http(), format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!(reply.header("connection"), Some("close"));
}

fn a_connection_is_kept_open_for_a_client_that_asks() {
    let tracker = Tracker::start(&[]);
    for (version, headers) in [
        ("1.1", "Connection: keep-alive\r\n"),
        ("1.0", "connection: Keep-Alive\r\n"),
        ("1.1", "Connection: TE, keep-alive\r\n"),
    ] {
        let mut connection = Connection::open(tracker.http());
        for n in 0..5 {
            connection.send(format!("GET {} HTTP/{version}\r\n{headers}\r\n", announce_target(n, "port=1")));
            let reply = connection.reply();
            assert_eq!(reply.header("connection"), Some("keep-alive"), "{headers}");
            assert_eq!(counts(&reply.bencode()), (0, 0, 1));
        }
        // Also after errors and failures.
        connection.send(request("/nowhere", KEEP));
        assert_eq!(connection.reply().status, 404);
        connection.send(request("/announce?info_hash=short", KEEP));
        assert_eq!(connection.reply().status, 400);
        connection.send(request("/announce", KEEP));
        connection.reply().failure();
        // Until the client no longer asks for it.
        connection.send(request(&announce_target(0, "port=1"), ""));
        let reply = connection.last_reply();
        assert_eq!(reply.header("connection"), Some("close"));
    }
}

fn pipelined_requests_are_answered_in_order() {
    let tracker = Tracker::start(&[]);
    let mut connection = Connection::open(tracker.http());
    let all: String = (1..=30).map(|port| request(&announce_target(0, &format!("port={port}")), KEEP)).collect();
    connection.send(all);
    for leechers in 1..=30 {
        assert_eq!(counts(&connection.reply().bencode()), (0, 0, leechers));
    }
    connection.send([request(&announce_target(0, "port=31"), KEEP), request("/nowhere", "")].concat());
    assert_eq!(counts(&connection.reply().bencode()), (0, 0, 31));
    assert_eq!(connection.last_reply().status, 404);
}

fn a_malformed_request_ends_the_connection() {
    let tracker = Tracker::start(&[]);
    let mut connection = Connection::open(tracker.http());
    connection.send(request(&announce_target(0, "port=1"), KEEP));
    connection.reply().bencode();
    connection.send(["nonsense\r\n\r\n", &request("/announce", KEEP)].concat());
    let reply = connection.last_reply();
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
}

fn statistics_always_end_the_connection() {
    let tracker = Tracker::start(&[]);
    for target in ["/stats", "/stats?mode=conn", "/stats?mode=nonsense"] {
        let mut connection = Connection::open(tracker.http());
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        connection.reply();
        connection.send(request(target, KEEP));
        let reply = connection.last_reply();
        assert_eq!(reply.header("connection"), Some("close"), "{target}");
    }
}

fn a_request_may_arrive_in_pieces() {
    let tracker = Tracker::start(&[]);
    let bytes = request(&announce_target(0, "port=1"), "");
    for size in [1, 2, 7, 100] {
        let mut connection = Connection::open(tracker.http());
        for piece in bytes.as_bytes().chunks(size) {
            connection.send(piece);
        }
        connection.last_reply().bencode();
    }
}

fn a_client_may_close_its_side_first() {
    let tracker = Tracker::start(&[]);
    let mut connection = Connection::open(tracker.http());
    connection.send(request(&announce_target(0, "port=1"), KEEP));
    connection.finish_sending();
    assert_eq!(counts(&connection.reply().bencode()), (0, 0, 1));
    assert_eq!(connection.rest(), b"");

    let mut connection = Connection::open(tracker.http());
    connection.send("GET /announce?info_hash=");
    connection.finish_sending();
    assert_eq!(connection.last_reply().status, 400);

    let mut connection = Connection::open(tracker.http());
    connection.finish_sending();
    assert_eq!(connection.rest(), b"", "nothing was asked");
}

fn silent_clients_do_not_block_others() {
    let tracker = Start::loopback().config("listen.tcp_workers 1\nlisten.udp_workers 1\n").run();
    let mut silent: Vec<_> = (0..50).map(|_| Connection::open(tracker.http())).collect();
    // Half of them send something, so that the system hands them to the tracker.
    silent.iter_mut().step_by(2).for_each(|connection| connection.send("\r\n"));
    let mut begun = Connection::open(tracker.http());
    begun.send("GET /announce?info");
    announce(tracker.http(), 0, "port=1");
    Client::new(tracker.udp());
    begun.send(format!("_{}", &request(&announce_target(0, "port=2"), "")["GET /announce?info_".len()..]));
    assert_eq!(counts(&begun.last_reply().bencode()), (0, 0, 2));
    drop(silent);
}

fn the_tracker_stops_while_clients_are_connected() {
    // Nobody else sees which files it has open.
    only_as_root();
    let tracker = Tracker::start(&[]);
    let open_files = || fs::read_dir(format!("/proc/{}/fd", tracker.pid())).unwrap().count();
    let at_the_start = open_files();
    let mut silent = Connection::open(tracker.http());
    let taken_in = wait_until(|| (open_files() > at_the_start).then_some(()));
    assert!(taken_in.is_some(), "the system does not keep it for ever");
    let mut kept = Connection::open(tracker.http());
    kept.send(request(&announce_target(0, "port=1"), KEEP));
    kept.reply();
    let mut begun = Connection::open(tracker.http());
    begun.send("GET /");
    tracker.stop();
    assert_eq!((silent.rest(), kept.rest()), (vec![], vec![]));
    begun.rest();
}
