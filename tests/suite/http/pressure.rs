//! What happens when all places for connections are taken: those that say least make room.

use std::net::{IpAddr, SocketAddr};

use super::{announce_target, counts, scrape_target};
use crate::clients::http::{Connection, request};
use crate::flavour::client;
use crate::harness::tests;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_pressure_nobody_is_closed,
    who_is_answered_at_once_needs_no_place,
    silent_connections_make_room,
    connections_that_trickle_make_room,
    idle_connections_make_room,
    who_is_in_a_request_goes_after_who_is_idle,
    the_address_that_holds_most_makes_room_first,
    one_address_may_have_a_limit_of_its_own,
    where_workers_outnumber_places_none_waits_for_long,
];

const KEEP: &str = "Connection: keep-alive\r\n";

/// Places of a tracker that is under pressure, and connections of one address that take them.
const PLACES: usize = 20;
const FLOOD: usize = 50;

/// A tracker with few places, whose workers all have some of the connections.
pub(crate) fn narrow(config: &str) -> Start {
    Start::loopback().config(&format!("limits.connections {PLACES}\nlisten.tcp_workers 2\n{config}"))
}

/// Opens as many connections as there are places from an address, and more, with the same beginning.
fn flood(tracker: &mut Tracker, from: IpAddr, beginning: &str) -> Vec<Connection> {
    let server = tracker.http();
    let flood = (0..FLOOD).map(|_| {
        let mut connection = Connection::open_from(from, server);
        connection.try_send(beginning.as_bytes());
        connection
    });
    let mut flood: Vec<_> = flood.collect();
    tracker.wait_for_log("TCP connections are in use");
    // Among connections of one address the oldest goes first: who comes in the middle of its own flood may be that.
    if !server.is_ipv4() {
        assert_cut_back(&mut flood);
    }
    flood
}

/// Whether the tracker has closed, once what has come is read.
#[track_caller]
fn has_closed(connection: &mut Connection) -> bool {
    while connection.has_something() {
        connection.skip_some();
    }
    connection.is_closed()
}

#[track_caller]
fn open(flood: &mut [Connection]) -> usize {
    flood.iter_mut().map(|connection| usize::from(!has_closed(connection))).sum()
}

/// Waits until no more than as many are open as there are places.
#[track_caller]
fn assert_cut_back(flood: &mut [Connection]) {
    assert!(wait_until(|| (open(flood) <= PLACES).then_some(())).is_some(), "{} are open", open(flood));
}

/// A client that announces in every way is answered: at once, with a request in two pieces, and over a connection that
/// stays open, which is not closed meanwhile.
#[track_caller]
pub(crate) fn assert_served(server: SocketAddr, from: IpAddr) {
    let open = || Connection::open_from(from, server);
    let target = announce_target(0, "port=1");
    let mut kept = open();
    for _ in 0..5 {
        assert_served_at_once(server, from);
        let whole = request(&target, "");
        let (one, other) = whole.split_at(40);
        let mut in_pieces = open();
        in_pieces.send(one);
        kept.send(request(&target, KEEP));
        kept.reply().bencode();
        in_pieces.send(other);
        in_pieces.last_reply().bencode();
    }
}

/// A client that announces with a request in one piece is answered.
#[track_caller]
pub(crate) fn assert_served_at_once(server: SocketAddr, from: IpAddr) {
    let target = announce_target(0, "port=1");
    Connection::open_from(from, server).ask_last(request(&target, "").as_bytes()).bencode();
}

fn without_pressure_nobody_is_closed() {
    let tracker = narrow("").run();
    let server = tracker.http();
    let mut all: Vec<_> = (0..PLACES).map(|_| Connection::open(server)).collect();
    let (begun, kept) = all.split_at_mut(PLACES / 2);
    begun.iter_mut().for_each(|connection| connection.send("GET /scr"));
    for connection in &mut *kept {
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        connection.reply().bencode();
    }
    for connection in kept {
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        connection.reply().bencode();
    }
    let rest = &request(&scrape_target([0]), "")["GET /scr".len()..];
    for mut connection in all.drain(..PLACES / 2) {
        connection.send(rest);
        connection.last_reply().bencode();
    }
    let log = tracker.stop();
    assert!(!log.contains("in use"), "{log}");
}

fn who_is_answered_at_once_needs_no_place() {
    let tracker = Start::loopback().config("limits.connections 2\n").run();
    let mut kept: Vec<_> = (0..2).map(|_| Connection::open(tracker.http())).collect();
    for connection in &mut kept {
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        connection.reply().bencode();
    }
    for _ in 0..5 {
        let reply = Connection::open(tracker.http()).ask_last(request(&announce_target(0, "port=2"), "").as_bytes());
        assert_eq!(counts(&reply.bencode()), (0, 0, 2));
    }
    for connection in &mut kept {
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        assert_eq!(counts(&connection.reply().bencode()), (0, 0, 2));
    }
}

fn silent_connections_make_room() {
    let mut tracker = narrow("").run();
    let server = tracker.http();
    let mut flood = flood(&mut tracker, client(server.ip(), 7), "");
    assert_served(server, client(server.ip(), 9));
    assert_served(server, client(server.ip(), 7));
    assert_cut_back(&mut flood);
    let still_open = open(&mut flood);
    assert!(still_open > PLACES / 2, "no more are closed than have to be: {still_open}");
}

fn connections_that_trickle_make_room() {
    let mut tracker = narrow("").run();
    let server = tracker.http();
    let mut flood = flood(&mut tracker, client(server.ip(), 7), "G");
    for piece in ["E", "T", " ", "/", "s", "c"] {
        flood.iter_mut().for_each(|connection| connection.try_send(piece.as_bytes()));
        assert_served(server, client(server.ip(), 9));
    }
    assert_cut_back(&mut flood);
}

fn idle_connections_make_room() {
    let mut tracker = narrow("").run();
    let server = tracker.http();
    let ask = request("/nowhere", KEEP);
    let mut flood = flood(&mut tracker, client(server.ip(), 7), &ask);
    for _ in 0..5 {
        assert_served(server, client(server.ip(), 9));
        flood.iter_mut().for_each(|connection| connection.try_send(ask.as_bytes()));
    }
    assert_cut_back(&mut flood);
}

fn who_is_in_a_request_goes_after_who_is_idle() {
    let mut tracker = narrow("").run();
    let server = tracker.http();
    // Its client takes nothing of the many replies.
    let mut reading = Connection::open_narrow(server);
    reading.send(request(&scrape_target(0..64), KEEP).repeat(60));
    assert!(wait_until(|| reading.has_something().then_some(())).is_some());
    let mut first = flood(&mut tracker, server.ip(), &request("/nowhere", KEEP));
    let mut more: Vec<_> = (0..FLOOD).map(|_| Connection::open(server)).collect();
    more.iter_mut().for_each(|connection| connection.try_send(b"G"));
    first.append(&mut more);
    assert_cut_back(&mut first);
    assert!(!reading.is_closed());
}

fn the_address_that_holds_most_makes_room_first() {
    let mut tracker = narrow("").run();
    let server = tracker.http();
    let other = client(server.ip(), 9);
    let mut idle = Connection::open_from(other, server);
    idle.send(request(&announce_target(0, "port=1"), KEEP));
    idle.reply().bencode();
    let mut flood = flood(&mut tracker, client(server.ip(), 7), "GET /scrape?info_hash=");
    assert_cut_back(&mut flood);
    if server.is_ipv4() {
        assert!(!idle.is_closed(), "it has waited for longest");
        idle.send(request(&announce_target(0, "port=1"), KEEP));
        idle.reply().bencode();
    }
}

fn one_address_may_have_a_limit_of_its_own() {
    let tracker = Start::loopback().config("limits.connections_per_address 3\n").run();
    let server = tracker.http();
    let (one, other) = (client(server.ip(), 7), client(server.ip(), 9));
    let open = |from, n: usize| -> Vec<_> {
        let opened = (0..n).map(|_| {
            let mut connection = Connection::open_from(from, server);
            connection.send(request(&announce_target(0, "port=1"), KEEP));
            connection.reply().bencode();
            connection
        });
        opened.collect()
    };
    let of_other = open(other, if server.is_ipv4() { 3 } else { 0 });
    let mut of_one = open(one, 8);
    let closed = |connections: &[Connection]| connections.iter().filter(|connection| connection.is_closed()).count();
    wait_until(|| (closed(&of_one) == 5).then_some(()));
    assert_eq!((closed(&of_one), closed(&of_other)), (5, 0));
    assert!(!of_one[7].is_closed(), "the last one does not make room for itself");
    for connection in of_one.iter_mut().filter(|connection| !connection.is_closed()) {
        connection.send(request(&announce_target(0, "port=1"), KEEP));
        connection.reply().bencode();
    }
    let log = tracker.stop();
    assert!(!log.contains("in use"), "{log}");
}

fn where_workers_outnumber_places_none_waits_for_long() {
    let tracker = Start::loopback().config("limits.connections 1\nlisten.tcp_workers 4\n").run();
    let server = tracker.http();
    let mut begun = Vec::new();
    for _ in 0..50 {
        begun.extend((0..4).map(|_| {
            let mut connection = Connection::open(server);
            connection.try_send(b"G");
            connection
        }));
        Connection::open(server).ask_last(request(&announce_target(0, "port=1"), "").as_bytes()).bencode();
    }
}
