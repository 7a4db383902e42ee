//! How fast snapshots are given.

use std::time::{Duration, Instant};

/// When the next piece may be sent, so that all together are no more than so many bytes a second. Time is passed in.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second.
    rate: u64,
    /// When all that has been reserved is sent.
    next: Instant,
}

impl Pace {
    /// Makes a pace of `rate` bytes a second, which is not 0.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1), next: now }
    }

    /// Reserves the time that it takes to send a piece of this length, and returns when it begins. Whoever comes second
    /// is second.
    pub(super) fn reserve(&mut self, len: usize, now: Instant) -> Instant {
        let begin = self.next.max(now);
        let nanos = len as u128 * 1_000_000_000 / u128::from(self.rate);
        self.next = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pieces_are_as_far_apart_as_the_rate_says_and_lost_time_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        assert_eq!(pace.reserve(500, start), start, "the first need not wait");
        assert_eq!(pace.reserve(2000, start), start + SECOND / 2);
        assert_eq!(pace.reserve(1, start + SECOND), start + SECOND * 5 / 2);
        assert_eq!(pace.reserve(1000, start + 60 * SECOND), start + 60 * SECOND);
        assert_eq!(pace.reserve(1000, start + 60 * SECOND), start + 61 * SECOND);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_more_than_the_rate_goes_out_in_any_time(
            rate in 1..5_000_000_u64,
            pieces in prop::collection::vec((1..65_536_usize, 0..3000_u64), 1..60),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(rate, start);
            let mut now = start;
            let mut sent = Vec::new();
            for (len, pause) in pieces {
                now += Duration::from_millis(pause);
                sent.push((pace.reserve(len, now), len));
            }
            prop_assert!(sent.is_sorted());
            for (first, (from, _)) in sent.iter().enumerate() {
                let mut bytes = 0;
                for (until, len) in &sent[first..] {
                    // What began before this piece has had its time; each time is cut to a nanosecond.
                    let seconds = until.duration_since(*from).as_secs_f64() + sent.len() as f64 * 1e-9;
                    prop_assert!(bytes as f64 <= seconds * rate as f64 + 1.0);
                    bytes += len;
                }
            }
        }
    }
}
