//! The clock that is passed down.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

use crate::tracker::{Clock, Minute, Second};

/// Begins with the wall clock and goes on with the time since the machine was started, in which it may have slept.
/// Whoever sets the wall clock right while the tracker runs makes no peer older or younger; a peer that was silent
/// while the machine slept is as old as its silence.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    started: Instant,
    /// The wall clock's time then, since the Unix epoch.
    epoch: Duration,
    /// What is read for the time that passes.
    clock: ClockId,
    /// What it said then.
    origin: Duration,
}

/// Returns what the wall clock says, which may be set at any time.
pub(super) fn wall_clock() -> Second {
    Second(since_1970().as_secs())
}

/// What a clock says, for a clock of another process of this machine that is to go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The time since the Unix epoch.
    pub since_epoch: Duration,
    /// The time since the machine was started at that moment.
    pub since_boot: Duration,
}

impl ClockReading {
    /// Returns the minute that it was.
    pub fn minute(self) -> Minute {
        Second(self.since_epoch.as_secs()).minute()
    }
}

impl MonotonicClock {
    /// Reads the wall clock, which such a clock never does again.
    pub fn start() -> Self {
        Self::starting_with(since_1970())
    }

    /// Goes on from what the clock of another process said.
    pub fn going_on(from: ClockReading) -> Self {
        let clock = Self::starting_with(from.since_epoch);
        // What has been read after now was read in another time namespace (time_namespaces(7)): waiting until that time
        // has come, the clock would stand still.
        Self { origin: from.since_boot.min(clock.origin), ..clock }
    }

    /// Returns what the clock says.
    pub fn reading(&self) -> ClockReading {
        let since_boot = read(self.clock).unwrap_or_default();
        ClockReading { since_epoch: self.since_epoch_at(since_boot), since_boot }
    }

    fn starting_with(epoch: Duration) -> Self {
        // A system without the one has the other, which does not count sleep.
        let read = |clock| Some((clock, read(clock)?));
        let read = read(ClockId::CLOCK_BOOTTIME).or_else(|| read(ClockId::CLOCK_MONOTONIC));
        let (clock, origin) = read.unwrap_or((ClockId::CLOCK_MONOTONIC, Duration::ZERO));
        Self { started: Instant::now(), epoch, clock, origin }
    }

    /// Returns when the clock was started, on the clock that stands still while the machine sleeps.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns how long it takes until the next minute begins, if the machine does not sleep.
    pub fn until_next_minute(&self) -> Duration {
        rest_of_minute(self.since_epoch())
    }

    /// Returns the time since the Unix epoch.
    fn since_epoch(&self) -> Duration {
        // It could be read at the start, so it can be now.
        self.since_epoch_at(read(self.clock).unwrap_or_default())
    }

    fn since_epoch_at(&self, reading: Duration) -> Duration {
        self.epoch.saturating_add(reading.saturating_sub(self.origin))
    }
}

impl Clock for MonotonicClock {
    fn second(self) -> Second {
        Second(self.since_epoch().as_secs())
    }
}

/// Returns what the wall clock says; nothing before the Unix epoch.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn read(clock: ClockId) -> Option<Duration> {
    clock_gettime(clock).ok().map(Duration::from)
}

fn rest_of_minute(since_epoch: Duration) -> Duration {
    Duration::from_secs(60) - Duration::new(since_epoch.as_secs() % 60, since_epoch.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_minute_is_never_nothing() {
        for (time, rest) in [(0, 60), (1, 59), (59, 1), (60, 60), (u64::MAX, 60 - u64::MAX % 60)] {
            assert_eq!(rest_of_minute(Duration::from_secs(time)), Duration::from_secs(rest), "{time}");
        }
        assert_eq!(rest_of_minute(Duration::new(59, 999_999_999)), Duration::from_nanos(1));
    }

    #[test]
    fn a_clock_goes_on_from_that_of_another_process() {
        let day = Duration::from_secs(24 * 60 * 60);
        let boot = MonotonicClock::start().reading().since_boot;
        let clock = MonotonicClock::going_on(ClockReading { since_epoch: 20_000 * day, since_boot: boot });
        assert_eq!(clock.since_epoch_at(boot), 20_000 * day);
        assert_eq!(clock.since_epoch_at(boot + day), 20_001 * day);
        let (one, reading) = (MonotonicClock::start(), MonotonicClock::start().reading());
        let other = MonotonicClock::going_on(one.reading());
        assert!(other.reading().since_boot >= reading.since_boot);
        let Some(apart) = other.reading().since_epoch.checked_sub(one.reading().since_epoch) else { return };
        assert!(apart < day);
    }

    #[test]
    fn a_clock_does_not_stand_still_where_the_other_process_counts_from_an_earlier_boot() {
        let day = Duration::from_secs(24 * 60 * 60);
        let now = MonotonicClock::start().reading().since_boot;
        let clock = MonotonicClock::going_on(ClockReading { since_epoch: 20_000 * day, since_boot: now + 9 * day });
        assert!(clock.reading().since_epoch >= 20_000 * day);
        assert!(clock.since_epoch_at(now + 2 * day) > 20_001 * day);
    }

    #[test]
    fn the_clock_begins_with_the_wall_clock_and_counts_all_time_that_passes() {
        let clock = MonotonicClock::start();
        assert_eq!(clock.clock, ClockId::CLOCK_BOOTTIME, "every Linux that Rust supports has it");
        let day = Duration::from_secs(24 * 60 * 60);
        let clock = MonotonicClock { epoch: 20_000 * day, origin: 3 * day, ..clock };
        for (reading, expected) in [(3 * day, 20_000 * day), (4 * day, 20_001 * day), (Duration::ZERO, 20_000 * day)] {
            assert_eq!(clock.since_epoch_at(reading), expected);
        }
        assert!(clock.since_epoch_at(Duration::MAX) > clock.epoch, "the end of time is no wrap");
    }
}
