use super::*;
use crate::tracker::flavour::Origin;
use crate::tracker::model::config;
use crate::tracker::store::Cursor;
use crate::tracker::testing::TestTracker;
use crate::tracker::{Capacity, Cluster, InfoHash, Intervals, Ipv4Only, Open};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

const START: Minute = Minute(29_000_191);
const LIFETIME: u32 = Intervals::MIN_PEER_LIFETIME;

fn change(torrent: u8, peer: u8, seen: Minute) -> Change {
    Change {
        info_hash: InfoHash([torrent; 20]),
        endpoint: (Ipv4Addr::new(10, 0, 0, peer), 6881).into(),
        seeder: false,
        completed: false,
        stopped: false,
        seen,
        origin: Origin::Transport { name: "test", member: 0 },
    }
}

type Outcomes = Vec<(Change, Result<AnnounceOutcome, AbsorbError>)>;

fn absorb(tracker: &TestTracker, changes: &[Change], now: Minute) -> Outcomes {
    let mut outcomes = Vec::new();
    tracker.absorb_group(changes, now, |change, outcome| outcomes.push((*change, outcome)));
    outcomes
}

/// Of each peer: is it a seeder, was its download counted, and when was it last seen?
type Known = BTreeMap<(InfoHash, SocketAddr), (bool, bool, u32)>;

fn known<C: Cluster>(tracker: &TestTracker<Ipv4Only, Open, C>, now: Minute) -> Known {
    let mut known = Known::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.store().walk_peers(from, &mut 1000, |info_hash, endpoint, state| {
            known.insert((*info_hash, endpoint), (state.seeder(), state.completed(), state.seen(now).0));
        });
    }
    known
}

/// Takes a change over as it is documented. Returns whether a download is counted.
fn absorb_into(known: &mut Known, change: &Change, now: Minute) -> bool {
    let (name, seen) = ((change.info_hash, change.endpoint), change.seen.min(now).0);
    if now.0 - seen > LIFETIME {
        return false;
    }
    let before = known.get(&name).copied();
    let later = before.filter(|(_, _, known)| *known > seen);
    if change.stopped {
        if later.is_none() {
            known.remove(&name);
        }
        return false;
    }
    let near = before.is_some_and(|(_, _, known)| known.abs_diff(seen) <= 5);
    let (seeder, _, seen) = later.unwrap_or((change.seeder, false, seen));
    let seeder = seeder || near && (change.seeder || before.is_some_and(|(was_seeder, ..)| was_seeder));
    let counted = before.is_some_and(|(_, counted, _)| counted);
    let completes = change.completed && seeder && !counted;
    known.insert(name, (seeder, counted || completes, seen));
    completes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_later_minute_counts_in_groups_and_one_by_one(
        packets in prop::collection::vec(
            (
                0..20_u32,
                prop::collection::vec((0..4_u8, 0..90_u8, prop::bits::u8::masked(7), 0..60_u32), 1..60),
            ),
            1..12,
        ),
    ) {
        let together = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
        let one_by_one = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
        let (mut expected, mut downloads, mut now) = (Known::new(), 0, START);
        for (minutes, records) in packets {
            now = now + minutes;
            together.sweep(now, || {});
            one_by_one.sweep(now, || {});
            expected.retain(|_, (_, _, seen)| now.0 - *seen <= LIFETIME);
            let changes: Vec<_> = records
                .into_iter()
                .map(|(torrent, peer, flags, age)| {
                    // Most are of this minute, some of the next.
                    let seen = Minute(now.0 + 1 - age.saturating_sub(10));
                    let (seeder, completed, stopped) = (flags & 1 != 0, flags & 2 != 0, flags == 4);
                    // Torrents of few and of many peers; and a port that is refused.
                    let mut change = change(torrent / (1 + peer / 20), peer, seen);
                    change.endpoint.set_port(if peer == 13 { 0 } else { 6881 });
                    Change { seeder, completed, stopped, ..change }
                })
                .collect();
            for change in changes.iter().filter(|change| change.endpoint.port() != 0) {
                downloads += u32::from(absorb_into(&mut expected, change, now));
            }
            let mut outcomes = absorb(&together, &changes, now);
            let mut singly: Outcomes =
                changes.iter().flat_map(|change| absorb(&one_by_one, &[*change], now)).collect();
            prop_assert_eq!(outcomes.len(), changes.len());
            // `done` may hear earlier of what is refused.
            outcomes.sort_by_key(|(change, outcome)| (change.info_hash.0, outcome.is_err()));
            singly.sort_by_key(|(change, outcome)| (change.info_hash.0, outcome.is_err()));
            prop_assert_eq!(outcomes, singly);
            prop_assert_eq!(&known(&together, now), &expected);
        }
        let counted = (0..4).filter_map(|torrent| together.scrape(&InfoHash([torrent; 20])));
        prop_assert_eq!(counted.map(|counts| counts.downloaded).sum::<u32>(), downloads);
    }
}

#[test]
fn who_has_everything_by_one_of_two_changes_some_minutes_apart_has_it_whichever_comes_first() {
    let seeder = |seen: u32| Change { seeder: true, completed: true, ..change(1, 1, Minute(seen)) };
    let leecher = |seen: u32| change(1, 1, Minute(seen));
    let now = START + 10;
    for (first, then, expected) in [
        (leecher(now.0), seeder(now.0), true),
        (seeder(now.0), leecher(now.0), true),
        (leecher(now.0), seeder(now.0 - 5), true),
        (seeder(now.0 - 5), leecher(now.0), true),
        (leecher(now.0), seeder(now.0 - 6), false),
        (seeder(now.0 - 6), leecher(now.0), false),
    ] {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
        absorb(&tracker, &[first, then], now);
        let peers: Vec<_> = known(&tracker, now).into_values().map(|(seeder, _, seen)| (seeder, seen)).collect();
        assert_eq!(peers, [(expected, now.0)], "{first:?}, then {then:?}");
    }
}

#[test]
fn what_is_older_than_peers_are_kept_is_refused_and_what_is_ahead_is_of_this_minute() {
    for intervals in [300, 1800, 3600].map(|interval| Intervals::new(interval, None)) {
        let tracker = TestTracker::<Ipv4Only>::with_intervals(intervals, START);
        let (now, lifetime) = (START + 100, intervals.peer_lifetime());
        let changes = [
            change(1, 1, Minute(now.0 - lifetime - 1)),
            change(1, 2, Minute(now.0 - lifetime)),
            change(1, 3, now + 1000),
            Change { stopped: true, ..change(1, 2, START) },
        ];
        let refused: Vec<_> = absorb(&tracker, &changes, now).into_iter().map(|(_, outcome)| outcome.err()).collect();
        assert_eq!(refused, [Some(AbsorbError::TooOld), Some(AbsorbError::TooOld), None, None]);
        let seen: Vec<_> = known(&tracker, now).into_values().map(|(_, _, seen)| seen).collect();
        assert_eq!(seen, [now.0 - lifetime, now.0]);
        tracker.sweep(now + 1, || {});
        assert_eq!(known(&tracker, now + 1).len(), 1);
    }
}

#[test]
fn changes_are_refused_like_the_announces_that_they_tell_of() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 1, peers: 1, ..Capacity::NONE }, START);
    let without_port = Change { endpoint: (Ipv4Addr::LOCALHOST, 0).into(), ..change(1, 1, START) };
    let changes = [change(1, 1, START), without_port, change(1, 2, START), change(2, 1, START), change(1, 1, START)];
    let refused: Vec<_> = absorb(&tracker, &changes, START).into_iter().map(|(_, outcome)| outcome.err()).collect();
    let (full, no_port) = (Some(AnnounceError::Full.into()), Some(AbsorbError::NoPort));
    assert_eq!(refused, [no_port, None, full, full, None]);
}

#[test]
fn whom_no_host_can_be_is_refused_and_who_is_near_is_taken_as_from_a_client() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
    let at = |ip: [u8; 4]| Change { endpoint: (ip, 6881).into(), ..change(1, 1, START) };
    let nobody = [[0, 0, 0, 0], [224, 0, 23, 5], [239, 1, 2, 3], [255, 255, 255, 255]];
    let near = [[127, 0, 0, 1], [10, 0, 0, 1], [192, 168, 0, 255]];
    for stopped in [false, true] {
        let changes: Vec<_> = nobody.iter().chain(&near).map(|ip| Change { stopped, ..at(*ip) }).collect();
        let refused = absorb(&tracker, &changes, START).into_iter().filter_map(|(change, outcome)| {
            assert_eq!(outcome.err().unwrap_or(AbsorbError::NoHost), AbsorbError::NoHost);
            outcome.is_err().then_some(change)
        });
        assert_eq!(refused.collect::<Vec<_>>(), changes[..nobody.len()]);
        assert_eq!(tracker.store().census().peers.peers(), if stopped { 0 } else { near.len() });
    }
}

mod late;
