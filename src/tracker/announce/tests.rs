use super::*;
use crate::tracker::model::config;
use crate::tracker::testing::{TestFlavour, TestTracker, key};
use crate::tracker::{
    Capacity, InfoHash, Intervals, Ipv4Only, Open, PeerBuffer, PeerBuffers, Standalone, WantedUnlogged,
};
use fastrand::Rng;
use proptest::prelude::*;
use std::sync::Mutex;
use std::thread;

const NOW: Minute = Minute(29_000_191);

fn announce(torrent: u8, peer: u8, seeder: bool, event: Event) -> AnnounceRequest {
    let endpoint = (Ipv4Addr::new(10, 0, 0, peer), 6881).into();
    AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint, seeder, uploaded: false, event }
}

/// An announce, its outcome, and all peers that it was handed.
type Answered = (AnnounceRequest, Result<AnnounceOutcome, AnnounceError>, Vec<[u8; 6]>);

fn together(tracker: &TestTracker, announces: &[AnnounceRequest]) -> Vec<Answered> {
    let mut buffers = vec![[0; BUFFER]; announces.len()];
    let mut pending: Vec<_> = announces
        .iter()
        .zip(&mut buffers)
        .map(|(&announce, buffer)| PendingAnnounce::new(announce, all_peers(buffer)))
        .collect();
    tracker.announce_group(&mut pending, NOW, &mut Rng::with_seed(1));
    let answered = |mut pending: PendingAnnounce<'_>| {
        let peers = peers(pending.peers.into.ipv4().unwrap().written());
        (pending.announce, pending.outcome.expect("every announce is run"), peers)
    };
    pending.into_iter().map(answered).collect()
}

fn alone(tracker: &TestTracker, announce: AnnounceRequest) -> Answered {
    let mut buffer = [0; BUFFER];
    let mut request = all_peers(&mut buffer);
    let outcome = tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut request);
    (announce, outcome, peers(request.into.ipv4().unwrap().written()))
}

/// More than there are peers in any torrent of these tests.
const BUFFER: usize = 100 * 6 + PeerBuffer::SPARE;

fn all_peers(buffer: &mut [u8]) -> PeerRequest<'_> {
    PeerRequest { wanted: usize::MAX, into: PeerBuffers::Ipv4(PeerBuffer::new(buffer)) }
}

fn peers(out: &[u8]) -> Vec<[u8; 6]> {
    let mut peers: Vec<_> = out.chunks(6).map(|peer| peer.try_into().unwrap()).collect();
    peers.sort_unstable();
    peers
}

/// Sorts by torrent: only the order of one torrent's announces matters.
fn in_order(mut answered: Vec<Answered>) -> Vec<Answered> {
    answered.sort_by_key(|(announce, ..)| announce.info_hash.0);
    answered
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn announces_in_a_group_have_the_outcomes_that_they_have_one_by_one(
        asked in prop::collection::vec((0..30_u8, 0..90_u8, any::<bool>(), 0..9_u8), 0..600),
        limits in prop_oneof![Just(Capacity::NONE), Just(Capacity { torrents: 7, peers: 20, ..Capacity::NONE })],
    ) {
        let announces: Vec<_> = asked
            .into_iter()
            .map(|(torrent, peer, seeder, event)| {
                let event = [Event::Completed, Event::Stopped].get(usize::from(event)).copied().unwrap_or_default();
                // Torrents of few and of many peers; and a client that has no port.
                let mut announce = announce(torrent / (1 + peer / 5), peer, seeder, event);
                announce.endpoint.set_port(if peer == 13 { 0 } else { 6881 });
                announce
            })
            .collect();
        let (one, other) = (TestTracker::<Ipv4Only>::plain(limits, NOW), TestTracker::plain(limits, NOW));
        let one_by_one = announces.iter().map(|announce| alone(&one, *announce)).collect();
        let at_once = together(&other, &announces);
        // Where there are bounds, which torrent comes first decides which one there is room for.
        if limits == Capacity::NONE {
            prop_assert_eq!(in_order(at_once), in_order(one_by_one));
            prop_assert_eq!(one.store().census(), other.store().census());
        } else {
            prop_assert_eq!(at_once.len(), announces.len());
            let census = other.store().census();
            let most = |limit| usize::try_from(limit).unwrap();
            prop_assert!(census.torrents <= most(limits.torrents), "{:?}", census);
            prop_assert!(census.peers.peers() <= most(limits.peers), "{:?}", census);
        }
    }
}

#[test]
fn workers_that_lock_the_same_shards_in_any_order_all_come_to_an_end() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW);
    thread::scope(|scope| {
        for worker in 0..4 {
            let tracker = &tracker;
            scope.spawn(move || {
                let mut rng = Rng::with_seed(worker);
                for round in 0..250 {
                    let mut torrents: Vec<_> = (0..24).collect();
                    rng.shuffle(&mut torrents);
                    let peer = worker as u8 * 8 + round % 8;
                    let announces: Vec<_> =
                        torrents.iter().map(|torrent| announce(*torrent, peer, false, Event::Update)).collect();
                    assert!(together(tracker, &announces).iter().all(|(_, outcome, _)| outcome.is_ok()));
                }
            });
        }
    });
    let census = tracker.store().census();
    assert_eq!((census.torrents, census.peers.leechers), (24, 24 * 32));
}

/// Remembers who comes back, and after how many minutes.
#[derive(Default)]
struct Returns(Mutex<Vec<(IpAddr, u32)>>);

impl NetworkLog for Returns {
    const COUNTS: bool = false;
    const HEARS_RETURNS: bool = true;

    fn record(&self, _: IpAddr, _: Minute, _: &mut Rng) {}

    fn came_back(&self, address: IpAddr, after: u32, _: Minute, _: &mut Rng) {
        self.0.lock().unwrap().push((address, after));
    }

    fn busy(&self, _: Minute) -> Option<String> {
        None
    }
}

#[test]
fn who_counts_networks_hears_of_each_peer_that_comes_back() {
    let flavour = TestFlavour::<Ipv4Only, _, _, _, _>::with_logs(Open, Standalone, Returns::default(), WantedUnlogged);
    let tracker = Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour);
    let mut rng = Rng::with_seed(1);
    let heard = || std::mem::take(&mut *tracker.flavour().network_log().0.lock().unwrap());
    let address = |peer| IpAddr::from([10, 0, 0, peer]);
    let mut one = |peer, event, now| {
        tracker.announce(&announce(1, peer, false, event), now, &mut rng, &mut PeerRequest::none()).unwrap();
    };
    one(1, Event::Update, NOW);
    assert_eq!(heard(), [], "it was not known");
    one(1, Event::Update, NOW + 7);
    one(1, Event::Stopped, NOW + 8);
    one(1, Event::Update, NOW + 9);
    assert_eq!(heard(), [(address(1), 7)], "who leaves does not come back, nor does who had left");
    let peers = [1, 2, 1].map(|peer| announce(1, peer, false, Event::Update));
    let mut group = peers.map(|announce| PendingAnnounce::new(announce, PeerRequest::none()));
    tracker.announce_group(&mut group, NOW + 12, &mut Rng::with_seed(1));
    assert_eq!(heard(), [(address(1), 3), (address(1), 0)]);
}
