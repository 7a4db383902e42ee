//! All torrents: shards, each a lock around the torrents that a keyed hash assigns to it.
//!
//! In a shard the torrents stand side by side, and an index of four bytes each finds them by info hash. So they fill
//! what they take, where a hash table of the torrents themselves would stand half empty half of the time, and a sweep
//! or a full scrape walks them by position and can stop anywhere.

mod walk;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::InfoHash;
use super::blocks::Blocks;
use super::capacity::{Allowance, Capacity, SharedAllowance};
use super::clock::{Minute, TORRENT_LIFETIME};
use super::counts::{ScrapeCounts, SwarmCounts};
use super::families::{AddressFamilies, TorrentPeers};
use super::index::Index;
use super::keyed_hash::HashKey;
use super::prefetch::prefetch;
use super::select::Plan;

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
    /// What it is known by.
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
    /// Returns the numbers that a scrape tells.
    pub fn scrape_counts(&self) -> ScrapeCounts {
        let SwarmCounts { seeders, leechers } = self.peers.counts();
        let number = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
        ScrapeCounts { seeders: number(seeders), leechers: number(leechers), downloaded: self.downloaded }
    }

    /// Returns whether nothing is left to remember: no peer, and no download within a day.
    fn is_forgotten(&self, now: Minute) -> bool {
        self.peers.empty_since().is_some_and(|since| self.downloaded == 0 || now.since(since) > TORRENT_LIFETIME)
    }
}

/// How much all shards hold together.
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

/// All torrents.
pub struct Store<F: AddressFamilies> {
    key: HashKey,
    torrents: SharedAllowance,
    peers: SharedAllowance,
    shards: Box<[Shard<F>]>,
}

/// Two cache lines to itself: processors fetch lines in pairs.
#[repr(align(128))]
struct Shard<F: AddressFamilies>(Mutex<ShardState<F>>);

struct ShardState<F: AddressFamilies> {
    /// Positions in `torrents`.
    index: Index,
    torrents: Blocks<Torrent<F>, BLOCK>,
    counts: SwarmCounts,
    torrent_room: Allowance,
    peer_room: Allowance,
}

/// The keyed hash of an info hash.
#[derive(Debug, Clone, Copy)]
pub struct Hash(u64);

impl Hash {
    /// The number of the shard that it names. The index takes its bits from both ends.
    #[inline]
    pub(super) fn shard(self) -> usize {
        (self.0 >> 32) as usize % SHARDS
    }
}

/// A shard that is locked for one torrent.
pub struct Locked<'a, F: AddressFamilies> {
    store: &'a Store<F>,
    state: MutexGuard<'a, ShardState<F>>,
    hash: Hash,
    /// Where the torrent stands, if there is one.
    at: Option<usize>,
}

/// Where a walk over all torrents has got to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    shard: usize,
    /// Torrents from this position on have been looked at; 0 stands for a shard that has not been begun.
    torrent: usize,
    /// The torrent of which a part has been looked at, and how far: it may have moved since.
    begun: Option<(InfoHash, u64)>,
}

impl Cursor {
    /// How far the peers of a torrent have been looked at.
    fn begun<F: AddressFamilies>(&self, torrent: &Torrent<F>) -> u64 {
        self.begun.filter(|(info_hash, _)| *info_hash == torrent.info_hash).map_or(0, |(_, far)| far)
    }
}

impl<F: AddressFamilies> Store<F> {
    /// Makes an empty store. The key is secret: see [`HashKey`].
    pub fn new(key: HashKey, limits: Capacity) -> Self {
        let shard = || {
            Shard(Mutex::new(ShardState {
                index: Index::default(),
                torrents: Blocks::default(),
                counts: SwarmCounts::default(),
                torrent_room: Allowance::default(),
                peer_room: Allowance::default(),
            }))
        };
        Self {
            key,
            torrents: SharedAllowance::new(limits.torrents, SHARDS),
            peers: SharedAllowance::new(limits.peers, SHARDS),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Returns a number that differs from process to process and says nothing of the key it is made from.
    pub fn id(&self) -> u32 {
        self.key.id()
    }

    /// Hashes an info hash, and begins to fetch the shard that the hash names.
    pub fn hash(&self, info_hash: &InfoHash) -> Hash {
        let hash = Hash(self.key.hash_info_hash(info_hash));
        prefetch(self.shard(hash));
        hash
    }

    /// Locks the shard of a torrent and looks the torrent up.
    pub fn find(&self, info_hash: &InfoHash) -> Locked<'_, F> {
        let hash = Hash(self.key.hash_info_hash(info_hash));
        let mut locked = self.locked(hash, self.shard(hash).lock());
        locked.find(info_hash);
        locked
    }

    /// Locks the shards of the torrents `sought`, from number 0 on, and looks the torrents up. Stops before the first
    /// whose shard is locked, be it by one before; waits for the shard of number 0 only. Returns how many were found.
    ///
    /// So two threads never wait for each other: whoever waits has nothing locked.
    #[inline]
    pub fn find_group<'a, 'b>(
        &'a self,
        sought: impl Fn(usize) -> Option<(Hash, &'b InfoHash)>,
        found: &mut [Option<Locked<'a, F>>; GROUP],
    ) -> usize {
        let mut many = 0;
        for place in found.iter_mut() {
            let Some((hash, _)) = sought(many) else { break };
            let shard = self.shard(hash);
            let state = if many == 0 { Some(shard.lock()) } else { shard.try_lock() };
            let Some(state) = state else { break };
            *place = Some(self.locked(hash, state));
            many += 1;
        }
        found.iter().take(many).flatten().for_each(Locked::prefetch_torrent);
        for (n, locked) in found.iter_mut().take(many).flatten().enumerate() {
            if let Some((_, info_hash)) = sought(n) {
                locked.find(info_hash);
            }
        }
        many
    }

    /// Adds up the counts of all shards. Locks one after the other.
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

    #[inline]
    fn locked<'a>(&'a self, hash: Hash, state: MutexGuard<'a, ShardState<F>>) -> Locked<'a, F> {
        state.index.prefetch(hash.0);
        Locked { store: self, state, hash, at: None }
    }

    fn shard(&self, hash: Hash) -> &Shard<F> {
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

impl<F: AddressFamilies> Locked<'_, F> {
    /// Begins to fetch the torrent that [`Self::find`] compares with.
    #[inline]
    fn prefetch_torrent(&self) {
        let candidate = self.state.index.candidate(self.hash.0);
        if let Some(torrent) = candidate.and_then(|at| self.state.torrents.get(at)) {
            prefetch(torrent);
        }
    }

    /// Looks the torrent up, and begins to fetch what says where its peers stand.
    #[inline]
    fn find(&mut self, info_hash: &InfoHash) {
        self.at = self.state.position(self.hash, info_hash);
        if let Some(torrent) = self.torrent() {
            torrent.peers.prefetch();
        }
    }

    /// Returns the torrent, if it was found.
    #[inline]
    pub fn torrent(&self) -> Option<&Torrent<F>> {
        self.state.torrents.get(self.at?)
    }

    /// Begins to fetch the peers that [`Self::upsert`] will look at for one at `endpoint`, and those that
    /// [`TorrentPeers::select`] will with the same plan.
    #[inline]
    pub fn prefetch(&self, endpoint: SocketAddr, seeder: bool, plan: &Plan, wanted: usize) {
        if let Some(torrent) = self.torrent() {
            torrent.peers.prefetch_peers(&self.store.key, endpoint, seeder, plan, wanted);
        }
    }

    /// Calls `change` with the torrent, which is added under this info hash if none was found. `change` is told whether
    /// there is room for one more peer, and may add one then.
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
        let room = state.peer_room.has_one(&store.peers);
        state.change(at, now, store, |torrent| change(torrent, &store.key, room)).ok_or(Full)
    }

    /// Calls `change` with the torrent, if it was found. `change` adds no peer.
    pub fn modify<R>(&mut self, now: Minute, change: impl FnOnce(&mut Torrent<F>, &HashKey) -> R) -> Option<R> {
        let Self { store, state, at, .. } = self;
        state.change((*at)?, now, store, |torrent| change(torrent, &store.key))
    }
}

impl<F: AddressFamilies> ShardState<F> {
    fn position(&self, hash: Hash, info_hash: &InfoHash) -> Option<usize> {
        self.index.find(hash.0, |at| self.torrents.get(at).is_some_and(|torrent| torrent.info_hash == *info_hash))
    }

    fn add(&mut self, hash: Hash, info_hash: &InfoHash, store: &Store<F>) -> Result<usize, Full> {
        let at = self.torrents.len();
        if at >= Index::POSITIONS || !self.torrent_room.has_one(&store.torrents) {
            return Err(Full);
        }
        self.torrents.push(Torrent { info_hash: *info_hash, ..Torrent::default() });
        self.torrent_room.changed(&store.torrents, at, at + 1);
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
            self.peer_room.changed(&store.peers, before.peers(), after.peers());
        }
        if forgotten {
            self.forget(at, store);
        }
        Some(result)
    }

    fn forget(&mut self, at: usize, store: &Store<F>) {
        let Some(last) = self.torrents.len().checked_sub(1) else { return };
        let Self { index, torrents, .. } = self;
        let hash_of = |at| hash_of(torrents, &store.key, at);
        index.remove(hash_of(at), at, hash_of);
        if at < last {
            // The last one moves to the place that becomes free.
            index.replace(hash_of(last), last, at);
        }
        torrents.swap_remove(at);
        self.torrent_room.changed(&store.torrents, last + 1, last);
    }
}

/// Returns the hash of the torrent at a position.
fn hash_of<F: AddressFamilies>(torrents: &Blocks<Torrent<F>, BLOCK>, key: &HashKey, at: usize) -> u64 {
    // Every position in the index is that of a torrent; one that is not would only be in the wrong place.
    debug_assert!(at < torrents.len(), "no torrent stands at {at}");
    torrents.get(at).map_or(0, |torrent| key.hash_info_hash(&torrent.info_hash))
}
