//! `restrict-stats`: the statistics for blessed networks only.

use super::{refuses_key, refuses_option};
use crate::clients::http::{Connection, request};
use crate::flavour::{client, has};
use crate::tracker::Tracker;

#[test]
fn without_it_its_key_is_refused() {
    if has("restrict-stats") {
        return;
    }
    refuses_key("restrict-stats", "access.stats", "127.0.0.1");
    if !has("sync-live") {
        refuses_option("restrict-stats or sync-live", ["-A", "--bless"], "127.0.0.1");
    }
}

#[test]
fn without_it_the_statistics_are_for_everyone() {
    if has("restrict-stats") {
        return;
    }
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for host in [1, 2, 77] {
            let connection = Connection::open_from(client(server.ip(), host), server);
            assert_eq!(connection.ask_last(request("/stats", "").as_bytes()).status, 200);
        }
    }
}
