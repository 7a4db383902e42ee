//! The tracker itself: torrents, their peers, and what an announce does to them.
//!
//! No I/O, no async, no clock of its own, no question about features. From the bottom up:
//!
//! - [`info_hash`], [`peer`], [`clock`], [`intervals`], [`counts`], `error`, `refusal`: the values.
//! - [`keyed_hash`]: hashes that strangers cannot foresee.
//! - `prefetch`, `blocks`: memory that is fetched before it is needed; vectors that never move what they hold.
//! - [`select`], [`table`], `hashed`, [`swarm`]: the peers of one torrent, in a form that fits their number.
//! - [`families`]: which address families a torrent keeps.
//! - [`capacity`], `index`, [`store`]: all torrents, in shards, and how many there may be.
//! - [`flavour`], `pair`: the plug points that a build fills, also with two of a kind.
//! - `publish`: publishes changes to the cluster.
//! - [`Tracker`], [`announce`], `absorb`, `scrape`: announce, take over, scrape and sweep, over a store and a flavour.

#[cfg(any(test, fuzzing))]
pub(crate) mod model;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;

mod absorb;
mod blocks;
mod error;
mod hashed;
mod index;
mod pair;
pub mod prefetch;
mod publish;
mod refusal;
mod scrape;

pub mod announce;
pub mod capacity;
pub mod clock;
pub mod counts;
pub mod families;
pub mod flavour;
pub mod info_hash;
pub mod intervals;
pub mod keyed_hash;
pub mod peer;
pub mod select;
pub mod store;
pub mod swarm;
pub mod table;

pub use absorb::AbsorbError;
pub use announce::{AnnounceOutcome, AnnounceRequest, Event, PendingAnnounce};
pub use capacity::Capacity;
pub use clock::{Clock, Minute, Second};
pub use counts::{ScrapeCounts, SwarmCounts};
pub use error::AnnounceError;
pub use families::{AddressFamilies, Ipv4Only, PeerBuffer, PeerBuffers, PeerRequest, TorrentPeers};
pub use flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Open, Origin, Standalone, Unlogged};
pub use flavour::{TransportCounts, TransportStatus};
pub use info_hash::InfoHash;
pub use intervals::Intervals;
pub use refusal::{RefusalTerms, Retry};
pub use scrape::PendingScrape;
pub use store::GROUP;

use std::sync::atomic::{AtomicU32, Ordering};

use keyed_hash::HashKey;
use peer::PeerState;
use store::{Cursor, Full, Store, Torrent};

/// Torrents and peers that a sweep looks at before it unlocks their shard: it holds the lock for some microseconds, or
/// some tens of them where all have expired.
const SWEEP_PORTION: usize = 1024;

/// A tracker: torrents, and what this build plugs in around them.
pub struct Tracker<F: Flavour> {
    store: Store<F::Families>,
    intervals: Intervals,
    /// The minute of the last sweep, or of the start.
    last_sweep: AtomicU32,
    flavour: F,
}

impl<F: Flavour> Tracker<F> {
    /// Makes an empty tracker.
    pub fn new(key: HashKey, capacity: Capacity, intervals: Intervals, now: Minute, flavour: F) -> Self {
        Self { store: Store::new(key, capacity), intervals, last_sweep: AtomicU32::new(now.0), flavour }
    }

    /// Returns what this build plugs in.
    pub fn flavour(&self) -> &F {
        &self.flavour
    }

    /// Returns how often clients are asked to announce themselves.
    #[inline]
    pub fn intervals(&self) -> &Intervals {
        &self.intervals
    }

    /// Returns all torrents.
    pub fn store(&self) -> &Store<F::Families> {
        &self.store
    }

    /// Returns what a client is told besides that it is refused for this reason; `None`: the reason alone.
    pub fn refusal_terms(&self, reason: AnnounceError) -> Option<RefusalTerms> {
        match reason {
            AnnounceError::NotAdmitted => self.flavour.admission().refusal_terms(),
            _ => None,
        }
    }

    /// Returns the number of this process: the one that its cluster knows it by, or else one derived from the hash key.
    pub fn id(&self) -> u32 {
        self.flavour.cluster().id().unwrap_or_else(|| self.store.id())
    }

    /// Forgets peers and torrents that have been silent for too long, and torrents that are no longer served. To be
    /// called once a minute. Locks one shard at a time, for a bounded number of peers, and calls `pause` after each
    /// time.
    pub fn sweep(&self, now: Minute, mut pause: impl FnMut()) {
        let before = Minute(self.last_sweep.swap(now.0, Ordering::Relaxed));
        let all_expired = now.since(before) > PeerState::MAX_SWEEP_GAP;
        let keep = |info_hash: &InfoHash| !F::Admission::RESTRICTS || self.flavour.admission().admits(info_hash);
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.store.sweep(from, self.intervals.expiry(now), SWEEP_PORTION, all_expired, keep);
            pause();
        }
    }

    /// Stores a torrent from before a restart, with its completed downloads and the minute in which it was last heard
    /// of. Does nothing if the torrent has downloads already, or would have been forgotten by now.
    ///
    /// # Errors
    ///
    /// [`AnnounceError::NotAdmitted`] and [`AnnounceError::Full`].
    pub fn restore(
        &self,
        info_hash: &InfoHash,
        downloaded: u32,
        touched: Minute,
        now: Minute,
    ) -> Result<(), AnnounceError> {
        if !self.flavour.admission().admits(info_hash) {
            return Err(AnnounceError::NotAdmitted);
        }
        let restore = |torrent: &mut Torrent<F::Families>, _: &HashKey, _| {
            if torrent.downloaded == 0 {
                torrent.downloaded = downloaded;
                torrent.peers.set_empty_since(touched.min(now));
            }
        };
        self.store.lock(info_hash).upsert(info_hash, now, restore).map_err(|Full| AnnounceError::Full)
    }
}
