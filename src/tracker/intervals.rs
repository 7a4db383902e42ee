//! How often clients are asked to announce themselves, and for how long those that do not are remembered.

use std::ops::RangeInclusive;

use fastrand::Rng;

use super::clock::{Expiry, Minute};

/// How often clients are asked to announce themselves (BEP 3, `interval` and `min interval`; BEP 15), all in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// The shortest interval that a client is told.
    shortest: u32,
    /// How many there are that a client may be told.
    choices: u32,
    /// The interval before which another announce is not welcome; `None`: half of what the client is told.
    min: Option<u32>,
    /// Minutes after its last announce for which a peer is kept.
    peer_lifetime: u32,
}

impl Intervals {
    /// The interval where none is chosen.
    pub const DEFAULT: u32 = 1800;
    /// The intervals that can be chosen.
    pub const BOUNDS: RangeInclusive<u32> = 300..=3600;
    /// The smallest minimum that can be chosen. It is never greater than the interval.
    pub const LEAST_MIN: u32 = 60;
    /// The shortest lifetime of a peer, in minutes.
    pub const MIN_PEER_LIFETIME: u32 = 45;
    /// The longest lifetime of a peer, in minutes: that of the longest interval.
    pub const MAX_PEER_LIFETIME: u32 = lifetime_of(*Self::BOUNDS.end());

    /// Makes intervals that are on average `interval`, and never shorter than `min`. What is out of bounds is replaced
    /// by the bound.
    pub fn new(interval: u32, min: Option<u32>) -> Self {
        let interval = interval.clamp(*Self::BOUNDS.start(), *Self::BOUNDS.end());
        let min = min.map(|min| min.clamp(Self::LEAST_MIN, interval));
        // So that clients that came together do not come back together.
        let spread = interval / 10;
        let shortest = (interval - spread).max(min.unwrap_or(0));
        Self { shortest, choices: interval + spread + 1 - shortest, min, peer_lifetime: lifetime_of(interval) }
    }

    /// Draws the interval that a client is told.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> u32 {
        // `Rng::u32` of a range that the compiler does not know takes some thirty instructions more. It is exactly
        // fair, and this to one in a million.
        let choice = (u64::from(rng.u32(..)) * u64::from(self.choices)) >> 32;
        self.shortest + choice as u32
    }

    /// Returns the minimum for a client that is told `interval`: never more than that.
    #[inline]
    pub fn min(&self, interval: u32) -> u32 {
        self.min.unwrap_or(interval / 2)
    }

    /// Returns the minutes after its last announce for which a peer is kept: one and a half intervals, rounded up, and
    /// [`Self::MIN_PEER_LIFETIME`] at least. Even who is told the longest interval comes back in time.
    pub fn peer_lifetime(&self) -> u32 {
        self.peer_lifetime
    }

    /// Returns which peers have expired by `now`.
    pub fn expiry(&self, now: Minute) -> Expiry {
        Expiry { now, peer_lifetime: self.peer_lifetime }
    }
}

impl Default for Intervals {
    fn default() -> Self {
        Self::new(Self::DEFAULT, None)
    }
}

/// Returns the minutes for which peers are kept that announce themselves every `interval` seconds.
const fn lifetime_of(interval: u32) -> u32 {
    let minutes = (interval * 3).div_ceil(2 * 60);
    if minutes < Intervals::MIN_PEER_LIFETIME { Intervals::MIN_PEER_LIFETIME } else { minutes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn peers_live_for_one_and_a_half_intervals_and_45_minutes_at_least() {
        let lifetime = |interval| Intervals::new(interval, None).peer_lifetime();
        for (interval, expected) in [(300, 45), (1800, 45), (1801, 46), (1840, 46), (1841, 47), (2400, 60), (3600, 90)]
        {
            assert_eq!(lifetime(interval), expected, "{interval}");
        }
        assert_eq!((Intervals::default().peer_lifetime(), Intervals::MAX_PEER_LIFETIME), (45, 90));
    }

    #[test]
    fn what_is_out_of_bounds_is_replaced_by_the_bound() {
        assert_eq!(Intervals::new(0, None), Intervals::new(300, None));
        assert_eq!(Intervals::new(u32::MAX, Some(0)), Intervals::new(3600, Some(60)));
        assert_eq!(Intervals::new(600, Some(601)), Intervals::new(600, Some(600)));
    }

    #[test]
    fn every_interval_from_the_shortest_to_the_longest_is_drawn() {
        for (min, shortest) in [(None, 270), (Some(60), 270), (Some(290), 290), (Some(300), 300)] {
            let (intervals, mut rng) = (Intervals::new(300, min), Rng::with_seed(1));
            let drawn: BTreeSet<_> = (0..5000).map(|_| intervals.draw(&mut rng)).collect();
            assert!(drawn.into_iter().eq(shortest..=330), "{min:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_told_is_within_a_tenth_and_not_below_the_minimum_and_peers_outlive_it(
            interval in Intervals::BOUNDS,
            min in prop::option::of(60..=3600_u32),
            seed: u64,
        ) {
            let min = min.map(|min| min.min(interval));
            let intervals = Intervals::new(interval, min);
            let mut rng = Rng::with_seed(seed);
            let told: Vec<_> = (0..200).map(|_| intervals.draw(&mut rng)).collect();
            for &told in &told {
                prop_assert!(told.abs_diff(interval) <= interval / 10, "{}", told);
                prop_assert_eq!(intervals.min(told), min.unwrap_or(told / 2));
                prop_assert!(intervals.min(told) <= told);
                prop_assert!(told < intervals.peer_lifetime() * 60);
            }
            prop_assert!(told.iter().any(|one| *one != told[0]), "at random");
        }
    }
}
