//! Time as the tracker knows it: a coarse minute that is passed in; and for how long things are remembered.

use std::ops::Add;

/// Minutes since the Unix epoch. Never runs backwards within a process: see [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Minute(pub u32);

impl Minute {
    /// Returns the minutes from `earlier` to `self`; 0 if `earlier` is the later one.
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

/// Tells the front ends the minute that they pass to the tracker.
pub trait Clock: Copy + Send + Sync + 'static {
    /// Returns the present minute: never less than one that was returned before, whatever happens to the wall clock.
    fn now(self) -> Minute;
}

/// Minutes after its last announce for which a peer is kept.
pub const PEER_LIFETIME: u32 = 45;

/// The most minutes for which a peer may be kept.
pub const MAX_PEER_LIFETIME: u32 = 90;

/// Minutes after its last announce for which a torrent without peers is kept, if it was ever completed; others are
/// forgotten at once.
pub const TORRENT_LIFETIME: u32 = 24 * 60;

/// Seconds until a client is asked to announce again, on average (BEP 3, `interval`).
pub const INTERVAL: u32 = 1800;
/// Seconds by which the interval is longer or shorter at random, so that clients that came together do not come back
/// together.
pub const INTERVAL_SPREAD: u32 = 180;
