//! The intervals that clients are told, as they are configured.

use std::collections::BTreeSet;

use crate::clients::udp::{Announce, Client};
use crate::flavour::{has, info_hash};
use crate::harness::tests;
use crate::http::announce;
use crate::tracker::Start;

tests![
    a_client_is_told_the_configured_interval_give_or_take_a_tenth,
    a_client_is_told_the_configured_minimum_and_never_an_interval_below_it,
    a_cluster_allows_no_interval_after_which_others_have_forgotten_the_peer,
];

/// What clients of a tracker with this configuration are told: intervals over UDP, intervals over HTTP, and the minimum
/// that stood beside each.
fn told(config: &str) -> (BTreeSet<i64>, BTreeSet<(i64, i64)>) {
    let tracker = Start::loopback().config(config).run();
    let (mut udp, mut http) = (BTreeSet::new(), BTreeSet::new());
    for (&udp_server, &http_server) in tracker.udps().iter().zip(tracker.https()) {
        let client = Client::new(udp_server);
        for _ in 0..40 {
            udp.insert(client.announce(&Announce::leecher(info_hash(0), 1)).interval.into());
            let answer = announce(http_server, 0, "port=1&left=1");
            http.insert((answer.number("interval"), answer.number("min interval")));
        }
    }
    (udp, http)
}

fn a_client_is_told_the_configured_interval_give_or_take_a_tenth() {
    let longest = if has("sync-live") { 1800 } else { 3600 };
    for interval in [300, 1000, longest] {
        let (udp, http) = told(&format!("tracker.interval {interval}\n"));
        let fits = |told: i64| (told - interval).abs() <= interval / 10;
        assert!(udp.len() > 10 && udp.iter().all(|told| fits(*told)), "{interval}: {udp:?}");
        assert!(http.len() > 10 && http.iter().all(|(told, min)| fits(*told) && *min == told / 2), "{http:?}");
    }
}

fn a_client_is_told_the_configured_minimum_and_never_an_interval_below_it() {
    for (interval, min) in [(600, 60), (600, 580), (600, 600)] {
        let (udp, http) = told(&format!("[tracker]\ninterval = {interval}\nmin_interval = {min}\n"));
        let fits = |told: i64| (interval - interval / 10).max(min) <= told && told <= interval + interval / 10;
        assert!(udp.len() > 10 && udp.iter().all(|told| fits(*told)), "{min}: {udp:?}");
        assert!(http.len() > 10 && http.iter().all(|told| fits(told.0) && told.1 == min), "{min}: {http:?}");
    }
}

fn a_cluster_allows_no_interval_after_which_others_have_forgotten_the_peer() {
    let check = |interval: u32, cluster: &str| {
        let config = format!("tracker.interval = {interval}\n{cluster}");
        Start::needed().args(["--check-config"]).config(&config).finish()
    };
    let clusters = [
        ("sync-live", "livesync.cluster.listen = '127.0.0.1:9696'\n"),
        ("sync-nats", "sync.nats.servers = ['nats.example.org']\n"),
    ];
    for (_, cluster) in clusters.into_iter().filter(|(feature, _)| has(feature)) {
        check(1800, cluster).succeeds();
        for interval in [1801, 3600] {
            let said = format!(
                "tracker.interval is {interval}, but may be at most 1800: in a cluster (livesync.cluster.listen, \
                 sync.nats.servers) the others forget a peer after 45 minutes"
            );
            check(interval, cluster).refuses(2, &[&said]);
        }
    }
    // Alone nobody else forgets it.
    [1801, 3600].into_iter().for_each(|interval| check(interval, "").succeeds());
}
