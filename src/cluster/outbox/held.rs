//! Changes that are kept while another tracker forwards them, in case it falls silent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::tracker::Change;

/// Most changes that are held: 6 MiB. When there are more, the oldest are given up.
pub const MAX_HELD: usize = 65_536;

/// How long a change is held.
pub const MAX_HELD_TIME: Duration = Duration::from_secs(60);

/// Changes in the order in which they came. Takes no memory while there are none.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<HeldChange>);

/// A change, and when it came.
#[derive(Debug)]
struct HeldChange {
    change: Change,
    since: Instant,
}

const _: () = assert!(size_of::<HeldChange>() <= 96);

impl Held {
    /// Keeps a change. If there are [`MAX_HELD`], the oldest makes place for it.
    pub(super) fn keep(&mut self, change: &Change, now: Instant) {
        if self.is_full() {
            self.0.pop_front();
        }
        self.0.push_back(HeldChange { change: *change, since: now });
        self.expire(now);
    }

    /// Gives up what has been held for longer than [`MAX_HELD_TIME`].
    pub(super) fn expire(&mut self, now: Instant) {
        while self.0.front().is_some_and(|oldest| now.saturating_duration_since(oldest.since) > MAX_HELD_TIME) {
            self.forget_first();
        }
    }

    /// Returns the oldest change.
    pub(super) fn first(&self) -> Option<Change> {
        self.0.front().map(|oldest| oldest.change)
    }

    /// Forgets the oldest change.
    pub(super) fn forget_first(&mut self) {
        self.0.pop_front();
        if self.0.is_empty() {
            // Returns its memory.
            self.0 = VecDeque::new();
        }
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether one more would push the oldest out.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_HELD
    }
}
