use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::switches::fullscrape::bounds::{LAST, estimated_end};
use crate::switches::fullscrape::tests::{NOW, announce, leave, nth, tracker};
use crate::tracker::testing::TestTracker;

/// An info hash as strangers choose them: few differ in their first bytes, and some are the least and the greatest.
fn info_hashes() -> impl Strategy<Value = InfoHash> {
    prop_oneof![
        8 => (0..3_u8, 0..3_u8, 0..6_u8).prop_map(|(first, ninth, last)| {
            let mut hash = [first * 127; InfoHash::LEN];
            (hash[9], hash[19]) = (ninth, last);
            InfoHash(hash)
        }),
        4 => any::<[u8; InfoHash::LEN]>().prop_map(InfoHash),
        1 => prop_oneof![Just(InfoHash::default()), Just(LAST)],
    ]
}

/// Takes everything out of a range that is gathered.
fn taken(range: &mut Range) -> Vec<InfoHash> {
    std::iter::from_fn(|| range.pop()).map(|entry| entry.info_hash).collect()
}

/// Gathers a range all at once.
fn gathered(tracker: &TestTracker, after: Option<InfoHash>, until: InfoHash, room: Room) -> Range {
    let mut range = Range::new(after, until, room);
    while !range.is_gathered() {
        range.gather(tracker.store());
    }
    range
}

#[test]
fn a_range_of_an_empty_tracker_is_empty() {
    let mut range = gathered(&tracker(), None, LAST, Room::new(1000));
    assert_eq!((range.pop(), range.until(), range.beyond(), range.filled()), (None, LAST, 0, 0));
}

#[test]
fn ranges_of_a_thousand_meet_whatever_the_info_hashes_are() {
    let tracker = tracker();
    // All differ in three bytes alone, behind those that an estimate looks at.
    let all: BTreeSet<_> = (0..20_000).map(nth).collect();
    all.iter().for_each(|hash| announce(&tracker, *hash, 1, NOW, true));
    for room in [Room::new(1000), Room::in_runs(1000, 64), Room::in_runs(4096, 512)] {
        let (mut after, mut named, mut ranges) = (None, Vec::new(), 0);
        while after != Some(LAST) {
            let mut range = gathered(&tracker, after, LAST, room);
            let torrents = taken(&mut range);
            assert!(torrents.len() <= room.torrents());
            assert!(torrents.len() >= room.torrents() / 2 || range.until() == LAST, "{}", torrents.len());
            let left = all.len() - named.len() - torrents.len();
            assert!(range.beyond() <= left, "{} of {left}", range.beyond());
            named.extend(torrents);
            after = Some(range.until());
            ranges += 1;
        }
        assert!(named.iter().eq(&all));
        assert!((20_000 / room.torrents()..=2 * 20_000 / room.torrents() + 1).contains(&ranges), "{ranges}");
    }
}

#[test]
fn a_step_is_bounded() {
    let tracker = tracker();
    (0..60_000).map(nth).for_each(|hash| announce(&tracker, hash, 1, NOW, true));
    // None of these is in the range: they are only looked at.
    let mut range = Range::new(Some(nth(u32::MAX)), LAST, Room::new(1000));
    let mut steps = 0;
    while !range.is_gathered() {
        range.gather(tracker.store());
        steps += 1;
    }
    assert!((60_000 / TORRENTS_PER_STEP..=80_000 / TORRENTS_PER_STEP + 1).contains(&steps), "{steps}");
    // All of these are: each step sorts a run.
    let mut range = Range::new(None, LAST, Room::new(100_000));
    let mut steps = 0;
    while !range.is_gathered() {
        range.gather(tracker.store());
        steps += 1;
    }
    assert!((60_000 / (2 * RUN_LEN)..=60_000 / RUN_LEN + 1).contains(&steps), "{steps}");
}

#[test]
fn the_end_is_estimated_where_as_many_lie_before_it_as_are_wanted() {
    let half = estimated_end(None, 50, 100);
    assert!(half.0 > [0x7f; 20] && half.0 < [0x80; 20], "{half}");
    let three_quarters = estimated_end(Some(half), 25, 50);
    assert!(three_quarters.0 > [0xbf; 20] && three_quarters.0 < [0xc0; 20], "{three_quarters}");
    for (after, wanted, left) in [(None, 50, 50), (None, 50, 0), (Some(LAST), 1, 2), (None, usize::MAX, usize::MAX)] {
        assert_eq!(estimated_end(after, wanted, left), LAST);
    }
    // There is no room for an end between these: the range ends where it is full.
    let mut near = LAST;
    near.0[7] = 0xf0;
    assert_eq!(estimated_end(Some(near), 1, 1000), LAST);
}

#[test]
fn who_may_take_less_is_told_if_it_takes_more() {
    let tracker = tracker();
    (0..1000).map(nth).for_each(|hash| announce(&tracker, hash, 1, NOW, true));
    let mut range = gathered(&tracker, None, LAST, Room::in_runs(2000, 100));
    assert!(range.limit(1500) && range.limit(1000) && !range.limit(999));
    let mut unfilled = Range::new(None, LAST, Room::in_runs(2000, 100));
    assert!(unfilled.limit(300), "it has taken nothing yet");
    while !unfilled.is_gathered() {
        unfilled.gather(tracker.store());
    }
    assert!(taken(&mut unfilled).len() <= 300 && unfilled.until() < LAST);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn ranges_name_in_order_and_once_what_stays(
        staying in prop::collection::btree_set(info_hashes(), 0..60),
        churn in prop::collection::vec((info_hashes(), any::<bool>()), 0..200),
        (torrents, run_len) in (2..40_usize, 2..20_usize),
        per_step in 0..5_usize,
    ) {
        let tracker = tracker();
        staying.iter().for_each(|hash| announce(&tracker, *hash, 1, NOW, true));
        let churn: Vec<_> = churn.into_iter().filter(|(hash, _)| !staying.contains(hash)).collect();
        // It goes on and on for as long as there are ranges.
        let mut churn_on = churn.iter().cycle();
        let mut change = || for (hash, comes) in churn_on.by_ref().take(if churn.is_empty() { 0 } else { per_step }) {
            if *comes { announce(&tracker, *hash, 1, NOW, true) } else { leave(&tracker, *hash, 1) }
        };
        let room = Room::in_runs(torrents, run_len);
        let (mut after, mut named) = (None, Vec::new());
        while after != Some(LAST) {
            let until = estimated_end(after, torrents, staying.len() - named.len().min(staying.len()));
            let mut range = Range::new(after, until, room);
            while !range.is_gathered() {
                change();
                range.gather(tracker.store());
                prop_assert!(range.limit(usize::MAX), "no more runs than there is room for");
            }
            let mut torrents = taken(&mut range);
            prop_assert!(torrents.is_sorted());
            torrents.dedup();
            prop_assert!(torrents.iter().all(|hash| Some(*hash) > after && *hash <= range.until()));
            prop_assert!(Some(range.until()) > after, "it gets on");
            named.extend(torrents);
            after = Some(range.until());
        }
        prop_assert!(named.is_sorted_by(|one, next| one < next), "each once");
        prop_assert!(staying.iter().all(|hash| named.contains(hash)));
        let possible = |hash| staying.contains(hash) || churn.iter().any(|(other, _)| other == hash);
        prop_assert!(named.iter().all(possible));
    }
}
