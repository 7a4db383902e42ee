//! `accesslist-white`: only the listed torrents. What it shares with the other list is in `access_list`.

use super::{refuses_key, refuses_option};
use crate::flavour::{loopback, only_with, only_without};
use crate::harness::tests;
use crate::tracker::Start;

tests![without_it_a_tracker_that_was_meant_to_be_closed_does_not_run_open, with_it_a_list_has_to_be_configured];

fn without_it_a_tracker_that_was_meant_to_be_closed_does_not_run_open() {
    only_without("accesslist-white");
    refuses_key("accesslist-white", "access.whitelist", "/list");
    refuses_option("accesslist-white", ["-w", "--whitelist"], "/list");
}

fn with_it_a_list_has_to_be_configured() {
    only_with("accesslist-white");
    let said = "access.whitelist is missing: a build with the feature accesslist-white does not start without it";
    Start::without_options().listen(loopback()).finish().refuses(2, &[said]);
    Start::without_options().args(["--check-config"]).finish().refuses(2, &[said]);
}
