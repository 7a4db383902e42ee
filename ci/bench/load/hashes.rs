//! Info hashes: those of our own loaders, and those of another's, so that a tracker with a white list can be told of
//! both.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// The info hash of a torrent: any bytes, but always the same ones.
pub fn info_hash(torrent: u64) -> [u8; 20] {
    let mut state = torrent.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut hash = [0; 20];
    for part in hash.chunks_mut(8) {
        part.copy_from_slice(&splitmix(&mut state).to_be_bytes()[..part.len()]);
    }
    hash
}

/// Those that `aquatic_udp_load_test` 0.9 asks for: the bytes of a generator with a fixed seed.
pub fn aquatic_hashes() -> impl Iterator<Item = [u8; 20]> {
    let mut rng = SmallRng::seed_from_u64(0xc3aa_8be6_17b3_acce);
    std::iter::repeat_with(move || std::array::from_fn(|_| rng.r#gen()))
}

/// The next number of Vigna's splitmix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hashes_differ() {
        let hashes: HashSet<_> = (0..10_000).map(info_hash).collect();
        assert_eq!(hashes.len(), 10_000);
    }
}
