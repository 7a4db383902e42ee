//! Who leaves while a copy of all torrents is made.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::atomic::AtomicU64;

use super::InfoHash;
use super::clock::Minute;

/// Most departures that are noted, by all shards together: 8 MiB at most, with what vectors set aside.
pub const MAX_DEPARTURES: usize = 65_536;

/// A peer that left while a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's address and port.
    pub endpoint: SocketAddr,
    /// The torrent's completed downloads when it left: perhaps its own is among them, and no copy of it tells so.
    pub downloaded: u32,
    /// When it left.
    pub left: Minute,
}

const _: () = assert!(size_of::<Departure>() <= 64);

/// The departures of one shard, and for how many copies they are noted.
#[derive(Debug, Default)]
pub(super) struct Departures {
    copies: usize,
    list: Vec<Departure>,
}

/// How many departures all shards have noted. On cache lines of its own: it is written while a copy is made, and what
/// stands beside it is read by all workers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct DepartureCounts {
    noted: AtomicUsize,
    missed: AtomicU64,
}

impl Departures {
    /// Takes one more copy into account.
    pub(super) fn begin(&mut self) {
        self.copies += 1;
    }

    /// Ends a copy. Returns whether it was the last one: then the departures are no longer counted, and are to be
    /// dropped.
    pub(super) fn end(&mut self, counts: &DepartureCounts) -> bool {
        self.copies = self.copies.saturating_sub(1);
        let is_last = self.copies == 0;
        if is_last {
            counts.noted.fetch_sub(self.list.len(), Ordering::Relaxed);
        }
        is_last
    }

    /// Notes a departure, if there is room for one more.
    #[cold]
    #[inline(never)] // So that what an announce does while nobody copies stays short.
    pub(super) fn note(&mut self, departure: Departure, counts: &DepartureCounts) {
        if counts.noted.fetch_add(1, Ordering::Relaxed) < MAX_DEPARTURES {
            self.list.push(departure);
        } else {
            counts.noted.fetch_sub(1, Ordering::Relaxed);
            counts.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the departures, in the order in which they were noted.
    pub(super) fn list(&self) -> &[Departure] {
        &self.list
    }
}

impl DepartureCounts {
    /// Returns how many departures found no room.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
