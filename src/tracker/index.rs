//! Finds the position of a torrent in its shard by the hash of its info hash, with four bytes for each torrent.
//!
//! Open addressing with linear probing. Beside the position a slot has eight bits of the hash, its tag: whoever looks
//! for a torrent reads one cache line here, and next that of the torrent itself, hardly ever that of another one. A
//! table that keeps tags apart takes a cache line more for each look.

use super::prefetch::prefetch;

/// The bits of a slot that hold the position plus one; the others hold the tag. 0 is a vacant slot.
const POSITION_MASK: u32 = (1 << 24) - 1;
/// Slots of the smallest index: one cache line.
const INITIAL_SLOTS: usize = 16;

/// The positions of one shard's torrents.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, of which at most three quarters are in use; or none at all.
    slots: Box<[u32]>,
    len: usize,
}

impl Index {
    /// Positions have to be below this number. In 1,024 shards there is room for 17,000 million torrents.
    pub(super) const MAX_POSITIONS: usize = POSITION_MASK as usize;

    /// Begins to fetch the first slot that [`Self::candidate`] and [`Self::find`] look at.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(hash)) {
            prefetch(slot);
        }
    }

    /// Returns a position under this hash: if the torrent is there, most likely its own.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<usize> {
        self.find(hash, |_| true)
    }

    /// Returns the position under this hash that `is_right`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_right: impl Fn(usize) -> bool) -> Option<usize> {
        self.slot(hash, is_right).map(|(_, position)| position)
    }

    /// Adds a position below [`Self::MAX_POSITIONS`]; `hash_of` returns the hashes of positions that are in the index.
    pub(super) fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((2 * self.slots.len()).max(INITIAL_SLOTS), &hash_of);
        }
        self.put(hash, position);
        self.len += 1;
    }

    /// Replaces a position by another, for a torrent that has moved.
    pub(super) fn replace(&mut self, hash: u64, from: usize, to: usize) {
        match self.slot(hash, |position| position == from) {
            Some((at, _)) => self.set(at, slot(hash, to)),
            None => debug_assert!(false, "nothing stands at {from}"),
        }
    }

    /// Removes a position; `hash_of` returns the hashes of positions that are in the index.
    pub(super) fn remove(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        let Some((mut hole, _)) = self.slot(hash, |found| found == position) else {
            return debug_assert!(false, "nothing stands at {position}");
        };
        // Those that had to step over it move closer to their home.
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

    /// Gives memory back if less than a sixth of it is in use.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(usize) -> u64) {
        if self.len == 0 {
            self.slots = Box::default();
        } else if self.len * 6 < self.slots.len() && self.slots.len() > INITIAL_SLOTS {
            self.resize((self.len * 2).next_power_of_two().max(INITIAL_SLOTS), &hash_of);
        }
    }

    /// Returns the slot that holds the right position, and that position.
    #[inline]
    fn slot(&self, hash: u64, is_right: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        loop {
            let found = *self.slots.get(at)?;
            // The end: there always is a vacant slot.
            let position = position_in(found)?;
            if found & !POSITION_MASK == tag(hash) && is_right(position) {
                return Some((at, position));
            }
            at = self.after(at);
        }
    }

    /// Returns the slot that a hash names: by its lowest bits, since the shard is chosen by others.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
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

#[expect(clippy::cast_possible_truncation, reason = "a position is below `MAX_POSITIONS`")]
fn slot(hash: u64, position: usize) -> u32 {
    debug_assert!(position < Index::MAX_POSITIONS, "asked before");
    tag(hash) | (position as u32 + 1) & POSITION_MASK
}

/// Returns the highest eight bits of a hash, where a slot keeps them. Neither home nor shard is chosen by these.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 & !POSITION_MASK
}

fn position_in(slot: u32) -> Option<usize> {
    ((slot & POSITION_MASK) as usize).checked_sub(1)
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
        let hash = (0..40_u64, 0..3_u64).prop_map(|(home, tag)| home.wrapping_sub(5) & 0xffff_ffff | (tag << 56));
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
