//! What an announce does.
//!
//! Most of its time it waits for memory: the shard, its index, the torrent and the peers are in no cache, and each says
//! where the next one is. So announces that came together are carried out together, in groups: each step begins to
//! fetch, for the whole group, what the next step looks at.

use std::net::SocketAddr;

use fastrand::Rng;

use super::InfoHash;
use super::clock::Minute;
use super::families::{AddressFamilies, Handout, TorrentPeers};
use super::flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Origin};
use super::keyed_hash::HashKey;
use super::peer::PeerState;
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

/// An announce, and where the peers go that the client is handed.
#[derive(Debug)]
pub struct PendingAnnounce<'a> {
    /// What the client says.
    pub announce: AnnounceRequest,
    /// What it gets.
    pub handout: Handout<'a>,
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

/// One of a group.
struct InFlight<'a> {
    asked: PendingAnnounce<'a>,
    hash: Hash,
    /// Its own, so that what it will draw is known before its turn comes.
    rng: Rng,
    outcome: Outcome,
}

/// What came of an announce, and whether the cluster is to hear of it.
type Outcome = Result<(AnnounceOutcome, bool), AnnounceError>;

impl<F: Flavour> Tracker<F> {
    /// Takes note of the client and hands it other peers. A client that stops is handed none. One that there is no
    /// room for is handed peers too, if there are any, but is not remembered.
    ///
    /// # Errors
    ///
    /// Why nothing was done.
    pub fn announce(
        &self,
        announce: &AnnounceRequest,
        now: Minute,
        rng: &mut Rng,
        mut handout: Handout<'_>,
    ) -> Result<AnnounceOutcome, AnnounceError> {
        self.flavour().network_log().record(announce.endpoint.ip(), now, rng);
        self.check(announce)?;
        let mut locked = self.store().find(&announce.info_hash);
        locked.prefetch(announce.endpoint, announce.seeder, handout.wanted, rng);
        let (announced, tell) = run::<F>(announce, &mut locked, now, rng, &mut handout)?;
        drop(locked);
        if tell {
            self.publish(&change(announce, announced.counted_download, now), now);
        }
        Ok(announced)
    }

    /// Does with each what [`Self::announce`] does, those of one torrent in their order, and tells `done` what came of
    /// it. Faster than one after the other, the more so the larger the tracker is.
    ///
    /// Locks one shard for each, once. None is locked while the next announce is asked for, or `done` is told.
    pub fn announce_all<'a>(
        &self,
        asked: impl IntoIterator<Item = PendingAnnounce<'a>>,
        now: Minute,
        rng: &mut Rng,
        mut done: impl FnMut(&mut PendingAnnounce<'a>, Result<AnnounceOutcome, AnnounceError>, &mut Rng),
    ) {
        let mut asked = asked.into_iter().fuse();
        let mut group = [const { None }; GROUP];
        loop {
            let mut in_flight = 0;
            while let Some(place) = group.get_mut(in_flight) {
                let Some(mut asked) = asked.next() else { break };
                self.flavour().network_log().record(asked.announce.endpoint.ip(), now, rng);
                if let Err(refusal) = self.check(&asked.announce) {
                    done(&mut asked, Err(refusal), rng);
                    continue;
                }
                let hash = self.store().hash(&asked.announce.info_hash);
                *place = Some(InFlight { asked, hash, rng: rng.fork(), outcome: Err(AnnounceError::Full) });
                in_flight += 1;
            }
            if in_flight == 0 {
                return;
            }
            let mut ended = 0;
            while ended < in_flight {
                ended += self.run_group(group.get_mut(ended..in_flight).unwrap_or_default(), now);
            }
            for InFlight { asked, outcome, rng, .. } in group.iter_mut().take(in_flight).flatten() {
                if let Ok((announced, true)) = outcome {
                    self.publish(&change(&asked.announce, announced.counted_download, now), now);
                }
                done(asked, outcome.map(|(announced, _)| announced), rng);
            }
        }
    }

    /// Carries announces out, from the first on, as far as [`Store::find_group`](super::store::Store::find_group) finds
    /// their torrents. Says how many.
    fn run_group(&self, group: &mut [Option<InFlight<'_>>], now: Minute) -> usize {
        let mut locked = [const { None }; GROUP];
        let sought =
            |n: usize| group.get(n)?.as_ref().map(|in_flight| (in_flight.hash, &in_flight.asked.announce.info_hash));
        let many = self.store().find_group(sought, &mut locked);
        let locked = locked.get_mut(..many).unwrap_or_default();
        for (locked, InFlight { asked, rng, .. }) in locked.iter().flatten().zip(group.iter().flatten()) {
            let PendingAnnounce { announce: AnnounceRequest { endpoint, seeder, .. }, handout } = asked;
            locked.prefetch(*endpoint, *seeder, handout.wanted, rng);
        }
        for (place, InFlight { asked, rng, outcome, .. }) in locked.iter_mut().zip(group.iter_mut().flatten()) {
            if let Some(locked) = place {
                *outcome = run::<F>(&asked.announce, locked, now, rng, &mut asked.handout);
            }
            *place = None;
        }
        many
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

/// Does what is announced to the torrent that was found.
fn run<F: Flavour>(
    announce: &AnnounceRequest,
    locked: &mut Locked<'_, F::Families>,
    now: Minute,
    rng: &mut Rng,
    handout: &mut Handout<'_>,
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
            torrent.peers.hand_out(None, seeder, rng, handout);
            let known = torrent.peers.counts().peers() > 0;
            let announced = AnnounceOutcome { counts: torrent.scrape_counts(), ..AnnounceOutcome::default() };
            return if known { Ok((announced, false)) } else { Err(AnnounceError::Full) };
        }
        let noted = upsert_peer::<F>(torrent, key, announce, now);
        torrent.peers.hand_out(Some(endpoint), seeder, rng, handout);
        Ok(noted)
    };
    locked.upsert(&info_hash, now, note).unwrap_or(Err(AnnounceError::Full))
}

/// Takes the peer out, if it is there.
fn remove<F: AddressFamilies>(locked: &mut Locked<'_, F>, endpoint: SocketAddr, now: Minute) -> AnnounceOutcome {
    let left = locked.modify(now, |torrent, key| {
        torrent.peers.remove(key, endpoint);
        torrent.peers.set_empty_since(now);
        torrent.scrape_counts()
    });
    AnnounceOutcome { counts: left.unwrap_or_default(), ..AnnounceOutcome::default() }
}

/// Adds or refreshes the peer and counts a download. Says also whether the cluster is to be told.
pub(super) fn upsert_peer<F: Flavour>(
    torrent: &mut Torrent<F::Families>,
    key: &HashKey,
    announce: &AnnounceRequest,
    now: Minute,
) -> (AnnounceOutcome, bool) {
    let mut announced = AnnounceOutcome::default();
    let mut tell = false;
    let completes = announce.event == Event::Completed && announce.seeder;
    torrent.peers.upsert(key, announce.endpoint, announce.seeder, |old| {
        let counted_before = old.is_some_and(PeerState::completed);
        announced.counted_download = completes && !counted_before;
        announced.back_after = old.map(|old| old.age(now));
        let state = PeerState::new(now, announce.seeder, completes || counted_before);
        match old {
            Some(old) if !announced.counted_download && old.told_age(now) < PeerState::TELL_AGAIN => {
                state.told_with(old)
            }
            _ => {
                tell = F::Cluster::LISTENS;
                state
            }
        }
    });
    if announced.counted_download {
        torrent.downloaded = torrent.downloaded.saturating_add(1);
    }
    announced.counts = torrent.scrape_counts();
    (announced, tell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::model::config;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, InfoHash, Ipv4Only};
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::thread;

    const NOW: Minute = Minute(29_000_191);

    fn announce(torrent: u8, peer: u8, seeder: bool, event: Event) -> AnnounceRequest {
        let endpoint = (Ipv4Addr::new(10, 0, 0, peer), 6881).into();
        AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint, seeder, event }
    }

    /// An announce, what came of it, and all peers that it was handed.
    type Came = (AnnounceRequest, Result<AnnounceOutcome, AnnounceError>, Vec<[u8; 6]>);

    fn together(tracker: &TestTracker, announces: &[AnnounceRequest]) -> Vec<Came> {
        let mut outs = vec![Vec::new(); announces.len()];
        let asked = announces.iter().zip(&mut outs).map(|(&announce, out)| {
            let handout = Handout { wanted: usize::MAX, ipv4: Some(out), ipv6: None };
            PendingAnnounce { announce, handout }
        });
        let mut came = Vec::new();
        tracker.announce_all(asked, NOW, &mut Rng::with_seed(1), |asked, outcome, _| {
            came.push((asked.announce, outcome, peers(asked.handout.ipv4.take().unwrap())));
        });
        came
    }

    fn alone(tracker: &TestTracker, announce: AnnounceRequest) -> Came {
        let mut out = Vec::new();
        let handout = Handout { wanted: usize::MAX, ipv4: Some(&mut out), ipv6: None };
        let outcome = tracker.announce(&announce, NOW, &mut Rng::with_seed(1), handout);
        (announce, outcome, peers(&out))
    }

    fn peers(out: &[u8]) -> Vec<[u8; 6]> {
        let mut peers: Vec<_> = out.chunks(6).map(|peer| peer.try_into().unwrap()).collect();
        peers.sort_unstable();
        peers
    }

    /// By torrent: the order of one torrent's announces is what matters. What is refused may be told of earlier.
    fn in_order(mut came: Vec<Came>) -> Vec<Came> {
        came.sort_by_key(|(announce, outcome, _)| (announce.info_hash.0, outcome.is_err()));
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
