//! `log-numwant`: counts how many peers announces ask for.

use std::net::SocketAddr;

use super::restrict_stats;
use crate::clients::http::{get, head};
use crate::clients::udp::{Announce, Client, STOPPED};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce, announce_target, scrape_target};
use crate::tracker::Tracker;

tests![
    without_it_its_page_is_not_there_and_says_which_feature_is_missing,
    the_page_has_a_row_for_each_number_before_anybody_has_asked,
    announces_of_both_protocols_are_counted_by_what_they_ask_for,
    what_is_no_announce_asks_for_nothing,
    clients_that_may_not_read_the_statistics_may_not_read_the_page,
];

const PAGE: &str = "/stats?mode=numwants";

fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    only_without("log-numwant");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1&numwant=7");
    let reply = get(tracker.http(), PAGE);
    assert_eq!(reply.status, 404);
    assert_eq!(reply.text(), "<title>404 Not Found: this build does not have the feature log-numwant</title>\n");
}

/// The page with these rows, and zeros in all others.
fn page_with(rows: &[(usize, usize)]) -> String {
    let announces = |wanted| rows.iter().find(|row| row.0 == wanted).map_or(0, |row| row.1);
    (0..=200).map(|wanted| format!("{wanted:03} => {}\n", announces(wanted))).collect()
}

#[track_caller]
fn numwants(server: SocketAddr) -> String {
    let reply = get(server, PAGE);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain")));
    reply.text()
}

fn the_page_has_a_row_for_each_number_before_anybody_has_asked() {
    only_with("log-numwant");
    let tracker = Tracker::start(&[]);
    for &http in tracker.https() {
        assert_eq!(numwants(http), page_with(&[]));
    }
}

fn announces_of_both_protocols_are_counted_by_what_they_ask_for() {
    only_with("log-numwant");
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        for wanted in
            ["", "&numwant=-1", "&numwant=0&event=stopped", "&numwant=7", "&numwant=200", "&numwant=9999999999"]
        {
            announce(http, 0, &format!("port=1{wanted}"));
        }
        let client = Client::new(udp);
        for num_want in [-1, 0, 7, 201] {
            client.announce(&Announce { num_want, ..Announce::leecher(info_hash(0), 1) });
        }
        client.announce(&Announce { num_want: 30, ..Announce::leecher(info_hash(0), 1) }.event(STOPPED));
    }
    let families = tracker.https().len();
    let per_family = [(0, 2), (7, 2), (30, 1), (50, 2), (200, 4)];
    assert_eq!(numwants(tracker.http()), page_with(&per_family.map(|(wanted, times)| (wanted, times * families))));
}

fn what_is_no_announce_asks_for_nothing() {
    only_with("log-numwant");
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        get(http, &scrape_target([0]));
        assert_eq!(get(http, &announce_target(0, "port=1&numwant=x")).status, 400);
        assert_eq!(get(http, "/announce?port=1&numwant=7").status, 200, "a failure, for want of an info hash");
        assert_eq!(head(http, &announce_target(0, "port=1&numwant=7")).status, 200);
        let mut client = Client::new(udp);
        client.scrape(&[info_hash(0)]);
        client.id ^= 1;
        client.exchange(&Announce { num_want: 7, ..Announce::leecher(info_hash(0), 1) }.packet(client.id, 1));
    }
    assert_eq!(numwants(tracker.http()), page_with(&[]));
}

fn clients_that_may_not_read_the_statistics_may_not_read_the_page() {
    only_with("log-numwant");
    only_with("restrict-stats");
    let tracker = restrict_stats::closed().run();
    for &http in tracker.https() {
        assert_eq!(get(http, PAGE).status, 403);
    }
}
