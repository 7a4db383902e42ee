//! Publishes changes to the cluster.

use super::Tracker;
use super::clock::Minute;
use super::families::TorrentPeers as _;
use super::flavour::{Change, Cluster as _, Flavour};

impl<F: Flavour> Tracker<F> {
    /// Publishes a change whose peer has been marked as published. Unmarks it if the cluster does not take the change.
    /// Called while no shard is locked.
    #[inline]
    pub(super) fn publish(&self, change: &Change, now: Minute) {
        if !self.flavour().cluster().publish(change) {
            self.mark_unpublished(change, now);
        }
    }

    /// Marks the peer as one to publish when it next announces itself. One that has left is not known any more: the
    /// others forget it like one that falls silent.
    #[cold]
    fn mark_unpublished(&self, change: &Change, now: Minute) {
        let Change { info_hash, endpoint, .. } = *change;
        let limit = self.store().address_limit(now);
        self.store().lock(&info_hash).modify(now, |torrent, key| {
            if let Some(state) = torrent.peers.state(key, endpoint) {
                torrent.peers.upsert(key, endpoint, state.seeder(), limit, |_| state.unpublished(now));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::model::{config, intervals};
    use crate::tracker::peer::PeerState;
    use crate::tracker::store::Cursor;
    use crate::tracker::testing::{Recorder, TestFlavour, TestTracker, key};
    use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, Open, Origin, PeerRequest};
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;
    use std::ops::RangeInclusive;

    const NOW: Minute = Minute(29_000_191);

    fn announce(torrent: u8, peer: u8, seeder: bool, event: Event) -> AnnounceRequest {
        let endpoint = (Ipv4Addr::new(10, 0, 0, peer), 6881).into();
        AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint, seeder, uploaded: false, event }
    }

    #[test]
    fn a_peer_is_published_once_in_ten_minutes_and_at_once_when_it_completes_or_leaves() {
        let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Recorder::default());
        let published = |minutes: u32, seeder: bool, event: Event| {
            tracker
                .announce(
                    &announce(1, 1, seeder, event),
                    NOW + minutes,
                    &mut Rng::with_seed(1),
                    &mut PeerRequest::none(),
                )
                .unwrap();
            tracker
                .flavour()
                .cluster()
                .take()
                .into_iter()
                .map(|change| (change.completed, change.stopped))
                .collect::<Vec<_>>()
        };
        assert_eq!(published(0, false, Event::Update), [(false, false)], "it comes");
        assert_eq!(published(9, false, Event::Update), []);
        assert_eq!(published(10, false, Event::Update), [], "it came in an odd minute");
        assert_eq!(published(11, false, Event::Update), [(false, false)], "it is still there");
        assert_eq!(published(11, true, Event::Completed), [(true, false)]);
        assert_eq!(published(11, true, Event::Completed), [], "a download counts once");
        assert_eq!(published(12, true, Event::Stopped), [(false, true)]);
        assert_eq!(published(12, true, Event::Stopped), [(false, true)], "others may know it");
    }

    #[test]
    fn a_change_says_when_the_peer_was_seen_and_that_a_client_announced_it() {
        let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Recorder::default());
        let announces = [announce(1, 1, true, Event::Completed), announce(2, 1, false, Event::Stopped)];
        for announce in &announces {
            tracker.announce(announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        }
        let expected = announces.map(|announce| {
            let AnnounceRequest { info_hash, endpoint, seeder, event, .. } = announce;
            let (completed, stopped) = (event == Event::Completed, event == Event::Stopped);
            Change { info_hash, endpoint, seeder, completed, stopped, seen: NOW, origin: Origin::Client }
        });
        assert_eq!(tracker.flavour().cluster().take(), expected);
    }

    #[test]
    fn who_displaces_another_is_published_when_that_one_would_have_been_and_nobody_as_gone() {
        let capacity = Capacity { peers_per_address: 4, ..Capacity::NONE };
        let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(capacity, NOW, Open, Recorder::default());
        let published = |minutes: u32, ports: RangeInclusive<u16>, event: Event| {
            for port in ports {
                let mut announce = announce(1, 1, event == Event::Completed, event);
                announce.endpoint.set_port(port);
                tracker.announce(&announce, NOW + minutes, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
            }
            let changes = tracker.flavour().cluster().take();
            assert!(changes.iter().all(|change| !change.stopped));
            changes.len()
        };
        assert_eq!(published(0, 1..=1000, Event::Update), 4);
        assert_eq!(published(9, 1001..=2000, Event::Update), 0, "they were published with those before them");
        assert_eq!(published(11, 2001..=3000, Event::Update), 4);
        assert_eq!(published(12, 1..=4, Event::Completed), 4, "a download is told in any case");
        let counts = tracker.scrape(&InfoHash([1; 20])).unwrap();
        assert_eq!((counts.seeders, counts.leechers, counts.downloaded), (4, 0, 4));
        published(12, 5..=8, Event::Update);
        let counts = tracker.scrape(&InfoHash([1; 20])).unwrap();
        assert_eq!((counts.seeders, counts.leechers, counts.downloaded), (0, 4, 4), "the downloads stay counted");
    }

    #[test]
    fn who_has_no_port_is_not_published() {
        let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Recorder::default());
        for event in [Event::Update, Event::Completed, Event::Stopped] {
            let mut announce = announce(1, 1, true, event);
            announce.endpoint.set_port(0);
            tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        }
        assert_eq!((tracker.flavour().cluster().take(), tracker.store().census().torrents), (vec![], 0));
    }

    #[test]
    fn a_peer_that_the_cluster_did_not_take_is_published_when_it_announces_itself_again() {
        let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Recorder::default());
        let published = |minutes: u32, event: Event| {
            let announce = announce(1, 1, event == Event::Completed, event);
            tracker.announce(&announce, NOW + minutes, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
            tracker.flavour().cluster().take().len()
        };
        tracker.flavour().cluster().set_full(true);
        assert_eq!(
            (published(0, Event::Update), published(1, Event::Completed), published(2, Event::Update)),
            (0, 0, 0)
        );
        tracker.flavour().cluster().set_full(false);
        assert_eq!((published(3, Event::Update), published(4, Event::Update)), (1, 0));
        assert_eq!(tracker.store().census().peers.leechers, 1);
        tracker.flavour().cluster().set_full(true);
        assert_eq!(
            (published(5, Event::Completed), published(6, Event::Stopped)),
            (0, 0),
            "who has left is not known any more"
        );
        assert_eq!(tracker.store().census().peers.peers(), 0);
        assert_eq!(tracker.scrape(&InfoHash([1; 20])).map(|counts| counts.downloaded), Some(1));
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn each_peer_is_published_once_in_ten_minutes_unless_the_cluster_takes_nothing(
            intervals in intervals(),
            steps in prop::collection::vec((0..100_u8, any::<bool>(), 0..12_u32, prop::bool::weighted(0.3)), 1..800),
        ) {
            let flavour = TestFlavour::<Ipv4Only, _, _>::with_plugs(Open, Recorder::default());
            let tracker = Tracker::new(key(), Capacity::NONE, intervals, NOW, flavour);
            // When each was last published and taken.
            let mut taken = BTreeMap::new();
            let mut now = NOW;
            for (n, (peer, seeder, minutes, full)) in steps.into_iter().enumerate() {
                if n % 10 == 0 {
                    now = now + minutes;
                    tracker.sweep(now, || {});
                    let mut known = BTreeSet::new();
                    let mut cursor = Some(Cursor::default());
                    while let Some(from) = cursor {
                        let visit = |_: &InfoHash, endpoint, _| _ = known.insert(endpoint);
                        cursor = tracker.store().walk_peers(from, &mut 1000, visit);
                    }
                    taken.retain(|peer, _| known.contains(&self::announce(1, *peer, false, Event::Update).endpoint));
                }
                tracker.flavour().cluster().set_full(full);
                let announce = announce(1, peer, seeder, Event::Update);
                tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
                let is_due = taken.get(&peer).is_none_or(|at| {
                    // In the tenth minute it depends on the step in which it was published.
                    now.since(*at) >= PeerState::REPUBLISH_AFTER + at.0 % 2
                });
                prop_assert_eq!(tracker.flavour().cluster().take().len(), usize::from(is_due && !full));
                if is_due && full {
                    taken.remove(&peer);
                } else if is_due {
                    taken.insert(peer, now);
                }
            }
        }
    }
}
