//! The side that gives a snapshot.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::swarms::{Progress, Writer};
use crate::tracker::{Flavour, Minute, Tracker};

use super::error::SnapshotError;
use super::limits::MAX_TIME;
use super::shared::{Seat, Snapshots};

/// Most pieces of the stream that are written in one go: some milliseconds' worth.
const MAX_WRITTEN: usize = 64;

/// Writes a snapshot while announces go on, piece by piece: all that is there, and then who has left and who has been
/// heard of since. What happens while that is written it tells in part; all of it is the cluster's to tell, which the
/// joiner has listened to since before it asked. Holds no more than 128 KiB, and one of the seats.
pub struct Giver<F: Flavour> {
    writer: Writer<F>,
    seat: Seat,
    /// Torrents and peers that there were at the beginning.
    torrents: usize,
    peers: usize,
    /// Whether all that was there has been written once.
    is_written_once: bool,
    /// What has been written and not been taken away as a piece.
    unsent: Vec<u8>,
    is_written: bool,
    sent: u64,
    began: Instant,
}

/// The next bytes of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// [`MAX_PIECE`](super::MAX_PIECE) at most. None if no piece has been finished yet: then the next is asked for.
    pub bytes: Vec<u8>,
    /// When they may be sent.
    pub due: Instant,
}

impl<F: Flavour> Giver<F> {
    /// Begins a snapshot. `None` if as many are given as may be, or none are at all.
    pub fn begin(snapshots: &Arc<Snapshots>, tracker: Arc<Tracker<F>>, minute: Minute, now: Instant) -> Option<Self> {
        let seat = snapshots.sit()?;
        let census = tracker.store().census();
        Some(Self {
            torrents: census.torrents,
            peers: census.peers.peers(),
            is_written_once: false,
            writer: Writer::new(tracker, 0, minute),
            seat,
            unsent: Vec::new(),
            is_written: false,
            sent: 0,
            began: now,
        })
    }

    /// Returns the next piece; `None` when there are no more. Takes some milliseconds.
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
        let Self { torrents, peers, sent, .. } = self;
        let time = now.saturating_duration_since(self.began);
        counters.count(TransportCounter::SnapshotsGiven);
        counters.add(TransportCounter::SnapshotsGivenMs, usize::try_from(time.as_millis()).unwrap_or(usize::MAX));
        let seconds = time.as_secs_f64();
        info!("given a snapshot to {to}: {torrents} torrents, {peers} peers, {sent} bytes in {seconds:.1} s");
        let missed = self.writer.missed_departures();
        if missed > 0 {
            warn!("{missed} of the peers in it have left: too many did so meanwhile to be noted");
        }
    }

    /// Logs that a snapshot could not be given as a whole.
    pub fn give_up(&self, to: &dyn Display, now: Instant, error: &SnapshotError) {
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        info!("a snapshot for {to} is given up: {error}; sent so far: {} bytes in {seconds:.1} s", self.sent);
    }

    fn write(&mut self, minute: Minute) {
        if self.is_written_once {
            self.is_written = self.writer.write_changes(minute, &mut self.unsent) == Progress::Done;
        } else {
            self.is_written_once = self.writer.write(minute, &mut self.unsent) == Progress::Done;
        }
    }
}
