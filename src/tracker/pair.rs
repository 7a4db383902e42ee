//! A pair of plugs that listen is itself a plug that listens: it calls both. Pairs of pairs make as many as are wanted.

use std::borrow::Cow;
use std::net::IpAddr;

use fastrand::Rng;

use super::clock::Minute;
use super::flavour::{Change, Cluster, NetworkLog, Origin, TransportStatus};

/// Publishes to both, but to neither what came in by it. Where both listen, they are a bridge between their clusters:
/// of several trackers on both, the others hold what one of them forwards.
impl<A: Cluster, B: Cluster> Cluster for (A, B) {
    const LISTENS: bool = A::LISTENS || B::LISTENS;
    const BRIDGES: bool = A::BRIDGES || B::BRIDGES || A::LISTENS && B::LISTENS;
    const REMEMBERS_STOPS: bool = A::REMEMBERS_STOPS || B::REMEMBERS_STOPS || Self::BRIDGES;

    /// Returns that of the first that has one.
    fn id(&self) -> Option<u32> {
        self.0.id().or_else(|| self.1.id())
    }

    fn knows(&self, origin: Origin) -> bool {
        self.0.knows(origin) && self.1.knows(origin)
    }

    fn publish(&self, change: &Change) -> bool {
        if Self::BRIDGES && change.origin != Origin::Client && !self.forwards() {
            return self.hold(change);
        }
        // Both in any case: if one does not take the change, the other may.
        let first = publish(&self.0, change);
        let second = publish(&self.1, change);
        first && second
    }

    fn reaches_beyond(&self, transport: &str) -> bool {
        self.0.reaches_beyond(transport) || self.1.reaches_beyond(transport)
    }

    fn forwards(&self) -> bool {
        self.0.forwards() && self.1.forwards()
    }

    fn hold(&self, change: &Change) -> bool {
        let first = self.0.knows(change.origin) || self.0.hold(change);
        let second = self.1.knows(change.origin) || self.1.hold(change);
        first && second
    }

    fn hear<'a>(&self, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        self.1.hear(self.0.hear(changes))
    }

    /// Returns those of both.
    fn transports(&self) -> Vec<TransportStatus> {
        let mut all = self.0.transports();
        all.extend(self.1.transports());
        all
    }
}

/// Publishes the change unless it came in by this cluster. Returns false if it was not taken.
#[inline]
fn publish(cluster: &impl Cluster, change: &Change) -> bool {
    cluster.knows(change.origin) || cluster.publish(change)
}

/// Records every client with both.
impl<A: NetworkLog, B: NetworkLog> NetworkLog for (A, B) {
    const COUNTS: bool = A::COUNTS || B::COUNTS;
    const HEARS_RETURNS: bool = A::HEARS_RETURNS || B::HEARS_RETURNS;

    #[inline]
    fn record(&self, address: IpAddr, now: Minute, rng: &mut Rng) {
        self.0.record(address, now, rng);
        self.1.record(address, now, rng);
    }

    #[inline]
    fn came_back(&self, address: IpAddr, after: u32, now: Minute, rng: &mut Rng) {
        self.0.came_back(address, after, now, rng);
        self.1.came_back(address, after, now, rng);
    }

    /// Returns that of the first that has one: there is one page.
    fn busy(&self, now: Minute) -> Option<String> {
        self.0.busy(now).or_else(|| self.1.busy(now))
    }

    fn woodpeckers(&self, now: Minute) -> Option<String> {
        self.0.woodpeckers(now).or_else(|| self.1.woodpeckers(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::flavour::{Flavour as _, Standalone, TransportCounts, Unlogged};
    use crate::tracker::peer::PeerState;
    use crate::tracker::testing::{Counted, Recorder, TestTracker};
    use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, Open, PeerRequest};
    use std::sync::Mutex;
    use std::time::Duration;

    const NOW: Minute = Minute(29_000_191);
    const TORRENT: InfoHash = InfoHash([7; 20]);

    type Two = (Recorder, Recorder);

    fn tracker<C: Cluster>(cluster: C) -> TestTracker<Ipv4Only, Open, C> {
        TestTracker::with_plugs(Capacity::NONE, NOW, Open, cluster)
    }

    fn two() -> TestTracker<Ipv4Only, Open, Two> {
        tracker((Recorder::named("one"), Recorder::named("two")))
    }

    /// Returns what has been published to each since the last call.
    fn published(tracker: &TestTracker<Ipv4Only, Open, Two>) -> (Vec<Change>, Vec<Change>) {
        (tracker.flavour().cluster().0.take(), tracker.flavour().cluster().1.take())
    }

    fn announce<C: Cluster>(tracker: &TestTracker<Ipv4Only, Open, C>, seeder: bool, event: Event, now: Minute) {
        let endpoint = ([10, 0, 0, 1], 6881).into();
        let announce = AnnounceRequest { info_hash: TORRENT, endpoint, seeder, uploaded: false, event };
        tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }

    fn change(origin: Origin, seen: Minute) -> Change {
        let endpoint = ([10, 0, 0, 1], 6881).into();
        Change { info_hash: TORRENT, endpoint, seeder: false, completed: false, stopped: false, seen, origin }
    }

    fn absorb<C: Cluster>(tracker: &TestTracker<Ipv4Only, Open, C>, change: Change, now: Minute) {
        tracker.absorb_group(&[change], now, |_, outcome| assert!(outcome.is_ok(), "{outcome:?}"));
    }

    const CLIENT: Origin = Origin::Client;
    const ONE: Origin = Origin::Transport { name: "one", member: 0 };
    const TWO: Origin = Origin::Transport { name: "two", member: 0 };

    #[test]
    fn what_clients_announce_is_published_to_both() {
        let tracker = two();
        announce(&tracker, false, Event::Update, NOW);
        let came = vec![change(CLIENT, NOW)];
        assert_eq!(published(&tracker), (came.clone(), came));
        announce(&tracker, false, Event::Stopped, NOW);
        let left = vec![Change { stopped: true, ..change(CLIENT, NOW) }];
        assert_eq!(published(&tracker), (left.clone(), left));
    }

    #[test]
    fn what_comes_in_by_one_is_published_to_the_other_and_not_back() {
        let tracker = two();
        let came = change(ONE, NOW);
        let completed = Change { seeder: true, completed: true, ..change(TWO, NOW + 1) };
        let left = Change { stopped: true, ..change(ONE, NOW + 2) };
        absorb(&tracker, came, NOW);
        assert_eq!(published(&tracker), (vec![], vec![came]));
        absorb(&tracker, completed, NOW + 1);
        assert_eq!(published(&tracker), (vec![completed], vec![]));
        absorb(&tracker, left, NOW + 2);
        assert_eq!(published(&tracker), (vec![], vec![left]));
    }

    #[test]
    fn what_goes_round_in_a_ring_of_bridges_comes_to_an_end() {
        let tracker = two();
        absorb(&tracker, change(ONE, NOW), NOW);
        assert_eq!(published(&tracker), (vec![], vec![change(ONE, NOW)]));
        // Another bridge sends it back, by both.
        for origin in [TWO, ONE, TWO] {
            absorb(&tracker, change(origin, NOW), NOW);
            assert_eq!(published(&tracker), (vec![], vec![]), "it was published a moment ago");
        }
        let left = |origin| Change { stopped: true, ..change(origin, NOW) };
        absorb(&tracker, left(TWO), NOW);
        assert_eq!(published(&tracker), (vec![left(TWO)], vec![]));
        absorb(&tracker, left(ONE), NOW);
        assert_eq!(published(&tracker), (vec![], vec![]), "it has left already");
        // Who stays is published again, as on the other side.
        absorb(&tracker, change(ONE, NOW), NOW);
        let later = NOW + PeerState::REPUBLISH_AFTER + 1;
        absorb(&tracker, change(ONE, later), later);
        assert_eq!(published(&tracker), (vec![], vec![change(ONE, NOW), change(ONE, later)]));
    }

    #[test]
    fn what_one_does_not_take_is_published_again_to_both() {
        let tracker = two();
        tracker.flavour().cluster().1.set_full(true);
        announce(&tracker, false, Event::Update, NOW);
        assert_eq!(published(&tracker), (vec![change(CLIENT, NOW)], vec![]));
        announce(&tracker, false, Event::Update, NOW);
        assert_eq!(published(&tracker), (vec![change(CLIENT, NOW)], vec![]));
        tracker.flavour().cluster().1.set_full(false);
        announce(&tracker, false, Event::Update, NOW);
        let came = vec![change(CLIENT, NOW)];
        assert_eq!(published(&tracker), (came.clone(), came));
        announce(&tracker, false, Event::Update, NOW);
        assert_eq!(published(&tracker), (vec![], vec![]), "both have taken it");

        // The same on a bridge: the peer is published when it announces itself here.
        announce(&tracker, false, Event::Stopped, NOW);
        published(&tracker);
        tracker.flavour().cluster().0.set_full(true);
        absorb(&tracker, change(TWO, NOW + 1), NOW + 1);
        assert_eq!(tracker.store().census().peers.leechers, 1);
        tracker.flavour().cluster().0.set_full(false);
        announce(&tracker, false, Event::Update, NOW + 1);
        let came = vec![change(CLIENT, NOW + 1)];
        assert_eq!(published(&tracker), (came.clone(), came));
    }

    #[test]
    fn what_comes_in_by_one_of_three_is_published_to_the_other_two() {
        let inner = (Recorder::named("one"), Recorder::named("two"));
        let tracker = tracker((inner, Recorder::named("three")));
        absorb(&tracker, change(TWO, NOW), NOW);
        let ((one, two), three) = &tracker.flavour().cluster();
        assert_eq!([one.take(), two.take(), three.take()], [vec![change(TWO, NOW)], vec![], vec![change(TWO, NOW)]]);
    }

    #[test]
    fn the_off_twin_changes_nothing_in_a_pair() {
        const {
            assert!(<(Recorder, Standalone)>::LISTENS && <(Standalone, Recorder)>::LISTENS);
            assert!(!<(Standalone, Standalone)>::LISTENS && !<(Recorder, Standalone)>::BRIDGES);
            assert!(<(Recorder, Recorder)>::BRIDGES && <((Recorder, Recorder), Standalone)>::BRIDGES);
            assert!(<((Recorder, Standalone), (Standalone, Recorder))>::BRIDGES);
        }
        let tracker = tracker((Standalone, Recorder::named("one")));
        announce(&tracker, false, Event::Update, NOW);
        assert_eq!(tracker.flavour().cluster().1.take(), [change(CLIENT, NOW)]);
        absorb(&tracker, change(ONE, NOW + 20), NOW + 20);
        assert_eq!(tracker.flavour().cluster().1.take(), []);
    }

    #[test]
    fn each_transport_of_a_pair_has_numbers_of_its_own() {
        let status = |name, packets_sent| {
            let counts = TransportCounts { packets_sent, ..TransportCounts::default() };
            TransportStatus { name, title: "A transport", counts, lag: Duration::ZERO, members: 0, connected: None }
        };
        let (one, two) = (status("one", 1), status("two", 2));
        assert_eq!((Counted(one), (Standalone, Counted(two))).transports(), [one, two]);
    }

    /// Remembers the clients that it records, and those that come back. Has pages of this text.
    #[derive(Default)]
    struct Log(Mutex<Vec<IpAddr>>, Option<&'static str>);

    impl NetworkLog for Log {
        const COUNTS: bool = true;
        const HEARS_RETURNS: bool = true;

        fn record(&self, address: IpAddr, _: Minute, _: &mut Rng) {
            self.0.lock().unwrap().push(address);
        }

        fn came_back(&self, address: IpAddr, _: u32, _: Minute, _: &mut Rng) {
            self.0.lock().unwrap().push(address);
        }

        fn busy(&self, _: Minute) -> Option<String> {
            self.1.map(str::to_owned)
        }

        fn woodpeckers(&self, now: Minute) -> Option<String> {
            self.busy(now)
        }
    }

    #[test]
    fn two_network_logs_hear_of_every_client_and_the_first_page_is_shown() {
        for (first, second, shown) in
            [(Some("1"), Some("2"), Some("1")), (None, Some("2"), Some("2")), (None, None, None)]
        {
            let pair = (Log(Mutex::default(), first), Log(Mutex::default(), second));
            assert_eq!([pair.busy(NOW).as_deref(), pair.woodpeckers(NOW).as_deref()], [shown; 2]);
        }
        assert_eq!([(Unlogged, Unlogged).busy(NOW), (Unlogged, Unlogged).woodpeckers(NOW)], [None, None]);
        const {
            assert!(<(Log, Unlogged)>::COUNTS && <(Unlogged, Log)>::COUNTS && !<(Unlogged, Unlogged)>::COUNTS);
            assert!(<(Log, Unlogged)>::HEARS_RETURNS && <(Unlogged, Log)>::HEARS_RETURNS && !Unlogged::HEARS_RETURNS);
        }
        let log = (Log::default(), (Unlogged, Log::default()));
        let address = IpAddr::from([10, 0, 0, 1]);
        let other = IpAddr::from([10, 0, 0, 2]);
        log.record(address, NOW, &mut Rng::with_seed(1));
        log.came_back(other, 7, NOW, &mut Rng::with_seed(1));
        let (one, (_, two)) = log;
        assert_eq!([one, two].map(|log| log.0.into_inner().unwrap()), [[address, other], [address, other]]);
    }
}
