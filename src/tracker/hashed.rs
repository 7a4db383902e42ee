//! The peers of a large swarm: a table of seeders and a table of leechers.

use std::ops::RangeInclusive;

use fastrand::Rng;

use super::clock::Minute;
use super::counts::SwarmCounts;
use super::keyed_hash::HashKey;
use super::peer::{Peer, PeerState};
use super::select::{self, Requester, Slots, select};
use super::table::Table;

/// Seeders and leechers apart. What each function does is said where [`Swarm`](super::swarm::Swarm) has it.
#[derive(Debug)]
pub(super) struct Hashed<P> {
    seeders: Table<P>,
    leechers: Table<P>,
}

impl<P: Peer> Hashed<P> {
    pub(super) fn with_room_for(counts: SwarmCounts) -> Self {
        let SwarmCounts { seeders, leechers } = counts;
        Self { seeders: Table::with_room_for(seeders + 1), leechers: Table::with_room_for(leechers + 1) }
    }

    pub(super) fn counts(&self) -> SwarmCounts {
        SwarmCounts { seeders: self.seeders.len(), leechers: self.leechers.len() }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &P> {
        self.seeders.peers().chain(self.leechers.peers())
    }

    pub(super) fn state(&self, key: &HashKey, endpoint: &P) -> Option<PeerState> {
        self.leechers.get(key, endpoint).or_else(|| self.seeders.get(key, endpoint)).map(P::state)
    }

    pub(super) fn contains(&mut self, key: &HashKey, endpoint: &P) -> bool {
        self.leechers.find(key, endpoint).is_some() || self.seeders.find(key, endpoint).is_some()
    }

    /// Adds a peer that is not there yet.
    pub(super) fn insert(&mut self, key: &HashKey, peer: P) {
        self.of(peer.state().seeder()).0.insert(key, peer);
    }

    #[inline]
    pub(super) fn upsert(
        &mut self,
        key: &HashKey,
        peer: P,
        seeder: bool,
        state: impl FnOnce(Option<PeerState>) -> PeerState,
    ) {
        let (own, other) = self.of(seeder);
        if let Some(found) = own.find(key, &peer) {
            *found = peer.with_state(state(Some(found.state())));
        } else {
            let old = other.remove(key, &peer).map(|peer| peer.state());
            own.insert(key, peer.with_state(state(old)));
        }
    }

    pub(super) fn remove(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        self.leechers.remove(key, endpoint).or_else(|| self.seeders.remove(key, endpoint))
    }

    /// For a seeder: leechers. For a leecher: seeders and leechers in proportion to their numbers. `present` is how
    /// many there are to choose from.
    #[inline]
    pub(super) fn select(
        &self,
        requester: &Requester<P>,
        present: usize,
        wanted: usize,
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) {
        let itself = requester.endpoint.unwrap_or_default();
        if requester.seeder {
            return select(&self.leechers, present, &itself, wanted, rng, out);
        }
        let (seeders, wanted) = (self.seeders.len(), wanted.min(present));
        let share = self.share_of_seeders(present, wanted, rng);
        select(&self.seeders, seeders, &itself, share, rng, out);
        select(&self.leechers, present - seeders, &itself, wanted - share, rng, out);
    }

    #[inline]
    pub(super) fn prefetch_peers(&self, key: &HashKey, peer: &P, seeder: bool, wanted: usize, mut rng: Rng) {
        let Self { seeders, leechers } = self;
        if seeder {
            seeders.prefetch(key, peer);
            select::prefetch(leechers, wanted.min(leechers.len()), &mut rng);
        } else {
            leechers.prefetch(key, peer);
            let present = seeders.len() + leechers.len();
            let share = self.share_of_seeders(present, wanted, &mut rng);
            select::prefetch(seeders, share, &mut rng);
            select::prefetch(leechers, wanted.min(present) - share, &mut rng);
        }
    }

    /// The slots of both tables.
    pub(super) fn places(&self) -> usize {
        self.seeders.slots() + self.leechers.slots()
    }

    pub(super) fn walk(&self, key: &HashKey, range: &RangeInclusive<u64>, mut visit: impl FnMut(&P)) {
        self.seeders.walk(key, range, &mut visit);
        self.leechers.walk(key, range, visit);
    }

    pub(super) fn expire(&mut self, key: &HashKey, now: Minute, from: usize, budget: usize) -> Option<usize> {
        let first = self.seeders.slots();
        if from < first {
            return Some(self.seeders.expire(key, now, from, budget).unwrap_or(self.seeders.slots()));
        }
        Some(self.leechers.expire(key, now, from - first, budget)? + first)
    }

    /// The table of the kind asked for, and the other.
    fn of(&mut self, seeder: bool) -> (&mut Table<P>, &mut Table<P>) {
        if seeder { (&mut self.seeders, &mut self.leechers) } else { (&mut self.leechers, &mut self.seeders) }
    }

    /// How many of those wanted are to be seeders. Rounded at random, so that on average it is the exact share.
    fn share_of_seeders(&self, present: usize, wanted: usize, rng: &mut Rng) -> usize {
        let (seeders, wanted) = (self.seeders.len(), wanted.min(present));
        let share = (wanted * seeders + rng.usize(..present.max(1))) / present.max(1);
        share.clamp(wanted.saturating_sub(present - seeders), seeders.min(wanted))
    }
}
