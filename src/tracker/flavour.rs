//! What a build can differ in, as far as the tracker knows.
//!
//! Each plug point is a trait with its off twin beside it: always compiled, does nothing, gone when inlined. The
//! types that do something live in [`switches`](crate::switches), one file a switch. Where several listen at one plug
//! point, a pair of them stands there.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::InfoHash;
use super::clock::Minute;
use super::families::AddressFamilies;
use super::refusal::RefusalTerms;

/// One plug for each plug point of the tracker: a value that holds them, so that the tracker holds one thing.
/// [`ThisBuild`](crate::switches::ThisBuild) is the one that Cargo's features make; tests make others.
pub trait Flavour: Send + Sync + 'static {
    /// Which address families are kept.
    type Families: AddressFamilies;
    /// Which torrents are served.
    type Admission: Admission;
    /// Which clients are served.
    type Clients: Clients;
    /// Who else hears of a change.
    type Cluster: Cluster;
    /// Who counts the networks that ask.
    type NetworkLog: NetworkLog;
    /// Who counts how many peers clients ask for.
    type WantedLog: WantedLog;

    /// The names of the Cargo features that it has.
    const FEATURES: &'static [&'static str] = &[];

    /// Returns the plug that decides which torrents are served.
    fn admission(&self) -> &Self::Admission;
    /// Returns the plug that decides which clients are served.
    fn clients(&self) -> &Self::Clients;
    /// Returns the plug that publishes changes.
    fn cluster(&self) -> &Self::Cluster;
    /// Returns the plug that counts networks.
    fn network_log(&self) -> &Self::NetworkLog;
    /// Returns the plug that counts how many peers clients ask for.
    fn wanted_log(&self) -> &Self::WantedLog;
}

/// Decides which torrents are served. Asked for every announce and scrape, by many threads.
pub trait Admission: Send + Sync + 'static {
    /// False in a tracker that serves every torrent: then a sweep need not ask.
    const RESTRICTS: bool;

    /// Returns whether this tracker serves `info_hash`.
    fn admits(&self, info_hash: &InfoHash) -> bool;

    /// Returns how clients are refused what is not served; `None`: with the reason alone.
    fn refusal_terms(&self) -> Option<RefusalTerms> {
        None
    }

    /// Returns the status of the list that decides, for monitors; `None` where there is none.
    fn list(&self) -> Option<ListStatus> {
        None
    }
}

/// The status of a list of torrents that is read from a file, for monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListStatus {
    /// Torrents on the list in force.
    pub torrents: usize,
    /// When it took effect.
    pub since: SystemTime,
    /// How many times, since the start, a reload failed and the list stayed.
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

/// Decides which clients are served, by their peer ids. The front ends ask it for every announce but that of a client
/// that leaves, many threads at a time. Whoever tells of peers without their ids, such as a cluster, is not asked for
/// any.
pub trait Clients: Send + Sync + 'static {
    /// False in a tracker that serves every client: then no peer id is read.
    const RESTRICTS: bool;

    /// Returns whether this tracker serves a client with this peer id: no more than [`PEER_ID_LEN`] bytes, and none if
    /// it has not said any.
    fn serves(&self, peer_id: &[u8]) -> bool;

    /// Returns how clients are refused that are not served; `None`: with the reason alone.
    fn refusal_terms(&self) -> Option<RefusalTerms> {
        None
    }
}

/// Bytes of a peer id (BEP 3).
pub const PEER_ID_LEN: usize = 20;

/// Stands where `client-ids` is off: every client is served.
#[derive(Debug, Default)]
pub struct AnyClient;

impl Clients for AnyClient {
    const RESTRICTS: bool = false;

    fn serves(&self, _: &[u8]) -> bool {
        true
    }
}

/// A change of one peer, as it is published to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's address and port.
    pub endpoint: SocketAddr,
    /// It has nothing left to download.
    pub seeder: bool,
    /// It has just completed its download.
    pub completed: bool,
    /// It has left.
    pub stopped: bool,
    /// When it was last heard of.
    pub seen: Minute,
    /// How this tracker came to know of it.
    pub origin: Origin,
}

/// How a tracker came to know of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client announced it to this tracker.
    Client,
    /// Another tracker of the cluster published it.
    Transport {
        /// The name of the transport that it came in by.
        name: &'static str,
        /// The [number](Cluster::id) of that tracker; 0 if it has none.
        member: u32,
    },
    /// The same, but behind something that it told later. What is not late comes from a tracker, by one transport, in
    /// the order in which that tracker came to know of it.
    Late {
        /// The name of the transport that it came in by.
        name: &'static str,
        /// The number of that tracker; 0 if it has none.
        member: u32,
    },
}

impl Origin {
    /// Returns whether the change came in by the transport of this name.
    pub fn is_by(self, transport: &str) -> bool {
        matches!(self, Self::Transport { name, .. } | Self::Late { name, .. } if name == transport)
    }
}

/// Publishes changes to other trackers: a transport, or a pair of them. Called while no shard is locked.
pub trait Cluster: Send + Sync + 'static {
    /// False in a tracker that stands alone: then no change is published.
    const LISTENS: bool;
    /// True where there are several transports: what comes in by one is forwarded by the others.
    const BRIDGES: bool = false;
    /// True if a change may come long after others that are later: then it is remembered who has stopped, see
    /// [`stops`](super::stops). Where no transport is configured it is not.
    const REMEMBERS_STOPS: bool = false;

    /// Returns the number that the others of the cluster know this tracker by; `None` where there are no others.
    fn id(&self) -> Option<u32> {
        None
    }

    /// Returns whether all others on this transport know changes of this origin: they came in by it. A pair does not
    /// publish them here again.
    fn knows(&self, origin: Origin) -> bool;

    /// Publishes that a peer came, that it is still there [`PeerState::REPUBLISH_AFTER`] minutes later (or one more),
    /// that it completed its download, or that it left (known here or not). Called for every such announce, by many
    /// threads.
    ///
    /// [`PeerState::REPUBLISH_AFTER`]: super::peer::PeerState::REPUBLISH_AFTER
    ///
    /// Returns whether every transport has taken the change and will send it. If one has not, the peer is published
    /// again, to all, when it next announces itself.
    fn publish(&self, change: &Change) -> bool;

    /// Returns whether a transport other than the one of this name connects the tracker with others at present.
    fn reaches_beyond(&self, _transport: &str) -> bool {
        false
    }

    /// Returns whether it is for this tracker to forward what comes in by one transport. False while another tracker,
    /// which is on the same transports, does it.
    fn forwards(&self) -> bool {
        true
    }

    /// Keeps a change that is to be forwarded while another tracker forwards, for a bounded time: if that tracker falls
    /// silent, the change is published after all. Called instead of [`Self::publish`], and returns the same.
    fn hold(&self, _change: &Change) -> bool {
        true
    }

    /// Hears changes that came in, all in one packet. If it was by this very transport, another tracker has published
    /// what is held of them, so it need not be held any more. Returns the changes without those that tell nothing new
    /// for that reason; copies them only then. Called where there are several transports.
    fn hear<'a>(&self, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        changes
    }

    /// Returns what each transport has counted, for monitors. One that is not configured is left out.
    fn transports(&self) -> Vec<TransportStatus> {
        Vec::new()
    }
}

/// The status of a transport, for monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportStatus {
    /// Its name: one word, which the names of its metrics begin with.
    pub name: &'static str,
    /// What it is called in a sentence.
    pub title: &'static str,
    /// What it has counted since the start.
    pub counts: TransportCounts,
    /// How old the newest change is that has been taken over; before the first, how long one has been waited for.
    pub lag: Duration,
    /// How many other trackers have been heard on it within a minute.
    pub members: usize,
    /// Whether it is connected; `None` if it has no connection that could be lost.
    pub connected: Option<bool>,
}

/// What a transport has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCounts {
    /// Packets that were believed.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets that changed nothing: from strangers or malformed; over multicast also those of this tracker itself.
    pub packets_refused: u64,
    /// Packets that could not be sent, and as many as would have held the changes that found no room.
    pub packets_lost: u64,
    /// Changes in believed packets that were taken over.
    pub records_received: u64,
    /// Changes sent.
    pub records_sent: u64,
    /// Changes in believed packets that were not taken over.
    pub records_refused: u64,
    /// Bytes of believed packets.
    pub bytes_received: u64,
    /// Bytes of packets sent.
    pub bytes_sent: u64,
    /// Connections that were made anew after one had been lost.
    pub reconnects: u64,
    /// Gaps in the numbers of packets received.
    pub gaps: u64,
    /// Changes that were published anew, as others may not have had them.
    pub republished: u64,
    /// Snapshots given to others as a whole.
    pub snapshots_given: u64,
    /// Milliseconds that it took to give them, all together.
    pub snapshots_given_ms: u64,
    /// Snapshots taken from others as a whole.
    pub snapshots_taken: u64,
    /// Milliseconds that it took to take them, all together.
    pub snapshots_taken_ms: u64,
}

/// Stands for each of `sync-live` and `sync-nats` that is off: nobody else hears of changes.
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
    /// True where an operator has asked to hear of networks: then the log names one that holds too much.
    const COUNTS: bool;
    /// True where [`Self::came_back`] does something: else it is not called.
    const HEARS_RETURNS: bool = false;

    /// Records that a client at `address` announced or scraped. Called for every request, by many threads.
    fn record(&self, address: IpAddr, now: Minute, rng: &mut Rng);

    /// Records that a peer at `address` announced itself so many minutes after its previous announce. Called for every
    /// such announce, by many threads, while no shard is locked.
    fn came_back(&self, _address: IpAddr, _after: u32, _now: Minute, _rng: &mut Rng) {}

    /// Returns the page that lists the busiest networks; `None` where nobody counts them.
    fn busy(&self, now: Minute) -> Option<String>;

    /// Returns the page that lists the networks whose peers come back too soon most often; `None` where nobody counts
    /// them.
    fn woodpeckers(&self, _now: Minute) -> Option<String> {
        None
    }
}

/// Stands for each of `log-networks` and `spot-woodpecker` that is off: nobody counts networks.
#[derive(Debug, Default)]
pub struct Unlogged;

impl NetworkLog for Unlogged {
    const COUNTS: bool = false;

    fn record(&self, _: IpAddr, _: Minute, _: &mut Rng) {}

    fn busy(&self, _: Minute) -> Option<String> {
        None
    }
}

/// Counts how many peers clients ask for.
pub trait WantedLog: Send + Sync + 'static {
    /// The part of one worker, to which it alone adds.
    type OfWorker: WorkerWanted;

    /// Returns the part of one more worker.
    fn for_worker(&self) -> Self::OfWorker;

    /// Returns the page that says how many announces asked for how many peers; `None` where nobody counts them.
    fn page(&self) -> Option<String>;
}

/// Counts how many peers the clients of one worker ask for.
pub trait WorkerWanted: Send + 'static {
    /// Counts an announce that asks for so many peers, whatever becomes of it. One that asks for as many as there are
    /// asks for `usize::MAX`.
    fn count(&self, wanted: usize);
}

/// Stands where `log-numwant` is off: nobody counts what is asked for.
#[derive(Debug, Default)]
pub struct WantedUnlogged;

impl WantedLog for WantedUnlogged {
    type OfWorker = Self;

    fn for_worker(&self) -> Self {
        Self
    }

    fn page(&self) -> Option<String> {
        None
    }
}

impl WorkerWanted for WantedUnlogged {
    #[inline]
    fn count(&self, _: usize) {}
}
