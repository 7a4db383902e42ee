//! What an announce does.
//!
//! Most of its time it waits for memory: the shard, its index, the torrent and the peers are in no cache, and each says
//! where the next one is. So announces that came together are run together, in groups: each step begins to fetch, for
//! the whole group, what the next step looks at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fastrand::Rng;

use super::InfoHash;
use super::clock::Minute;
use super::families::{AddressFamilies, PeerRequest, TorrentPeers};
use super::flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Origin};
use super::keyed_hash::HashKey;
use super::peer::PeerState;
use super::select::Plan;
use super::store::{GROUP, Hash, Locked, Torrent};
use super::{AnnounceError, ScrapeCounts, Tracker};

/// What happens at the client (BEP 3, `event`; BEP 15, offset 80).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Event {
    /// Nothing in particular, or something that changes nothing here: `started`, `paused` (BEP 21), anything unknown.
    #[default]
    Update,
    /// The download has just been completed.
    Completed,
    /// The client leaves the swarm.
    Stopped,
}

/// An announce, whatever protocol it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the client can be reached.
    pub endpoint: SocketAddr,
    /// `left=0`.
    pub seeder: bool,
    /// What happened.
    pub event: Event,
}

/// What an announce has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnounceOutcome {
    /// The torrent's numbers, the client included.
    pub counts: ScrapeCounts,
    /// Minutes since the client's previous announce, if it was known and stays.
    pub back_after: Option<u32>,
    /// A download was counted.
    pub counted_download: bool,
}

/// An announce that is run together with others: see [`Tracker::announce_group`].
#[derive(Debug)]
pub struct PendingAnnounce<'a> {
    /// What the client says.
    pub announce: AnnounceRequest,
    /// The peers that it wants.
    pub peers: PeerRequest<'a>,
    /// What has come of it; `None` until it has been run.
    pub outcome: Option<Result<AnnounceOutcome, AnnounceError>>,
    /// The hash of the torrent; `None` if the announce is refused.
    hash: Option<Hash>,
    plan: Plan,
    /// Whether to publish it to the cluster.
    publish: bool,
}

impl<'a> PendingAnnounce<'a> {
    /// Stands where there is no announce yet: it would be refused, since nobody listens on port 0.
    pub const VACANT: Self = Self {
        announce: AnnounceRequest {
            info_hash: InfoHash([0; InfoHash::LEN]),
            endpoint: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            seeder: false,
            event: Event::Update,
        },
        peers: PeerRequest::none(),
        outcome: None,
        hash: None,
        plan: Plan::NONE,
        publish: false,
    };

    /// Makes an announce that has not been run.
    #[inline]
    pub fn new(announce: AnnounceRequest, peers: PeerRequest<'a>) -> Self {
        Self { announce, peers, ..Self::VACANT }
    }
}

/// The outcome of an announce, and whether to publish it to the cluster.
type Outcome = Result<(AnnounceOutcome, bool), AnnounceError>;

impl<F: Flavour> Tracker<F> {
    /// Stores or refreshes the client's peer entry and selects other peers for it. A client that stops is handed none.
    /// One that there is no room for is handed peers too, if there are any, but is not remembered.
    ///
    /// # Errors
    ///
    /// Why nothing was done.
    pub fn announce(
        &self,
        announce: &AnnounceRequest,
        now: Minute,
        rng: &mut Rng,
        peers: &mut PeerRequest<'_>,
    ) -> Result<AnnounceOutcome, AnnounceError> {
        self.flavour().network_log().record(announce.endpoint.ip(), now, rng);
        self.check(announce)?;
        let plan = Plan::draw(rng);
        let mut locked = self.store().find(&announce.info_hash);
        locked.prefetch(announce.endpoint, announce.seeder, &plan, peers.wanted);
        let (outcome, publish) = run::<F>(announce, &mut locked, now, &plan, peers)?;
        drop(locked);
        if publish {
            self.publish(&change(announce, outcome.counted_download, now), now);
        }
        Ok(outcome)
    }

    /// Runs each announce as [`Self::announce`] does, and stores its outcome in it. Announces of the same torrent keep
    /// their order. Faster than one after the other, the more so the larger the tracker is.
    ///
    /// Locks one shard for each announce, at most [`GROUP`] at a time. No shard is locked while the cluster is told, or
    /// when this returns.
    pub fn announce_group(&self, announces: &mut [PendingAnnounce<'_>], now: Minute, rng: &mut Rng) {
        for group in announces.chunks_mut(GROUP) {
            for pending in &mut *group {
                self.flavour().network_log().record(pending.announce.endpoint.ip(), now, rng);
                match self.check(&pending.announce) {
                    Ok(()) => {
                        pending.hash = Some(self.store().hash(&pending.announce.info_hash));
                        pending.plan = Plan::draw(rng);
                    }
                    Err(refusal) => pending.outcome = Some(Err(refusal)),
                }
            }
            let mut rest = &mut *group;
            while !rest.is_empty() {
                let ended = self.run_some(rest, now);
                rest = rest.get_mut(ended..).unwrap_or_default();
            }
            for pending in group {
                if let (true, Some(Ok(outcome))) = (pending.publish, pending.outcome) {
                    self.publish(&change(&pending.announce, outcome.counted_download, now), now);
                }
            }
        }
    }

    /// Runs the announces from the first on, as far as [`Store::find_group`](super::store::Store::find_group) locks
    /// their shards, or passes over the first if it is refused. Returns how many that were: at least one.
    fn run_some(&self, group: &mut [PendingAnnounce<'_>], now: Minute) -> usize {
        let mut locked = [const { None }; GROUP];
        let sought = |n: usize| {
            let pending = group.get(n)?;
            Some((pending.hash?, &pending.announce.info_hash))
        };
        let many = self.store().find_group(sought, &mut locked);
        let locked = locked.get_mut(..many).unwrap_or_default();
        for (locked, pending) in locked.iter().flatten().zip(&*group) {
            let AnnounceRequest { endpoint, seeder, .. } = pending.announce;
            locked.prefetch(endpoint, seeder, &pending.plan, pending.peers.wanted);
        }
        for (place, pending) in locked.iter_mut().zip(group) {
            if let Some(locked) = place {
                let outcome = run::<F>(&pending.announce, locked, now, &pending.plan, &mut pending.peers);
                pending.publish = matches!(outcome, Ok((_, true)));
                pending.outcome = Some(outcome.map(|(outcome, _)| outcome));
            }
            *place = None;
        }
        many.max(1)
    }

    /// Returns why the announce is refused whatever the store holds.
    pub(super) fn check(&self, announce: &AnnounceRequest) -> Result<(), AnnounceError> {
        if announce.endpoint.port() == 0 {
            Err(AnnounceError::NoPort)
        } else if !F::Families::serves(announce.endpoint.ip()) {
            Err(AnnounceError::FamilyNotServed)
        } else if !self.flavour().admission().admits(&announce.info_hash) {
            Err(AnnounceError::NotAdmitted)
        } else {
            Ok(())
        }
    }
}

/// What the cluster is told of an announce.
fn change(announce: &AnnounceRequest, completed: bool, now: Minute) -> Change {
    Change {
        info_hash: announce.info_hash,
        endpoint: announce.endpoint,
        seeder: announce.seeder,
        completed,
        stopped: announce.event == Event::Stopped,
        seen: now,
        origin: Origin::Client,
    }
}

/// Runs an announce on the torrent that was found.
fn run<F: Flavour>(
    announce: &AnnounceRequest,
    locked: &mut Locked<'_, F::Families>,
    now: Minute,
    plan: &Plan,
    peers: &mut PeerRequest<'_>,
) -> Outcome {
    let AnnounceRequest { info_hash, endpoint, seeder, event } = *announce;
    if event == Event::Stopped {
        // The cluster hears of a peer that is not known here as well: it may have announced itself to another tracker.
        return Ok((remove(locked, endpoint, now), F::Cluster::LISTENS));
    }
    let note = |torrent: &mut Torrent<F::Families>, key: &HashKey, room: bool| {
        if !room && !torrent.peers.contains(key, endpoint) {
            // Whoever fills the tracker up is not to keep others from each other: a client that cannot be remembered
            // can still be helped.
            torrent.peers.select(None, seeder, plan, peers);
            let known = torrent.peers.counts().peers() > 0;
            let outcome = AnnounceOutcome { counts: torrent.scrape_counts(), ..AnnounceOutcome::default() };
            return if known { Ok((outcome, false)) } else { Err(AnnounceError::Full) };
        }
        let noted = upsert_peer::<F>(torrent, key, announce, now);
        torrent.peers.select(Some(endpoint), seeder, plan, peers);
        Ok(noted)
    };
    locked.upsert(&info_hash, now, note).unwrap_or(Err(AnnounceError::Full))
}

/// Removes the peer, if it is there.
fn remove<F: AddressFamilies>(locked: &mut Locked<'_, F>, endpoint: SocketAddr, now: Minute) -> AnnounceOutcome {
    let left = locked.modify(now, |torrent, key| {
        torrent.peers.remove(key, endpoint);
        torrent.peers.set_empty_since(now);
        torrent.scrape_counts()
    });
    AnnounceOutcome { counts: left.unwrap_or_default(), ..AnnounceOutcome::default() }
}

/// Adds or refreshes the peer and counts a download. Returns also whether to publish it to the cluster.
pub(super) fn upsert_peer<F: Flavour>(
    torrent: &mut Torrent<F::Families>,
    key: &HashKey,
    announce: &AnnounceRequest,
    now: Minute,
) -> (AnnounceOutcome, bool) {
    let mut outcome = AnnounceOutcome::default();
    let mut publish = false;
    let completes = announce.event == Event::Completed && announce.seeder;
    torrent.peers.upsert(key, announce.endpoint, announce.seeder, |old| {
        let counted_before = old.is_some_and(PeerState::completed);
        outcome.counted_download = completes && !counted_before;
        outcome.back_after = old.map(|old| old.age(now));
        let state = PeerState::new(now, announce.seeder, completes || counted_before);
        match old {
            Some(old) if !outcome.counted_download && old.told_age(now) < PeerState::TELL_AGAIN => state.told_with(old),
            _ => {
                publish = F::Cluster::LISTENS;
                state
            }
        }
    });
    if outcome.counted_download {
        torrent.downloaded = torrent.downloaded.saturating_add(1);
    }
    outcome.counts = torrent.scrape_counts();
    (outcome, publish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::model::config;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, InfoHash, Ipv4Only, PeerBuffer, PeerBuffers};
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::thread;

    const NOW: Minute = Minute(29_000_191);

    fn announce(torrent: u8, peer: u8, seeder: bool, event: Event) -> AnnounceRequest {
        let endpoint = (Ipv4Addr::new(10, 0, 0, peer), 6881).into();
        AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint, seeder, event }
    }

    /// An announce, what came of it, and all peers that it was handed.
    type Came = (AnnounceRequest, Result<AnnounceOutcome, AnnounceError>, Vec<[u8; 6]>);

    fn together(tracker: &TestTracker, announces: &[AnnounceRequest]) -> Vec<Came> {
        let mut buffers = vec![[0; BUFFER]; announces.len()];
        let mut pending: Vec<_> = announces
            .iter()
            .zip(&mut buffers)
            .map(|(&announce, buffer)| PendingAnnounce::new(announce, all_peers(buffer)))
            .collect();
        tracker.announce_group(&mut pending, NOW, &mut Rng::with_seed(1));
        let came = |mut pending: PendingAnnounce<'_>| {
            let peers = peers(pending.peers.into.ipv4().unwrap().written());
            (pending.announce, pending.outcome.expect("every announce is carried out"), peers)
        };
        pending.into_iter().map(came).collect()
    }

    fn alone(tracker: &TestTracker, announce: AnnounceRequest) -> Came {
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

    /// By torrent: the order of one torrent's announces is what matters.
    fn in_order(mut came: Vec<Came>) -> Vec<Came> {
        came.sort_by_key(|(announce, ..)| announce.info_hash.0);
        came
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn together_comes_what_comes_one_by_one(
            asked in prop::collection::vec((0..30_u8, 0..90_u8, any::<bool>(), 0..9_u8), 0..600),
            limits in prop_oneof![Just(Capacity::NONE), Just(Capacity { torrents: 7, peers: 20 })],
        ) {
            let announces: Vec<_> = asked
                .into_iter()
                .map(|(torrent, peer, seeder, event)| {
                    let event = [Event::Completed, Event::Stopped].get(usize::from(event)).copied().unwrap_or_default();
                    // Torrents of few and of many peers; and a port that is refused.
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
}
