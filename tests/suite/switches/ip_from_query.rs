//! `ip-from-query`: the address in the query of an announce is believed.

use std::net::{IpAddr, SocketAddr};

use crate::clients::bencode::Value;
use crate::clients::http::{get, percent};
use crate::flavour::{only_with, only_without, serves};
use crate::harness::tests;
use crate::http::{announce, announce_target, counts, peers};
use crate::tracker::Tracker;

tests![
    without_it_the_address_in_the_query_is_ignored,
    the_address_in_the_query_is_believed,
    of_several_addresses_the_first_that_fits_is_taken,
    what_clients_say_unasked_may_make_no_sense,
    malformed_addresses_are_refused,
];

fn without_it_the_address_in_the_query_is_ignored() {
    only_without("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let ips = |answer: &Value| peers(answer).iter().map(|peer| peer.ip()).collect::<Vec<IpAddr>>();
        for ip in ["192.0.2.1", "2001:db8::1", "127.0.0.9", "nonsense", "", "%zz"] {
            announce(server, 0, &format!("port=1&left=0&ip={ip}&ipv4={ip}&ipv6={ip}"));
            let answer = announce(server, 0, &format!("ip={ip}&ipv4={ip}&ipv6={ip}&port=2&left=1"));
            assert_eq!((counts(&answer), ips(&answer)), ((1, 0, 1), vec![server.ip()]), "{ip}");
        }
        announce(server, 0, "port=1&event=stopped");
        announce(server, 0, "port=2&event=stopped");
    }
}

/// What another client is told of the peer of an announce with these parameters in torrent `n`, without those that
/// announce port 9. Both leave afterwards.
#[track_caller]
fn announced_at(server: SocketAddr, n: u8, parameters: &str) -> Vec<String> {
    get(server, &announce_target(n, &format!("port=7&left=0&{parameters}"))).bencode();
    let found = peers(&announce(server, n, "port=9&left=1"));
    get(server, &announce_target(n, &format!("port=7&{parameters}&event=stopped"))).bencode();
    assert_eq!(counts(&announce(server, n, "port=9&event=stopped")), (0, 0, 0), "{parameters}");
    found.iter().filter(|peer| peer.port() != 9).map(ToString::to_string).collect()
}

/// The first of these endpoints whose family this build serves, else the client's own at port 7.
fn first_served(server: SocketAddr, endpoints: &[&str]) -> String {
    let mut parsed = endpoints.iter().map(|endpoint| endpoint.parse::<SocketAddr>().unwrap());
    parsed.find(|endpoint| serves(endpoint.ip())).unwrap_or(SocketAddr::new(server.ip(), 7)).to_string()
}

fn the_address_in_the_query_is_believed() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for (ip, expected) in [
            ("192.0.2.1", "192.0.2.1:7"),
            ("192%2e0.2.%31", "192.0.2.1:7"),
            ("2001:db8::1", "[2001:db8::1]:7"),
            ("[2001:db8::1]", "[2001:db8::1]:7"),
            (&percent(b"[2001:DB8::1]"), "[2001:db8::1]:7"),
        ] {
            for key in ["ip", if expected.starts_with('[') { "ipv6" } else { "ipv4" }] {
                let found = announced_at(server, 0, &format!("{key}={ip}"));
                assert_eq!(found, [first_served(server, &[expected])], "{key}={ip}");
            }
        }
    }
}

fn of_several_addresses_the_first_that_fits_is_taken() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let (ipv4, ipv6) = ("192.0.2.1:7", "[2001:db8::1]:7");
        let own_family_first = if server.is_ipv4() { [ipv4, ipv6] } else { [ipv6, ipv4] };
        for (parameters, expected) in [
            ("ip=192.0.2.1&ip=2001:db8::1", &[ipv6, ipv4][..]),
            ("ip=2001:db8::1&ip=192.0.2.1", &[ipv4, ipv6]),
            ("ip=192.0.2.99&ip=192.0.2.1&ipv4=192.0.2.98", &[ipv4]),
            ("ipv6=2001:db8::1&ip=192.0.2.1", &[ipv4, ipv6]),
            ("ip=2001:db8::1&ipv4=192.0.2.1&ipv6=2001:db8::2", &[ipv6, ipv4]),
            ("ipv4=192.0.2.1&ipv6=2001:db8::1", &own_family_first),
            ("ipv6=2001:db8::1&ipv4=192.0.2.1", &own_family_first),
            ("ipv4=192.0.2.1", &[ipv4]),
            ("ipv6=2001:db8::1", &[ipv6]),
            ("ipv6=[2001:db8::1]:77&ipv4=192.0.2.1", &if server.is_ipv4() { [ipv4] } else { ["[2001:db8::1]:77"] }),
            ("ipv4=192.0.2.1:77&ipv6=nonsense", &["192.0.2.1:77"]),
        ] {
            assert_eq!(announced_at(server, 0, parameters), [first_served(server, expected)], "{parameters}");
        }
    }
}

fn what_clients_say_unasked_may_make_no_sense() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for parameters in ["ipv6=", "ipv6=fe80::1%25eth0", "ipv4=localhost&ipv6", "ipv4=2001:db8::1", "ipv6=192.0.2.1"]
        {
            assert_eq!(announced_at(server, 0, parameters), [SocketAddr::new(server.ip(), 7).to_string()]);
        }
    }
}

fn malformed_addresses_are_refused() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for ip in ["", "localhost", "192.0.2", "192.0.2.1:7", "[::1]:7", "%zz", "%00", "192.0.2.1&ip=", "&ip=192.0.2.1"]
        {
            let reply = get(server, &announce_target(0, &format!("port=7&left=0&ip={ip}")));
            assert_eq!((reply.status, reply.text()), (400, "<title>400 Invalid Parameter</title>\n".into()), "{ip}");
        }
        assert_eq!(counts(&announce(server, 0, "port=9&left=1")), (0, 0, 1), "{server}");
        announce(server, 0, "port=9&event=stopped");
        assert_eq!(get(server, "/stats?ip=nonsense").status, 200, "there it means nothing");
    }
}
