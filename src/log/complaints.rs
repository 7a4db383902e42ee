//! Complaints that are not made too often.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long until a complaint is made again.
const PAUSE: Duration = Duration::from_secs(60);

/// Something that may go wrong often, or as often as strangers like: it is complained of once a minute at most.
#[derive(Debug, Default)]
pub struct Complaints {
    last: Mutex<Option<Instant>>,
}

impl Complaints {
    /// Calls `complain`, unless that has been done within the last minute.
    pub fn say(&self, complain: impl FnOnce()) {
        if self.is_due(Instant::now()) {
            complain();
        }
    }

    /// Returns whether a complaint is made at this time.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_once_a_minute_for_as_long_as_it_is() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let said = |second: &u64| complaints.is_due(start + Duration::from_secs(*second));
        assert_eq!((0..200).filter(said).collect::<Vec<_>>(), [0, 60, 120, 180]);
        assert!(said(&1000));
        let mut calls = 0;
        let complaints = Complaints::default();
        complaints.say(|| calls += 1);
        complaints.say(|| calls += 1);
        assert_eq!(calls, 1);
    }
}
