//! Hashes under a secret key.
//!
//! Strangers choose info hashes and, within limits, their endpoints. Without a key they could choose them so that
//! all fall on one shard or one slot.

use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;
use std::ops::RangeInclusive;

use super::InfoHash;

/// The secret key of one process: 48 random bytes. Two processes place the same torrent differently.
///
/// It is never printed: it does not implement `Debug`.
#[derive(Clone, Copy)]
pub struct HashKey {
    sip: (u64, u64),
    fold: [u64; 4],
}

impl HashKey {
    /// Makes a key of 48 random bytes. Those from the operating system's random source are the ones to use.
    pub fn from_bytes(bytes: &[u8; 48]) -> Self {
        let mut words = [0; 6];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        let [a, b, c, d, e, f] = words;
        // An odd factor is never zero, so no part of an endpoint is ever multiplied away.
        Self { sip: (a, b), fold: [c, d | 1, e, f | 1] }
    }

    /// Returns a number derived from the key, which most likely no other process has. Gives nothing of the key away.
    pub fn id(&self) -> u32 {
        (SipHasher13::new_with_keys(self.sip.0, self.sip.1).finish() >> 32) as u32
    }

    /// Returns the hash of an info hash, which says where a torrent is kept. SipHash-1-3: info hashes are free for
    /// strangers to choose.
    pub fn hash_info_hash(&self, hash: &InfoHash) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.sip.0, self.sip.1);
        hasher.write(&hash.0);
        hasher.finish()
    }

    /// Returns the hash of an endpoint, which says where a peer is kept within its swarm: two folded multiplications, a
    /// few cycles. An endpoint has to be reachable to be worth announcing, so there is less to choose than in an info
    /// hash. `high` and `low` are the endpoint's bits: see [`Peer::hash`](super::peer::Peer::hash).
    #[inline]
    pub fn hash_endpoint(&self, high: u64, low: u64) -> u64 {
        let [a, b, c, d] = self.fold;
        fold(fold(high ^ a, b) ^ low ^ c, d)
    }
}

/// Returns the range of hashes, beginning with `from`, that covers about `most` of `slots`, where all hashes are spread
/// evenly over the slots. The next portion begins behind its end.
pub fn portion(from: u64, most: usize, slots: usize) -> RangeInclusive<u64> {
    if most >= slots {
        return from..=u64::MAX;
    }
    let each = u64::MAX / slots as u64;
    from..=from.saturating_add(each.saturating_mul(most.max(1) as u64))
}

/// Returns the two halves of the 128-bit product, xored.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded
}

#[cfg(test)]
mod tests {
    use super::super::testing::is_printable;
    use super::*;

    #[test]
    fn the_key_matters() {
        let one = HashKey::from_bytes(&[1; 48]);
        let two = HashKey::from_bytes(&[2; 48]);
        let hash = InfoHash([7; 20]);
        assert_ne!(one.hash_info_hash(&hash), two.hash_info_hash(&hash));
        assert_ne!(one.hash_endpoint(0, 99), two.hash_endpoint(0, 99));
        assert_ne!(one.id(), two.id());
    }

    #[test]
    fn no_key_can_be_printed() {
        assert!(!is_printable!(HashKey) && is_printable!(InfoHash));
    }

    #[test]
    fn portions_follow_each_other_and_end_with_the_last_hash() {
        for (most, slots, portions) in
            [(0, 5, 5), (1, 7, 7), (3, 7, 3), (7, 7, 1), (9, 7, 1), (1, 0, 1), (1000, 999_999, 1000)]
        {
            let mut next = Some(0);
            let mut seen = 0;
            while let Some(from) = next {
                let portion = portion(from, most, slots);
                assert!(*portion.start() == from && !portion.is_empty());
                next = portion.end().checked_add(1);
                seen += 1;
            }
            assert_eq!(seen, portions, "{most} of {slots}");
        }
    }

    #[test]
    fn neighbouring_endpoints_spread_over_all_sixteenths() {
        let key = HashKey::from_bytes(&std::array::from_fn(|i| (i * 37 + 11) as u8));
        let mut seen = [0_u32; 16];
        for port in 0..16_000_u64 {
            seen[(key.hash_endpoint(0, port) >> 60) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }
}
