//! `spot-woodpecker`: counts for each network how often its peers come back too soon.

use std::net::SocketAddr;

use super::restrict_stats;
use crate::clients::http::{get, get_from};
use crate::clients::udp::{Announce, Client, STOPPED};
use crate::flavour::{info_hash, loopback, only_with, only_without};
use crate::harness::{skip, tests};
use crate::http::{announce, announce_target, scrape_target};
use crate::process::clocks::{Clocks, at_the_beginning_of_a_minute};
use crate::stats::networks_page;
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_page_is_not_there_and_says_which_feature_is_missing,
    the_page_is_empty_before_anybody_comes_back,
    peers_that_come_back_too_soon_over_both_protocols_count_for_their_network,
    the_network_whose_peers_come_back_most_often_comes_first,
    clients_that_may_not_read_the_statistics_may_not_read_the_page,
];

const PAGE: &str = "/stats?mode=woodpeckers";

fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    only_without("spot-woodpecker");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    let reply = get(tracker.http(), PAGE);
    assert_eq!(reply.status, 404);
    assert_eq!(reply.text(), "<title>404 Not Found: this build does not have the feature spot-woodpecker</title>\n");
}

/// The page with these rows for the longer and the shorter prefix of each family.
fn page(ipv4: [&str; 2], ipv6: [&str; 2]) -> String {
    networks_page([(24, ipv4[0]), (16, ipv4[1])], [(48, ipv6[0]), (32, ipv6[1])])
}

#[track_caller]
fn woodpeckers(server: SocketAddr) -> String {
    let reply = get(server, PAGE);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain")));
    reply.text()
}

fn the_page_is_empty_before_anybody_comes_back() {
    only_with("spot-woodpecker");
    let (_clocks, start) = at_the_beginning_of_a_minute(Start::loopback());
    let tracker = start.run();
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        // Who comes, comes again in the same minute, and leaves, has not come back.
        let client = Client::new(udp);
        for event in [0, 0, STOPPED, 0] {
            client.announce(&Announce::leecher(info_hash(0), 1).event(event));
        }
        announce(http, 0, "port=2");
        get(http, &scrape_target([0]));
        assert_eq!(woodpeckers(http), page(["", ""], ["", ""]));
    }
}

fn peers_that_come_back_too_soon_over_both_protocols_count_for_their_network() {
    only_with("spot-woodpecker");
    let (clocks, start) = at_the_beginning_of_a_minute(Start::loopback());
    let tracker = start.run();
    let all_announce = |clocks: &Clocks, minutes: i64| {
        clocks.sleep(60 * minutes);
        for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
            announce(http, 0, "port=1");
            // An id that is good at this time.
            Client::new(udp).announce(&Announce::leecher(info_hash(0), 2));
        }
        woodpeckers(tracker.http())
    };
    assert_eq!(all_announce(&clocks, 0), page(["", ""], ["", ""]));
    let (ipv4, ipv6) = ("00000002: 127.0.0.0\n", "00000002: ::\n");
    assert_eq!(all_announce(&clocks, 10), page([ipv4, ipv4], [ipv6, ipv6]));
    // They have been away for long enough, and what they did before is over.
    assert_eq!(all_announce(&clocks, 40), page(["", ""], ["", ""]));
}

fn the_network_whose_peers_come_back_most_often_comes_first() {
    only_with("spot-woodpecker");
    if !loopback().is_ipv4() {
        skip("this build serves IPv6 alone, and a machine has only one IPv6 loopback address");
    }
    let (clocks, start) = at_the_beginning_of_a_minute(Start::minimal().listen(loopback()));
    let tracker = start.run();
    let server = tracker.http();
    let hosts = [([127, 0, 0, 1], 1), ([127, 0, 1, 1], 3), ([127, 0, 1, 255], 2), ([127, 1, 0, 1], 2)];
    for minutes in [0, 5] {
        clocks.sleep(60 * minutes);
        for (host, peers) in hosts {
            for port in 1..=peers {
                get_from(host.into(), server, &announce_target(0, &format!("port={port}")), "").bencode();
            }
        }
    }
    let networks = "00000005: 127.0.1.0\n00000002: 127.1.0.0\n00000001: 127.0.0.0\n";
    let expected = page([networks, "00000006: 127.0.0.0\n00000002: 127.1.0.0\n"], ["", ""]);
    assert_eq!(woodpeckers(server), expected);
}

fn clients_that_may_not_read_the_statistics_may_not_read_the_page() {
    only_with("spot-woodpecker");
    only_with("restrict-stats");
    let tracker = restrict_stats::closed().run();
    for &http in tracker.https() {
        assert_eq!(get(http, PAGE).status, 403);
    }
}
