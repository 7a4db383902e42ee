//! How the numbers were: a row for each of the last 60 minutes, and for each of the last 96 quarters of an hour. Time
//! is passed in.
//!
//! A minute is 60 s since the last one was recorded, or longer, if nobody came to record it: so nothing that was
//! counted is missing, and each row says how long it is. A quarter of an hour is as many minutes as it takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::tracker::Second;

use super::sample::{Counts, Levels, Sample};

/// Rows that are kept: an hour of minutes.
pub(super) const MAX_MINUTES: usize = 60;
/// Rows that are kept: a day of quarters of an hour.
pub(super) const MAX_QUARTERS: usize = 96;

const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// What is kept of the past, in the same memory from the start to the end: the oldest row makes room.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// The oldest first.
    pub(super) minutes: VecDeque<Row>,
    /// The same.
    pub(super) quarters: VecDeque<Row>,
    /// The quarter of an hour that is not over yet, if a minute of it is.
    open_quarter: Option<Row>,
    /// When the minute began that is not over yet.
    begun: Instant,
    /// What had been counted then.
    counts: Counts,
}

/// What is kept of a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// When it ended.
    pub(super) end: Second,
    /// How long it was, on a clock that stands still while the machine sleeps.
    pub(super) length: Duration,
    /// What there was at its end.
    pub(super) levels: Levels,
    /// What was counted in it.
    pub(super) counts: Counts,
}

impl History {
    /// Begins the first minute. `counts` is what has been counted before.
    pub(super) fn new(counts: Counts, now: Instant) -> Self {
        let (minutes, quarters) = (VecDeque::with_capacity(MAX_MINUTES), VecDeque::with_capacity(MAX_QUARTERS));
        Self { minutes, quarters, open_quarter: None, begun: now, counts }
    }

    /// Returns when the minute is over.
    pub(super) fn due(&self) -> Instant {
        self.begun + MINUTE
    }

    /// Records the minute if it is over. `end` is the same time as `now`, on the clock that is shown.
    pub(super) fn record(&mut self, sample: &Sample, end: Second, now: Instant) {
        let length = now.saturating_duration_since(self.begun);
        if length < MINUTE {
            return;
        }
        let row = Row { end, length, levels: sample.levels, counts: sample.counts.since(&self.counts) };
        (self.begun, self.counts) = (now, sample.counts);
        push(&mut self.minutes, MAX_MINUTES, row);
        let quarter = self.open_quarter.take().map_or(row, |open| open.and(&row));
        if quarter.length >= QUARTER {
            push(&mut self.quarters, MAX_QUARTERS, quarter);
        } else {
            self.open_quarter = Some(quarter);
        }
    }
}

impl Row {
    /// Returns the row of two whiles, of which the other one came later.
    fn and(mut self, later: &Self) -> Self {
        self.counts.add(&later.counts);
        Self { end: later.end, length: self.length + later.length, levels: later.levels, counts: self.counts }
    }
}

fn push(rows: &mut VecDeque<Row>, max: usize, row: Row) {
    if rows.len() >= max {
        rows.pop_front();
    }
    rows.push_back(row);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A moment at which so much had been counted, and so many torrents were there.
    fn sample(count: u64) -> Sample {
        let mut counts = Counts { requests: [[count; 2]; 5], ..Counts::default() };
        counts.errors[3] = 2 * count;
        Sample { levels: Levels { torrents: count, ..Levels::default() }, counts }
    }

    fn seconds(rows: &VecDeque<Row>) -> Vec<(u64, u64)> {
        rows.iter().map(|row| (row.end.0, row.length.as_secs())).collect()
    }

    #[test]
    fn a_minute_is_recorded_when_it_is_over_and_once() {
        let start = Instant::now();
        let mut history = History::new(sample(5).counts, start);
        assert_eq!(history.due(), start + MINUTE);
        let mut at = |second: u64, count| {
            history.record(&sample(count), Second(1000 + second), start + Duration::from_secs(second));
            history.clone()
        };
        assert!(at(0, 5).minutes.is_empty() && at(59, 9).minutes.is_empty());
        let first = at(60, 12);
        assert_eq!(
            first.minutes[0].counts.since(&sample(7).counts),
            Counts::default(),
            "what was counted before the start"
        );
        assert_eq!((first.minutes[0].levels.torrents, first.due()), (12, start + 2 * MINUTE));
        assert_eq!(at(61, 13).minutes, first.minutes);
        let late = at(500, 20);
        assert_eq!(seconds(&late.minutes), [(1060, 60), (1500, 440)]);
        assert_eq!(late.minutes[1].counts, sample(8).counts);
        assert!(late.quarters.is_empty());
        let quarter = at(900, 30);
        assert_eq!(seconds(&quarter.quarters), [(1900, 900)]);
        assert_eq!((quarter.quarters[0].counts, quarter.quarters[0].levels.torrents), (sample(25).counts, 30));
    }

    proptest! {
        /// Whatever happens when: rows follow each other without a gap, hold what was counted, and have a bound.
        #[test]
        fn nothing_that_was_counted_is_missing(steps in prop::collection::vec((0_u64..200, 0_u64..1000), 0..400)) {
            let start = Instant::now();
            let mut history = History::new(Counts::default(), start);
            let (mut second, mut count, mut naive) = (0, 0, Vec::new());
            let mut before = (0, 0);
            for (pause, more) in steps {
                (second, count) = (second + pause, count + more);
                history.record(&sample(count), Second(second), start + Duration::from_secs(second));
                if second - before.0 >= 60 {
                    naive.push((second, second - before.0, count - before.1));
                    before = (second, count);
                }
            }
            let found: Vec<_> =
                history.minutes.iter().map(|row| (row.end.0, row.length.as_secs(), row.counts.requests[4][1])).collect();
            prop_assert_eq!(&found[..], &naive[naive.len().saturating_sub(MAX_MINUTES)..]);

            let (mut quarters, mut open) = (Vec::new(), (0, 0, 0));
            for (end, length, count) in naive {
                open = (end, open.1 + length, open.2 + 2 * count);
                if open.1 >= 900 {
                    quarters.push(std::mem::take(&mut open));
                }
            }
            let found: Vec<_> =
                history.quarters.iter().map(|row| (row.end.0, row.length.as_secs(), row.counts.errors[3])).collect();
            prop_assert_eq!(&found[..], &quarters[quarters.len().saturating_sub(MAX_QUARTERS)..]);
            prop_assert!(history.minutes.capacity() == MAX_MINUTES && history.quarters.capacity() == MAX_QUARTERS);
        }
    }
}
