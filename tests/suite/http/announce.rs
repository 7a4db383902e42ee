//! What an announce does and how it is answered.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use super::{announce, announce_target, counts, peers};
use crate::clients::http::{get, get_closing, get_from};
use crate::clients::udp::{self, Client};
use crate::flavour::{client, has, info_hash, only_with, serves};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    the_reply_is_a_dictionary_that_always_has_peers,
    peers_are_handed_out_with_the_address_they_announced_from,
    the_external_ip_is_that_of_the_connection_whatever_the_query_says,
    behind_a_proxy_the_external_ip_is_that_of_the_client,
    the_interval_is_about_half_an_hour_and_the_minimum_is_half_of_it,
    both_protocols_share_one_swarm,
    a_client_gets_as_many_peers_as_it_wants_50_by_default_and_at_most_200,
    events_change_the_counts,
    a_client_with_nothing_left_is_a_seeder,
    failures_are_reported_in_the_reply,
    who_has_no_port_is_handed_peers_and_not_remembered,
    requests_for_other_formats_get_compact_peers,
    a_full_tracker_says_so,
    many_clients_announce_at_once,
];

fn the_reply_is_a_dictionary_that_always_has_peers() {
    let tracker = Tracker::start(&[]);
    for (n, &server) in (0..).zip(tracker.https()) {
        let reply = get(server, &announce_target(n, "port=6881&left=1"));
        assert_eq!(reply.status_line, "HTTP/1.1 200 OK");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!((reply.header("transfer-encoding"), reply.header("content-encoding")), (None, None));
        let answer = reply.bencode();
        let mut keys = vec!["complete", "downloaded", "external ip", "incomplete", "interval", "min interval", "peers"];
        if has("v6") {
            keys.push("peers6");
        }
        assert_eq!(answer.keys(), keys.iter().map(|key| key.as_bytes()).collect::<Vec<_>>());
        assert_eq!((counts(&answer), peers(&answer)), ((0, 0, 1), vec![]));
    }
}

fn peers_are_handed_out_with_the_address_they_announced_from() {
    let tracker = Tracker::start(&[]);
    for (n, &server) in (0..).zip(tracker.https()) {
        let from = |host: u8, parameters: &str| {
            get_from(client(server.ip(), host), server, &announce_target(n, parameters), "").bencode()
        };
        from(2, "port=4660&left=0");
        from(3, "port=2&left=7");
        let answer = from(4, "port=3&left=7");
        assert_eq!(counts(&answer), (1, 0, 2));
        let expected = [(2, 0x1234), (3, 2)].map(|(host, port)| SocketAddr::new(client(server.ip(), host), port));
        assert_eq!(peers(&answer).into_iter().collect::<HashSet<_>>(), HashSet::from(expected));
        let key = if server.is_ipv4() { "peers" } else { "peers6" };
        assert!(answer.text(key).windows(2).any(|bytes| bytes == [0x12, 0x34]), "6 or 18 bytes each, big-endian");
        // A seeder that has uploaded is handed only leechers; who has not is handed them first.
        from(5, "port=5&left=0");
        let expected = [(3, 2), (4, 3), (5, 5)].map(|(host, port)| SocketAddr::new(client(server.ip(), host), port));
        for (rest, many) in
            [("uploaded=1", 2), ("uploaded=0", 3), ("", 3), ("uploaded=x", 3), ("numwant=2", 2), ("uploaded=%zz", 3)]
        {
            let handed: HashSet<_> = peers(&from(2, &format!("port=4660&left=0&{rest}"))).into_iter().collect();
            assert_eq!(handed, expected[..many].iter().copied().collect(), "{rest}");
        }
    }
}

/// An address as the reply has it (BEP 24).
fn compact(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn the_external_ip_is_that_of_the_connection_whatever_the_query_says() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let named = if server.is_ipv4() { "192.0.2.7" } else { "2001:db8::7" };
        for host in [2, 200] {
            let from = client(server.ip(), host);
            for parameters in ["port=1&left=1", &format!("port=2&left=0&ip={named}"), "port=1&event=stopped"] {
                let answer = get_from(from, server, &announce_target(0, parameters), "").bencode();
                assert_eq!(answer.text("external ip"), compact(from), "{parameters}");
            }
        }
    }
}

fn behind_a_proxy_the_external_ip_is_that_of_the_client() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config("access.proxy 127.0.0.1\naccess.proxy ::1\n").run();
    for &server in tracker.https() {
        for ip in ["192.0.2.7", "::ffff:192.0.2.8", "2001:db8::7"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let reply = get_closing(server, &announce_target(0, "port=1"), &format!("X-Forwarded-For: {ip}\r\n"));
            if serves(ip.to_canonical()) {
                assert_eq!(reply.bencode().text("external ip"), compact(ip.to_canonical()));
            } else {
                reply.failure();
            }
        }
    }
}

fn the_interval_is_about_half_an_hour_and_the_minimum_is_half_of_it() {
    let tracker = Tracker::start(&[]);
    let intervals: HashSet<i64> = (0..50)
        .map(|_| {
            let answer = announce(tracker.http(), 0, "port=1");
            assert_eq!(answer.number("min interval"), answer.number("interval") / 2);
            answer.number("interval")
        })
        .collect();
    assert!(intervals.iter().all(|interval| (1620..=1980).contains(interval)), "{intervals:?}");
    assert!(intervals.len() > 5, "at random: {intervals:?}");
}

fn both_protocols_share_one_swarm() {
    let tracker = Tracker::start(&[]);
    for (n, (&http, &udp)) in (0..).zip(tracker.https().iter().zip(tracker.udps())) {
        announce(http, n, "port=1&left=0");
        let client = Client::new(udp);
        let announced = client.announce(&udp::Announce::leecher(info_hash(n), 2));
        assert_eq!(announced.peers, [client.endpoint(1)]);
        assert_eq!(peers(&announce(http, n, "port=1&left=0")), [client.endpoint(2)]);
    }
}

fn a_client_gets_as_many_peers_as_it_wants_50_by_default_and_at_most_200() {
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        let client = Client::new(udp);
        for port in 1..=250 {
            client.announce(&udp::Announce { num_want: 0, ..udp::Announce::leecher(info_hash(0), port) });
        }
        for (parameter, expected) in [
            ("", 50),
            ("&numwant=-1", 50),
            ("&numwant=-99999999999999999999", 50),
            ("&numwant=0", 0),
            ("&numwant=1", 1),
            ("&numwant=199", 199),
            ("&numwant=200", 200),
            ("&numwant=500", 200),
            ("&numwant=4294967296", 200),
            ("&numwant=18446744073709551617", 200),
        ] {
            let answer = announce(http, 0, &format!("port=1&left=1{parameter}"));
            let handed_out: HashSet<_> = peers(&answer).into_iter().collect();
            assert_eq!(handed_out.len(), expected, "{parameter}");
            assert!(!handed_out.contains(&client.endpoint(1)), "the asker");
        }
        client.announce(&udp::Announce::leecher(info_hash(0), 250).event(udp::STOPPED));
        for port in 1..250 {
            client.announce(&udp::Announce::leecher(info_hash(0), port).event(udp::STOPPED));
        }
    }
}

fn events_change_the_counts() {
    let tracker = Tracker::start(&[]);
    let server = tracker.http();
    let mut others = 0;
    for (parameters, expected) in [
        ("port=1&left=5&event=started", (0, 0, 1)),
        // Not if something is left.
        ("port=1&left=5&event=completed", (0, 0, 1)),
        ("port=1&left=0&event=completed", (1, 1, 0)),
        // Once for each peer.
        ("port=1&left=0&event=completed", (1, 1, 0)),
        ("port=2&left=0&event=completed", (2, 2, 0)),
        // Partial seeds (BEP 21), the empty event and whatever else: plain announces.
        ("port=3&left=5&event=paused", (2, 2, 1)),
        ("port=3&left=5&event=", (2, 2, 1)),
        ("port=3&left=5&event=stopping", (2, 2, 1)),
        ("port=3&left=5&event=a-very-long-event-that-nobody-knows", (2, 2, 1)),
        ("port=2&left=0&event=stopped", (1, 2, 1)),
        ("port=2&left=0&event=stopped", (1, 2, 1)),
        ("port=3&left=5&event=stopped&numwant=50", (1, 2, 0)),
    ] {
        let answer = announce(server, 0, parameters);
        assert_eq!(counts(&answer), expected, "{parameters}");
        if parameters.contains("=stopped") {
            assert_eq!(peers(&answer), [], "who stops is handed nobody");
        } else {
            others += peers(&answer).len();
        }
    }
    assert!(others > 0);
}

fn a_client_with_nothing_left_is_a_seeder() {
    let tracker = Tracker::start(&[]);
    for (n, left) in (0..).zip(["&left=0", "&left=00"]) {
        assert_eq!(counts(&announce(tracker.http(), n, &format!("port=1{left}"))), (1, 0, 0), "{left}");
    }
    for (n, left) in (100..).zip([
        "",
        "&left",
        "&left=",
        "&left=1",
        "&left=abc",
        "&left=0x0",
        "&left=0.0",
        "&left=-1",
        "&left=4294967296",
        "&left=9223372036854775808",
        "&left=18446744073709551615",
        "&left=18446744073709551616",
        "&left=99999999999999999999999",
    ]) {
        assert_eq!(counts(&announce(tracker.http(), n, &format!("port=1{left}"))), (0, 0, 1), "{left}");
    }
}

fn failures_are_reported_in_the_reply() {
    let tracker = Tracker::start(&[]);
    let no_info_hash = "Your client forgot to send your torrent's info_hash. Please upgrade your client.";
    for target in ["/announce", "/announce?", "/announce?port=1&left=0", "/announce?infohash=aaaaaaaaaaaaaaaaaaaa"] {
        let reply = get(tracker.http(), target);
        assert_eq!(reply.failure(), no_info_hash, "{target}");
        assert_eq!(reply.text(), format!("d14:failure reason80:{no_info_hash}e"));
    }
}

/// As BiglyBT behind a proxy and rtorrent with a closed port announce themselves: they can connect to others.
fn who_has_no_port_is_handed_peers_and_not_remembered() {
    let tracker = Tracker::start(&[]);
    for (n, &server) in (0..).zip(tracker.https()) {
        let announced = |parameters: &str| {
            let answer = get(server, &announce_target(n, parameters)).bencode();
            (counts(&answer), peers(&answer).iter().map(SocketAddr::port).collect::<HashSet<_>>())
        };
        assert_eq!(announced("left=1"), ((0, 0, 0), HashSet::new()), "and no torrent is made");
        assert_eq!(announced("left=0&event=completed&port=0"), ((0, 0, 0), HashSet::new()), "nor a download counted");
        assert_eq!(get(server, "/stats?mode=torr").text().lines().next(), Some(n.to_string().as_str()));
        announced("port=1&left=1");
        announced("port=2&left=0");
        for parameters in ["port=0&left=1", "left=1", "port=00000&cryptoport=0&left=9", "cryptoport=7&left=1", "left=0"]
        {
            assert_eq!(announced(parameters), ((1, 0, 1), HashSet::from([1, 2])), "{parameters}");
        }
        assert_eq!(announced("port=0&left=0&uploaded=1").1, HashSet::from([1]));
        assert_eq!(announced("port=0&left=1&numwant=1").1.len(), 1);
        for parameters in ["port=0&left=0&event=completed", "left=0&event=completed"] {
            assert_eq!(announced(parameters), ((1, 0, 1), HashSet::from([1, 2])), "{parameters}");
        }
        assert_eq!(announced("port=0&event=stopped"), ((1, 0, 1), HashSet::new()), "who leaves is handed nobody");
    }
    // All of them are announces that were answered; nobody who was not remembered can have come back.
    let renewed: u32 = get(tracker.http(), "/stats?mode=renew")
        .text()
        .lines()
        .map(|row| row.split(' ').nth(1).unwrap().parse::<u32>().unwrap())
        .sum();
    assert_eq!(renewed, 0);
    let answered = get(tracker.http(), "/stats?mode=everything").text();
    assert!(answered.contains(&format!("<announce>{}</announce>", 14 * tracker.https().len())), "{answered}");
}

fn requests_for_other_formats_get_compact_peers() {
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1&left=0");
    for (port, parameter) in (2..).zip(["compact=0", "compact=1", "no_peer_id=1&compact=0", "compact=0&no_peer_id=0"]) {
        let answer = announce(tracker.http(), 0, &format!("port={port}&left=0&uploaded=1&{parameter}"));
        assert_eq!((counts(&answer), peers(&answer)), ((i64::from(port), 0, 0), vec![]), "{parameter}");
        announce(tracker.http(), 0, "port=99&left=1&event=started");
        let answer = announce(tracker.http(), 0, &format!("port={port}&left=0&uploaded=1&{parameter}"));
        assert_eq!(peers(&answer).len(), 1);
        announce(tracker.http(), 0, "port=99&event=stopped");
    }
}

fn a_full_tracker_says_so() {
    let tracker = Start::loopback().config("[limits]\ntorrents = 1\n").run();
    announce(tracker.http(), 0, "port=1");
    let failure = get(tracker.http(), &announce_target(1, "port=1")).failure();
    assert_eq!(failure, "This tracker is full. Please try again later.");
    assert_eq!(counts(&announce(tracker.http(), 0, "port=2")), (0, 0, 2), "who is in stays in");
}

fn many_clients_announce_at_once() {
    let tracker = Tracker::start(&[]);
    let server = tracker.http();
    thread::scope(|scope| {
        for n in 1..=8_u16 {
            scope.spawn(move || {
                for port in 0..40 {
                    announce(server, port % 3, &format!("port={}&left=1", 1000 * n + u16::from(port)));
                }
            });
        }
    });
    let swarms = [0, 1, 2].map(|n| counts(&announce(server, n, "port=9&event=stopped")).2);
    assert_eq!(swarms.iter().sum::<i64>(), 8 * 40);
}
