//! The time, as it is passed in.

use std::time::Instant;

use crate::tracker::{Minute, Second};

/// How old a change is at most, in seconds, that is taken from the outbox when it is due, and some more. It is not a
/// minute old only because the next minute has begun meanwhile.
pub(in super::super) const FRESH: u64 = 2;

/// The time, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Now {
    pub(in super::super) instant: Instant,
    pub(in super::super) minute: Minute,
    /// The minute that it was [`FRESH`] ago.
    pub(in super::super) fresh: Minute,
}

impl Now {
    /// Makes it of what both clocks say.
    pub(in super::super) fn new(instant: Instant, second: Second) -> Self {
        Self { instant, minute: second.minute(), fresh: Second(second.0.saturating_sub(FRESH)).minute() }
    }
}
