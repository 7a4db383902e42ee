//! The peers of a large swarm: in tables, with a tally of addresses where there are very many.

use super::address_limit::{AddressLimit, Before, of_address};
use super::clock::{Expiry, Minute};
use super::counts::SwarmCounts;
use super::keyed_hash::HashKey;
use super::peer::{Peer, PeerState};
use super::tables::Tables;
use super::tally::Tally;

/// With fewer peers, those of one address are counted by looking at all: that takes two or three cache lines for each
/// that a tally would, and no memory.
const MIN_TALLIED: usize = 256;
/// With fewer peers there is no tally any more. Lower, so that a swarm does not make one to and fro.
const MIN_STILL_TALLIED: usize = 160;
/// Most peers that one sweep removes because their addresses have more than they may. The next one goes on.
const MAX_TRIMMED: usize = 1024;

/// Peers in tables. Its functions are documented where [`Swarm`](super::swarm::Swarm) has them.
#[derive(Debug)]
pub(super) struct Hashed<P> {
    /// The peers.
    pub(super) tables: Tables<P>,
    /// There is none while the swarm is small, or while no address can have as many peers as it may.
    tally: Option<Box<Tally<P>>>,
}

impl<P: Peer> Hashed<P> {
    pub(super) fn with_room_for(counts: SwarmCounts) -> Self {
        Self { tables: Tables::with_room_for(counts), tally: None }
    }

    #[inline]
    pub(super) fn upsert(
        &mut self,
        key: &HashKey,
        peer: P,
        seeder: bool,
        limit: AddressLimit,
        state: impl FnOnce(Before) -> PeerState,
    ) {
        let (own, other) = self.tables.of_kind_mut(seeder);
        if let Some(found) = own.get_mut(key, &peer) {
            *found = peer.with_state(state(Before::Itself(found.state())));
        } else if let Some(found) = other.remove(key, &peer) {
            own.insert(key, peer.with_state(state(Before::Itself(found.state()))));
        } else {
            let before = self.displace(key, &peer, limit);
            self.add(key, peer.with_state(state(before)), limit.now());
        }
    }

    pub(super) fn remove(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        let removed = self.take(key, endpoint);
        self.drop_tally_if_small();
        removed
    }

    /// Removes expired peers. At the end, also removes the oldest peers of addresses that have more than they may,
    /// because others have left.
    pub(super) fn expire(&mut self, key: &HashKey, expiry: Expiry, from: usize, budget: usize) -> Option<usize> {
        let Self { tables, tally } = self;
        let peers = tables.counts().peers();
        let rest = tables.expire(key, expiry, from, budget, |peer| {
            if let Some(tally) = tally {
                tally.remove(key, peer, peers);
            }
        });
        if rest.is_none() {
            self.trim(key, expiry.now);
            self.drop_tally_if_small();
        }
        rest
    }

    /// Returns whether the address of `peer` has at least `most` peers.
    pub(super) fn is_full(&mut self, key: &HashKey, peer: &P, most: usize, limit: AddressLimit) -> bool {
        match self.tallied(key, limit) {
            (tables, Some(tally)) => tally.full_crowd(key, tables, peer, most, limit.now()).is_some(),
            (tables, None) => of_address(tables.peers(), peer, limit.now()).0 >= most,
        }
    }

    /// Makes place for a newcomer.
    #[inline(never)] // So that what most announces do stays short.
    fn displace(&mut self, key: &HashKey, newcomer: &P, limit: AddressLimit) -> Before {
        let before = limit.displace(self.tables.counts().peers(), |most| {
            let oldest = self.oldest(key, newcomer, most, limit)?;
            Some(self.take(key, &oldest)?.state())
        });
        if let Before::Displaced(_) = before {
            // Two may have left for one who comes.
            self.drop_tally_if_small();
        }
        before
    }

    /// Returns the oldest peer of the newcomer's address, to be removed, if that has at least `most` peers.
    fn oldest(&mut self, key: &HashKey, newcomer: &P, most: usize, limit: AddressLimit) -> Option<P> {
        match self.tallied(key, limit) {
            (tables, Some(tally)) => {
                tally.full_crowd(key, tables, newcomer, most, limit.now())?.oldest(key, tables, limit.now())
            }
            (tables, None) => {
                let (count, oldest) = of_address(tables.peers(), newcomer, limit.now());
                oldest.filter(|_| count >= most).copied()
            }
        }
    }

    /// Returns the peers and their tally, which is made if there is none yet; none while all peers are looked at
    /// sooner.
    fn tallied(&mut self, key: &HashKey, limit: AddressLimit) -> (&Tables<P>, Option<&mut Tally<P>>) {
        let Self { tables, tally } = self;
        if tally.is_none() && tables.counts().peers() >= MIN_TALLIED {
            *tally = Some(Box::new(Tally::new(key, tables, limit)));
        }
        (tables, tally.as_deref_mut())
    }

    /// Adds a peer that is not there yet.
    fn add(&mut self, key: &HashKey, peer: P, now: Minute) {
        self.tables.insert(key, peer);
        if let Some(tally) = &mut self.tally {
            tally.add(key, &self.tables, peer, now);
        }
    }

    /// Removes a peer, and leaves the tally where it is.
    fn take(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        let peers = self.tables.counts().peers();
        let removed = self.tables.remove(key, endpoint)?;
        if let Some(tally) = &mut self.tally {
            tally.remove(key, &removed, peers);
        }
        Some(removed)
    }

    /// Removes the oldest peers of addresses that have more than they may.
    fn trim(&mut self, key: &HashKey, now: Minute) {
        let Self { tables, tally: Some(tally) } = self else { return };
        let most = tally.limit(now).among(tables.counts().peers());
        let mut left = MAX_TRIMMED;
        for (peer, excess) in tally.excess(key, tables, most, now) {
            for _ in 0..excess.min(left) {
                let Self { tables, tally: Some(tally) } = self else { return };
                let crowd = tally.full_crowd(key, tables, &peer, most, now);
                let Some(oldest) = crowd.and_then(|crowd| crowd.oldest(key, tables, now)) else { break };
                self.take(key, &oldest);
                left -= 1;
            }
        }
    }

    fn drop_tally_if_small(&mut self) {
        if self.tables.counts().peers() < MIN_STILL_TALLIED {
            self.tally = None;
        }
    }
}

#[cfg(test)]
impl<P: Peer> Hashed<P> {
    /// Asserts that what is known of addresses is what counting them anew finds. Returns whether there is a tally.
    pub(super) fn assert_tallied(&self, key: &HashKey, now: Minute) -> bool {
        let peers: Vec<P> = self.tables.peers().copied().collect();
        assert!(peers.len() >= MIN_STILL_TALLIED || self.tally.is_none(), "a tally of {}", peers.len());
        self.tally.as_ref().inspect(|tally| tally.assert_counts(key, &peers, now)).is_some()
    }
}
