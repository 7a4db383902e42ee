//! Late copies of what a peer announced before it stopped, in trackers that remember who has.

use fastrand::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{LIFETIME, START, change};
use crate::tracker::flavour::{Flavour as _, Origin};
use crate::tracker::model::config;
use crate::tracker::testing::{Recorder, TestTracker};
use crate::tracker::{
    AnnounceRequest, Capacity, Change, Event, InfoHash, Ipv4Only, KnownDeparture, KnownPeer, KnownTorrent, MergeCounts,
    Minute, Open, PeerRequest, ScrapeCounts, Standalone,
};

type Bridge = TestTracker<Ipv4Only, Open, (Recorder, Recorder)>;

const SYNC: Origin = Origin::Transport { name: "sync", member: 0 };
const NATS: Origin = Origin::Transport { name: "nats", member: 0 };
const NOW: Minute = Minute(START.0 + 10);

fn bridge() -> Bridge {
    let cluster = (Recorder::named("sync"), Recorder::named("nats"));
    TestTracker::with_plugs(Capacity::NONE, START, Open, cluster)
}

/// What a peer announces, and how that came here.
fn came(origin: Origin, seen: Minute) -> Change {
    Change { origin, ..change(1, 1, seen) }
}

fn completed(origin: Origin, seen: Minute) -> Change {
    Change { seeder: true, completed: true, ..came(origin, seen) }
}

fn stopped(origin: Origin, seen: Minute) -> Change {
    Change { stopped: true, ..came(origin, seen) }
}

/// Takes changes over one by one. Returns how many downloads were counted.
fn absorb(tracker: &Bridge, changes: &[Change]) -> usize {
    let mut counted = 0;
    for change in changes {
        tracker.absorb_group(&[*change], NOW, |_, outcome| counted += usize::from(outcome.unwrap().counted_download));
    }
    counted
}

fn announce(tracker: &Bridge, event: Event, now: Minute) {
    let Change { info_hash, endpoint, .. } = change(1, 1, now);
    let seeder = event == Event::Completed;
    let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
    tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
}

/// Peers and downloads.
fn counts(tracker: &Bridge) -> (u32, u32) {
    let counts = tracker.scrape(&InfoHash([1; 20])).unwrap_or_default();
    let ScrapeCounts { seeders, leechers, downloaded } = counts;
    (seeders + leechers, downloaded)
}

fn merge(tracker: &Bridge, completed: bool, age: u32) -> MergeCounts {
    let mut counts = MergeCounts::default();
    let Change { info_hash, endpoint, .. } = change(1, 1, NOW);
    let peers = [KnownPeer { endpoint, seeder: completed, completed, age }];
    let torrent = KnownTorrent { info_hash, downloaded: completed.into(), empty_for: 0, peers: &peers };
    tracker.merge(&torrent, NOW, &mut counts);
    counts
}

#[test]
fn a_late_copy_does_not_bring_a_peer_back_whoever_heard_of_its_stop() {
    for stop in [Origin::Client, SYNC, NATS] {
        for is_known in [true, false] {
            let tracker = bridge();
            if is_known {
                absorb(&tracker, &[came(SYNC, Minute(NOW.0 - 3))]);
            }
            match stop {
                Origin::Client => announce(&tracker, Event::Stopped, NOW),
                stop => _ = absorb(&tracker, &[stopped(stop, NOW)]),
            }
            let (sync, nats) = tracker.flavour().cluster();
            sync.take();
            nats.take();
            let before = Minute(NOW.0 - 1);
            for late in [came(SYNC, before), came(NATS, before), came(if stop == SYNC { NATS } else { SYNC }, NOW)] {
                absorb(&tracker, &[late]);
                assert_eq!(counts(&tracker), (0, 0), "{stop:?}, {late:?}");
                assert_eq!((sync.take(), nats.take()), (vec![], vec![]), "it is not told on");
            }
            assert_eq!((merge(&tracker, false, 0).outdated, counts(&tracker)), (1, (0, 0)), "a snapshot is as late");
        }
    }
}

#[test]
fn who_starts_again_is_there_again() {
    let tracker = bridge();
    // In the same minute, on the way on which the stop came.
    absorb(&tracker, &[came(NATS, NOW), stopped(NATS, NOW), came(NATS, NOW)]);
    assert_eq!(counts(&tracker), (1, 0));
    // A late copy of the stop on another way does not end that.
    absorb(&tracker, &[stopped(SYNC, NOW)]);
    assert_eq!(counts(&tracker), (1, 0));
    absorb(&tracker, &[stopped(NATS, NOW), stopped(SYNC, NOW), came(SYNC, NOW)]);
    assert_eq!(counts(&tracker), (1, 0), "the way on which the last copy of the stop came is as good as the first");
    // Here, at once.
    announce(&tracker, Event::Stopped, NOW);
    announce(&tracker, Event::Update, NOW);
    assert_eq!(counts(&tracker), (1, 0));
    absorb(&tracker, &[came(SYNC, NOW)]);
    assert_eq!(counts(&tracker), (1, 0));
    // A minute later, wherever.
    announce(&tracker, Event::Stopped, Minute(NOW.0 - 1));
    absorb(&tracker, &[came(SYNC, NOW)]);
    assert_eq!(counts(&tracker), (1, 0));
    let tracker = bridge();
    absorb(&tracker, &[stopped(SYNC, Minute(NOW.0 - 1))]);
    assert_eq!((merge(&tracker, false, 0).peers, counts(&tracker)), (1, (1, 0)));
}

#[test]
fn a_late_completed_counts_once_and_brings_nobody_back() {
    let before = Minute(NOW.0 - 1);
    let tracker = bridge();
    absorb(&tracker, &[came(SYNC, before), stopped(NATS, NOW)]);
    let (sync, nats) = tracker.flavour().cluster();
    sync.take();
    nats.take();
    assert_eq!(absorb(&tracker, &[completed(SYNC, before)]), 1);
    assert_eq!(counts(&tracker), (0, 1));
    // Those who do not remember hear in the end that it has stopped.
    let stop = Change { seeder: true, ..stopped(SYNC, NOW) };
    assert_eq!((sync.take(), nats.take()), (vec![], vec![completed(SYNC, before), stop]));
    assert_eq!(absorb(&tracker, &[completed(NATS, before), completed(SYNC, NOW), completed(NATS, NOW)]), 0);
    assert_eq!((counts(&tracker), sync.take(), nats.take()), ((0, 1), vec![], vec![]));

    // One that was counted before the stop, and comes again with it.
    let tracker = bridge();
    assert_eq!(absorb(&tracker, &[completed(SYNC, NOW), stopped(SYNC, NOW)]), 1);
    assert_eq!(absorb(&tracker, &[completed(NATS, NOW), stopped(NATS, NOW), completed(NATS, NOW)]), 0);
    assert_eq!(absorb(&tracker, &[completed(SYNC, NOW), stopped(SYNC, NOW)]), 0);
    assert_eq!(counts(&tracker), (0, 1));

    // One of before the stop, of a peer that has started again since.
    let tracker = bridge();
    assert_eq!(absorb(&tracker, &[completed(SYNC, before), stopped(SYNC, before), came(SYNC, NOW)]), 1);
    assert_eq!(absorb(&tracker, &[completed(NATS, before)]), 0);
    assert_eq!(counts(&tracker), (1, 1));

    // One of the minute of the stop, of a peer that has started again since.
    let tracker = bridge();
    assert_eq!(absorb(&tracker, &[came(NATS, NOW), stopped(NATS, NOW), completed(NATS, NOW), completed(SYNC, NOW)]), 1);
    assert_eq!(counts(&tracker), (1, 1));

    // One that comes, without its age, when the minute of the stop is over.
    let tracker = bridge();
    assert_eq!(absorb(&tracker, &[completed(NATS, before), stopped(NATS, before)]), 1);
    assert_eq!((absorb(&tracker, &[completed(SYNC, NOW)]), counts(&tracker)), (0, (0, 1)));

    // One that a client completed here.
    let tracker = bridge();
    announce(&tracker, Event::Completed, NOW);
    announce(&tracker, Event::Stopped, NOW);
    assert_eq!((absorb(&tracker, &[completed(SYNC, NOW)]), counts(&tracker)), (0, (0, 1)));
}

#[test]
fn who_has_started_again_stays_when_it_has_completed_on_another_way() {
    for (again, is_seeder) in [(Minute(NOW.0 - 8), true), (NOW, false)] {
        let stop = Minute(NOW.0 - 8);
        let tracker = bridge();
        absorb(&tracker, &[came(NATS, stop), stopped(NATS, stop), came(NATS, again)]);
        let (sync, nats) = tracker.flavour().cluster();
        sync.take();
        nats.take();
        let late = completed(SYNC, stop);
        assert_eq!(absorb(&tracker, &[late]), 1);
        assert_eq!((sync.take(), nats.take()), (vec![], vec![late]), "it is not told that it has stopped");
        let known: Vec<_> = super::known(&tracker, NOW).into_values().collect();
        assert_eq!(known, [(is_seeder, true, again.0)]);
        assert_eq!(absorb(&tracker, &[late, completed(NATS, NOW)]), 0);
        assert_eq!(counts(&tracker), (1, 1));
    }
}

#[test]
fn who_has_left_in_a_copy_is_remembered() {
    let tracker = bridge();
    let Change { info_hash, endpoint, .. } = change(1, 1, NOW);
    let departure = KnownDeparture { info_hash, endpoint, downloaded: 0, age: 1 };
    tracker.merge_departure(&departure, NOW, &mut MergeCounts::default());
    absorb(&tracker, &[came(SYNC, Minute(NOW.0 - 1))]);
    assert_eq!(counts(&tracker), (0, 0));
    absorb(&tracker, &[came(SYNC, NOW)]);
    assert_eq!(counts(&tracker), (1, 0));
    // It left before it came again.
    tracker.merge_departure(&departure, NOW, &mut MergeCounts::default());
    assert_eq!(counts(&tracker), (1, 0));
}

#[test]
fn without_a_transport_that_is_configured_nothing_is_remembered() {
    struct Unconfigured;
    impl crate::tracker::Cluster for Unconfigured {
        const LISTENS: bool = true;
        const REMEMBERS_STOPS: bool = true;
        fn knows(&self, _: Origin) -> bool {
            false
        }
        fn publish(&self, _: &Change) -> bool {
            true
        }
    }
    let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, START, Open, Unconfigured);
    tracker.absorb_group(&[stopped(SYNC, NOW), came(NATS, NOW)], NOW, |_, _| {});
    assert_eq!(tracker.store().census().peers.leechers, 1);
    const {
        assert!(!<(Recorder, Standalone) as crate::tracker::Cluster>::REMEMBERS_STOPS);
        assert!(<(Recorder, Recorder) as crate::tracker::Cluster>::REMEMBERS_STOPS);
        assert!(<(Unconfigured, Standalone) as crate::tracker::Cluster>::REMEMBERS_STOPS);
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever order the copies come in, as soon as the minutes differ.
    #[test]
    fn copies_in_any_order_lead_to_the_same_end(
        story in prop::collection::vec((0..30_u8, 0..3_u8), 1..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 300),
        by_sync in prop::collection::vec(any::<bool>(), 300),
    ) {
        let now = START + story.len() as u32;
        prop_assume!(story.len() < LIFETIME as usize);
        // One thing happens each minute. Who has completed once does not do so again, and stays a seeder.
        let (mut downloads, mut there) = (BTreeMap::new(), BTreeMap::new());
        let mut told = Vec::new();
        for ((peer, what), minute) in story.iter().zip(START.0..) {
            let completes = *what == 1 && !downloads.contains_key(peer);
            let stopped = *what == 2;
            if completes {
                downloads.insert(*peer, minute);
            }
            there.insert(*peer, !stopped);
            told.push(Change { seeder: downloads.contains_key(peer), completed: completes, stopped, ..change(1, *peer, Minute(minute)) });
        }
        let tracker = bridge();
        // Some copies in any order, and then all of them.
        let copies = order.iter().map(|at| told[at.index(told.len())]).chain(told.iter().copied());
        for (copy, by_sync) in copies.zip(by_sync.iter().cycle()) {
            let copy = Change { origin: if *by_sync { SYNC } else { NATS }, ..copy };
            tracker.absorb_group(&[copy], now, |_, outcome| assert!(outcome.is_ok()));
        }
        let expected = there.values().filter(|there| **there).count();
        prop_assert_eq!(counts(&tracker), (expected as u32, downloads.len() as u32));
    }
}
