//! Whether memory is flat.

use std::fmt;
use std::time::Duration;

use opentracker_endurance::median;

/// What it may grow by over the second half: a fiftieth, and what the allocator may take at a time.
const SHARE: u64 = 50;
const STEP: u64 = 2 << 20;

/// The memory that was in use, now and then.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<(Duration, u64)>);

/// The memory at two moments, in bytes: where the second half begins, and at its end. Each is the middle of a tenth of
/// it.
struct Half {
    first: u64,
    last: u64,
    /// Between the two.
    time: Duration,
}

impl Samples {
    pub(crate) fn add(&mut self, at: Duration, bytes: u64) {
        self.0.push((at, bytes));
    }

    /// Says how much more it is at the end of the second half than at its beginning, if that is too much.
    pub(crate) fn growth(&self) -> Option<String> {
        let Some(Half { first, last, .. }) = self.second_half() else { return Some("memory was not measured".into()) };
        let allowed = first / SHARE + STEP;
        let grown = last.saturating_sub(first);
        (grown > allowed).then(|| format!("memory grows by {} KiB, {} are allowed", grown >> 10, allowed >> 10))
    }

    fn second_half(&self) -> Option<Half> {
        let half = &self.0[self.0.len() / 2..];
        let tenth = (half.len() / 10).max(1);
        let (first, last) = (half.get(..tenth)?, half.get(half.len() - tenth..)?);
        let middle =
            |samples: &[(Duration, u64)]| median(&mut samples.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>());
        Some(Half { first: middle(first), last: middle(last), time: last.first()?.0.saturating_sub(first.first()?.0) })
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Half { first, last, time }) = self.second_half() else { return write!(f, "not measured") };
        let highest = self.0.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let [first, last, highest] = [first, last, highest].map(|bytes| bytes >> 10);
        write!(f, "{first} KiB where the second half begins, {last} at its end {time:.0?} later, {highest} at most")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: impl Fn(u64) -> u64) -> Samples {
        let mut samples = Samples::default();
        (0..1000).for_each(|n| samples.add(Duration::from_secs(n), bytes(n)));
        samples
    }

    #[test]
    fn only_growth_in_the_second_half_is_too_much() {
        assert_eq!(samples(|n| n.min(500) << 20).growth(), None);
        assert_eq!(samples(|n| if n % 10 == 0 { 900 } else { 100 } << 20).growth(), None, "peaks are no growth");
        assert_eq!(samples(|n| (1000 - n) << 20).growth(), None);
        assert!(samples(|n| n << 20).growth().unwrap().contains("memory grows by 460800 KiB"));
        assert!(Samples::default().growth().is_some());
    }
}
