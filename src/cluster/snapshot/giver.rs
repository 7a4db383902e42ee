//! The side that gives a snapshot.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::swarms::{Progress, Totals, Writer};
use crate::tracker::{Flavour, Minute, Tracker};

use super::error::SnapshotError;
use super::limits::MAX_TIME;
use super::shared::{Seat, Snapshots};

/// Most pieces of the stream that are written in one go: some milliseconds' worth.
const MAX_WRITTEN: usize = 64;

/// Writes a snapshot while announces go on, piece by piece: all that is there, and then who has left and who has been heard
/// of since. What happens from then on is the cluster's to tell. Holds no more than 128 KiB, and one of the seats.
pub struct Giver<F: Flavour> {
    writer: Writer<F>,
    seat: Seat,
    /// How much was there, once all of it has been written.
    totals: Option<Totals>,
    /// What has been written and not been taken away as a piece.
    unsent: Vec<u8>,
    is_written: bool,
    sent: u64,
    began: Instant,
}

/// The next bytes of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// At least one, [`MAX_PIECE`](super::MAX_PIECE) at most.
    pub bytes: Vec<u8>,
    /// When they may be sent.
    pub due: Instant,
}

impl<F: Flavour> Giver<F> {
    /// Begins a snapshot. `None` if as many are given as may be, or none are at all.
    pub fn begin(snapshots: &Arc<Snapshots>, tracker: Arc<Tracker<F>>, minute: Minute, now: Instant) -> Option<Self> {
        let seat = snapshots.sit()?;
        Some(Self {
            writer: Writer::new(tracker, 0, minute),
            seat,
            totals: None,
            unsent: Vec::new(),
            is_written: false,
            sent: 0,
            began: now,
        })
    }

    /// Returns the next piece, or an empty one without bytes that is due at once, if there is none yet; `None` when all
    /// have been. Takes some milliseconds.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::TooSlow`].
    pub fn next(&mut self, minute: Minute, now: Instant) -> Result<Option<Piece>, SnapshotError> {
        if now.saturating_duration_since(self.began) > MAX_TIME {
            return Err(SnapshotError::TooSlow);
        }
        let len = self.seat.piece_len();
        for _ in 0..MAX_WRITTEN {
            if self.is_written || self.unsent.len() >= len {
                break;
            }
            self.write(minute);
        }
        if !self.is_written && self.unsent.len() < len {
            return Ok(Some(Piece { bytes: Vec::new(), due: now }));
        }
        if self.unsent.is_empty() {
            return Ok(None);
        }
        let rest = self.unsent.split_off(self.unsent.len().min(len));
        let bytes = std::mem::replace(&mut self.unsent, rest);
        self.sent += bytes.len() as u64;
        let due = self.seat.reserve(bytes.len(), now);
        Ok(Some(Piece { bytes, due }))
    }

    /// Counts and logs a snapshot that has been given as a whole.
    pub fn finish(&self, to: &dyn Display, now: Instant, counters: &TransportCounters) {
        let summary = self.summary(now);
        counters.count(TransportCounter::SnapshotsGiven);
        counters.add(TransportCounter::SnapshotsGivenMs, milliseconds(summary.time));
        info!("given a snapshot to {to}: {summary}");
        let missed = self.writer.missed_departures();
        if missed > 0 {
            warn!("{missed} of the peers in it have left: too many did so meanwhile to be noted");
        }
    }

    /// Logs that a snapshot could not be given as a whole.
    pub fn give_up(&self, to: &dyn Display, now: Instant, error: &SnapshotError) {
        info!("a snapshot for {to} is given up: {error}; so far {}", self.summary(now));
    }

    fn write(&mut self, minute: Minute) {
        if self.totals.is_none() {
            if self.writer.write(minute, &mut self.unsent) == Progress::Done {
                self.totals = Some(self.writer.totals());
            }
        } else {
            self.is_written = self.writer.write_changes(minute, &mut self.unsent) == Progress::Done;
        }
    }

    fn summary(&self, now: Instant) -> Summary {
        let Totals { torrents, peers, .. } = self.totals.unwrap_or(self.writer.totals());
        Summary { torrents, peers, bytes: self.sent, time: now.saturating_duration_since(self.began) }
    }
}

/// How much was in a snapshot, and how long it took.
struct Summary {
    torrents: u64,
    peers: u64,
    bytes: u64,
    time: Duration,
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { torrents, peers, bytes, time } = self;
        write!(f, "{torrents} torrents, {peers} peers, {bytes} bytes in {:.1} s", time.as_secs_f64())
    }
}

fn milliseconds(time: Duration) -> usize {
    usize::try_from(time.as_millis()).unwrap_or(usize::MAX)
}
