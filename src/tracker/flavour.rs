//! What a build can differ in, as far as the tracker knows.
//!
//! Each plug point is a trait with its off twin beside it: always compiled, does nothing, gone when inlined. The
//! types that do something live in [`switches`](crate::switches), one file a switch. Where several listen at one plug
//! point, a pair of them stands there.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use fastrand::Rng;

use super::InfoHash;
use super::clock::Minute;
use super::families::AddressFamilies;

/// One plug for each plug point of the tracker: a value that holds them, so that the tracker holds one thing.
/// [`ThisBuild`](crate::switches::ThisBuild) is the one that Cargo's features make; tests make others.
pub trait Flavour: Send + Sync + 'static {
    /// Which address families are kept.
    type Families: AddressFamilies;
    /// Which torrents are served.
    type Admission: Admission;
    /// Who else hears of a change.
    type Cluster: Cluster;
    /// Who counts the networks that ask.
    type NetworkLog: NetworkLog;

    /// The names of the Cargo features that it has.
    const FEATURES: &'static [&'static str] = &[];

    /// Decides which torrents are served.
    fn admission(&self) -> &Self::Admission;
    /// Tells others of changes.
    fn cluster(&self) -> &Self::Cluster;
    /// Counts the networks that ask.
    fn network_log(&self) -> &Self::NetworkLog;
}

/// Decides which torrents are served. Asked for every announce and scrape, by many threads.
pub trait Admission: Send + Sync + 'static {
    /// False in a tracker that serves every torrent: then a sweep need not ask.
    const RESTRICTS: bool;

    /// Returns whether this tracker serves `info_hash`.
    fn admits(&self, info_hash: &InfoHash) -> bool;

    /// Returns the list that decides, for monitors; `None` where there is none.
    fn list(&self) -> Option<ListStatus> {
        None
    }
}

/// What monitors are told of a list of torrents that is read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListStatus {
    /// Torrents on the list in force.
    pub torrents: usize,
    /// When it took effect.
    pub since: SystemTime,
    /// How often, since the start, it could not be read again.
    pub failures: u64,
}

/// Stands where `accesslist-black` and `accesslist-white` are off: every torrent is served.
#[derive(Debug, Default)]
pub struct Open;

impl Admission for Open {
    const RESTRICTS: bool = false;

    fn admits(&self, _: &InfoHash) -> bool {
        true
    }
}

/// What a cluster is told of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer is.
    pub endpoint: SocketAddr,
    /// It has everything.
    pub seeder: bool,
    /// It has just completed its download.
    pub completed: bool,
    /// It has left.
    pub stopped: bool,
    /// When it was last heard of.
    pub seen: Minute,
    /// Where this tracker has it from.
    pub origin: Origin,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client announced it to this tracker.
    Client,
    /// Another tracker of the cluster told it, by the transport of this name.
    Transport(&'static str),
}

/// Who else hears of a change: the transports that tell other trackers. Called while no shard is locked.
pub trait Cluster: Send + Sync + 'static {
    /// False in a tracker that stands alone: then nobody keeps account of who has been told what.
    const LISTENS: bool;
    /// True where there are several transports: what comes by one is told on by the others.
    const BRIDGES: bool = false;

    /// Returns what the others of the cluster know this tracker by; `None` where there are no others.
    fn id(&self) -> Option<u32> {
        None
    }

    /// Returns whether nobody is left to be told of changes of this origin: they came by this very transport. It is not
    /// told of them.
    fn knows(&self, origin: Origin) -> bool;

    /// Tells the others that a peer came, came back after [`PeerState::TELL_AGAIN`](super::peer::PeerState::TELL_AGAIN)
    /// minutes, completed, or left (known here or not). Called for every such announce, by many threads.
    ///
    /// Returns whether every transport has taken the change, so that it will be told. If one has not, the peer is told
    /// of again, to all, when it next announces itself.
    fn publish(&self, change: &Change) -> bool;

    /// Returns what each transport has counted, for monitors.
    fn transports(&self) -> Vec<TransportStatus> {
        Vec::new()
    }
}

/// What monitors are told of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportStatus {
    /// Its name: one word, which the names of its metrics begin with.
    pub name: &'static str,
    /// What it is called in a sentence.
    pub title: &'static str,
    /// What it has counted since the start.
    pub counts: TransportCounts,
}

/// What a transport has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCounts {
    /// Packets that were believed.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets that changed nothing: from strangers, from this tracker itself, or malformed.
    pub packets_refused: u64,
    /// Packets that could not be sent.
    pub packets_lost: u64,
    /// Changes that others told and that were taken over.
    pub records_received: u64,
    /// Changes told to others.
    pub records_sent: u64,
    /// Changes that others told and that were not taken over.
    pub records_refused: u64,
}

/// Stands where `sync-live` is off.
#[derive(Debug, Default)]
pub struct Standalone;

impl Cluster for Standalone {
    const LISTENS: bool = false;

    fn knows(&self, _: Origin) -> bool {
        true
    }

    fn publish(&self, _: &Change) -> bool {
        true
    }
}

/// Counts the networks that ask.
pub trait NetworkLog: Send + Sync + 'static {
    /// Takes note that a client at `address` announced or scraped. Called for every request, by many threads.
    fn record(&self, address: IpAddr, now: Minute, rng: &mut Rng);

    /// Makes the page that lists the busiest networks; `None` where nobody counts them.
    fn busy(&self, now: Minute) -> Option<String>;
}

/// Stands where `log-networks` is off.
#[derive(Debug, Default)]
pub struct Unlogged;

impl NetworkLog for Unlogged {
    fn record(&self, _: IpAddr, _: Minute, _: &mut Rng) {}

    fn busy(&self, _: Minute) -> Option<String> {
        None
    }
}
