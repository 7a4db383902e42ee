//! What comes from the cluster: a datagram is checked, and what it tells is taken over. No socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use thiserror::Error;

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::cluster::inbox;
use crate::cluster::trust::Trust;
use crate::stats::WorkerCounters;
use crate::tracker::{Cluster as _, Flavour, Minute, Tracker};

use super::bridging::Bridging;
use super::packet::{self, Packet, ParseError, SyncPacket, TrackerId};
use super::snapshot::{Invitation, Notices};

/// Decides which packets are believed.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The id of this tracker.
    pub(super) own: TrackerId,
    /// Where the other trackers are.
    pub(super) trust: Trust,
}

/// Where what is believed goes, and where it is counted.
pub(super) struct Receiver<'a, F: Flavour> {
    pub(super) tracker: &'a Tracker<F>,
    pub(super) counters: &'a TransportCounters,
    pub(super) worker_counters: &'a WorkerCounters,
    pub(super) notices: &'a Notices,
    pub(super) bridging: &'a Bridging,
}

/// Why a packet changes nothing. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum PacketError {
    #[error("livesync.cluster.node_ip does not name its sender")]
    Stranger,
    #[error("it has our own tracker id")]
    Ourselves,
    #[error(transparent)]
    Malformed(#[from] ParseError),
}

impl Inbox {
    /// Checks a datagram that came from `from`, and hands the changes in it to the receiver's tracker.
    ///
    /// # Errors
    ///
    /// Why nothing was taken over.
    pub(super) fn take<F: Flavour>(
        &self,
        datagram: &[u8],
        from: IpAddr,
        now: Minute,
        receiver: &Receiver<'_, F>,
    ) -> Result<(), PacketError> {
        let Receiver { counters, notices, bridging, .. } = receiver;
        let packet = self.check(datagram, from).inspect_err(|_| counters.count(TransportCounter::PacketsRefused))?;
        counters.add(TransportCounter::BytesReceived, datagram.len());
        counters.note_member(packet.sender().number(), Instant::now());
        if F::Cluster::BRIDGES {
            let is_able = if let Packet::KeepAlive(_, is_able) = packet { Some(is_able) } else { None };
            bridging.hear(packet.sender(), is_able, Instant::now());
        }
        match packet {
            Packet::Changes(packet) => {
                notices.hear();
                Self::absorb(&packet, now, receiver);
                return Ok(());
            }
            Packet::KeepAlive(..) | Packet::Later(_) => {}
            Packet::Ask(_) => notices.ask(),
            // A donor that is busy.
            Packet::Offer(_, Invitation { port: 0, .. }) => notices.hear(),
            Packet::Offer(_, Invitation { port, offer }) => notices.offer(offer, SocketAddr::new(from, port)),
        }
        counters.count(TransportCounter::PacketsReceived);
        Ok(())
    }

    fn absorb<F: Flavour>(packet: &SyncPacket<'_>, now: Minute, receiver: &Receiver<'_, F>) {
        let Receiver { tracker, counters, worker_counters, .. } = receiver;
        let changes: Vec<_> = packet.changes(now).flatten().collect();
        inbox::absorb(tracker, &changes, packet.records(), now, counters, |change, outcome| {
            // A completed download is one wherever it was announced: each tracker of a cluster counts it, once.
            worker_counters.count_outcome(change.endpoint.ip(), outcome);
        });
    }

    fn check<'a>(&self, datagram: &'a [u8], from: IpAddr) -> Result<Packet<'a>, PacketError> {
        if !self.trust.believes(from) {
            return Err(PacketError::Stranger);
        }
        let packet = packet::parse(datagram)?;
        if packet.sender() == self.own { Err(PacketError::Ourselves) } else { Ok(packet) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{NOW, SENDER, change, packet};
    use super::super::packet::{ASK, FIRST_LATER, OFFER};
    use super::*;
    use crate::cluster::election::{KEEP_ALIVE, LONG_LISTENING};
    use crate::cluster::snapshot::Offer;
    use crate::stats::{Counter, Counters};
    use crate::tracker::testing::{NotThatOne, Recorder, THAT_ONE, TestTracker};
    use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, PeerRequest, ScrapeCounts};
    use crate::tracker::{Change, Cluster, Origin};
    use fastrand::Rng;
    use proptest::prelude::*;

    const OWN: TrackerId = TrackerId([9, 9, 9, 9]);
    const TORRENT: InfoHash = InfoHash([7; 20]);

    /// A tracker of a cluster, and what it counts.
    struct Node<C: Cluster = Recorder> {
        inbox: Inbox,
        tracker: TestTracker<Ipv4Only, NotThatOne, C>,
        counters: TransportCounters,
        stats: Counters,
        notices: Notices,
        bridging: Bridging,
    }

    impl Node {
        fn new() -> Self {
            Self::with_cluster(Recorder::default())
        }
    }

    impl<C: Cluster> Node<C> {
        fn with_cluster(cluster: C) -> Self {
            let tracker = TestTracker::with_plugs(Capacity::NONE, NOW, NotThatOne, cluster);
            let inbox = Inbox { own: OWN, trust: Trust::new(vec!["192.0.2.0/24".parse().unwrap()]) };
            Self {
                inbox,
                tracker,
                counters: TransportCounters::default(),
                stats: Counters::default(),
                notices: Notices::default(),
                bridging: Bridging::new(OWN, Instant::now()),
            }
        }

        fn take(&self, datagram: &[u8]) -> Result<(), PacketError> {
            self.take_from("192.0.2.9", datagram)
        }

        fn take_from(&self, from: &str, datagram: &[u8]) -> Result<(), PacketError> {
            let Self { inbox, tracker, counters, stats, notices, bridging } = self;
            let receiver = Receiver { tracker, counters, worker_counters: &stats.for_worker(), notices, bridging };
            inbox.take(datagram, from.parse().unwrap(), NOW, &receiver)
        }

        fn hears(&self, changes: &[Change]) {
            self.take(&packet(SENDER, changes)).unwrap();
        }

        /// Seeders, leechers, downloaded.
        fn counts(&self) -> (u32, u32, u32) {
            let ScrapeCounts { seeders, leechers, downloaded } = self.tracker.scrape(&TORRENT).unwrap_or_default();
            (seeders, leechers, downloaded)
        }

        fn announced(&self, event: Event, seeder: bool) {
            let announce =
                AnnounceRequest { info_hash: TORRENT, endpoint: peer().endpoint, seeder, uploaded: false, event };
            self.tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        }

        /// Packets and records in, packets and records refused.
        fn counted(&self) -> [u64; 4] {
            let counts = self.counters.counts();
            [counts.packets_received, counts.records_received, counts.packets_refused, counts.records_refused]
        }
    }

    fn peer() -> Change {
        change("198.51.100.1:6881")
    }

    fn completed() -> Change {
        Change { seeder: true, completed: true, ..peer() }
    }

    /// What the cluster is told when a client announces the same here.
    fn own(change: Change) -> Change {
        Change { origin: Origin::Client, ..change }
    }

    #[test]
    fn peers_come_complete_and_leave_and_nothing_is_told_on() {
        let node = Node::new();
        node.hears(&[peer(), change("198.51.100.2:1")]);
        assert_eq!(node.counts(), (0, 2, 0));
        node.hears(&[completed()]);
        assert_eq!(node.counts(), (1, 1, 1));
        node.hears(&[Change { stopped: true, ..completed() }]);
        assert_eq!(node.counts(), (0, 1, 1));
        assert_eq!(node.tracker.flavour().cluster().take(), []);
        assert_eq!(node.counted(), [3, 4, 0, 0]);
        assert_eq!(node.stats.total(Counter::Completed), 1);
    }

    #[test]
    fn a_peer_known_from_the_cluster_is_not_told_unless_it_completes() {
        let node = Node::new();
        let told = || node.tracker.flavour().cluster().take();
        node.hears(&[peer()]);
        node.announced(Event::Update, false);
        assert_eq!(told(), []);
        node.announced(Event::Completed, true);
        assert_eq!(told(), [own(completed())]);
        node.hears(&[completed()]);
        assert_eq!((node.counts(), node.stats.total(Counter::Completed)), ((1, 0, 1), 0), "it is known here already");
    }

    #[test]
    fn a_stop_is_told_even_of_a_peer_that_is_not_known_here() {
        let node = Node::new();
        node.announced(Event::Stopped, false);
        // What the others were told of it may not have arrived here, or not yet.
        assert_eq!(node.tracker.flavour().cluster().take(), [own(Change { stopped: true, ..peer() })]);
    }

    #[test]
    fn duplicates_and_reordering_within_a_family_of_changes_count_once() {
        let node = Node::new();
        for _ in 0..3 {
            node.hears(&[completed(), peer(), completed(), peer()]);
        }
        assert_eq!(node.counts(), (1, 0, 1), "nobody loses in a minute what he has, and the download is counted once");
        for _ in 0..3 {
            node.hears(&[Change { stopped: true, ..peer() }]);
        }
        assert_eq!((node.counts(), node.stats.total(Counter::Completed)), ((0, 0, 1), 1));
    }

    #[test]
    fn who_completes_has_everything() {
        let node = Node::new();
        node.hears(&[Change { completed: true, ..peer() }]);
        assert_eq!((node.counts(), node.stats.total(Counter::Completed)), ((0, 1, 0), 0));
    }

    #[test]
    fn strangers_ourselves_and_the_malformed_change_nothing() {
        let node = Node::new();
        let whole = packet(SENDER, &[peer()]);
        assert_eq!(node.take_from("192.0.3.1", &whole), Err(PacketError::Stranger));
        assert_eq!(node.take_from("::1", &whole), Err(PacketError::Stranger));
        assert_eq!(node.take(&packet(OWN, &[peer()])), Err(PacketError::Ourselves));
        assert_eq!(node.take(&whole[..20]), Err(PacketError::Malformed(ParseError::PartialRecord)));
        assert_eq!(node.tracker.store().census().torrents, 0);
        assert_eq!(node.counted(), [0, 0, 4, 0]);

        let nobody = Node { inbox: Inbox { own: OWN, trust: Trust::default() }, ..Node::new() };
        assert_eq!(nobody.take(&whole), Err(PacketError::Stranger));
    }

    #[test]
    fn a_keep_alive_of_another_bridge_is_heard_and_changes_no_peer() {
        // It has listened, and said that it could forward, for so long that only the ids decide.
        let said = Instant::now() - KEEP_ALIVE;
        let start = said - LONG_LISTENING;
        let bridge = Node::with_cluster((Recorder::named("sync"), Recorder::named("nats")));
        let node = Node { bridging: Bridging::new(OWN, start), ..bridge };
        let keep_alive = |is_able| packet::write(SENDER, packet::KEEP_ALIVE, &[is_able]);
        [start, said].into_iter().for_each(|now| _ = node.bridging.decide(true, now));
        assert!(node.bridging.forwards());
        node.take(&packet::write(TrackerId([10; 4]), packet::KEEP_ALIVE, &[1])).unwrap();
        node.bridging.decide(true, Instant::now());
        assert!(node.bridging.forwards(), "the sender's id is higher");
        node.take(&keep_alive(1)).unwrap();
        node.bridging.decide(true, Instant::now());
        assert!(!node.bridging.forwards(), "the sender's id is lower");
        assert!(node.bridging.answer(start).is_none(), "it has just been heard");
        node.take(&keep_alive(0)).unwrap();
        node.bridging.decide(true, Instant::now());
        assert!(node.bridging.forwards());
        assert_eq!(node.take_from("192.0.3.1", &keep_alive(1)), Err(PacketError::Stranger));
        assert_eq!(node.take(&keep_alive(2)), Err(PacketError::Malformed(ParseError::UnknownState(2))));
        assert_eq!((node.counted(), node.tracker.store().census().torrents), ([3, 0, 2, 0], 0));
    }

    #[test]
    fn whoever_is_heard_is_remembered_by_bridges() {
        let bridge = Node::with_cluster((Recorder::named("sync"), Recorder::named("nats")));
        let knows = || bridge.bridging.members.has(SENDER.number(), Instant::now());
        let whole = packet(SENDER, &[peer()]);
        let _ = (bridge.take_from("192.0.3.1", &whole), bridge.take(&whole[..20]));
        assert!(!knows(), "nothing of it is believed");
        bridge.take(&whole).unwrap();
        assert!(knows());
        let node = Node::new();
        node.take(&whole).unwrap();
        assert!(!node.bridging.members.has(SENDER.number(), Instant::now()), "it is no bridge");
    }

    #[test]
    fn questions_and_offers_are_noted_and_only_those_that_are_understood() {
        let node = Node::new();
        let is_asked = || {
            let mut asked = std::pin::pin!(node.notices.asked());
            asked.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        let take = |code, body: &[u8]| node.take(&packet::write(SENDER, code, body));
        let offer = Offer { id: SENDER.number().into(), uptime_seconds: 60, torrents: 1, peers: 2 };
        let invitation = Invitation { port: 9696, offer };
        let short = Err(PacketError::Malformed(ParseError::PartialBody));
        assert_eq!([take(ASK, &[0]), take(ASK, &[0, 2])], [short, Ok(())]);
        assert_eq!([take(OFFER, &invitation.write()[..23]), take(OFFER, &[0, 2])], [short, Ok(())]);
        assert_eq!(node.take_from("192.0.3.1", &packet::write(SENDER, ASK, &[0, 1])), Err(PacketError::Stranger));
        assert_eq!(node.take(&packet::write(OWN, ASK, &[0, 1])), Err(PacketError::Ourselves));
        assert!(!is_asked());
        take(ASK, &[0, 1]).unwrap();
        assert!(is_asked() && !is_asked() && !node.notices.has_heard());

        take(OFFER, &invitation.write()).unwrap();
        assert_eq!(node.notices.take_offers(), [(offer, ([192, 0, 2, 9], 9696).into())]);
        assert!(!node.notices.has_heard());
        take(OFFER, &Invitation { port: 0, offer }.write()).unwrap();
        assert!(node.notices.take_offers().is_empty() && node.notices.has_heard(), "who is busy is there");
        assert_eq!(node.counted(), [5, 0, 4, 0]);
    }

    #[test]
    fn what_a_later_version_says_is_passed_over_and_no_error() {
        let node = Node::new();
        for (at, code) in (1..).zip([FIRST_LATER, 100, 1 << 24, u32::MAX]) {
            assert_eq!(node.take(&packet::write(SENDER, code, &[1; 28])), Ok(()));
            assert_eq!(node.counted(), [at, 0, 0, 0], "{code}");
        }
        assert_eq!(node.take_from("192.0.3.1", &packet::write(SENDER, FIRST_LATER, &[])), Err(PacketError::Stranger));
        assert!(!node.notices.has_heard() && node.tracker.store().census().torrents == 0);
    }

    #[test]
    fn what_no_peer_could_announce_is_passed_over() {
        let node = Node::new();
        let unserved = Change { info_hash: THAT_ONE, ..peer() };
        node.hears(&[change("198.51.100.1:0"), unserved, Change { stopped: true, ..unserved }, peer()]);
        node.hears(&[change("[2001:db8::1]:1")]);
        let mut datagram = packet(SENDER, &[change("198.51.100.2:1")]);
        datagram[34] = 0x81;
        node.take(&datagram).unwrap();
        assert_eq!(node.counts(), (0, 1, 0));
        assert_eq!(node.tracker.store().census().torrents, 1);
        assert_eq!(node.counted(), [3, 1, 0, 5]);
    }

    #[test]
    fn a_full_tracker_takes_no_more() {
        let limits = Capacity { torrents: 100, peers: 1, ..Capacity::NONE };
        let tracker = TestTracker::with_plugs(limits, NOW, NotThatOne, Recorder::default());
        let node = Node { tracker, ..Node::new() };
        node.hears(&[peer(), change("198.51.100.2:1")]);
        assert_eq!((node.counts(), node.counted()), ((0, 1, 0), [1, 1, 0, 1]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_packet_cut_within_a_record_changes_nothing(cut in 0..8 + 3 * 28_usize) {
            prop_assume!(cut == 8 || cut % 28 != 8);
            let node = Node::new();
            let datagram = packet(SENDER, &[peer(), completed(), change("198.51.100.2:1")]);
            prop_assert!(node.take(&datagram[..cut]).is_err());
            prop_assert_eq!(node.tracker.store().census().torrents, 0);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..1600), code in 0..3_u8) {
            let node = Node::new();
            let _ = node.take(&bytes);
            let _ = node.take(&[&[1, 2, 3, 4, 0, 0, 0, code], &bytes[..]].concat());
            prop_assert!(node.tracker.store().census().peers.peers() <= 1592 / 28);
        }
    }
}
