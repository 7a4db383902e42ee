//! A table of seeders and a table of leechers.

use std::ops::RangeInclusive;

use super::clock::Expiry;
use super::counts::SwarmCounts;
use super::keyed_hash::HashKey;
use super::peer::Peer;
use super::select::{Plan, Preference, Requester, Slots};
use super::table::Table;

/// Seeders and leechers in a table each. Its functions are documented where [`Swarm`](super::swarm::Swarm) has them.
#[derive(Debug)]
pub(super) struct Tables<P> {
    seeders: Table<P>,
    leechers: Table<P>,
}

impl<P: Peer> Tables<P> {
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

    /// Returns the peer at `endpoint`'s address and port.
    pub(super) fn get(&self, key: &HashKey, endpoint: &P) -> Option<&P> {
        self.leechers.get(key, endpoint).or_else(|| self.seeders.get(key, endpoint))
    }

    pub(super) fn contains(&self, key: &HashKey, endpoint: &P) -> bool {
        self.leechers.contains(key, endpoint) || self.seeders.contains(key, endpoint)
    }

    /// Adds a peer that is in neither table.
    pub(super) fn insert(&mut self, key: &HashKey, peer: P) {
        self.of_kind_mut(peer.state().seeder()).0.insert(key, peer);
    }

    pub(super) fn remove(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        self.leechers.remove(key, endpoint).or_else(|| self.seeders.remove(key, endpoint))
    }

    #[inline]
    pub(super) fn select(&self, requester: &Requester<P>, plan: &Plan, wanted: usize, out: &mut [u8]) -> usize {
        let itself = requester.endpoint.unwrap_or_default();
        let others = requester.others(self.counts());
        let [of_seeders, of_leechers] = plan.selections(requester.preference, wanted, others);
        let written = of_seeders.take(&self.seeders, &itself, out);
        written + of_leechers.take(&self.leechers, &itself, out.get_mut(written..).unwrap_or_default())
    }

    #[inline]
    pub(super) fn prefetch_peers(&self, key: &HashKey, peer: &P, preference: Preference, plan: &Plan, wanted: usize) {
        self.table(preference.is_seeders()).prefetch(key, peer);
        let [of_seeders, of_leechers] = plan.selections(preference, wanted, self.counts());
        of_seeders.prefetch(&self.seeders);
        of_leechers.prefetch(&self.leechers);
    }

    /// Returns how many slots both tables have.
    pub(super) fn slots(&self) -> usize {
        self.seeders.slots() + self.leechers.slots()
    }

    pub(super) fn walk(&self, key: &HashKey, range: &RangeInclusive<u64>, mut visit: impl FnMut(&P)) {
        self.seeders.walk(key, range, &mut visit);
        self.leechers.walk(key, range, visit);
    }

    /// Calls `removed` with each peer that it removes.
    pub(super) fn expire(
        &mut self,
        key: &HashKey,
        expiry: Expiry,
        from: usize,
        budget: usize,
        removed: impl FnMut(&P),
    ) -> Option<usize> {
        let first = self.seeders.slots();
        if from < first {
            return Some(self.seeders.expire(key, expiry, from, budget, removed).unwrap_or(self.seeders.slots()));
        }
        Some(self.leechers.expire(key, expiry, from - first, budget, removed)? + first)
    }

    /// Returns the table of seeders, or that of leechers.
    fn table(&self, seeder: bool) -> &Table<P> {
        if seeder { &self.seeders } else { &self.leechers }
    }

    /// Returns the table of the kind asked for, and the other.
    #[inline]
    pub(super) fn of_kind_mut(&mut self, seeder: bool) -> (&mut Table<P>, &mut Table<P>) {
        if seeder { (&mut self.seeders, &mut self.leechers) } else { (&mut self.leechers, &mut self.seeders) }
    }
}
