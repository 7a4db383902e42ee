//! `ip-from-proxy`: a blessed proxy names the address of its client.

use std::net::SocketAddr;

use super::fullscrape::many::started_with as tracker_of_many;
use super::refuses_key;
use crate::clients::http::{Connection, Reply, get_closing, get_from, request};
use crate::flavour::{client, has, loopback, only_with, only_without, serves};
use crate::harness::{skip, tests};
use crate::http::pressure::narrow;
use crate::http::{announce_target, counts, peers, scrape_target};
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_it_its_keys_are_refused,
    the_header_is_ignored_unless_a_proxy_is_configured,
    the_rightmost_address_that_is_not_a_proxy_is_that_of_the_client,
    a_proxy_whose_header_is_unclear_is_refused,
    without_the_header_the_proxys_own_host_reads_pages_and_announces_nothing,
    the_header_is_ignored_if_it_does_not_come_from_a_proxy,
    the_header_may_have_another_name,
    the_address_in_the_query_overrides_the_header,
    a_proxys_connection_stays_open_without_being_asked,
    under_pressure_a_proxys_connections_do_not_count_as_those_of_one_address,
    a_proxys_connections_count_for_the_clients_whose_replies_they_bring,
];

/// Some of the loopback addresses are proxies: 127.0.0.1 and ::1, but not 127.0.0.9.
const PROXIES: &str = "access.proxy 127.0.0.0/29\naccess.proxy ::1\naccess.proxy 10.0.0.0/8\n";

fn without_it_its_keys_are_refused() {
    only_without("ip-from-proxy");
    refuses_key("ip-from-proxy", "access.proxy", "127.0.0.1");
    refuses_key("ip-from-proxy", "access.proxy_header", "X-Real-IP");
    refuses_key("ip-from-proxy", "access.proxy_protocol", "true");
}

/// With the switch or without.
fn the_header_is_ignored_unless_a_proxy_is_configured() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for header in [
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-For: 192.0.2.1, 2001:db8::1",
            "X-Real-IP: 192.0.2.1",
            "CF-Connecting-IP: 192.0.2.1",
            "Forwarded: for=192.0.2.1",
            "X-Forwarded-For: nonsense",
        ] {
            let headers = format!("{header}\r\n");
            get_closing(server, &announce_target(0, "port=1&left=0"), &headers).bencode();
            let answer = get_closing(server, &announce_target(0, "port=2&left=1"), &headers).bencode();
            let ips: Vec<_> = peers(&answer).iter().map(|peer| peer.ip()).collect();
            assert_eq!((counts(&answer), ips), ((1, 0, 1), vec![server.ip()]), "{header}");
        }
        for port in [1, 2] {
            get_closing(server, &announce_target(0, &format!("port={port}&event=stopped")), "").bencode();
        }
    }
    assert_eq!(get_closing(tracker.http(), "/stats", "X-Forwarded-For: 192.0.2.1\r\n").status, 200);
}

/// Announces as a proxy does, with these lines in the head.
#[track_caller]
fn forward(server: SocketAddr, n: u8, lines: &str) -> Reply {
    get_closing(server, &announce_target(n, "port=7&left=0"), lines)
}

/// The address of the peer with port 7 as another peer is told it. Both leave afterwards.
#[track_caller]
fn announced_at(server: SocketAddr, n: u8, lines: &str) -> String {
    let other = if server.is_ipv4() { "X-Forwarded-For: 198.51.100.1\r\n" } else { "X-Forwarded-For: 2001:db8::9\r\n" };
    forward(server, n, lines).bencode();
    let answer = get_closing(server, &announce_target(n, "port=9&left=1"), other).bencode();
    let found: Vec<_> = peers(&answer).into_iter().filter(|peer| peer.port() == 7).collect();
    get_closing(server, &announce_target(n, "port=9&event=stopped"), other).bencode();
    let gone = get_closing(server, &announce_target(n, "port=7&event=stopped"), lines).bencode();
    assert_eq!((counts(&gone), found.len()), ((0, 0, 0), 1), "{lines}");
    found[0].ip().to_string()
}

fn the_rightmost_address_that_is_not_a_proxy_is_that_of_the_client() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).run();
    for &server in tracker.https() {
        for (lines, expected) in [
            ("X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
            ("x-forwarded-for: 6.6.6.6,192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: nonsense, 192.0.2.1 ,10.1.2.3, 127.0.0.7", "192.0.2.1"),
            ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1:4567, ::ffff:10.0.0.1", "192.0.2.1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: 10.0.0.7, 10.0.0.8", "10.0.0.7"),
            ("X-Forwarded-For: 2001:db8::1", "2001:db8::1"),
            ("X-Forwarded-For: ::9, [2001:db8::1], [::1]:80", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]:4567", "2001:db8::1"),
        ] {
            let lines = format!("{lines}\r\n");
            if serves(expected.parse().unwrap()) {
                assert_eq!(announced_at(server, 0, &lines), expected, "{lines}");
            } else {
                let refused = forward(server, 0, &lines).failure();
                assert_eq!(refused, "This tracker does not serve your address family.", "{lines}");
            }
        }
    }
}

const REFUSED: (u16, &str) = (400, "<title>400 Invalid Parameter</title>\n");

/// Pages that this build has, for which the address of the client is asked.
fn pages() -> Vec<String> {
    let paths = ["/stats", "/stats?mode=everything", "/stats?mode=top10", "/stats?mode=tpbs", "/scrape", "/metrics"];
    let paths = paths.into_iter().filter(|path| match *path {
        "/metrics" => has("metrics"),
        "/scrape" | "/stats?mode=tpbs" => has("fullscrape"),
        _ => true,
    });
    paths.map(str::to_owned).chain([scrape_target([0])]).collect()
}

fn a_proxy_whose_header_is_unclear_is_refused() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).run();
    for &server in tracker.https() {
        for lines in [
            "X-Forwarded-For:\r\n",
            "X-Forwarded-For: , ,\r\n",
            "X-Forwarded-For: unknown\r\n",
            "X-Forwarded-For: 192.0.2.1, unknown\r\n",
            "X-Forwarded-For: 192.0.2.1, 2001:db8::1::, 10.0.0.1\r\n",
            "X-Forwarded-For: 192.0.2.256\r\n",
            "X-Forwarded-For: 192.0.2.1:99999\r\n",
            "X-Forwarded-For: \u{e9}\r\n",
        ] {
            for target in pages().iter().chain([&announce_target(0, "port=7&left=0")]) {
                let reply = get_closing(server, target, lines);
                assert_eq!((reply.status, reply.text().as_str()), REFUSED, "{target} {lines}");
            }
        }
    }
}

fn without_the_header_the_proxys_own_host_reads_pages_and_announces_nothing() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).run();
    for &server in tracker.https() {
        for lines in ["", "X-Real-IP: 192.0.2.1\r\n", "Forwarded: for=192.0.2.1\r\n"] {
            for page in pages() {
                assert_eq!(get_closing(server, &page, lines).status, 200, "{page} {lines}");
            }
            let reply = forward(server, 0, lines);
            assert_eq!((reply.status, reply.text().as_str()), REFUSED, "{lines}");
        }
        let other = if server.is_ipv4() { "192.0.2.9" } else { "2001:db8::9" };
        let lines = format!("X-Forwarded-For: {other}\r\n");
        let answer = get_closing(server, &announce_target(0, "port=9&left=1"), &lines).bencode();
        assert_eq!((counts(&answer), peers(&answer)), ((0, 0, 1), vec![]), "the proxy is no peer");
        get_closing(server, &announce_target(0, "port=9&event=stopped"), &lines).bencode();
    }
}

fn the_header_is_ignored_if_it_does_not_come_from_a_proxy() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config("access.proxy 127.0.0.0/29\naccess.proxy 2001:db8::/32\n").run();
    for &server in tracker.https() {
        for value in ["192.0.2.1", "2001:db8::1", "nonsense", "127.0.0.1, 127.0.0.2"] {
            let headers = format!("X-Forwarded-For: {value}\r\n");
            for port in [7, 9] {
                let target = announce_target(server.is_ipv6().into(), &format!("port={port}&left=1"));
                let answer = get_from(client(server.ip(), 9), server, &target, &headers).bencode();
                let found: Vec<_> = peers(&answer).iter().map(|peer| peer.ip()).collect();
                assert!(found.iter().all(|ip| *ip == client(server.ip(), 9)), "{value}: {found:?}");
            }
        }
    }
}

fn the_header_may_have_another_name() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).config("access.proxy_header CF-Connecting-IP\n").run();
    for &server in tracker.https() {
        let (other, seen) = if server.is_ipv4() { ("192.0.2.9", "192.0.2.1") } else { ("2001:db8::9", "2001:db8::1") };
        let announce = |parameters: &str, ip: &str| {
            let lines = format!("X-Forwarded-For: 6.6.6.6\r\nCF-Connecting-IP: {ip}\r\n");
            get_closing(server, &announce_target(0, parameters), &lines).bencode()
        };
        announce("port=7&left=0", seen);
        let found = peers(&announce("port=9&left=1", other));
        assert!(found.contains(&SocketAddr::new(seen.parse().unwrap(), 7)), "{found:?}");
        announce("port=7&event=stopped", seen);
        announce("port=9&event=stopped", other);
        assert_eq!(forward(server, 0, "X-Forwarded-For: 192.0.2.1\r\n").status, 400);
    }
}

fn the_address_in_the_query_overrides_the_header() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).run();
    for &server in tracker.https() {
        let (asked, forwarded) =
            if server.is_ipv4() { ("192.0.2.1", "192.0.2.2") } else { ("2001:db8::1", "2001:db8::2") };
        let target = announce_target(0, &format!("port=7&left=0&ip={asked}"));
        for lines in ["X-Forwarded-For: unknown\r\n", ""] {
            let status = get_closing(server, &target, lines).status;
            assert_eq!(status, if has("ip-from-query") { 200 } else { 400 }, "{lines}");
            get_closing(server, &format!("{target}&event=stopped"), "");
        }
        let lines = format!("X-Forwarded-For: {forwarded}\r\n");
        get_closing(server, &target, &lines).bencode();
        let found = peers(&get_closing(server, &announce_target(0, "port=9&left=1"), &lines).bencode());
        let expected = if has("ip-from-query") { asked } else { forwarded };
        let found: Vec<_> = found.iter().filter(|peer| peer.port() == 7).map(|peer| peer.ip().to_string()).collect();
        assert_eq!(found, [expected]);
        get_closing(server, &format!("{target}&event=stopped"), &lines).bencode();
        get_closing(server, &announce_target(0, "port=9&event=stopped"), &lines).bencode();
    }
}

fn a_proxys_connection_stays_open_without_being_asked() {
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config(PROXIES).run();
    for &server in tracker.https() {
        let torrent = server.is_ipv6().into();
        let mut connection = Connection::open(server);
        // Several clients share it.
        for n in 1..=3 {
            let ip = if server.is_ipv4() { format!("192.0.2.{n}") } else { format!("2001:db8::{n}") };
            let lines = format!("X-Forwarded-For: {ip}\r\n");
            connection.send(request(&announce_target(torrent, "port=7&left=0"), &lines));
            let reply = connection.reply();
            assert_eq!(reply.header("connection"), Some("keep-alive"));
            assert_eq!(counts(&reply.bencode()), (n, 0, 0));
            connection.send(request(&announce_target(2, "port=7&event=stopped"), &lines));
            connection.reply().bencode();
        }
        // Whatever the reply is, but for one to what is no request.
        for (target, lines, status) in [
            (scrape_target([0]), "", 200),
            (announce_target(0, "port=7"), "", 400),
            (announce_target(0, "port=7"), "X-Forwarded-For: unknown\r\n", 400),
            ("/nowhere".into(), "", 404),
        ] {
            connection.send(request(&target, lines));
            let reply = connection.reply();
            assert_eq!((reply.status, reply.header("connection")), (status, Some("keep-alive")), "{target}");
        }
        connection.send(format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", scrape_target([0])));
        assert_eq!(connection.reply().header("connection"), Some("keep-alive"));
        for last in
            ["HTTP/1.1\r\nConnection: close\r\n", "HTTP/1.1\r\nConnection: keep-alive, close\r\n", "HTTP/1.0\r\n"]
        {
            let mut connection = Connection::open(server);
            connection.send(request("/nowhere", ""));
            assert_eq!(connection.reply().header("connection"), Some("keep-alive"));
            let reply = connection.ask_last(format!("GET {} {last}\r\n", scrape_target([0])).as_bytes());
            assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{last}");
        }
        for last in [request("/stats", ""), "POST / HTTP/1.1\r\n\r\n".into(), "nonsense\r\n\r\n".into()] {
            let reply = connection.ask_last(last.as_bytes());
            assert_eq!(reply.header("connection"), Some("close"), "{last}");
            connection = Connection::open(server);
        }
        // Others have to ask for it, whatever they say of themselves.
        if server.is_ipv4() {
            let reply = get_from(client(server.ip(), 9), server, &scrape_target([0]), "X-Forwarded-For: 127.0.0.1\r\n");
            assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        }
    }
}

/// A proxy keeps more than its share of connections, and loses none while others make room.
fn under_pressure_a_proxys_connections_do_not_count_as_those_of_one_address() {
    only_with("ip-from-proxy");
    if !loopback().is_ipv4() {
        skip("there is one IPv6 loopback address");
    }
    let mut tracker = narrow(PROXIES).run();
    let server = tracker.http();
    let ask = request(&announce_target(0, "port=1"), "X-Forwarded-For: 192.0.2.1\r\n");
    let mut pooled: Vec<_> = (0..15).map(|_| Connection::open(server)).collect();
    for connection in &mut pooled {
        connection.send(&ask);
        connection.reply().bencode();
    }
    let silent: Vec<_> = (10..50)
        .map(|n| {
            let mut connection = Connection::open_from(client(server.ip(), n), server);
            connection.try_send(b"G");
            connection
        })
        .collect();
    tracker.wait_for_log("TCP connections are in use");
    let open = || silent.iter().filter(|connection| !connection.is_closed()).count();
    assert!(wait_until(|| (open() <= 5).then_some(())).is_some(), "{} are open", open());
    for connection in &mut pooled {
        connection.send(&ask);
        connection.reply().bencode();
    }
}

/// A client that has many pages brought to it makes room, and not others whose pages the same proxy brings.
fn a_proxys_connections_count_for_the_clients_whose_replies_they_bring() {
    only_with("ip-from-proxy");
    only_with("fullscrape");
    let config = format!("{PROXIES}limits.connections_per_address 2\n");
    let tracker = tracker_of_many(Start::loopback().config(&config), 20_000);
    let server = tracker.http();
    let bring = |client: &str| {
        let mut connection = Connection::open_narrow(server);
        connection.send(request("/scrape", &format!("Connection: close\r\nX-Forwarded-For: {client}\r\n")));
        assert!(wait_until(|| connection.has_something().then_some(())).is_some());
        connection
    };
    let mut of_other = bring("192.0.2.9");
    let mut of_one: Vec<_> = (0..5).map(|_| bring("192.0.2.1")).collect();
    // The last chunk is empty (RFC 9112, section 7.1).
    let is_whole = |connection: &mut Connection| connection.rest().ends_with(b"\r\n0\r\n\r\n");
    assert_eq!(of_one.iter_mut().filter_map(|one| is_whole(one).then_some(())).count(), 2);
    assert!(is_whole(&mut of_other));
}
