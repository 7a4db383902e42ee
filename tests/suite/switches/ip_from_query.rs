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
    malformed_addresses_are_refused,
];

fn without_it_the_address_in_the_query_is_ignored() {
    only_without("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let ips = |answer: &Value| peers(answer).iter().map(|peer| peer.ip()).collect::<Vec<IpAddr>>();
        for ip in ["192.0.2.1", "2001:db8::1", "127.0.0.9", "nonsense", "", "%zz"] {
            announce(server, 0, &format!("port=1&left=0&ip={ip}"));
            let answer = announce(server, 0, &format!("ip={ip}&port=2&left=1"));
            assert_eq!((counts(&answer), ips(&answer)), ((1, 0, 1), vec![server.ip()]), "{ip}");
        }
        announce(server, 0, "port=1&event=stopped");
        announce(server, 0, "port=2&event=stopped");
    }
}

const NOT_SERVED: &str = "This tracker does not serve your address family.";

fn the_address_in_the_query_is_believed() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for (n, ip, expected) in [
            (0, "192.0.2.1", "192.0.2.1:7"),
            (1, "192%2e0.2.%31", "192.0.2.1:7"),
            (2, "::ffff:192.0.2.1", "192.0.2.1:7"),
            (3, "2001:db8::1", "[2001:db8::1]:7"),
            (4, "[2001:db8::1]", "[2001:db8::1]:7"),
            (5, &percent(b"[2001:DB8::1]"), "[2001:db8::1]:7"),
        ] {
            let target = announce_target(n, &format!("ip=127.0.0.77&port=7&left=0&ip={ip}"));
            if serves(expected.parse::<SocketAddr>().unwrap().ip()) {
                get(server, &target).bencode();
                let found = peers(&announce(server, n, "port=9&left=1"));
                let others: Vec<_> = found.iter().filter(|peer| peer.port() != 9).map(ToString::to_string).collect();
                assert_eq!(others, [expected], "{ip}");
            } else {
                assert_eq!(get(server, &target).failure(), NOT_SERVED, "{ip}");
            }
        }
    }
}

fn malformed_addresses_are_refused() {
    only_with("ip-from-query");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for ip in ["", "localhost", "192.0.2", "192.0.2.1:7", "[::1]:7", "%zz", "%00", "192.0.2.1&ip=", "192.0.2.1&ip"]
        {
            let reply = get(server, &announce_target(0, &format!("port=7&left=0&ip={ip}")));
            assert_eq!((reply.status, reply.text()), (400, "<title>400 Invalid Parameter</title>\n".into()), "{ip}");
        }
        assert_eq!(counts(&announce(server, 0, "port=9&left=1")), (0, 0, 1), "{server}");
        announce(server, 0, "port=9&event=stopped");
        assert_eq!(get(server, "/stats?ip=nonsense").status, 200, "there it means nothing");
    }
}
