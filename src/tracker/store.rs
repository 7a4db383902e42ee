//! All torrents: shards, each a lock around the torrents that a keyed hash assigns to it.
//!
//! In a shard the torrents stand side by side, and an index of four bytes each finds them by info hash. So they fill
//! what they take, where a hash table of the torrents themselves would stand half empty half of the time, and a sweep
//! or a full scrape walks them by position and can stop anywhere.

mod copy;
mod stopped;
mod take;
mod walk;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::InfoHash;
use super::address_limit::AddressLimit;
use super::blocks::Blocks;
use super::capacity::{Allowance, Capacity, SharedAllowance};
use super::clock::{Minute, TORRENT_LIFETIME};
use super::counts::{ScrapeCounts, SwarmCounts};
use super::departures::{DepartureCounts, Departures};
use super::families::{AddressFamilies, TorrentPeers};
use super::index::Index;
use super::keyed_hash::HashKey;
use super::prefetch::prefetch;
use super::select::{Plan, Preference};
use super::shortage::Shortage;
use super::stops::Stops;

pub use copy::{CopiedTorrent, DepartureCursor, Portion};
pub use take::{Fate, Position};

/// So many that workers rarely meet at one, and that in a tracker with ten million torrents the index of a shard grows
/// by hashing ten thousand of them anew, not ten million.
const SHARDS: usize = 1024;
/// Torrents that are looked for together. Their shards are locked at the same time: a larger group would be in other
/// threads' way, and no faster, since a processor fetches only so many cache lines at once.
pub const GROUP: usize = 8;
/// Torrents of a block: a shard's last one stands half empty.
const BLOCK: usize = 32;

/// A torrent: 48 bytes.
pub struct Torrent<F: AddressFamilies> {
    /// Its name.
    pub info_hash: InfoHash,
    /// Completed downloads.
    pub downloaded: u32,
    /// Its peers.
    pub peers: F::Peers,
}

const _: () = assert!(size_of::<Torrent<super::Ipv4Only>>() <= 48);

impl<F: AddressFamilies> Default for Torrent<F> {
    fn default() -> Self {
        Self { info_hash: InfoHash::default(), downloaded: 0, peers: F::Peers::default() }
    }
}

impl<F: AddressFamilies> Torrent<F> {
    /// Returns what a scrape tells of it.
    pub fn scrape_counts(&self) -> ScrapeCounts {
        let SwarmCounts { seeders, leechers } = self.peers.counts();
        let number = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
        ScrapeCounts { seeders: number(seeders), leechers: number(leechers), downloaded: self.downloaded }
    }

    /// Returns whether nothing is left to remember: no peer, and no completed download, or nobody for
    /// [`TORRENT_LIFETIME`].
    fn is_forgotten(&self, now: Minute) -> bool {
        self.peers.empty_since().is_some_and(|since| self.downloaded == 0 || now.since(since) > TORRENT_LIFETIME)
    }
}

/// How many torrents and peers all shards hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Torrents.
    pub torrents: usize,
    /// Peers of all torrents.
    pub peers: SwarmCounts,
}

/// The error that there is no room for one more torrent or peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// All torrents of a tracker, in shards that are locked one by one.
pub struct Store<F: AddressFamilies> {
    key: HashKey,
    torrent_allowance: SharedAllowance,
    peer_allowance: SharedAllowance,
    shortage: Arc<Shortage>,
    peers_per_address: u32,
    shards: Box<[Shard<F>]>,
    departures: DepartureCounts,
    /// `None` in a tracker whose cluster does not ask for them.
    stops: Option<Stops>,
}

/// Part of the torrents, and their lock. Two cache lines to itself: processors fetch lines in pairs.
#[repr(align(128))]
struct Shard<F: AddressFamilies>(Mutex<ShardState<F>>);

/// What the lock of a shard guards.
struct ShardState<F: AddressFamilies> {
    /// Positions in `torrents`.
    index: Index,
    torrents: Blocks<Torrent<F>, BLOCK>,
    /// The peers of all its torrents.
    counts: SwarmCounts,
    torrent_allowance: Allowance,
    peer_allowance: Allowance,
    /// Who has left since a copy was begun; `None` while there is none.
    departures: Option<Box<Departures>>,
}

/// The hash of an info hash under the store's key: names the torrent's shard and its slot in the index.
#[derive(Debug, Clone, Copy)]
pub struct KeyedHash(u64);

impl KeyedHash {
    /// Returns the number of the shard: bits 32 to 41. The index uses the lowest and the highest ones.
    #[inline]
    pub(super) fn shard(self) -> usize {
        (self.0 >> 32) as usize % SHARDS
    }
}

/// A shard that is locked for one torrent, which need not be in it. Unlocks it when dropped.
pub struct LockedShard<'a, F: AddressFamilies> {
    store: &'a Store<F>,
    state: MutexGuard<'a, ShardState<F>>,
    hash: KeyedHash,
    /// The position of the torrent, if it is in the shard.
    at: Option<usize>,
}

/// How far a walk over all torrents has got.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    shard: usize,
    /// Torrents from this position on have been looked at; 0 stands for a shard that has not been begun.
    torrent: usize,
    /// How many torrents the shard had when it was begun: of use to [`Store::take_torrents`] alone.
    began_with: usize,
    /// The torrent that has been looked at in part, and where to go on in it. It may have moved since.
    partial: Option<(InfoHash, u64)>,
}

impl Cursor {
    /// Returns where to go on with the peers of a torrent: 0 if they have not been begun.
    fn resume_at<F: AddressFamilies>(&self, torrent: &Torrent<F>) -> u64 {
        self.partial.filter(|(info_hash, _)| *info_hash == torrent.info_hash).map_or(0, |(_, next)| next)
    }
}

impl<F: AddressFamilies> Store<F> {
    /// Makes an empty store. The key is secret: see [`HashKey`].
    pub fn new(key: HashKey, capacity: Capacity) -> Self {
        let shard = || {
            Shard(Mutex::new(ShardState {
                index: Index::default(),
                torrents: Blocks::default(),
                counts: SwarmCounts::default(),
                torrent_allowance: Allowance::default(),
                peer_allowance: Allowance::default(),
                departures: None,
            }))
        };
        let shortage = Arc::<Shortage>::default();
        let allowance = |limit| SharedAllowance::new(limit, SHARDS, Arc::clone(&shortage));
        Self {
            key,
            torrent_allowance: allowance(capacity.torrents),
            peer_allowance: allowance(capacity.peers),
            shortage,
            peers_per_address: capacity.peers_per_address,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            departures: DepartureCounts::default(),
            stops: None,
        }
    }

    /// Returns a number derived from the key: see [`HashKey::id`].
    pub fn id(&self) -> u32 {
        self.key.id()
    }

    /// Returns what says that room has run short.
    pub fn shortage(&self) -> &Arc<Shortage> {
        &self.shortage
    }

    /// Returns how many more torrents there may be.
    pub fn torrent_allowance(&self) -> &SharedAllowance {
        &self.torrent_allowance
    }

    /// Returns how many more peers there may be.
    pub fn peer_allowance(&self) -> &SharedAllowance {
        &self.peer_allowance
    }

    /// Returns how many peers of one address a swarm holds.
    #[inline]
    pub fn address_limit(&self, now: Minute) -> AddressLimit {
        AddressLimit::new(self.peers_per_address, now)
    }

    /// Hashes an info hash, and begins to fetch the shard that the hash names.
    pub fn hash(&self, info_hash: &InfoHash) -> KeyedHash {
        let hash = KeyedHash(self.key.hash_info_hash(info_hash));
        prefetch(self.shard(hash));
        hash
    }

    /// Locks the shard of a torrent and looks the torrent up.
    pub fn lock(&self, info_hash: &InfoHash) -> LockedShard<'_, F> {
        let hash = KeyedHash(self.key.hash_info_hash(info_hash));
        let mut locked = self.locked(hash, self.shard(hash).lock());
        locked.look_up(info_hash);
        locked
    }

    /// Locks the shards of the torrents that `sought` returns for 0, 1, 2 and so on, up to the first `None`, and looks
    /// the torrents up. Waits for the first shard only, and stops at the first other one that is locked already, be it
    /// for this very group. Returns how many it has locked.
    ///
    /// So two threads never wait for each other: whoever waits has nothing locked.
    #[inline]
    pub fn lock_group<'a, 'b>(
        &'a self,
        sought: impl Fn(usize) -> Option<(KeyedHash, &'b InfoHash)>,
        locked: &mut [Option<LockedShard<'a, F>>; GROUP],
    ) -> usize {
        let mut many = 0;
        for slot in locked.iter_mut() {
            let Some((hash, _)) = sought(many) else { break };
            let shard = self.shard(hash);
            let state = if many == 0 { Some(shard.lock()) } else { shard.try_lock() };
            let Some(state) = state else { break };
            *slot = Some(self.locked(hash, state));
            many += 1;
        }
        locked.iter().take(many).flatten().for_each(LockedShard::prefetch_torrent);
        for (n, locked) in locked.iter_mut().take(many).flatten().enumerate() {
            if let Some((_, info_hash)) = sought(n) {
                locked.look_up(info_hash);
            }
        }
        many
    }

    /// Counts the torrents and peers of all shards. Locks all 1,024 of them, one after the other.
    pub fn census(&self) -> Census {
        self.shards.iter().fold(Census::default(), |census, shard| {
            let state = shard.lock();
            Census {
                torrents: census.torrents + state.torrents.len(),
                peers: SwarmCounts {
                    seeders: census.peers.seeders + state.counts.seeders,
                    leechers: census.peers.leechers + state.counts.leechers,
                },
            }
        })
    }

    /// Begins to fetch what [`LockedShard::look_up`] reads first.
    #[inline]
    fn locked<'a>(&'a self, hash: KeyedHash, state: MutexGuard<'a, ShardState<F>>) -> LockedShard<'a, F> {
        state.index.prefetch(hash.0);
        LockedShard { store: self, state, hash, at: None }
    }

    fn shard(&self, hash: KeyedHash) -> &Shard<F> {
        #[expect(clippy::indexing_slicing, reason = "the remainder of a division by the number of shards")]
        &self.shards[hash.shard()]
    }
}

impl<F: AddressFamilies> Shard<F> {
    /// A panic in another thread is a defect, but each of our changes leaves the shard whole: go on.
    fn lock(&self) -> MutexGuard<'_, ShardState<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, ShardState<F>>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<F: AddressFamilies> LockedShard<'_, F> {
    /// Begins to fetch the torrent that [`Self::look_up`] will most likely find.
    #[inline]
    fn prefetch_torrent(&self) {
        let candidate = self.state.index.candidate(self.hash.0);
        if let Some(torrent) = candidate.and_then(|at| self.state.torrents.get(at)) {
            prefetch(torrent);
        }
    }

    /// Looks the torrent up, and begins to fetch what [`Self::prefetch`] reads.
    #[inline]
    fn look_up(&mut self, info_hash: &InfoHash) {
        self.at = self.state.position(self.hash, info_hash);
        if let Some(torrent) = self.torrent() {
            torrent.peers.prefetch();
        }
    }

    /// Returns how many peers of one address a swarm holds.
    #[inline]
    pub fn address_limit(&self, now: Minute) -> AddressLimit {
        self.store.address_limit(now)
    }

    /// Returns the torrent, if it is in the store.
    #[inline]
    pub fn torrent(&self) -> Option<&Torrent<F>> {
        self.state.torrents.get(self.at?)
    }

    /// Begins to fetch what [`TorrentPeers::upsert`] of a peer at `endpoint` will look at, and [`TorrentPeers::select`]
    /// with the same plan.
    #[inline]
    pub fn prefetch(&self, endpoint: SocketAddr, preference: Preference, plan: &Plan, wanted: usize) {
        if let Some(torrent) = self.torrent() {
            torrent.peers.prefetch_peers(&self.store.key, endpoint, preference, plan, wanted);
        }
    }

    /// Calls `change` with the torrent, which is added under this info hash if it is not in the store. `change` is told
    /// whether there is room for one more peer; only then may it add one.
    ///
    /// # Errors
    ///
    /// There is no room for one more torrent.
    pub fn upsert<R>(
        &mut self,
        info_hash: &InfoHash,
        now: Minute,
        change: impl FnOnce(&mut Torrent<F>, &HashKey, bool) -> R,
    ) -> Result<R, Full> {
        let Self { store, state, hash, at } = self;
        let at = match *at {
            Some(at) => at,
            None => state.add(*hash, info_hash, store)?,
        };
        let room = state.peer_allowance.ensure_one(&store.peer_allowance);
        state.change(at, now, store, |torrent| change(torrent, &store.key, room)).ok_or(Full)
    }

    /// Calls `change` with the torrent, if it is in the store. `change` may add no peer.
    pub fn modify<R>(&mut self, now: Minute, change: impl FnOnce(&mut Torrent<F>, &HashKey) -> R) -> Option<R> {
        let Self { store, state, at, .. } = self;
        state.change((*at)?, now, store, |torrent| change(torrent, &store.key))
    }
}

impl<F: AddressFamilies> ShardState<F> {
    /// Returns the position of a torrent, if it is in the shard.
    fn position(&self, hash: KeyedHash, info_hash: &InfoHash) -> Option<usize> {
        self.index.find(hash.0, |at| self.torrents.get(at).is_some_and(|torrent| torrent.info_hash == *info_hash))
    }

    /// Adds a torrent that is not in the shard. Returns its position.
    fn add(&mut self, hash: KeyedHash, info_hash: &InfoHash, store: &Store<F>) -> Result<usize, Full> {
        let at = self.torrents.len();
        if at >= Index::MAX_POSITIONS || !self.torrent_allowance.ensure_one(&store.torrent_allowance) {
            return Err(Full);
        }
        self.torrents.push(Torrent { info_hash: *info_hash, ..Torrent::default() });
        self.torrent_allowance.account(&store.torrent_allowance, at, at + 1);
        let Self { index, torrents, .. } = self;
        index.insert(hash.0, at, |at| hash_of(torrents, &store.key, at));
        Ok(at)
    }

    /// Calls `change` with the torrent at a position, keeps the counts, and forgets the torrent if nothing is left of
    /// it.
    fn change<R>(
        &mut self,
        at: usize,
        now: Minute,
        store: &Store<F>,
        change: impl FnOnce(&mut Torrent<F>) -> R,
    ) -> Option<R> {
        let torrent = self.torrents.get_mut(at)?;
        let before = torrent.peers.counts();
        let result = change(torrent);
        let after = torrent.peers.counts();
        let forgotten = torrent.is_forgotten(now);
        // Most announces change no number. To write one all the same would take a cache line from another worker.
        if before != after {
            self.counts.seeders = self.counts.seeders + after.seeders - before.seeders;
            self.counts.leechers = self.counts.leechers + after.leechers - before.leechers;
            self.peer_allowance.account(&store.peer_allowance, before.peers(), after.peers());
        }
        if forgotten {
            self.forget(at, store);
        }
        Some(result)
    }

    /// Removes the torrent at a position.
    fn forget(&mut self, at: usize, store: &Store<F>) {
        let Some(last) = self.torrents.len().checked_sub(1) else { return };
        let Self { index, torrents, .. } = self;
        let hash_of = |at| hash_of(torrents, &store.key, at);
        index.remove(hash_of(at), at, hash_of);
        if at < last {
            // The last one moves to the position that becomes free.
            index.replace(hash_of(last), last, at);
        }
        torrents.swap_remove(at);
        self.torrent_allowance.account(&store.torrent_allowance, last + 1, last);
    }
}

/// Returns the hash of the torrent at a position.
fn hash_of<F: AddressFamilies>(torrents: &Blocks<Torrent<F>, BLOCK>, key: &HashKey, at: usize) -> u64 {
    // Every position in the index is that of a torrent. If one were not, its slot would only be a wrong one.
    debug_assert!(at < torrents.len(), "no torrent stands at {at}");
    torrents.get(at).map_or(0, |torrent| key.hash_info_hash(&torrent.info_hash))
}
