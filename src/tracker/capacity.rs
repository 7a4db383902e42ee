//! How much strangers can make the tracker hold.
//!
//! Shards take room from one common pool in blocks, so the bound is on the whole tracker (one swarm may use all of
//! it) and yet an announce touches the common counter only once in a block.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many torrents and peers a tracker holds at most.
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

/// What is left for all shards. On cache lines of its own: what is written here stands beside what all workers read.
#[derive(Debug)]
#[repr(align(128))]
pub struct SharedAllowance {
    left: AtomicU64,
    block: u64,
}

impl SharedAllowance {
    /// Room for `limit`, to be shared by `shards`. Shards keep at most a tenth of it unused to themselves.
    pub fn new(limit: u64, shards: usize) -> Self {
        Self { left: AtomicU64::new(limit), block: (limit / shards as u64 / 20).clamp(1, 256) }
    }

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

/// What one shard has taken from a [`SharedAllowance`] and not used yet.
#[derive(Debug, Default)]
pub struct Allowance(u64);

impl Allowance {
    /// Is there room for one more?
    pub fn has_one(&mut self, pool: &SharedAllowance) -> bool {
        if self.0 == 0 {
            self.0 = pool.take_block();
        }
        self.0 > 0
    }

    /// `before` are now `after`. What was taken in was asked for with [`Self::has_one`].
    pub fn changed(&mut self, pool: &SharedAllowance, before: usize, after: usize) {
        self.0 = (self.0 + before as u64).saturating_sub(after as u64);
        if self.0 >= 2 * pool.block - 1 {
            let kept = pool.block - 1;
            pool.left.fetch_add(self.0 - kept, Ordering::Relaxed);
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
            let pool = SharedAllowance::new(limit, 4);
            let mut shards: [Allowance; 4] = Default::default();
            let mut held = [0; 4];
            let fill = |shards: &mut [Allowance; 4], held: &mut [usize; 4], order: &[usize]| {
                for &i in order {
                    while shards[i].has_one(&pool) {
                        shards[i].changed(&pool, held[i], held[i] + 1);
                        held[i] += 1;
                    }
                }
            };
            fill(&mut shards, &mut held, &[0, 1, 2, 3]);
            assert_eq!(held.iter().sum::<usize>() as u64, limit, "all of it, and not more");
            let full = held[0];
            shards[0].changed(&pool, full, 0);
            held[0] = 0;
            fill(&mut shards, &mut held, &[3, 2, 1, 0]);
            assert_eq!(held.iter().sum::<usize>() as u64, limit);
            assert!(held[3] as u64 * 10 >= limit * 9 || limit < 100, "one swarm may have nearly all: {held:?}");
        }
    }
}
