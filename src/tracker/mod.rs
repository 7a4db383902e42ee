//! The tracker itself: torrents, their peers, and what an announce does to them.
//!
//! No I/O, no async, no clock of its own, no `cfg`. From the bottom up:
//!
//! - [`info_hash`], [`peer`], [`clock`], [`counts`], `error`: the values.
//! - `prefetch`, `blocks`: memory that is fetched before it is needed, and that stays where it is.
//! - [`select`], [`table`], `hashed`, [`swarm`]: the peers of one torrent, in a form that fits their number.
//! - [`families`]: which address families a torrent keeps.
//! - [`capacity`], `index`, [`store`]: all torrents, in shards, and how many there may be.
//! - [`flavour`], `pair`: the plug points that a build fills, also with two of a kind.
//! - `publish`: tells the cluster of a change, or notes that it has not been told.
//! - [`Tracker`], [`announce`], `absorb`, `scrape`: announce, take over, scrape and sweep, over a store and a flavour.

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
pub(crate) mod testing;

mod absorb;
mod blocks;
mod error;
mod hashed;
mod index;
mod pair;
mod prefetch;
mod publish;
mod scrape;

pub mod announce;
pub mod capacity;
pub mod clock;
pub mod counts;
pub mod families;
pub mod flavour;
pub mod info_hash;
pub mod keyed_hash;
pub mod peer;
pub mod select;
pub mod store;
pub mod swarm;
pub mod table;

pub use absorb::AbsorbError;
pub use announce::{AnnounceOutcome, AnnounceRequest, Event, PendingAnnounce};
pub use capacity::Capacity;
pub use clock::{Clock, Minute};
pub use counts::{ScrapeCounts, SwarmCounts};
pub use error::AnnounceError;
pub use families::{AddressFamilies, Ipv4Only, PeerBuffer, PeerBuffers, PeerRequest, TorrentPeers};
pub use flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Open, Origin, Standalone, Unlogged};
pub use flavour::{TransportCounts, TransportStatus};
pub use info_hash::InfoHash;
pub use scrape::PendingScrape;
pub use store::GROUP;

use std::sync::atomic::{AtomicU32, Ordering};

use keyed_hash::HashKey;
use peer::PeerState;
use store::{Cursor, Full, Store, Torrent};

/// Torrents and peers that a sweep looks at before it gives the lock back. Some microseconds, or some ten of them where
/// all have expired.
const SWEEP_PORTION: usize = 1024;

/// A tracker: torrents, and what this build plugs in around them.
pub struct Tracker<F: Flavour> {
    store: Store<F::Families>,
    last_sweep: AtomicU32,
    flavour: F,
}

impl<F: Flavour> Tracker<F> {
    /// An empty tracker.
    pub fn new(key: HashKey, capacity: Capacity, now: Minute, flavour: F) -> Self {
        Self { store: Store::new(key, capacity), last_sweep: AtomicU32::new(now.0), flavour }
    }

    /// What this build plugs in.
    pub fn flavour(&self) -> &F {
        &self.flavour
    }

    /// All torrents.
    pub fn store(&self) -> &Store<F::Families> {
        &self.store
    }

    /// A random number of this run: the one that its cluster knows it by, if it is one of a cluster.
    pub fn id(&self) -> u32 {
        self.flavour.cluster().id().unwrap_or_else(|| self.store.id())
    }

    /// Forgets peers and torrents that have been silent for too long, and torrents that are no longer served. Made to
    /// be called once a minute; calls `pause` between two portions, while no lock is held.
    pub fn sweep(&self, now: Minute, mut pause: impl FnMut()) {
        let before = Minute(self.last_sweep.swap(now.0, Ordering::Relaxed));
        let everybody = now.since(before) > PeerState::MAX_SWEEP_GAP;
        let keep = |info_hash: &InfoHash| !F::Admission::RESTRICTS || self.flavour.admission().admits(info_hash);
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.store.sweep(from, now, SWEEP_PORTION, everybody, keep);
            pause();
        }
    }

    /// Remembers a torrent from before a restart, with its downloads and when it was last heard of. What is known
    /// already is not changed, and what would have been forgotten by now is not remembered.
    ///
    /// # Errors
    ///
    /// There is no room, or the torrent is not served.
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
        let remember = |torrent: &mut Torrent<F::Families>, _: &HashKey, _| {
            if torrent.downloaded == 0 {
                torrent.downloaded = downloaded;
                torrent.peers.set_empty_since(touched.min(now));
            }
        };
        self.store.find(info_hash).upsert(info_hash, now, remember).map_err(|Full| AnnounceError::Full)
    }
}
