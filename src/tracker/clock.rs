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

/// Which peers have expired: those that were last heard of more than `peer_lifetime` minutes before `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The present minute.
    pub now: Minute,
    /// Minutes for which a silent peer is kept.
    pub peer_lifetime: u32,
}

impl Expiry {
    /// Returns the last minute in which a peer that has expired can have been heard of.
    pub fn last_heard_of(self) -> Minute {
        Minute(self.now.0.saturating_sub(self.peer_lifetime + 1))
    }
}

/// Minutes after its last announce for which a torrent without peers is kept, if it was ever completed; others are
/// forgotten at once.
pub const TORRENT_LIFETIME: u32 = 24 * 60;
