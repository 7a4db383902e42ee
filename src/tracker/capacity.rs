//! Bounds how much strangers can make the tracker hold.
//!
//! Shards take room from one common pool in blocks, so the bound is on the whole tracker (one swarm may use all of
//! it) and yet an announce touches the common counter only once in a block.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most torrents and peers that a tracker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Torrents.
    pub torrents: u64,
    /// Peers, over all torrents.
    pub peers: u64,
}

impl Capacity {
    /// No bound but the memory.
    pub const NONE: Self = Self { torrents: u64::MAX, peers: u64::MAX };
}

/// How many more torrents (or peers) all shards together may hold: the pool. On cache lines of its own, because it is
/// written often and would otherwise share them with what all workers read.
#[derive(Debug)]
#[repr(align(128))]
pub struct SharedAllowance {
    left: AtomicU64,
    /// How many a shard takes at a time.
    block: u64,
}

impl SharedAllowance {
    /// Makes a pool of `limit`, to be shared by `shards`. What shards have taken and not used is at most a tenth of it.
    pub fn new(limit: u64, shards: usize) -> Self {
        Self { left: AtomicU64::new(limit), block: (limit / shards as u64 / 20).clamp(1, 256) }
    }

    /// Takes a block, or what is left if that is less, and returns how many that is.
    fn take_block(&self) -> u64 {
        // Nothing is written where there is nothing to take: a full tracker is asked for room all the time.
        if self.left.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let taken = |left: u64| Some(left.saturating_sub(self.block));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).unwrap_or_else(|left| left);
        left.min(self.block)
    }
}

/// How many more torrents (or peers) one shard may hold: what it has taken from the pool and not used.
#[derive(Debug, Default)]
pub struct Allowance(u64);

impl Allowance {
    /// Returns whether there is room for one more. Takes a block from the pool if the shard has used up its own.
    pub fn ensure_one(&mut self, shared: &SharedAllowance) -> bool {
        if self.0 == 0 {
            self.0 = shared.take_block();
        }
        self.0 > 0
    }

    /// Accounts for a number that was `before` and is `after` now: uses up room or gives it back, part of it to the
    /// pool. Whoever adds asks [`Self::ensure_one`] first.
    pub fn account(&mut self, shared: &SharedAllowance, before: usize, after: usize) {
        self.0 = (self.0 + before as u64).saturating_sub(after as u64);
        if self.0 >= 2 * shared.block - 1 {
            let kept = shared.block - 1;
            shared.left.fetch_add(self.0 - kept, Ordering::Relaxed);
            self.0 = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_by_one_shard_can_be_taken_by_another() {
        for limit in [1, 3, 100, 100_000] {
            let shared = SharedAllowance::new(limit, 4);
            let mut shards: [Allowance; 4] = Default::default();
            let mut held = [0; 4];
            let fill = |shards: &mut [Allowance; 4], held: &mut [usize; 4], order: &[usize]| {
                for &i in order {
                    while shards[i].ensure_one(&shared) {
                        shards[i].account(&shared, held[i], held[i] + 1);
                        held[i] += 1;
                    }
                }
            };
            fill(&mut shards, &mut held, &[0, 1, 2, 3]);
            assert_eq!(held.iter().sum::<usize>() as u64, limit, "all of it, and not more");
            let full = held[0];
            shards[0].account(&shared, full, 0);
            held[0] = 0;
            fill(&mut shards, &mut held, &[3, 2, 1, 0]);
            assert_eq!(held.iter().sum::<usize>() as u64, limit);
            assert!(held[3] as u64 * 10 >= limit * 9 || limit < 100, "one swarm may have nearly all: {held:?}");
        }
    }
}
