//! The peers of a large swarm in one array: open addressing, linear probing, no index beside it.
//!
//! A peer sits at or soon after the slot that its keyed hash names, so finding it costs one or two cache lines
//! however large the swarm (finding that it is not there: a dozen in a row when the array is at its fullest). And the
//! array is dense enough (83 to 93 per cent while it grows) for a selection to be read straight out of it. Nine bytes
//! for an IPv4 peer is what this costs; an index beside an array costs sixteen. The array stands in blocks,
//! because swarms that grow in step would leave a sixth of the heap in holes.

use std::ops::RangeInclusive;

use super::blocks::Blocks;
use super::clock::Expiry;
use super::keyed_hash::HashKey;
use super::peer::Peer;
use super::prefetch::prefetch_first;
use super::select::Slots;

/// Slots of a block: a power of two, so that a position is taken apart without a division, and so many that what malloc
/// keeps beside each block counts for little.
const BLOCK: usize = 256;

/// Slots that a large table's number of them is a multiple of.
const MAX_STEP: usize = BLOCK / 4;

/// Slots that are prefetched, from a peer's home on: most peers stand within them.
const PREFETCHED: usize = 8;

/// A hash table of peers, by endpoint.
#[derive(Debug)]
pub struct Table<P> {
    slots: Blocks<P, BLOCK>,
    len: usize,
}

impl<P: Peer> Table<P> {
    /// Makes an empty table with room for `len` peers and some more.
    pub fn with_room_for(len: usize) -> Self {
        let mut slots = Blocks::default();
        slots.reset(slots_for(len));
        Self { slots, len: 0 }
    }

    /// Returns how many peers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the peers, in no particular order.
    pub fn peers(&self) -> impl Iterator<Item = &P> {
        self.slots.iter().filter(|peer| !peer.is_vacant())
    }

    /// Visits the peers whose hashes are in `range`, each once, in no particular order. Looks at the slots that the
    /// range names, and at the run of taken slots that each end may be in: hundreds of slots, some thousand at most.
    pub fn walk(&self, key: &HashKey, range: &RangeInclusive<u64>, mut visit: impl FnMut(&P)) {
        let slots = self.slots.len();
        let (first, last) = (self.slot_of(*range.start()), self.slot_of(*range.end()));
        // A peer stands in its home, the slot that its hash names, or behind it with no vacant slot between. After the
        // last slot comes the first, so `at` runs on past the end.
        let mut after_vacant = false;
        for at in first..2 * slots {
            let slot = if at < slots { at } else { at - slots };
            match self.peer(slot) {
                None if at >= last => return,
                None => after_vacant = true,
                // Its home lies behind a vacant slot of the range and not behind this one: no need to hash.
                Some(peer) if after_vacant && at < last => visit(peer),
                Some(peer) => {
                    let hash = peer.hash(key);
                    let reached = if slot < self.slot_of(hash) { slot + slots } else { slot };
                    if at == reached && range.contains(&hash) {
                        visit(peer);
                    }
                }
            }
        }
    }

    /// Returns the peer in a slot; `None` if the slot is vacant, or if there is no such slot.
    fn peer(&self, slot: usize) -> Option<&P> {
        self.slots.get(slot).filter(|peer| !peer.is_vacant())
    }

    /// Returns the peer at `endpoint`'s address and port.
    pub fn get(&self, key: &HashKey, endpoint: &P) -> Option<&P> {
        self.slots.get(self.find_slot(key, endpoint)).filter(|peer| peer.same_endpoint(endpoint))
    }

    /// Returns whether there is a peer at `endpoint`'s address and port.
    pub fn contains(&self, key: &HashKey, endpoint: &P) -> bool {
        self.get(key, endpoint).is_some()
    }

    /// Returns the peer at `endpoint`'s address and port, to be changed.
    pub fn get_mut(&mut self, key: &HashKey, endpoint: &P) -> Option<&mut P> {
        let at = self.find_slot(key, endpoint);
        self.slots.get_mut(at).filter(|peer| peer.same_endpoint(endpoint))
    }

    /// Begins to fetch the slots in which the peer at `endpoint`'s address and port is most likely found.
    #[inline]
    pub fn prefetch(&self, key: &HashKey, endpoint: &P) {
        prefetch_first(self.slots.piece(self.home(key, endpoint)), PREFETCHED);
    }

    /// Adds a peer that is not there yet.
    pub fn insert(&mut self, key: &HashKey, peer: P) {
        if (self.len + 1) * 15 > self.slots.len() * 14 {
            self.resize(key);
        }
        self.put(key, peer);
        self.len += 1;
    }

    /// Removes the peer at `endpoint`'s address and port, and returns it.
    pub fn remove(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        let at = self.find_slot(key, endpoint);
        let removed = *self.slots.get(at).filter(|peer| peer.same_endpoint(endpoint))?;
        self.vacate(key, at);
        self.shrink(key);
        Some(removed)
    }

    /// Removes the expired peers among the `budget` slots from `from` on, and calls `removed` with each. Returns the
    /// slot to go on from; `None` at the end.
    ///
    /// An expired peer is overlooked only if the table changes between two portions; the next sweep finds it.
    pub fn expire(
        &mut self,
        key: &HashKey,
        expiry: Expiry,
        from: usize,
        budget: usize,
        mut removed: impl FnMut(&P),
    ) -> Option<usize> {
        let end = from.saturating_add(budget).min(self.slots.len());
        let mut at = from;
        while at < end {
            match self.slots.get(at) {
                // The next peer may have moved into this slot: it is looked at again.
                Some(peer) if !peer.is_vacant() && peer.state().expired(expiry) => {
                    removed(peer);
                    self.vacate(key, at);
                }
                _ => at += 1,
            }
        }
        if at < self.slots.len() {
            return Some(at);
        }
        self.shrink(key);
        None
    }

    /// Returns the slot of the peer, or the vacant one where it would go. There always is one: the load stays below
    /// one.
    fn find_slot(&self, key: &HashKey, peer: &P) -> usize {
        let home = self.home(key, peer);
        let stops = |slot: &P| slot.is_vacant() || slot.same_endpoint(peer);
        let mut at = home;
        // The block of the first one is the last one again.
        for _ in 0..=self.slots.len().div_ceil(BLOCK) {
            let piece = self.slots.piece(at);
            if let Some(steps) = piece.iter().position(stops) {
                return at + steps;
            }
            at += piece.len();
            if at >= self.slots.len() {
                at = 0;
            }
        }
        debug_assert!(false, "no slot of {} is vacant", self.slots.len());
        home
    }

    /// Returns the slot that a peer's hash names.
    fn home(&self, key: &HashKey, peer: &P) -> usize {
        self.slot_of(peer.hash(key))
    }

    /// Returns the slot that a hash names: the same fraction of the array as the hash is of all hashes. So peers keep
    /// their order when the array grows, and growing walks it from end to end.
    #[expect(clippy::cast_possible_truncation, reason = "less than the number of slots")]
    fn slot_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn put(&mut self, key: &HashKey, peer: P) {
        let at = self.find_slot(key, &peer);
        debug_assert!(self.slots.get(at).is_some_and(P::is_vacant), "{peer:?} is inserted twice");
        self.set(at, peer);
    }

    /// Empties a slot, and moves those peers that had to step over it closer to their homes.
    fn vacate(&mut self, key: &HashKey, at: usize) {
        let slots = self.slots.len();
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + slots - from };
        let mut hole = at;
        let mut next = at;
        loop {
            next = if next + 1 == slots { 0 } else { next + 1 };
            let Some(peer) = self.peer(next).copied() else { break };
            if distance(self.home(key, &peer), next) >= distance(hole, next) {
                self.set(hole, peer);
                hole = next;
            }
        }
        self.set(hole, P::default());
        self.len -= 1;
    }

    fn set(&mut self, at: usize, peer: P) {
        debug_assert!(at < self.slots.len(), "{at} of {}", self.slots.len());
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = peer;
        }
    }

    /// Gives memory back if less than four tenths of the slots are in use.
    fn shrink(&mut self, key: &HashKey) {
        if self.len * 10 < self.slots.len() * 4 && self.slots.len() > 16 {
            self.resize(key);
        }
    }

    /// Gives the table the slots that one peer more needs. The peers stand in a vector while the blocks are reset, so
    /// that full blocks are used again.
    fn resize(&mut self, key: &HashKey) {
        let mut peers = Vec::with_capacity(self.len);
        peers.extend(self.peers());
        self.slots.reset(slots_for(self.len + 1));
        peers.into_iter().for_each(|peer| self.put(key, peer));
    }
}

impl<P: Peer> Slots<P> for Table<P> {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    fn piece(&self, at: usize) -> &[P] {
        self.slots.piece(at)
    }
}

/// Returns how many slots a table of `len` peers gets: an eighth more than that, and a few. The number is a multiple of
/// about a thirty-second of itself, so that the last blocks of many tables have few sizes, and what one gives back fits
/// another.
fn slots_for(len: usize) -> usize {
    let slots = len * 9 / 8 + 4;
    slots.next_multiple_of((slots / 32).next_power_of_two().min(MAX_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Minute;
    use crate::tracker::keyed_hash::portion;
    use crate::tracker::peer::{PeerState, PeerV4, PeerV6};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    fn key() -> HashKey {
        HashKey::from_bytes(&std::array::from_fn(|i| (i * 91 + 5) as u8))
    }

    /// Few endpoints, so that sequences meet the same ones again.
    fn endpoint<P: Peer>(n: u16) -> P {
        let v4 = SocketAddr::from(([10, 0, 0, 1], n + 1));
        P::at(v4).or_else(|| P::at(([0, 0, 0, 0, 0, 0, 0, 1], n + 1).into())).unwrap()
    }

    fn holds_like_a_map<P: Peer>(steps: &[(bool, u16)]) {
        let key = key();
        let mut table = Table::<P>::with_room_for(0);
        let mut map = BTreeMap::new();
        for (minute, &(add, n)) in steps.iter().enumerate() {
            let state = PeerState::new(Minute(minute as u32 % 40), false, false);
            let peer = endpoint::<P>(n).with_state(state);
            if !add {
                assert_eq!(table.remove(&key, &peer), map.remove(&n));
            } else if let Some(found) = table.get_mut(&key, &peer) {
                *found = peer;
                map.insert(n, peer);
            } else {
                table.insert(&key, peer);
                assert_eq!(map.insert(n, peer), None);
            }
            assert_eq!(table.len(), map.len());
        }
        assert_eq!(table.peers().count(), map.len());
        for (n, peer) in &map {
            assert_eq!(table.get(&key, &endpoint(*n)), Some(peer));
            assert_eq!(table.get_mut(&key, &endpoint(*n)), Some(&mut peer.clone()));
        }
        walks_like_the_map(&table, &map);
        // Those of minutes 0 to 19 expire, in small portions.
        let expiry = Expiry { now: Minute(20 + 45), peer_lifetime: 45 };
        map.retain(|_, peer| !peer.state().expired(expiry));
        let mut at = Some(0);
        while let Some(from) = at {
            at = table.expire(&key, expiry, from, 7, |peer| assert!(peer.state().expired(expiry)));
        }
        assert_eq!(table.len(), map.len());
        assert!(map.iter().all(|(n, peer)| table.get_mut(&key, &endpoint(*n)) == Some(&mut peer.clone())));
    }

    /// In portions of every length, each peer is visited once, and in the portion of its hash.
    fn walks_like_the_map<P: Peer>(table: &Table<P>, map: &BTreeMap<u16, P>) {
        let key = key();
        for most in [1, 7, 100, 5000] {
            let mut walked = Vec::new();
            let mut next = Some(0);
            while let Some(from) = next {
                let range = portion(from, most, table.slots());
                table.walk(&key, &range, |peer| {
                    assert!(range.contains(&peer.hash(&key)));
                    walked.push(peer.endpoint());
                });
                next = range.end().checked_add(1);
            }
            walked.sort_unstable();
            let mut expected: Vec<_> = map.values().map(Peer::endpoint).collect();
            expected.sort_unstable();
            assert_eq!(walked, expected, "in portions of {most}");
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((prop::bool::weighted(0.7), 0..400_u16), 0..2000)) {
            holds_like_a_map::<PeerV4>(&steps);
            holds_like_a_map::<PeerV6>(&steps);
        }
    }

    #[test]
    fn it_is_dense_while_it_grows_and_gives_memory_back() {
        let key = key();
        let mut table = Table::<PeerV4>::with_room_for(0);
        for n in 0..5_000 {
            table.insert(&key, endpoint(n));
            assert!(table.slots() * 8 < table.len() * 10 + 64, "{} for {n}", table.slots());
        }
        for n in 0..4_990 {
            table.remove(&key, &endpoint(n));
        }
        assert_eq!(table.len(), 10);
        assert!(table.slots() < 30);
    }
}
