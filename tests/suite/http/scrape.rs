//! BEP 48: scrapes of some torrents.

use super::{Counts, announce, counts, scrape_target};
use crate::clients::bencode::Value;
use crate::clients::http::{get, percent};
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    a_scrape_of_one_torrent_is_answered,
    a_scrape_of_several_torrents_is_answered_in_sorted_order,
    a_torrent_that_nobody_knows_has_zeros,
    a_scrape_covers_at_most_64_torrents,
    a_scrape_with_a_query_but_no_torrent_is_refused,
    the_path_is_understood_as_leniently_as_that_of_an_announce,
    the_downloads_of_an_empty_torrent_are_kept,
    a_tracker_for_both_families_counts_both,
];

/// The torrents in the reply, and their counts.
#[track_caller]
fn files(answer: &Value) -> Vec<(&[u8], Counts)> {
    assert_eq!(answer.keys(), [b"files"]);
    let Some(Value::Dictionary(files)) = answer.find("files") else { panic!("{answer:?}") };
    files
        .iter()
        .map(|(hash, numbers)| {
            assert_eq!(numbers.keys(), [&b"complete"[..], b"downloaded", b"incomplete"]);
            (hash.as_slice(), counts(numbers))
        })
        .collect()
}

/// Starts a tracker with a leecher in each of these torrents, and a seeder that has completed in the first.
fn tracker_with(torrents: impl IntoIterator<Item = u8>) -> Tracker {
    let tracker = Tracker::start(&[]);
    let mut first = true;
    for n in torrents {
        announce(tracker.http(), n, "port=1&left=1");
        if std::mem::take(&mut first) {
            announce(tracker.http(), n, "port=2&left=0&event=completed");
        }
    }
    tracker
}

fn a_scrape_of_one_torrent_is_answered() {
    let tracker = tracker_with([7]);
    let reply = get(tracker.http(), &scrape_target([7]));
    let numbers = "d8:completei1e10:downloadedi1e10:incompletei1ee";
    let expected = [b"d5:filesd20:", &info_hash(7)[..], numbers.as_bytes(), b"ee"].concat();
    assert_eq!(reply.body, expected, "{}", reply.text());
    assert_eq!((reply.header("content-type"), reply.header("transfer-encoding")), (Some("text/plain"), None));
    assert_eq!(counts(&announce(tracker.http(), 7, "port=1&left=1")), (1, 1, 1), "a scrape changes nothing");
}

fn a_scrape_of_several_torrents_is_answered_in_sorted_order() {
    let tracker = tracker_with([3, 200, 5]);
    let answer = get(tracker.http(), &scrape_target([200, 9, 3, 5, 200])).bencode();
    let expected = [(3, (1, 1, 1)), (5, (0, 0, 1)), (9, (0, 0, 0)), (200, (0, 0, 1))];
    let expected: Vec<_> = expected.iter().map(|&(n, counts)| (info_hash(n), counts)).collect();
    let found: Vec<_> = files(&answer).into_iter().map(|(hash, counts)| (hash.try_into().unwrap(), counts)).collect();
    assert_eq!(found, expected, "sorted, each once, also the one that nobody knows");
    let with_others = format!("{}&unknown=x&passkey=%zz", scrape_target([3]));
    assert_eq!(files(&get(tracker.http(), &with_others).bencode()).len(), 1);
}

fn a_torrent_that_nobody_knows_has_zeros() {
    let tracker = tracker_with([1]);
    let reply = get(tracker.http(), &scrape_target([2]));
    let numbers = "d8:completei0e10:downloadedi0e10:incompletei0ee";
    let expected = [b"d5:filesd20:", &info_hash(2)[..], numbers.as_bytes(), b"ee"].concat();
    assert_eq!(reply.body, expected, "{}", reply.text());
    let answer = get(tracker.http(), &scrape_target([4, 3, 4, 2])).bencode();
    let zeros = [2, 3, 4].map(|n| (info_hash(n), (0, 0, 0)));
    assert_eq!(files(&answer), zeros.iter().map(|(hash, counts)| (&hash[..], *counts)).collect::<Vec<_>>());
    assert_eq!(counts(&announce(tracker.http(), 2, "port=1&left=1")), (0, 0, 1), "nothing is remembered of a scrape");
}

fn a_scrape_covers_at_most_64_torrents() {
    let tracker = tracker_with(0..66);
    assert_eq!(files(&get(tracker.http(), &scrape_target(0..64)).bencode()).len(), 64);
    let answer = get(tracker.http(), &scrape_target(1..66)).bencode();
    let found = files(&answer);
    assert_eq!(found.len(), 64, "what is beyond is ignored");
    assert!(
        found.iter().all(|(hash, _)| *hash != info_hash(65)) && found.iter().any(|(hash, _)| *hash == info_hash(64))
    );
}

fn a_scrape_with_a_query_but_no_torrent_is_refused() {
    let tracker = Tracker::start(&[]);
    for target in ["/scrape?", "/scrape?x=1", "/scrape?infohash=aaaaaaaaaaaaaaaaaaaa", "/scrape?info_hash"] {
        assert_eq!(get(tracker.http(), target).status, 400, "{target}");
    }
}

fn the_path_is_understood_as_leniently_as_that_of_an_announce() {
    let tracker = tracker_with([1]);
    let hash = percent(&info_hash(1));
    for path in ["//scrape", "/scrape ", "/%73crape", "/scrape/"] {
        let answer = get(tracker.http(), &format!("{path}?info_hash={hash}")).bencode();
        assert_eq!(files(&answer).len(), 1, "{path}");
    }
}

fn the_downloads_of_an_empty_torrent_are_kept() {
    let tracker = tracker_with([1]);
    announce(tracker.http(), 1, "port=1&event=stopped");
    announce(tracker.http(), 1, "port=2&event=stopped");
    let answer = get(tracker.http(), &scrape_target([1])).bencode();
    assert_eq!(files(&answer), [(&info_hash(1)[..], (0, 1, 0))]);
    // Nothing is kept of one without downloads.
    announce(tracker.http(), 2, "port=1&left=1");
    announce(tracker.http(), 2, "port=1&left=1&event=stopped");
    let answer = get(tracker.http(), &scrape_target([2])).bencode();
    assert_eq!(files(&answer), [(&info_hash(2)[..], (0, 0, 0))]);
}

fn a_tracker_for_both_families_counts_both() {
    only_with("dual-stack");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        announce(server, 1, "port=1&left=1");
    }
    for &server in tracker.https() {
        assert_eq!(files(&get(server, &scrape_target([1])).bencode()), [(&info_hash(1)[..], (0, 0, 2))]);
    }
}
