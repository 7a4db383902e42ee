//! The side that takes a snapshot.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::swarms::{Reader, Report};
use crate::tracker::{Flavour, Minute, Tracker};

use super::error::SnapshotError;
use super::limits::MAX_TIME;

/// Takes over a snapshot as it comes, however it is cut, while announces go on: one that stops midway has been taken
/// over as far as it came. Holds no more than a record's beginning and 256 peers.
pub struct Taker<F: Flavour> {
    reader: Reader<F>,
    /// Most bytes that are taken.
    max: u64,
    bytes: u64,
    began: Instant,
}

impl<F: Flavour> Taker<F> {
    /// Makes one that takes `max` bytes at most.
    pub fn new(tracker: Arc<Tracker<F>>, max: u64, now: Instant) -> Self {
        Self { reader: Reader::new(tracker, 0), max, bytes: 0, began: now }
    }

    /// Takes the next bytes. Returns whether the snapshot is whole. Takes some milliseconds for 64 KiB.
    ///
    /// # Errors
    ///
    /// The snapshot cannot be read, is too large or takes too long; nothing more is taken.
    pub fn take(&mut self, bytes: &[u8], minute: Minute, now: Instant) -> Result<bool, SnapshotError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > self.max {
            return Err(SnapshotError::TooLarge(self.max));
        }
        if now.saturating_duration_since(self.began) > MAX_TIME {
            return Err(SnapshotError::TooSlow);
        }
        self.reader.read(bytes, minute)?;
        Ok(self.reader.is_whole())
    }

    /// Counts and logs a snapshot that has been taken as a whole.
    pub fn finish(&self, from: &dyn Display, now: Instant, counters: &TransportCounters) {
        let time = now.saturating_duration_since(self.began);
        counters.count(TransportCounter::SnapshotsTaken);
        counters.add(TransportCounter::SnapshotsTakenMs, usize::try_from(time.as_millis()).unwrap_or(usize::MAX));
        let (report, seconds) = (Report(self.reader.counts()), time.as_secs_f64());
        info!("taken a snapshot from {from}: {} bytes in {seconds:.1} s; {report}", self.bytes);
    }

    /// Logs that a snapshot could not be taken as a whole. That a donor is busy is nothing to warn of: it is asked
    /// again, and if nobody has given one in the end, that is said ([`End::log`](super::End::log)).
    pub fn give_up(&self, from: &dyn Display, error: &SnapshotError) {
        if let SnapshotError::Busy = error {
            return info!("no snapshot from {from} yet: {error}");
        }
        let report = Report(self.reader.counts());
        warn!("a snapshot from {from} is given up: {error}; kept of it: {report}");
    }
}
