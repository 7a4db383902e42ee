//! Bounds how much strangers can make the tracker hold.
//!
//! Shards take room from one common pool in blocks, so the bound is on the whole tracker (one swarm may use all of
//! it) and yet an announce touches the common counter only once in a block. There it is noticed, too, that room runs
//! short: [`room`](super::room) is to make some before it is needed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::atomic::AtomicU64;

use super::shortage::Shortage;

/// The most torrents and peers that a tracker holds, and the most peers of one address in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Torrents.
    pub torrents: u64,
    /// Peers, over all torrents.
    pub peers: u64,
    /// Peers of one address in a swarm; 0 is no limit: see [`AddressLimit`](super::address_limit::AddressLimit).
    pub peers_per_address: u32,
}

impl Capacity {
    /// No bound but the memory.
    pub const NONE: Self = Self { torrents: u64::MAX, peers: u64::MAX, peers_per_address: 0 };
}

/// How many more torrents (or peers) all shards together may hold: the pool. On cache lines of its own, because it is
/// written often and would otherwise share them with what all workers read.
#[derive(Debug)]
#[repr(align(128))]
pub struct SharedAllowance {
    left: AtomicU64,
    /// How many a shard takes at a time.
    block: u64,
    limit: u64,
    shortage: Arc<Shortage>,
}

impl SharedAllowance {
    /// Makes a pool of `limit`, to be shared by `shards`. What shards have taken and not used is at most a twentieth of
    /// it: less than what is made room for at a time. Calls `shortage` when no more than a twentieth is left.
    pub fn new(limit: u64, shards: usize, shortage: Arc<Shortage>) -> Self {
        let block = (limit / shards as u64 / 50).clamp(1, 256);
        Self { left: AtomicU64::new(limit), block, limit, shortage }
    }

    /// Returns the limit of all shards together.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns how many have to go so that a tenth of the limit is left in the pool.
    pub fn lacking(&self) -> u64 {
        self.limit.div_ceil(10).saturating_sub(self.left.load(Ordering::Relaxed))
    }

    /// Takes a block, or what is left if that is less, and returns how many that is.
    #[cold]
    #[inline(never)] // So that what all other announces run stays short.
    fn take_block(&self) -> u64 {
        // Nothing is written where there is nothing to take: a full tracker is asked for room all the time.
        if self.left.load(Ordering::Relaxed) == 0 {
            self.shortage.call();
            return 0;
        }
        let taken = |left: u64| Some(left.saturating_sub(self.block));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).unwrap_or_else(|left| left);
        if left.saturating_sub(self.block) <= self.limit / 20 {
            self.shortage.call();
        }
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

    /// Gives the pool back what the shard has taken and not used.
    pub fn give_back(&mut self, shared: &SharedAllowance) {
        // Most shards of a full tracker have nothing left: the pool is not written for these.
        if self.0 > 0 {
            shared.left.fetch_add(std::mem::take(&mut self.0), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_by_one_shard_can_be_taken_by_another() {
        for limit in [1, 3, 100, 100_000] {
            let shared = SharedAllowance::new(limit, 4, Arc::default());
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
    #[test]
    fn shards_call_for_room_when_no_more_than_a_twentieth_is_left_and_a_tenth_is_to_be_made() {
        for (limit, called_at, lacking) in [(1, 1, 1), (3, 3, 1), (19, 19, 2), (20, 19, 1), (1000, 950, 50)] {
            let shortage = Arc::<Shortage>::default();
            let shared = SharedAllowance::new(limit, 1024, Arc::clone(&shortage));
            let mut shard = Allowance::default();
            for held in 0..limit {
                assert_eq!(shortage.is_called(), held >= called_at);
                assert!(shard.ensure_one(&shared));
                shard.account(&shared, held as usize, held as usize + 1);
                if held + 1 == called_at {
                    assert_eq!(shared.lacking(), lacking, "of {limit}");
                }
            }
            shortage.hear();
            assert!(!shard.ensure_one(&shared) && shortage.is_called(), "who is refused calls as well");
        }
    }

    #[test]
    fn what_shards_have_not_used_can_be_gathered_and_is_a_twentieth_at_most() {
        for limit in [1_u64, 1000, 60_000, 100_000, 10_000_000] {
            let shared = SharedAllowance::new(limit, 1024, Arc::default());
            let mut shards: Vec<_> = (0..1024).map(|_| Allowance::default()).collect();
            let mut held = vec![0; shards.len()];
            // Each comes to hold as much unused room as it can.
            for (shard, held) in shards.iter_mut().zip(&mut held) {
                while *held < 2 * shared.block as usize && shard.ensure_one(&shared) {
                    shard.account(&shared, *held, *held + 1);
                    *held += 1;
                }
                for before in (1..=*held).rev() {
                    shard.account(&shared, before, before - 1);
                }
            }
            let left = shared.left.load(Ordering::Relaxed);
            assert!((limit - left) * 20 <= limit, "{left} of {limit}");
            shards.iter_mut().for_each(|shard| shard.give_back(&shared));
            assert_eq!(shared.left.load(Ordering::Relaxed), limit);
        }
    }
}
