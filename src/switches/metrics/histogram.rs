//! How long requests took, one worker's share: counted without a lock, and added up when a page is made.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::atomic::AtomicU64;
use crate::http::flavour::TimesSum;
use crate::stats::counters::add;

/// Upper bounds of the buckets. An announce takes some microseconds; what takes a thousand times as long has waited.
const BOUNDS: [Duration; 13] = [
    Duration::from_micros(2),
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_millis(2500),
];

/// The durations of one worker, which alone may add to them, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Histogram {
    /// One for each of [`BOUNDS`], and one for what is above all of them.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one request that took so long.
    pub(super) fn add(&self, duration: Duration) {
        let bucket = BOUNDS.iter().position(|bound| duration <= *bound).unwrap_or(BOUNDS.len());
        add(self.buckets.get(bucket), 1);
        add(Some(&self.nanoseconds), u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Returns the sum of what all workers have measured.
pub(super) fn sum<'a>(workers: impl Iterator<Item = &'a Histogram>) -> TimesSum {
    let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
    let mut sum = TimesSum { seconds: 0.0, buckets: bounds.map(|bound| (bound, 0)).collect() };
    let mut nanoseconds = 0_u64;
    for worker in workers {
        nanoseconds = nanoseconds.wrapping_add(worker.nanoseconds.load(Ordering::Relaxed));
        for ((_, count), one) in sum.buckets.iter_mut().zip(&worker.buckets) {
            *count += one.load(Ordering::Relaxed);
        }
    }
    sum.seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_with_the_next_bound_and_workers_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.add(Duration::ZERO);
        one.add(Duration::from_micros(2));
        one.add(Duration::from_nanos(2001));
        other.add(Duration::from_micros(250));
        other.add(Duration::from_millis(2500));
        other.add(Duration::from_secs(100));
        let sum = super::sum([one, other].iter());
        let full: Vec<_> = sum.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(full, [(2e-6, 2), (5e-6, 1), (250e-6, 1), (2.5, 1), (f64::INFINITY, 1)]);
        assert_eq!(sum.count(), 6);
        assert!((sum.seconds - 102.500_254_001).abs() < 1e-9, "{}", sum.seconds);
        assert_eq!(sum.buckets.len(), BOUNDS.len() + 1);
        assert!(sum.buckets.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn without_workers_there_are_all_buckets_and_nothing_in_them() {
        let sum = super::sum([].into_iter());
        assert_eq!((sum.count(), sum.buckets.len()), (0, BOUNDS.len() + 1));
    }
}
