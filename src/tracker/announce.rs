//! What an announce does.
//!
//! Most of its time it waits for memory: the shard, its index, the torrent and the peers are in no cache, and each says
//! where the next one is. So announces that came together are run in groups: each step begins to fetch, for the whole
//! group, what the next step looks at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fastrand::Rng;

use super::InfoHash;
use super::address_limit::{AddressLimit, Before};
use super::clock::Minute;
use super::departures::Departure;
use super::families::{AddressFamilies, PeerRequest, TorrentPeers};
use super::flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Origin};
use super::keyed_hash::HashKey;
use super::peer::PeerState;
use super::select::{Plan, Preference};
use super::stops::Stop;
use super::store::{GROUP, KeyedHash, LockedShard, Torrent};
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
    /// Where the client can be reached. With port 0 it cannot be, and is not remembered.
    pub endpoint: SocketAddr,
    /// It has nothing left to download.
    pub seeder: bool,
    /// It has uploaded some of the torrent.
    pub uploaded: bool,
    /// What happened.
    pub event: Event,
}

impl AnnounceRequest {
    /// Returns which peers the client can use.
    #[inline]
    pub fn preference(&self) -> Preference {
        Preference::of(self.seeder, self.uploaded)
    }
}

/// What an announce has done that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnounceOutcome {
    /// The torrent's counts, the client included.
    pub counts: ScrapeCounts,
    /// Minutes since the client's previous announce; `None` if it was not known, or has just left.
    pub back_after: Option<u32>,
    /// This announce completed a download that had not been counted yet.
    pub counted_download: bool,
}

/// An announce that is run together with others: see [`Tracker::announce_group`].
#[derive(Debug)]
pub struct PendingAnnounce<'a> {
    /// What the client says.
    pub announce: AnnounceRequest,
    /// The peers that it wants.
    pub peers: PeerRequest<'a>,
    /// Its outcome; `None` until it has been run.
    pub outcome: Option<Result<AnnounceOutcome, AnnounceError>>,
    /// The hash of the info hash; `None` if the announce is refused.
    hash: Option<KeyedHash>,
    plan: Plan,
    /// Whether to publish it to the cluster.
    publish: bool,
}

impl<'a> PendingAnnounce<'a> {
    /// Fills a place where there is no announce yet. One from port 0 would not be remembered.
    pub const VACANT: Self = Self {
        announce: AnnounceRequest {
            info_hash: InfoHash([0; InfoHash::LEN]),
            endpoint: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            seeder: false,
            uploaded: false,
            event: Event::Update,
        },
        peers: PeerRequest::none(),
        outcome: None,
        hash: None,
        plan: Plan::NONE,
        publish: false,
    };

    /// Makes an announce that is to be run.
    #[inline]
    pub fn new(announce: AnnounceRequest, peers: PeerRequest<'a>) -> Self {
        Self { announce, peers, ..Self::VACANT }
    }
}

/// The outcome of an announce, and whether to publish it to the cluster.
type Outcome = Result<(AnnounceOutcome, bool), AnnounceError>;

impl<F: Flavour> Tracker<F> {
    /// Stores or refreshes the client's peer entry and selects other peers for it. A client that stops is removed and
    /// handed no peers. One that there is no room for is handed peers, if there are any, but is not stored; so is one
    /// that announces port 0, where nobody could connect to it, while it can connect to others.
    ///
    /// Locks one shard; none is locked while the change is published to the cluster.
    ///
    /// # Errors
    ///
    /// The announce is refused, and nothing is stored.
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
        let mut locked = self.store().lock(&announce.info_hash);
        locked.prefetch(announce.endpoint, announce.preference(), &plan, peers.wanted);
        let (outcome, publish) = run::<F>(announce, &mut locked, now, &plan, peers)?;
        drop(locked);
        self.hear_return(announce, outcome, now, rng);
        if publish {
            self.publish(&change(announce, outcome.counted_download, now), now);
        }
        Ok(outcome)
    }

    /// Runs each announce as [`Self::announce`] does, and stores its outcome in it. Announces of the same torrent keep
    /// their order. Faster than one after the other, the more so the larger the tracker is.
    ///
    /// Locks one shard for each announce, at most [`GROUP`] at a time. None is locked while changes are published to
    /// the cluster.
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
                let done = self.run_prefix(rest, now);
                rest = rest.get_mut(done..).unwrap_or_default();
            }
            for pending in group {
                if let Some(Ok(outcome)) = pending.outcome {
                    self.hear_return(&pending.announce, outcome, now, rng);
                }
                if let (true, Some(Ok(outcome))) = (pending.publish, pending.outcome) {
                    self.publish(&change(&pending.announce, outcome.counted_download, now), now);
                }
            }
        }
    }

    /// Runs as many announces, from the first on, as [`Store::lock_group`](super::store::Store::lock_group) locks
    /// shards for; passes over the first if it is refused. Returns how many it has dealt with: at least one.
    fn run_prefix(&self, group: &mut [PendingAnnounce<'_>], now: Minute) -> usize {
        let mut locked = [const { None }; GROUP];
        let sought = |n: usize| {
            let pending = group.get(n)?;
            Some((pending.hash?, &pending.announce.info_hash))
        };
        let many = self.store().lock_group(sought, &mut locked);
        let locked = locked.get_mut(..many).unwrap_or_default();
        for (locked, pending) in locked.iter().flatten().zip(&*group) {
            let announce = &pending.announce;
            locked.prefetch(announce.endpoint, announce.preference(), &pending.plan, pending.peers.wanted);
        }
        for (slot, pending) in locked.iter_mut().zip(group) {
            if let Some(locked) = slot {
                let outcome = run::<F>(&pending.announce, locked, now, &pending.plan, &mut pending.peers);
                pending.publish = matches!(outcome, Ok((_, true)));
                pending.outcome = Some(outcome.map(|(outcome, _)| outcome));
            }
            // Unlocks the shard.
            *slot = None;
        }
        many.max(1)
    }

    /// Tells who counts networks of a peer that has come back.
    #[inline]
    fn hear_return(&self, announce: &AnnounceRequest, outcome: AnnounceOutcome, now: Minute, rng: &mut Rng) {
        if F::NetworkLog::HEARS_RETURNS {
            if let Some(after) = outcome.back_after {
                self.flavour().network_log().came_back(announce.endpoint.ip(), after, now, rng);
            }
        }
    }

    /// Refuses what no state of the store would allow.
    pub(super) fn check(&self, announce: &AnnounceRequest) -> Result<(), AnnounceError> {
        if !F::Families::serves(announce.endpoint.ip()) {
            Err(AnnounceError::FamilyNotServed)
        } else if !self.flavour().admission().admits(&announce.info_hash) {
            Err(AnnounceError::NotAdmitted)
        } else {
            Ok(())
        }
    }
}

/// Returns the change that is published to the cluster for an announce.
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

/// Runs an announce on its torrent.
fn run<F: Flavour>(
    announce: &AnnounceRequest,
    locked: &mut LockedShard<'_, F::Families>,
    now: Minute,
    plan: &Plan,
    peers: &mut PeerRequest<'_>,
) -> Outcome {
    let AnnounceRequest { info_hash, endpoint, event, .. } = *announce;
    let preference = announce.preference();
    if endpoint.port() == 0 {
        return Ok((look(announce, locked, plan, peers), false));
    }
    if event == Event::Stopped {
        // Published even if the peer is not known here: it may have announced itself to another tracker.
        return Ok((remove::<F>(locked, info_hash, endpoint, now), F::Cluster::LISTENS));
    }
    let limit = locked.address_limit(now);
    let upsert = |torrent: &mut Torrent<F::Families>, key: &HashKey, room: bool| {
        if !room && !torrent.peers.has_place(key, endpoint, limit) {
            // Whoever fills the tracker up is not to keep others from each other: a client that cannot be stored can
            // still be handed peers.
            torrent.peers.select(None, preference, plan, peers);
            let known = torrent.peers.counts().peers() > 0;
            let outcome = AnnounceOutcome { counts: torrent.scrape_counts(), ..AnnounceOutcome::default() };
            return if known { Ok((outcome, false)) } else { Err(AnnounceError::Full) };
        }
        let outcome = upsert_peer::<F>(torrent, key, announce, limit, now);
        torrent.peers.select(Some(endpoint), preference, plan, peers);
        Ok(outcome)
    };
    locked.upsert(&info_hash, now, upsert).unwrap_or(Err(AnnounceError::Full))
}

/// Selects peers for a client that is not one of the swarm and does not become one.
#[cold]
fn look<F: AddressFamilies>(
    announce: &AnnounceRequest,
    locked: &LockedShard<'_, F>,
    plan: &Plan,
    peers: &mut PeerRequest<'_>,
) -> AnnounceOutcome {
    let Some(torrent) = locked.torrent() else { return AnnounceOutcome::default() };
    if announce.event != Event::Stopped {
        torrent.peers.select(None, announce.preference(), plan, peers);
    }
    AnnounceOutcome { counts: torrent.scrape_counts(), ..AnnounceOutcome::default() }
}

/// Removes the peer, if it is known.
#[inline(never)] // So that what other announces do stays short.
fn remove<F: Flavour>(
    locked: &mut LockedShard<'_, F::Families>,
    info_hash: InfoHash,
    endpoint: SocketAddr,
    now: Minute,
) -> AnnounceOutcome {
    let removed = locked.modify(now, |torrent, key| {
        let removed = torrent.peers.remove(key, endpoint);
        torrent.peers.set_empty_since(now);
        let counted = F::Cluster::REMEMBERS_STOPS && removed.is_some_and(PeerState::completed);
        (torrent.scrape_counts(), removed.is_some(), counted)
    });
    let (counts, removed, counted) = removed.unwrap_or_default();
    if removed {
        locked.note_departure(Departure { info_hash, endpoint, downloaded: counts.downloaded, left: now });
    }
    if F::Cluster::REMEMBERS_STOPS {
        locked.note_stop(endpoint, Stop::new(now, Some(Origin::Client), counted), now);
    }
    AnnounceOutcome { counts, ..AnnounceOutcome::default() }
}

/// Stores or refreshes the peer, which was seen in the minute `seen`, and counts its download if it has just completed
/// it. Returns also whether to publish the announce to the cluster.
pub(super) fn upsert_peer<F: Flavour>(
    torrent: &mut Torrent<F::Families>,
    key: &HashKey,
    announce: &AnnounceRequest,
    limit: AddressLimit,
    seen: Minute,
) -> (AnnounceOutcome, bool) {
    let mut outcome = AnnounceOutcome::default();
    let mut publish = false;
    let completes = announce.event == Event::Completed && announce.seeder;
    torrent.peers.upsert(key, announce.endpoint, announce.seeder, limit, |before| {
        let counted_before = before.itself().is_some_and(PeerState::completed);
        outcome.counted_download = completes && !counted_before;
        outcome.back_after = before.itself().map(|old| old.age(seen));
        let state = PeerState::new(seen, announce.seeder, completes || counted_before);
        // Who takes another's place is published when that one would have been, lest an address that changes its port
        // all the time flood the cluster.
        let published = match before {
            Before::Nobody => None,
            Before::Itself(old) => Some((old, seen)),
            Before::Displaced(other) => Some((other, limit.now())),
        };
        match published {
            Some((old, now)) if !outcome.counted_download && old.published_age(now) < PeerState::REPUBLISH_AFTER => {
                state.published_with(old)
            }
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
mod tests;
