//! The tracker itself: torrents, their peers, and what an announce does to them.
//!
//! No I/O, no async, no clock of its own, no question about features. From the bottom up:
//!
//! - [`info_hash`], [`peer`], `holder`, `hosts`, [`clock`], [`intervals`], [`counts`], `error`, `refusal`: the values.
//! - [`keyed_hash`]: hashes that strangers cannot foresee.
//! - `prefetch`, `blocks`: memory that is fetched before it is needed; vectors that never move what they hold.
//! - [`select`], [`table`], `tables`, [`address_limit`], `tally`, `hashed`, [`swarm`]: the peers of one torrent, in a
//!   form that fits their number, and not too many of one address.
//! - [`families`]: which address families a torrent keeps.
//! - [`shortage`], [`capacity`], `index`, [`departures`], [`stops`], [`store`]: all torrents, in shards, and how many
//!   there may be.
//! - [`room`]: makes room before it is needed.
//! - [`flavour`], `pair`: the plug points that a build fills, also with two of a kind.
//! - `publish`: publishes changes to the cluster.
//! - [`Tracker`], [`announce`], `absorb`, `merge`, `scrape`: announce, take over, scrape, sweep and make room, over a
//!   store and a flavour.

#[cfg(any(test, fuzzing))]
pub(crate) mod model;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;

mod absorb;
mod blocks;
mod error;
mod hashed;
mod holder;
mod hosts;
mod index;
mod merge;
mod pair;
pub mod prefetch;
mod publish;
mod refusal;
mod scrape;
mod tables;
mod tally;

pub mod address_limit;
pub mod announce;
pub mod capacity;
pub mod clock;
pub mod counts;
pub mod departures;
pub mod families;
pub mod flavour;
pub mod info_hash;
pub mod intervals;
pub mod keyed_hash;
pub mod peer;
pub mod room;
pub mod select;
pub mod shortage;
pub mod stops;
pub mod store;
pub mod swarm;
pub mod table;

pub use absorb::AbsorbError;
pub use announce::{AnnounceOutcome, AnnounceRequest, Event, PendingAnnounce};
pub use capacity::Capacity;
pub use clock::{Clock, Minute, Second};
pub use counts::{ScrapeCounts, SwarmCounts};
pub use departures::Departure;
pub use error::AnnounceError;
pub use families::{AddressFamilies, Ipv4Only, PeerBuffer, PeerBuffers, PeerRequest, TorrentPeers};
pub use flavour::{Admission, AnyClient, Change, Clients, Cluster, Flavour, NetworkLog, Open, Origin, PEER_ID_LEN};
pub use flavour::{Standalone, Unlogged};
pub use flavour::{TransportCounts, TransportStatus};
pub use flavour::{WantedLog, WantedUnlogged, WorkerWanted};
pub use holder::Holder;
pub use hosts::is_host;
pub use info_hash::InfoHash;
pub use intervals::Intervals;
pub use merge::{KnownDeparture, KnownPeer, KnownTorrent, LeftOut, MAX_MERGED, MergeCounts};
pub use refusal::{RefusalTerms, Retry};
pub use scrape::PendingScrape;
pub use store::GROUP;

use std::sync::atomic::{AtomicU32, Ordering};

use keyed_hash::HashKey;
use peer::PeerState;
use room::Taken;
use store::{Cursor, Full, Store, Torrent};

use crate::atomic::AtomicU64;

/// Torrents and peers that a sweep looks at before it unlocks their shard: it holds the lock for some microseconds, or
/// some tens of them where all have expired.
const SWEEP_PORTION: usize = 1024;

/// A tracker: torrents, and what this build plugs in around them.
pub struct Tracker<F: Flavour> {
    store: Store<F::Families>,
    intervals: Intervals,
    /// The minute of the last sweep, or of the start.
    last_sweep: AtomicU32,
    taken: TakenCounts,
    flavour: F,
}

/// What has been taken since the start to make room.
#[derive(Debug, Default)]
struct TakenCounts {
    torrents: AtomicU64,
    peers: AtomicU64,
}

impl<F: Flavour> Tracker<F> {
    /// Makes an empty tracker.
    pub fn new(key: HashKey, capacity: Capacity, intervals: Intervals, now: Minute, flavour: F) -> Self {
        let (mut store, last_sweep) = (Store::new(key, capacity), AtomicU32::new(now.0));
        if F::Cluster::REMEMBERS_STOPS && !flavour.cluster().transports().is_empty() {
            store.remember_stops();
        }
        Self { store, intervals, last_sweep, taken: TakenCounts::default(), flavour }
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
            AnnounceError::ClientNotServed => self.flavour.clients().refusal_terms(),
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

    /// Makes a tenth of `limits.torrents` and of `limits.peers` free, as far as anybody holds too much, and returns
    /// what has been taken: see [`room`]. To be called when room has run short ([`Self::wants_room`]), by the thread
    /// that sweeps. Locks one shard at a time, for a bounded number of peers, and calls `go_on` after each time: if
    /// that returns false, it ends.
    pub fn make_room(&self, now: Minute, go_on: impl FnMut() -> bool) -> Taken {
        self.store.shortage().hear();
        let taken = room::make(&self.store, now, go_on);
        self.taken.torrents.fetch_add(taken.torrents + taken.empty_torrents, Ordering::Relaxed);
        self.taken.peers.fetch_add(taken.peers, Ordering::Relaxed);
        taken
    }

    /// Returns whether an announce has found, since room was last made, that it runs short.
    pub fn wants_room(&self) -> bool {
        self.store.shortage().is_called()
    }

    /// Returns how many torrents, and how many peers of others, have been taken since the start to make room.
    pub fn taken(&self) -> (u64, u64) {
        (self.taken.torrents.load(Ordering::Relaxed), self.taken.peers.load(Ordering::Relaxed))
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
