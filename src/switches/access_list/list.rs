//! A set of info hashes in little more than its own 20 bytes each.

use std::cmp::Ordering;
use std::collections::TryReserveError;

use crate::tracker::InfoHash;

/// The hashes in order, with an index over their first bits: a look-up takes one step in the index and a search among
/// the ten hashes or so that share those bits. Takes at most 20.5 bytes for each hash, but for a list of a few.
///
/// No hash function is needed: info hashes are spread evenly already. Where they are not, the operator wrote the list
/// so, and a look-up takes as many steps as the number of hashes has bits. Strangers cannot make it slower.
#[derive(Debug)]
pub struct List {
    /// In order, each once.
    pub(in crate::switches) hashes: Vec<InfoHash>,
    /// Where in `hashes` the ones begin whose first bits are 0, 1, 2 and so on; at the end, where the last ones end.
    index: Box<[u32]>,
    /// How many first bits the index tells apart.
    bits: u32,
}

/// There are more hashes than 32 bits can number.
#[derive(Debug)]
pub(in crate::switches) struct TooMany;

/// A list of so many hashes is so large that malloc makes a mapping of its own for it, whatever was freed before. Only
/// then does the system get the memory back as soon as a list is no longer in force; glibc keeps up to twice the size
/// of what it has once given back, so that a list would take two or three times its size after some readings. Pages of
/// a mapping that nobody has written to take no memory.
const OWN_MAPPING: usize = (32 << 20) / InfoHash::LEN + 1;

/// A list of fewer hashes is so small that it does not matter where its memory is.
const FEW: usize = (64 << 10) / InfoHash::LEN;

/// Returns a vector without hashes that has room for `most`, and for more if only that gives it a mapping of its own.
pub(in crate::switches) fn with_room_for(most: usize) -> Result<Vec<InfoHash>, TryReserveError> {
    let mut hashes = Vec::new();
    hashes.try_reserve_exact(if most < FEW { most } else { most.max(OWN_MAPPING) })?;
    Ok(hashes)
}

impl List {
    /// Makes the list of these hashes, which come in any order. One that is given twice is kept once.
    pub(in crate::switches) fn new(mut hashes: Vec<InfoHash>) -> Result<Self, TooMany> {
        // A third faster than by all 20 bytes at once.
        let order = |one: &InfoHash, other: &InfoHash| match first_bits(one, 64).cmp(&first_bits(other, 64)) {
            Ordering::Equal => one.cmp(other),
            different => different,
        };
        hashes.sort_unstable_by(order);
        hashes.dedup();
        Self::from_sorted(hashes)
    }

    /// Makes the list of these hashes, which are in order, each once.
    pub(in crate::switches) fn from_sorted(mut hashes: Vec<InfoHash>) -> Result<Self, TooMany> {
        hashes.shrink_to(if hashes.capacity() < OWN_MAPPING { 0 } else { OWN_MAPPING });

        let end = u32::try_from(hashes.len()).map_err(|_| TooMany)?;
        let bits = (end / 8).checked_ilog2().unwrap_or(0);
        let mut index = Vec::with_capacity((1 << bits) + 1);
        for (position, hash) in (0..end).zip(&hashes) {
            while index.len() as u64 <= first_bits(hash, bits) {
                index.push(position);
            }
        }
        index.resize((1 << bits) + 1, end);
        Ok(Self { hashes, index: index.into_boxed_slice(), bits })
    }

    /// Returns how many hashes there are.
    pub(in crate::switches) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Returns whether this hash is on the list.
    pub(in crate::switches) fn contains(&self, info_hash: &InfoHash) -> bool {
        let Ok(at) = usize::try_from(first_bits(info_hash, self.bits)) else { return false };
        let Some(&[from, to]) = self.index.get(at..at + 2) else { return false };
        let alike = self.hashes.get(from as usize..to as usize).unwrap_or_default();
        alike.binary_search(info_hash).is_ok()
    }
}

/// A list with nothing on it.
impl Default for List {
    fn default() -> Self {
        Self { hashes: Vec::new(), index: Box::new([0; 2]), bits: 0 }
    }
}

/// Returns the first `bits` bits of a hash, 64 at most, as a number.
fn first_bits(hash: &InfoHash, bits: u32) -> u64 {
    let first = hash.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    // Nothing is left of a number that is shifted by all of its 64 bits.
    first.checked_shr(u64::BITS - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn list(hashes: &[InfoHash]) -> List {
        List::new(hashes.to_vec()).expect("not so many")
    }

    #[test]
    fn an_empty_list_has_nothing() {
        for list in [List::default(), list(&[])] {
            assert_eq!(list.len(), 0);
            assert!(!list.contains(&InfoHash([0; 20])) && !list.contains(&InfoHash([0xff; 20])));
        }
    }

    #[test]
    fn large_lists_have_what_they_were_given_and_little_more_memory() {
        let mut rng = Rng::with_seed(7);
        let mut random = || InfoHash(std::array::from_fn(|_| rng.u8(..)));
        for len in [1, 7, 8, 15, 16, 17, 1000, 65_535, 65_536] {
            let hashes: Vec<_> = (0..len).map(|_| random()).collect();
            let list = list(&hashes);
            assert_eq!(list.len(), len);
            assert!(hashes.iter().all(|hash| list.contains(hash)));
            assert!((0..1000).all(|_| !list.contains(&random())));
            let bytes = size_of_val(&*list.hashes) + size_of_val(&*list.index);
            assert!(bytes <= len * 41 / 2 + 8, "{bytes} bytes for {len}");
        }
    }

    #[test]
    fn hashes_that_begin_alike_are_told_apart() {
        let alike = |n: u32| {
            let mut hash = [0xab; 20];
            hash[16..].copy_from_slice(&n.to_be_bytes());
            InfoHash(hash)
        };
        let list = list(&(0..10_000).map(|n| alike(n * 2)).collect::<Vec<_>>());
        assert!((0..20_000).all(|n| list.contains(&alike(n)) == (n % 2 == 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Hashes that differ in the first, the 9th and the last byte only, so that many meet.
        #[test]
        fn it_is_the_set_that_it_was_made_from(
            given in prop::collection::vec((any::<u8>(), 0..3_u8, 0..3_u8), 0..600),
            asked in prop::collection::vec((any::<u8>(), 0..3_u8, 0..3_u8), 0..200),
        ) {
            let hash = |&(first, ninth, last): &(u8, u8, u8)| {
                let mut hash = [5; 20];
                (hash[0], hash[8], hash[19]) = (first, ninth, last);
                InfoHash(hash)
            };
            let model: BTreeSet<InfoHash> = given.iter().map(hash).collect();
            let list = list(&given.iter().map(hash).collect::<Vec<_>>());
            prop_assert_eq!(list.len(), model.len());
            for asked in given.iter().chain(&asked).map(hash) {
                prop_assert_eq!(list.contains(&asked), model.contains(&asked));
            }
        }
    }
}
