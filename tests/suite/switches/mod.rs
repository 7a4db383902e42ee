//! One file for each switch: what it does when it is on, and that nothing of it is there when it is off.
//!
//! Every file begins with the tests for builds without the switch.

pub(crate) mod access_list;
pub(crate) mod access_list_refusals;
pub(crate) mod accesslist_black;
pub(crate) mod accesslist_dynamic;
pub(crate) mod accesslist_white;
pub(crate) mod client_ids;
pub(crate) mod dashboard;
pub(crate) mod dual_stack;
pub(crate) mod fulllog_networks;
pub(crate) mod fullscrape;
pub(crate) mod gzip;
pub(crate) mod gzip_always;
pub(crate) mod handover;
pub(crate) mod handover_socket;
pub(crate) mod handover_store;
pub(crate) mod ip_from_proxy;
pub(crate) mod ip_from_query;
pub(crate) mod log_networks;
pub(crate) mod log_numwant;
pub(crate) mod metrics;
pub(crate) mod modest_fullscrapes;
pub(crate) mod proxy_protocol;
pub(crate) mod restrict_stats;
pub(crate) mod seccomp;
pub(crate) mod spot_woodpecker;
pub(crate) mod sync_live;
pub(crate) mod sync_live_bad_input;
pub(crate) mod sync_live_snapshot;
pub(crate) mod sync_nats;
pub(crate) mod sync_nats_bad_input;
pub(crate) mod sync_nats_metrics;
pub(crate) mod sync_nats_snapshot;
pub(crate) mod syslog;
pub(crate) mod v6;
pub(crate) mod zstd;
pub(crate) mod zstd_always;

use crate::flavour::{self, FEATURES, has};
use crate::harness::tests;
use crate::tracker::Start;

tests![
    no_build_has_both_lists,
    no_build_sends_every_full_scrape_in_two_codings,
    every_feature_has_its_file_here,
    features_include_those_they_imply
];

/// What the tracker says of a key or an option that needs one of these features.
fn needs_a_build_with(features: &str) -> String {
    format!("needs a build with the feature {features}; this build has: {}", flavour::in_words())
}

/// Asserts that a build without `feature` does not start with this key in either syntax, and names its line.
#[track_caller]
fn refuses_key(feature: &str, key: &str, value: &str) {
    for text in [
        format!("# closed\n\n{key} {value}\n"),
        format!("# closed\n\n{key} = {value:?}\n"),
        format!("\n\n{key} = []\n"),
    ] {
        for start in [Start::loopback(), Start::minimal().args(["--check-config"])] {
            let start = start.config(&text);
            let file = start.path("2.conf");
            start.finish().refuses(
                2,
                &[&format!("opentracker: {}: {key} (line 3) {}", file.display(), needs_a_build_with(feature))],
            );
        }
    }
}

/// Asserts that a build without these features does not start with this option.
#[track_caller]
fn refuses_option(features: &str, options: [&str; 2], value: &str) {
    for option in options {
        let finished = Start::loopback().args([option, value]).finish();
        finished.refuses(2, &[&format!("opentracker: {}", options[0]), &needs_a_build_with(features)]);
    }
}

fn no_build_has_both_lists() {
    assert!(!(has("accesslist-black") && has("accesslist-white")));
    assert!(!has("accesslist-dynamic") || has("accesslist-black") || has("accesslist-white"));
}

fn no_build_sends_every_full_scrape_in_two_codings() {
    assert!(!(has("gzip-always") && has("zstd-always")));
}

fn every_feature_has_its_file_here() {
    for feature in &*FEATURES {
        let file = format!("{}/tests/suite/switches/{}.rs", env!("CARGO_MANIFEST_DIR"), feature.replace('-', "_"));
        assert!(std::path::Path::new(&file).exists(), "{file}");
    }
}

fn features_include_those_they_imply() {
    for (feature, brings) in [
        ("dual-stack", "v6"),
        ("gzip", "fullscrape"),
        ("zstd", "fullscrape"),
        ("modest-fullscrapes", "fullscrape"),
        ("gzip-always", "gzip"),
        ("zstd-always", "zstd"),
    ] {
        assert!(!has(feature) || has(brings), "{feature} brings {brings}");
    }
}
