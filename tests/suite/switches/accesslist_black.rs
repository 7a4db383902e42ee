//! `accesslist-black`: every torrent but the listed ones.

use super::{refuses_key, refuses_option};
use crate::flavour::has;

#[test]
fn without_it_a_tracker_that_was_meant_to_be_closed_does_not_run_open() {
    if has("accesslist-black") {
        return;
    }
    refuses_key("accesslist-black", "access.blacklist", "/list");
    refuses_option("accesslist-black", ["-b", "--blacklist"], "/list");
}
