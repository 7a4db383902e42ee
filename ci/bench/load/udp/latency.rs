//! Latencies, every one of them kept.

use std::time::Duration;

/// Bounds the memory: a loader that is asked for more measures the first ones.
const MAX_LATENCIES: usize = 50_000_000;

#[derive(Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        if self.0.len() < MAX_LATENCIES {
            self.0.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
        }
    }

    /// In microseconds, the latency that this share of all did not exceed.
    pub(crate) fn percentiles<const N: usize>(&mut self, shares: [f64; N]) -> Option<[f64; N]> {
        let last = self.0.len().checked_sub(1)?;
        self.0.sort_unstable();
        Some(shares.map(|share| {
            let rank = (share * self.0.len() as f64).ceil() as usize;
            f64::from(self.0[rank.saturating_sub(1).min(last)]) / 1000.0
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles([0.5]), None);
        for micros in (1..=1000).rev() {
            latencies.push(Duration::from_micros(micros));
        }
        assert_eq!(latencies.percentiles([0.5, 0.99, 0.999, 1.0]), Some([500.0, 990.0, 999.0, 1000.0]));
    }
}
