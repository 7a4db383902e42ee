//! `ip-from-proxy` with `access.proxy_protocol`: a blessed proxy that does not speak HTTP names the address of its
//! client before HTTP begins.

use std::net::{IpAddr, SocketAddr};

use super::restrict_stats::closed;
use crate::clients::http::{Connection, Reply, request};
use crate::flavour::{client, has, only_with, serves};
use crate::harness::tests;
use crate::http::{announce_target, counts, peers, scrape_target};
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    it_is_off_unless_it_is_configured,
    the_address_in_the_greeting_is_that_of_the_connection,
    a_greeting_may_come_in_any_pieces,
    all_requests_of_a_connection_are_the_clients,
    the_header_is_read_only_if_the_address_in_the_greeting_is_a_proxys,
    who_is_named_by_nobody_is_the_proxys_own_host,
    what_is_no_greeting_is_closed_without_an_answer_and_counted,
    nobody_else_greets,
    the_statistics_are_for_whom_the_greeting_names,
    without_proxies_the_key_does_nothing_and_says_so,
    the_tracker_stops_while_a_greeting_is_waited_for,
];

/// Some of the loopback addresses are proxies: 127.0.0.1 and ::1, but not 127.0.0.9.
const PROXIES: &str =
    "access.proxy 127.0.0.0/29\naccess.proxy ::1\naccess.proxy 10.0.0.0/8\naccess.proxy_protocol true\n";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn start() -> Tracker {
    Start::loopback().config(PROXIES).run()
}

/// A greeting in version 1 for this client.
fn line(client: &str) -> Vec<u8> {
    match client.parse().unwrap() {
        IpAddr::V4(client) => format!("PROXY TCP4 {client} 198.51.100.1 56324 80\r\n").into_bytes(),
        IpAddr::V6(client) => format!("PROXY TCP6 {client} 2001:db8:ffff::1 56324 80\r\n").into_bytes(),
    }
}

/// A greeting in version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap();
    [SIGNATURE, &[command, family], &len.to_be_bytes(), rest].concat()
}

/// A greeting in version 2 for this client, with fields that mean nothing to a tracker.
fn bytes(client: &str) -> Vec<u8> {
    let (ports, fields) = ([0xdc, 4, 0, 80], [0x04, 0, 3, 1, 2, 3]);
    match client.parse().unwrap() {
        IpAddr::V4(client) => binary(0x21, 0x11, &[&client.octets()[..], &[198, 51, 100, 1], &ports, &fields].concat()),
        IpAddr::V6(client) => binary(0x21, 0x21, &[&client.octets()[..], &[0xfe; 16], &ports, &fields].concat()),
    }
}

/// Greetings that name nobody.
fn of_nobody() -> Vec<Vec<u8>> {
    vec![
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]),
        binary(0x21, 0x00, b""),
        binary(0x21, 0x12, &[192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]),
        binary(0x21, 0x31, &[b'/'; 216]),
        binary(0x21, 0x41, &[1; 520]),
    ]
}

/// The reply to a request behind a greeting, sent in one piece.
#[track_caller]
fn ask(server: SocketAddr, greeting: &[u8], target: &str, headers: &str) -> Reply {
    let request = request(target, &format!("Connection: close\r\n{headers}"));
    Connection::open(server).ask_last(&[greeting, request.as_bytes()].concat())
}

/// The address of the peer with port 7 in torrent 0, as another peer is told it. Both leave afterwards.
#[track_caller]
fn announced_at(server: SocketAddr, greeting: &[u8], headers: &str) -> String {
    let other = line(if server.is_ipv4() { "198.51.100.1" } else { "2001:db8::9" });
    ask(server, greeting, &announce_target(0, "port=7&left=0"), headers).bencode();
    let answer = ask(server, &other, &announce_target(0, "port=9&left=1"), "").bencode();
    let found: Vec<_> = peers(&answer).into_iter().filter(|peer| peer.port() == 7).collect();
    ask(server, &other, &announce_target(0, "port=9&event=stopped"), "").bencode();
    let gone = ask(server, greeting, &announce_target(0, "port=7&event=stopped"), headers).bencode();
    assert_eq!((counts(&gone), found.len()), ((0, 0, 0), 1), "{}", greeting.escape_ascii());
    found[0].ip().to_string()
}

fn it_is_off_unless_it_is_configured() {
    only_with("ip-from-proxy");
    let proxies = PROXIES.replace("access.proxy_protocol true\n", "");
    for config in [proxies.clone(), format!("{proxies}access.proxy_protocol false\n"), String::new()] {
        let tracker = Start::loopback().config(&config).run();
        for &server in tracker.https() {
            for greeting in [line("192.0.2.1"), bytes("192.0.2.1")] {
                let reply = ask(server, &greeting, &scrape_target([0]), "");
                assert_eq!((reply.status, reply.text().as_str()), (400, "<title>400 Invalid Request</title>\n"));
            }
        }
    }
}

fn the_address_in_the_greeting_is_that_of_the_connection() {
    only_with("ip-from-proxy");
    let tracker = start();
    for &server in tracker.https() {
        for (client, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            // A proxy of the proxy's network is a client too, if it asks for itself.
            ("10.0.0.7", "10.0.0.7"),
        ] {
            for greeting in [line(client), bytes(client)] {
                let own = if client == "10.0.0.7" { "X-Forwarded-For: 10.0.0.7\r\n" } else { "" };
                if serves(expected.parse().unwrap()) {
                    assert_eq!(announced_at(server, &greeting, own), expected, "{}", greeting.escape_ascii());
                } else {
                    let refused = ask(server, &greeting, &announce_target(0, "port=7"), own).failure();
                    assert_eq!(refused, "This tracker does not serve your address family.", "{client}");
                }
            }
        }
    }
}

fn a_greeting_may_come_in_any_pieces() {
    only_with("ip-from-proxy");
    let tracker = start();
    let scrape = request(&scrape_target([0]), "Connection: close\r\n");
    for &server in tracker.https() {
        for greeting in [line("192.0.2.1"), bytes("192.0.2.1"), binary(0x21, 0x41, &[1; 520])] {
            let all = [&greeting[..], scrape.as_bytes()].concat();
            for size in [1, 12, 16, 100] {
                let mut connection = Connection::open(server);
                for piece in all.chunks(size) {
                    connection.send(piece);
                }
                assert_eq!(connection.last_reply().status, 200, "{size}: {}", greeting.escape_ascii());
            }
        }
    }
}

fn all_requests_of_a_connection_are_the_clients() {
    only_with("ip-from-proxy");
    let tracker = start();
    for &server in tracker.https() {
        let (seen, torrent) = if server.is_ipv4() { ("192.0.2.1", 0) } else { ("2001:db8::1", 1) };
        let keep = "Connection: keep-alive\r\n";
        let mut connection = Connection::open(server);
        connection.send(bytes(seen));
        for port in 1..=3 {
            connection.send(request(&announce_target(torrent, &format!("port={port}&left=1")), keep));
            let found = peers(&connection.reply().bencode());
            assert_eq!(found.len(), port - 1);
            assert!(found.iter().all(|peer| peer.ip().to_string() == seen), "{found:?}");
        }
        // What is a greeting at the beginning is no request later.
        connection.send(line(seen));
        assert_eq!(connection.last_reply().status, 400);
        // It is the client that speaks HTTP: its connection is closed unless it asks for more.
        let target = announce_target(torrent, "port=1&event=stopped");
        let reply = Connection::open(server).ask_last(&[&line(seen)[..], request(&target, "").as_bytes()].concat());
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
}

fn the_header_is_read_only_if_the_address_in_the_greeting_is_a_proxys() {
    only_with("ip-from-proxy");
    let tracker = start();
    for &server in tracker.https() {
        let (client, other) =
            if server.is_ipv4() { ("192.0.2.1", "192.0.2.2") } else { ("2001:db8::1", "2001:db8::2") };
        let header = format!("X-Forwarded-For: {other}\r\n");
        for greeting in [line(client), bytes(client)] {
            assert_eq!(announced_at(server, &greeting, &header), client);
            assert_eq!(announced_at(server, &greeting, "X-Forwarded-For: nonsense\r\n"), client);
        }
        for greeting in [line("10.0.0.7"), bytes("10.0.0.7")].into_iter().chain(of_nobody()) {
            assert_eq!(announced_at(server, &greeting, &header), other, "{}", greeting.escape_ascii());
            let unclear = ask(server, &greeting, &scrape_target([0]), "X-Forwarded-For: nonsense\r\n");
            assert_eq!(unclear.status, 400);
        }
        // A proxy's connection stays open.
        let mut connection = Connection::open(server);
        connection.send(line("10.0.0.7"));
        for _ in 0..3 {
            connection.send(request(&scrape_target([0]), &header));
            assert_eq!(connection.reply().header("connection"), Some("keep-alive"));
        }
    }
}

fn who_is_named_by_nobody_is_the_proxys_own_host() {
    only_with("ip-from-proxy");
    let tracker = start();
    for &server in tracker.https() {
        for greeting in of_nobody() {
            for target in ["/stats", &scrape_target([0])] {
                assert_eq!(ask(server, &greeting, target, "").status, 200, "{target} {}", greeting.escape_ascii());
            }
            let refused = ask(server, &greeting, &announce_target(0, "port=7"), "");
            assert_eq!(refused.status, 400, "{}", greeting.escape_ascii());
        }
    }
}

/// How many requests were malformed: the second line of the page.
#[track_caller]
fn malformed(server: SocketAddr) -> u64 {
    let page = ask(server, &of_nobody()[0], "/stats?mode=herr", "").text();
    let line = page.lines().nth(1).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A connection may be closed just before it is counted.
#[track_caller]
fn assert_counted(server: SocketAddr, expected: u64) {
    assert!(wait_until(|| (malformed(server) == expected).then_some(())).is_some(), "{}", malformed(server));
}

fn what_is_no_greeting_is_closed_without_an_answer_and_counted() {
    only_with("ip-from-proxy");
    let tracker = start();
    let scrape = request(&scrape_target([0]), "");
    for &server in tracker.https() {
        for beginning in [
            &b""[..],
            b"\r\n",
            b"PROXY\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            &[b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat(),
            &binary(0x11, 0x11, &[1; 12]),
            &binary(0x22, 0x11, &[1; 12]),
            &binary(0x21, 0x11, &[1; 11]),
            &binary(0x21, 0x21, &[1; 35]),
            &binary(0x21, 0x11, &[1; 521]),
            &[0x16, 3, 1, 2, 0, 1],
        ] {
            let before = malformed(server);
            let mut connection = Connection::open(server);
            connection.try_send(&[beginning, scrape.as_bytes()].concat());
            assert_eq!(connection.rest(), b"", "{}", beginning.escape_ascii());
            assert_counted(server, before + 1);
        }
        // What ends too early, and what never begins.
        for (beginning, counted) in [(&b"PROXY TCP4 192.0.2.1"[..], 1), (SIGNATURE, 1), (b"", 0)] {
            let before = malformed(server);
            let mut connection = Connection::open(server);
            connection.send(beginning);
            connection.finish_sending();
            assert_eq!(connection.rest(), b"");
            assert_counted(server, before + counted);
        }
    }
}

fn nobody_else_greets() {
    only_with("ip-from-proxy");
    let tracker = start();
    for &server in tracker.https().iter().filter(|server| server.is_ipv4()) {
        let other = client(server.ip(), 9);
        for greeting in [line("192.0.2.1"), bytes("192.0.2.1")] {
            let all = [&greeting[..], request(&announce_target(0, "port=7"), "").as_bytes()].concat();
            assert_eq!(Connection::open_from(other, server).ask_last(&all).status, 400);
        }
        let plain = request(&announce_target(0, "port=7"), "X-Forwarded-For: 192.0.2.1\r\n");
        Connection::open_from(other, server).ask_last(plain.as_bytes()).bencode();
        let answer = ask(server, &line("192.0.2.1"), &announce_target(0, "port=9"), "").bencode();
        assert_eq!(peers(&answer), [SocketAddr::new(other, 7)]);
    }
}

fn the_statistics_are_for_whom_the_greeting_names() {
    only_with("ip-from-proxy");
    only_with("restrict-stats");
    let blessed = "access.stats 192.0.2.0/24\naccess.stats 2001:db8::/32\n";
    let proxy_too = "access.stats 127.0.0.1\naccess.stats ::1\n";
    for (config, of_proxy) in [(blessed.to_owned(), 403), (format!("{blessed}{proxy_too}"), 200)] {
        let tracker = closed().config(PROXIES).config(&config).run();
        for &server in tracker.https() {
            for page in ["/stats", "/metrics"].into_iter().filter(|page| *page == "/stats" || has("metrics")) {
                for (client, expected) in [("192.0.2.1", 200), ("2001:db8::1", 200), ("203.0.113.1", 403), ("::9", 403)]
                {
                    for greeting in [line(client), bytes(client)] {
                        let lies = "X-Forwarded-For: 192.0.2.1\r\n";
                        assert_eq!(ask(server, &greeting, page, lies).status, expected, "{page} {client}");
                    }
                }
                for greeting in of_nobody() {
                    assert_eq!(ask(server, &greeting, page, "").status, of_proxy, "{}", greeting.escape_ascii());
                }
            }
        }
    }
}

fn without_proxies_the_key_does_nothing_and_says_so() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config("access.proxy_protocol true\n").run();
    for &server in tracker.https() {
        let reply = Connection::open(server).ask_last(request(&announce_target(0, "port=7"), "").as_bytes());
        assert_eq!(reply.status, 200);
    }
    assert!(tracker.stop().contains("access.proxy_protocol does nothing: there is no access.proxy"));
}

fn the_tracker_stops_while_a_greeting_is_waited_for() {
    only_with("ip-from-proxy");
    let tracker = start();
    let mut connections: Vec<_> = [&b"PROXY "[..], SIGNATURE]
        .map(|beginning| {
            let mut connection = Connection::open(tracker.http());
            connection.send(beginning);
            connection
        })
        .into();
    // It has been accepted behind those.
    assert_eq!(ask(tracker.http(), &of_nobody()[0], "/stats", "").status, 200);
    tracker.stop();
    for connection in &mut connections {
        assert_eq!(connection.rest(), b"");
    }
}
