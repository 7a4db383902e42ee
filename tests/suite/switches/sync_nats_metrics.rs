//! `sync-nats` with `metrics`: a cluster over NATS is on the page for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::metrics::{named_in, nothing_on_the_page_begins_with, page};
use super::sync_live::peer;
use super::sync_nats::{connected, member};
use super::sync_nats_bad_input::stranger::{Batch, Stranger, aged};
use crate::clients::nats::{Server, only_with_nats_server};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, loopback, only_with};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_a_server_nothing_of_it_is_on_the_page,
    changes_and_cuts_are_counted_under_the_names_that_are_documented,
    the_lag_is_the_age_of_the_newest_change,
    snapshots_are_counted_where_they_are_given_and_where_they_are_taken,
];

/// What begins the name of each.
const PREFIX: &str = "opentracker_nats_";

/// The names of a cluster over NATS: those of live sync, which FEATURES.md has, and one more.
pub(super) fn names() -> BTreeSet<String> {
    let of_live_sync = named_in("FEATURES.md").into_iter().filter(|name| name.starts_with("opentracker_sync_"));
    of_live_sync.map(|name| name.replace("_sync_", "_nats_")).chain([format!("{PREFIX}connected")]).collect()
}

/// Waits until the page has these values, and returns what it has of NATS.
#[track_caller]
fn wait_for(tracker: &Tracker, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let mut seen = BTreeMap::new();
    let all = wait_until(|| {
        let samples = page(tracker).into_iter();
        seen = samples.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value))).collect();
        expected.iter().all(|(name, value)| seen.get(*name) == Some(value)).then_some(())
    });
    assert!(all.is_some(), "{expected:?}: {seen:#?}");
    seen
}

fn without_a_server_nothing_of_it_is_on_the_page() {
    only_with("metrics");
    nothing_on_the_page_begins_with(PREFIX);
}

fn changes_and_cuts_are_counted_under_the_names_that_are_documented() {
    only_with("sync-nats");
    only_with("metrics");
    only_with_nats_server();
    let server = Server::start_to_restart();
    let (one, other) = (member(&server), member(&server));
    Client::new(one.udp()).announce(&Announce::leecher(info_hash(1), 1));
    let nothing_wrong = [
        ("connected", 1.0),
        ("reconnects_total", 0.0),
        ("gaps_total", 0.0),
        ("packets_refused_total", 0.0),
        ("packets_lost_total", 0.0),
        ("records_refused_total", 0.0),
        ("snapshots_given_total", 0.0),
        ("snapshots_taken_total", 0.0),
    ];
    let of_one = wait_for(&one, &[&nothing_wrong[..], &[("records_sent_total", 1.0)]].concat());
    let of_other = wait_for(&other, &[&nothing_wrong[..], &[("records_received_total", 1.0)]].concat());
    let found: BTreeSet<_> = of_one.keys().map(|name| format!("{PREFIX}{name}")).collect();
    assert_eq!(found, names());
    // A record has 28 bytes (IPv4) or 40.
    for (page, way) in [(&of_one, "sent"), (&of_other, "received")] {
        assert!(
            page[&format!("packets_{way}_total")] >= 1.0 && page[&format!("{way}_bytes_total")] >= 28.0,
            "{page:#?}"
        );
    }
    let port = server.kill();
    wait_for(&one, &[("connected", 0.0)]);
    let _server = Server::restart(port, &[]);
    wait_for(&one, &[("connected", 1.0), ("reconnects_total", 1.0)]);
}

fn the_lag_is_the_age_of_the_newest_change() {
    only_with("sync-nats");
    only_with("metrics");
    only_with_nats_server();
    let server = Server::start(&[]);
    let (tracker, mut stranger) = (member(&server), Stranger::new(&server));
    let told = peer(loopback(), 1);
    let lag = || page(&tracker)[&format!("{PREFIX}lag_seconds")];
    // Its sender has seen that peer 40 minutes ago: longer than all of this takes.
    const AGE: u8 = 40;
    let age = 60.0 * f64::from(AGE);
    assert!(lag() < age, "{}", lag());
    stranger.publish("changes", &Batch::first(1, &told).with(&aged(&told, AGE)));
    assert!(wait_until(|| (lag() >= age).then_some(())).is_some(), "{}", lag());
    stranger.publish("changes", &Batch { sequence: 2, ..Batch::first(1, &told) }.with(&aged(&told, 0)));
    assert!(wait_until(|| (lag() < age).then_some(())).is_some(), "{}", lag());
    stranger.publish("changes", &Batch { sequence: 3, ..Batch::first(1, &told) }.with(&aged(&told, AGE)));
    wait_for(&tracker, &[("packets_received_total", 3.0)]);
    assert!(lag() < age, "what came last is older: {}", lag());
}

fn snapshots_are_counted_where_they_are_given_and_where_they_are_taken() {
    only_with("sync-nats");
    only_with("metrics");
    only_with_nats_server();
    let server = Server::start(&[]);
    // A snapshot of 100 peers goes in several pieces, as each has no more than a second's bytes.
    let config = format!("{}sync.snapshot_rate = 500\n", server.config());
    let start = || connected(Start::loopback().config(&config));
    // It is ready after some seconds alone, and so has been up for longer.
    let donor = start();
    let client = Client::new(donor.udp());
    (1..=100).for_each(|port| _ = client.announce(&Announce::leecher(info_hash(1), port)));
    let before = Instant::now();
    let joiner = start();
    let taken = wait_for(&joiner, &[("snapshots_taken_total", 1.0), ("snapshots_given_total", 0.0)]);
    let given = wait_for(&donor, &[("snapshots_given_total", 1.0), ("snapshots_taken_total", 0.0)]);
    let longest = before.elapsed().as_secs_f64();
    for seconds in [taken["snapshots_taken_seconds_total"], given["snapshots_given_seconds_total"]] {
        assert!(seconds > 0.0 && seconds <= longest, "{seconds} of {longest}");
    }
}
