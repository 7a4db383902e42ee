//! The clock that is passed down.

use std::time::{Duration, Instant, SystemTime};

use crate::tracker::{Clock, Minute};

/// Begins with the wall clock and goes on with the monotonic one: whoever sets the wall clock right while the tracker
/// runs makes no peer older or younger.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    started: Instant,
    /// The wall clock's time then, since the Unix epoch.
    epoch: Duration,
}

impl MonotonicClock {
    /// Reads the wall clock, for the only time.
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch }
    }

    /// Returns when the clock was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns how long it takes until the next minute begins.
    pub fn until_next_minute(&self) -> Duration {
        let now = self.epoch + self.started.elapsed();
        Duration::from_secs(60) - Duration::new(now.as_secs() % 60, now.subsec_nanos())
    }
}

impl Clock for MonotonicClock {
    fn now(self) -> Minute {
        let minutes = (self.epoch + self.started.elapsed()).as_secs() / 60;
        // Enough until the year 10136.
        Minute(u32::try_from(minutes).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_those_of_the_unix_epoch() {
        let clock = MonotonicClock { started: Instant::now(), epoch: Duration::from_secs(60 * 29_000_000 + 30) };
        assert_eq!(clock.now(), Minute(29_000_000));
        let rest = clock.until_next_minute();
        assert!(rest <= Duration::from_secs(30) && rest > Duration::from_secs(0));
    }
}
