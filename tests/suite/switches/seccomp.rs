//! `seccomp`: the kernel refuses the system calls that the tracker does not make.
//!
//! What is refused, the unit tests of the filter say. That nothing is which is needed, all tests of a build with it
//! say: the filter is on unless the configuration says otherwise.

use std::fs;

use super::refuses_key;
use crate::clients::http::get;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::process::sandbox::status;
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_key_is_refused,
    without_it_no_system_call_is_filtered,
    every_thread_is_filtered_unless_the_configuration_says_otherwise,
    calls_that_would_be_refused_can_be_logged_only,
];

fn without_it_its_key_is_refused() {
    only_without("seccomp");
    refuses_key("seccomp", "tracker.seccomp", "true");
}

fn without_it_no_system_call_is_filtered() {
    only_without("seccomp");
    let tracker = Tracker::start(&[]);
    assert_filters(&tracker, 0);
    assert!(!tracker.stop().contains("by seccomp"));
}

/// Asserts that every thread has so many filters more than this process, which may have some from its container.
fn assert_filters(tracker: &Tracker, more: u32) {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own: u32 = own.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).unwrap().trim().parse().unwrap();
    let found = status(tracker, "Seccomp_filters");
    assert!(found.iter().all(|filters| *filters == (own + more).to_string()), "{own} here, {found:?} there");
}

/// Starts it, and asks it over both protocols.
fn served(config: &str) -> Tracker {
    let tracker = Start::loopback().config(config).run();
    assert_eq!(Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(0), 1)).leechers, 1);
    assert!(get(tracker.http(), "/stats").status < 500);
    tracker
}

fn every_thread_is_filtered_unless_the_configuration_says_otherwise() {
    only_with("seccomp");
    for config in ["", "tracker.seccomp true\n", "tracker.seccomp = true\n"] {
        let tracker = served(config);
        assert_filters(&tracker, 1);
        let log = tracker.stop();
        assert_eq!(log.matches("confined by seccomp to ").count(), 1, "{log}");
    }
    let tracker = served("tracker.seccomp false\n");
    assert_filters(&tracker, 0);
    assert!(!tracker.stop().contains("by seccomp"));
}

fn calls_that_would_be_refused_can_be_logged_only() {
    only_with("seccomp");
    let tracker = served("tracker.seccomp log\n");
    assert_filters(&tracker, 1);
    let log = tracker.stop();
    assert_eq!(log.matches("the kernel logs what seccomp would refuse").count(), 1, "{log}");
}
