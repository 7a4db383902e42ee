//! Time as the core knows it: a coarse minute that is passed in.

use std::ops::Add;

/// Minutes since the Unix epoch. It never runs backwards within a process: see [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Minute(pub u32);

impl Minute {
    /// Minutes from `earlier` to `self`; 0 when `earlier` lies in the future.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u32> for Minute {
    type Output = Self;
    fn add(self, minutes: u32) -> Self {
        Self(self.0.saturating_add(minutes))
    }
}

/// Where a driver gets the minute from that it passes down.
pub trait Clock: Copy + Send + Sync + 'static {
    /// The present minute; never less than one given before, whatever happens to the wall clock.
    fn now(self) -> Minute;
}

/// A peer is forgotten this long after its last announce.
pub const PEER_LIFETIME: u32 = 45;

/// A torrent without peers that was ever completed is forgotten this long after its last announce.
pub const TORRENT_LIFETIME: u32 = 24 * 60;

/// Seconds until a client should announce again, in the middle of [`INTERVAL_SPREAD`].
pub const INTERVAL: u32 = 1800;
/// Seconds by which the interval differs at random, so that clients that came together do not come back together.
pub const INTERVAL_SPREAD: u32 = 180;
