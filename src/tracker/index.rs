//! Where each torrent stands: positions by the hash of the info hash, four bytes each.
//!
//! Open addressing with linear probing. Beside the position a slot has eight bits of the hash: whoever looks for a
//! torrent reads one cache line here, and next that of the torrent itself, hardly ever that of another one. A table that
//! keeps those bits apart takes a cache line more for each look.

use super::prefetch::prefetch;

/// The position plus one; the rest of a slot is for bits of the hash. 0 is a vacant slot.
const POSITION: u32 = (1 << 24) - 1;
/// Slots to begin with: one cache line.
const FIRST: usize = 16;

/// Positions in one shard.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, at most three quarters in use; or none.
    slots: Box<[u32]>,
    len: usize,
}

impl Index {
    /// Positions from here on cannot be kept. Of 1,024 shards it would take 17,000 million torrents.
    pub(super) const POSITIONS: usize = POSITION as usize;

    /// Begins to fetch the first slot that [`Self::candidate`] and [`Self::find`] look at.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(hash)) {
            prefetch(slot);
        }
    }

    /// The position of the torrent with this hash, most likely, if it is there.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<usize> {
        self.find(hash, |_| true)
    }

    /// The position under this hash that is the right one.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        self.slot(hash, is).map(|(_, position)| position)
    }

    /// Adds a position below [`Self::POSITIONS`]; `hash_of` tells the hashes of those that there are.
    pub(super) fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((2 * self.slots.len()).max(FIRST), &hash_of);
        }
        self.put(hash, position);
        self.len += 1;
    }

    /// Says that what stood at one position stands at another now.
    pub(super) fn replace(&mut self, hash: u64, from: usize, to: usize) {
        match self.slot(hash, |position| position == from) {
            Some((at, _)) => self.set(at, slot(hash, to)),
            None => debug_assert!(false, "nothing stands at {from}"),
        }
    }

    /// Takes a position out; `hash_of` tells the hashes of those that there are.
    pub(super) fn remove(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        let Some((mut hole, _)) = self.slot(hash, |found| found == position) else {
            return debug_assert!(false, "nothing stands at {position}");
        };
        // Those who had to step over it move closer to home.
        let mut next = hole;
        loop {
            next = self.after(next);
            let moved = self.slots.get(next).copied().unwrap_or_default();
            let Some(position) = position_in(moved) else { break };
            let distance = |from: usize, to: usize| to.wrapping_sub(from) & (self.slots.len() - 1);
            if distance(self.home(hash_of(position)), next) >= distance(hole, next) {
                self.set(hole, moved);
                hole = next;
            }
        }
        self.set(hole, 0);
        self.len -= 1;
    }

    /// Gives memory back when less than a sixth is in use.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(usize) -> u64) {
        if self.len == 0 {
            self.slots = Box::default();
        } else if self.len * 6 < self.slots.len() && self.slots.len() > FIRST {
            self.resize((self.len * 2).next_power_of_two().max(FIRST), &hash_of);
        }
    }

    /// The slot of the right position.
    #[inline]
    fn slot(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        loop {
            let found = *self.slots.get(at)?;
            // The end: there always is a vacant slot.
            let position = position_in(found)?;
            if found & !POSITION == tag(hash) && is(position) {
                return Some((at, position));
            }
            at = self.after(at);
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits: shards are told by others")]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn put(&mut self, hash: u64, position: usize) {
        let mut at = self.home(hash);
        while self.slots.get(at).is_some_and(|found| *found != 0) {
            at = self.after(at);
        }
        self.set(at, slot(hash, position));
    }

    fn set(&mut self, at: usize, slot: u32) {
        debug_assert!(at < self.slots.len(), "{at} of {}", self.slots.len());
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
    }

    fn resize(&mut self, slots: usize, hash_of: impl Fn(usize) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![0; slots].into_boxed_slice());
        old.iter().copied().filter_map(position_in).for_each(|position| self.put(hash_of(position), position));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a position is below `POSITIONS`")]
fn slot(hash: u64, position: usize) -> u32 {
    debug_assert!(position < Index::POSITIONS, "asked before");
    tag(hash) | (position as u32 + 1) & POSITION
}

/// The highest bits: others than those of the home and of the shard.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 & !POSITION
}

fn position_in(slot: u32) -> Option<usize> {
    ((slot & POSITION) as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Remove(usize),
        Shrink,
    }

    /// Hashes that crowd at few homes with few tags.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let hash = (0..40_u64, 0..3_u64).prop_map(|(home, tag)| home.wrapping_sub(5) & 0xffff_ffff | tag << 56);
        let step = prop_oneof![5 => hash.prop_map(Step::Insert), 4 => (0..300_usize).prop_map(Step::Remove),
                               1 => Just(Step::Shrink)];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_finds_what_a_map_finds(steps in steps()) {
            let mut index = Index::default();
            // Hashes by position: one hash can stand at several.
            let mut hashes = BTreeMap::new();
            let mut next = 0;
            for step in steps {
                let hash_of = |position| hashes[&position];
                match step {
                    Step::Insert(hash) => {
                        index.insert(hash, next, hash_of);
                        hashes.insert(next, hash);
                        next += 1;
                    }
                    Step::Remove(n) => {
                        if let Some(&gone) = hashes.keys().nth(n % hashes.len().max(1)) {
                            index.remove(hashes[&gone], gone, hash_of);
                            hashes.remove(&gone);
                            // The last one moves to the vacant position, as in the store.
                            if let Some((last, hash)) = hashes.iter().next_back().map(|(at, hash)| (*at, *hash)) {
                                if last > gone {
                                    index.replace(hash, last, gone);
                                    hashes.remove(&last);
                                    hashes.insert(gone, hash);
                                }
                            }
                        }
                    }
                    Step::Shrink => index.shrink(hash_of),
                }
                prop_assert_eq!(index.len, hashes.len());
                prop_assert!(index.len * 4 <= index.slots.len() * 3);
                for (position, hash) in &hashes {
                    prop_assert_eq!(index.find(*hash, |found| found == *position), Some(*position));
                    prop_assert_eq!(index.candidate(*hash).map(|found| hashes[&found] >> 56), Some(hash >> 56));
                }
                let all = index.slots.iter().filter_map(|slot| position_in(*slot)).count();
                prop_assert_eq!(all, hashes.len());
            }
            prop_assert_eq!(index.find(77, |position| position == next), None);
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut index = Index::default();
        let hash_of = |position: usize| (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..10_000).for_each(|position| index.insert(hash_of(position), position, hash_of));
        assert_eq!(index.slots.len(), 16_384);
        (100..10_000).for_each(|position| index.remove(hash_of(position), position, hash_of));
        index.shrink(hash_of);
        assert_eq!(index.slots.len(), 256);
        assert!((0..100).all(|position| index.find(hash_of(position), |found| found == position) == Some(position)));
        (0..100).for_each(|position| index.remove(hash_of(position), position, hash_of));
        index.shrink(hash_of);
        assert_eq!(index.slots.len(), 0);
        assert_eq!(index.find(hash_of(1), |_| true), None);
    }
}
