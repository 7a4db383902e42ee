//! `log-networks`: counts requests by network.

use std::net::SocketAddr;

use crate::clients::http::{get, get_closing, get_from};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, loopback, only_with, only_without};
use crate::harness::{skip, tests};
use crate::http::{announce, announce_target, scrape_target};
use crate::stats::networks_page;
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_page_is_not_there_and_says_which_feature_is_missing,
    the_page_is_empty_before_the_first_announce,
    announces_and_scrapes_of_both_protocols_are_counted_by_network,
    full_scrapes_are_counted,
    the_busiest_network_comes_first,
    clients_behind_a_proxy_have_networks_of_their_own,
];

fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    only_without("log-networks");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    let reply = get(tracker.http(), "/stats?mode=busy");
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("log-networks") && reply.text().lines().count() == 1, "{}", reply.text());
}

/// The page with these rows for the longer and the shorter prefix of each family.
fn busy_page(ipv4: [&str; 2], ipv6: [&str; 2]) -> String {
    networks_page([(24, ipv4[0]), (16, ipv4[1])], [(48, ipv6[0]), (32, ipv6[1])])
}

#[track_caller]
fn busy(server: SocketAddr) -> String {
    let reply = get(server, "/stats?mode=busy");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain")));
    reply.text()
}

fn the_page_is_empty_before_the_first_announce() {
    only_with("log-networks");
    let tracker = Tracker::start(&[]);
    for _ in 0..2 {
        assert_eq!(busy(tracker.http()), busy_page(["", ""], ["", ""]), "statistics are not counted");
    }
}

fn announces_and_scrapes_of_both_protocols_are_counted_by_network() {
    only_with("log-networks");
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        announce(http, 0, "port=1");
        announce(http, 0, "port=1&event=stopped");
        get(http, &scrape_target([0, 1])).bencode();
        get(http, "/nowhere");
        let client = Client::new(udp);
        client.announce(&Announce::leecher(info_hash(0), 1));
        client.scrape(&[info_hash(0), info_hash(1)]);
    }
    let ipv4 = "00000005: 127.0.0.0\n";
    let ipv6 = "00000005: ::\n";
    assert_eq!(busy(tracker.http()), busy_page([ipv4, ipv4], [ipv6, ipv6]));
}

fn full_scrapes_are_counted() {
    only_with("log-networks");
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    for &http in tracker.https() {
        assert_eq!(get(http, "/scrape").status, 200);
    }
    let (ipv4, ipv6) = ("00000001: 127.0.0.0\n", "00000001: ::\n");
    assert_eq!(busy(tracker.http()), busy_page([ipv4, ipv4], [ipv6, ipv6]));
}

fn the_busiest_network_comes_first() {
    only_with("log-networks");
    if !loopback().is_ipv4() {
        skip("this build serves IPv6 alone, and a machine has only one IPv6 loopback address");
    }
    let tracker = Start::minimal().listen(loopback()).run();
    let server = tracker.http();
    for (host, times) in [([127, 0, 0, 1], 1), ([127, 0, 1, 1], 3), ([127, 0, 1, 255], 2), ([127, 1, 0, 1], 2)] {
        for _ in 0..times {
            get_from(host.into(), server, &announce_target(0, "port=1"), "").bencode();
        }
    }
    let networks = "00000005: 127.0.1.0\n00000002: 127.1.0.0\n00000001: 127.0.0.0\n";
    let expected = busy_page([networks, "00000006: 127.0.0.0\n00000002: 127.1.0.0\n"], ["", ""]);
    assert_eq!(busy(server), expected);
}

/// The network of the proxy does not matter.
fn clients_behind_a_proxy_have_networks_of_their_own() {
    only_with("log-networks");
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config("access.proxy 127.0.0.1\naccess.proxy ::1\n").run();
    let lines = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    for &server in tracker.https() {
        for ip in ["192.0.2.1", "::ffff:192.0.2.200", "192.0.3.1", "2001:db8:1:2::3", "2001:db8:1:4::5", "2001:db8:2::"]
        {
            get_closing(server, &announce_target(0, "port=1"), &lines(ip));
        }
        assert_eq!(get_closing(server, &announce_target(0, "port=1"), "").status, 400, "nor is this counted");
    }
    let count = |n: usize| format!("{:08}", n * tracker.https().len());
    let row = |n: usize, network: &str| format!("{}: {network}\n", count(n));
    let ipv4 = [row(2, "192.0.2.0") + &row(1, "192.0.3.0"), row(3, "192.0.0.0")];
    let ipv6 = [row(2, "2001:db8:1::") + &row(1, "2001:db8:2::"), row(3, "2001:db8::")];
    let expected = busy_page([&ipv4[0], &ipv4[1]], [&ipv6[0], &ipv6[1]]);
    let shown = get_closing(tracker.http(), "/stats?mode=busy", &lines(&tracker.http().ip().to_string()));
    assert_eq!(shown.text(), expected);
}
