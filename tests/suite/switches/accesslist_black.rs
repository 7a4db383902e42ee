//! `accesslist-black`: every torrent but the listed ones. What it shares with the other list is in `access_list`.

use nix::sys::signal::Signal;

use super::{refuses_key, refuses_option};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    without_it_a_tracker_that_was_meant_to_be_closed_does_not_run_open,
    with_it_and_without_a_list_every_torrent_is_served_and_a_warning_says_so,
];

fn without_it_a_tracker_that_was_meant_to_be_closed_does_not_run_open() {
    only_without("accesslist-black");
    refuses_key("accesslist-black", "access.blacklist", "/list");
    refuses_option("accesslist-black", ["-b", "--blacklist"], "/list");
}

fn with_it_and_without_a_list_every_torrent_is_served_and_a_warning_says_so() {
    only_with("accesslist-black");
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(0), 1));
    tracker.signal(Signal::SIGHUP);
    client.announce(&Announce::leecher(info_hash(1), 1));
    let log = tracker.stop();
    assert!(log.contains("WARN access.blacklist is not configured: every torrent is served"), "{log}");
}
