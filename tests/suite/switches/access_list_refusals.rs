//! How both access lists refuse a torrent: when the client may ask again is said, in whatever way the protocol has.

use super::access_list::{REFUSAL, key, list, listing, only_with_an_access_list, reload, replace};
use super::{needs_a_build_with, refuses_key};
use crate::clients::http::get;
use crate::clients::udp::{ANNOUNCE, Announce, COMPLETED, Client, STARTED, STOPPED, assert_header};
use crate::flavour::{has, info_hash};
use crate::harness::{skip, tests};
use crate::http::{announce, announce_target};
use crate::tracker::{Start, Tracker};

tests![
    without_a_list_there_is_nothing_to_say_of_refusals,
    a_refusal_over_http_says_after_how_long_to_ask_again,
    a_refusal_over_udp_is_an_error_or_an_empty_reply,
    a_reload_changes_who_is_refused_and_not_how,
    other_refusals_say_nothing_of_when_to_ask_again,
    what_is_no_time_or_no_way_to_refuse_stops_the_start,
];

/// Configurations, and what a refusal says by them: the interval, and `retry in` as it is bencoded.
const TIMES: [(&str, u32, &str); 5] = [
    ("", 3600, "i60e"),
    ("access.refusal_minutes 1\n", 60, "i1e"),
    ("access.refusal_minutes 90\n", 5400, "i90e"),
    ("access.refusal_minutes 1440\n", 86_400, "i1440e"),
    ("access.refusal_minutes never\n", 86_400, "5:never"),
];

/// The features that refuse by a list.
const FEATURES: &str = "accesslist-black or accesslist-white or client-ids";

/// A tracker that serves torrent 1 and refuses torrent 2, with this in its configuration besides.
fn refusing(key: &str, config: &str) -> Start {
    listing(key, &list(&[1], &[2])).config(config)
}

/// What a refusal over HTTP is, byte for byte.
fn over_http(interval: u32, retry: &str) -> String {
    format!("d14:failure reason63:{REFUSAL}8:intervali{interval}e8:retry in{retry}e")
}

/// What a refusal over UDP is, byte for byte, if it is an empty reply.
fn empty(transaction: u32, interval: u32) -> Vec<u8> {
    [ANNOUNCE, transaction, interval, 0, 0].map(u32::to_be_bytes).concat()
}

/// The number of announces that the tracker has refused because of its list.
fn refused(tracker: &Tracker, protocol: &str) -> u64 {
    let page = get(tracker.http(), "/metrics").text();
    let mark = format!("opentracker_errors_total{{protocol=\"{protocol}\",kind=\"not_admitted\",");
    let rows = page.lines().filter(|line| line.starts_with(&mark));
    rows.map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn without_a_list_there_is_nothing_to_say_of_refusals() {
    if key().is_some() || has("client-ids") {
        skip("this build has a list that refuses");
    }
    for (key, value) in [("access.refusal_minutes", "never"), ("access.refusal_over_udp", "empty")] {
        refuses_key(FEATURES, key, value);
    }
    let minutes = Start::minimal().args(["--check-config"]).config("[access]\nrefusal_minutes = 60\n");
    minutes.finish().refuses(2, &[&needs_a_build_with(FEATURES)]);
}

fn a_refusal_over_http_says_after_how_long_to_ask_again() {
    let key = only_with_an_access_list();
    for (config, interval, retry) in TIMES {
        let tracker = refusing(key, config).run();
        for &server in tracker.https() {
            for event in ["", "&event=started", "&event=completed", "&event=stopped"] {
                let reply = get(server, &announce_target(2, &format!("port=2&left=0{event}")));
                assert_eq!((reply.status, reply.text()), (200, over_http(interval, retry)), "{config}");
                reply.refusal();
            }
            announce(server, 1, "port=1&left=1");
        }
    }
}

fn a_refusal_over_udp_is_an_error_or_an_empty_reply() {
    let key = only_with_an_access_list();
    for (config, interval, retry) in TIMES {
        for (over_udp, is_empty) in [("", false), ("error", false), ("empty", true)] {
            let over_udp = if over_udp.is_empty() { "" } else { &format!("access.refusal_over_udp {over_udp}\n") };
            let tracker = refusing(key, &format!("{config}{over_udp}# the end\n")).run();
            for &server in tracker.udps() {
                let client = Client::new(server);
                for event in [0, COMPLETED, STARTED, STOPPED] {
                    let refused = Announce::seeder(info_hash(2), 1).event(event);
                    if is_empty {
                        let transaction = client.next_transaction();
                        let reply = client.exchange(&refused.packet(client.id, transaction));
                        assert_eq!(reply, empty(transaction, interval), "{config}");
                    } else {
                        assert_eq!(client.refusal(&refused), REFUSAL);
                    }
                }
                // Nobody has come of it, and what is served has its peers and its interval.
                assert_eq!(client.counts(info_hash(2)), (0, 0, 0));
                let served = client.announce(&Announce::leecher(info_hash(1), 1));
                assert!((1620..=1980).contains(&served.interval) && served.leechers > 0, "{served:?}");
            }
            // HTTP has its own way in any case.
            assert_eq!(get(tracker.http(), &announce_target(2, "port=2")).text(), over_http(interval, retry));
            let many = 4 * tracker.udps().len() as u64;
            if has("metrics") {
                assert_eq!((refused(&tracker, "udp"), refused(&tracker, "http")), (many, 1), "a refusal all the same");
            }
        }
    }
}

fn a_reload_changes_who_is_refused_and_not_how() {
    let key = only_with_an_access_list();
    let config = "access.refusal_minutes 90\naccess.refusal_over_udp empty\n";
    let tracker = refusing(key, config).run();
    let client = Client::new(tracker.udp());
    let is_refused = |n: u8| {
        let transaction = client.next_transaction();
        let reply = client.exchange(&Announce::leecher(info_hash(n), 1).packet(client.id, transaction));
        assert_header(&reply, ANNOUNCE, transaction);
        let over_udp = reply == empty(transaction, 5400);
        let over_http = get(tracker.http(), &announce_target(n, "port=1")).text() == self::over_http(5400, "i90e");
        assert_eq!(over_udp, over_http, "torrent {n}");
        over_udp
    };
    assert_eq!([1, 2].map(is_refused), [false, true]);
    replace(&tracker, &list(&[2], &[1]));
    reload(&tracker);
    assert_eq!([1, 2].map(is_refused), [true, false]);
}

fn other_refusals_say_nothing_of_when_to_ask_again() {
    let key = only_with_an_access_list();
    let config = "access.refusal_minutes never\naccess.refusal_over_udp empty\nlimits.torrents 1\n";
    let tracker = listing(key, &list(&[1, 3], &[2])).config(config).run();
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    let full = "This tracker is full. Please try again later.";
    assert_eq!(client.refusal(&Announce::leecher(info_hash(3), 1)), full);
    assert_eq!(get(tracker.http(), &announce_target(3, "port=1")).failure(), full);
    let nameless = get(tracker.http(), "/announce?port=1").failure();
    assert!(nameless.contains("info_hash"), "{nameless}");
    get(tracker.http(), &announce_target(2, "port=1")).refusal();
}

fn what_is_no_time_or_no_way_to_refuse_stops_the_start() {
    only_with_an_access_list();
    let check = |text: &str| Start::minimal().args(["--check-config"]).config(text).finish();
    for value in ["1", "1440", "never"] {
        check(&format!("access.refusal_minutes {value}\n")).succeeds();
    }
    check("[access]\nrefusal_minutes = 1\nrefusal_over_udp = \"empty\"\n").succeeds();
    check("[access]\nrefusal_minutes = 'never'\nrefusal_over_udp = 'error'\n").succeeds();
    for (value, found) in [("= 0", "0"), ("= 1441", "1441"), ("always", "\"always\""), ("= '60'", "\"60\"")] {
        let said =
            format!("access.refusal_minutes (line 1) takes a whole number from 1 to 1440, or \"never\", not {found}");
        check(&format!("access.refusal_minutes {value}\n")).refuses(2, &[&said]);
    }
    let said = "access.refusal_over_udp (line 1) takes \"error\" or \"empty\", not \"drop\"";
    check("access.refusal_over_udp drop\n").refuses(2, &[said]);
    check("access.refusal_over_udp = 'drop'\n").refuses(2, &[said]);
}
