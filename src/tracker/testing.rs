//! What unit tests build trackers from: one flavour whose plug points are parameters, and plugs that are easy to see
//! through.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::families::AddressFamilies;
use super::flavour::{Admission, AnyClient, Change, Clients, Cluster, Flavour, ListStatus, NetworkLog, Open, Origin};
use super::flavour::{Standalone, TransportCounts, TransportStatus, Unlogged, WantedLog, WantedUnlogged, WorkerWanted};
use super::keyed_hash::HashKey;
use super::peer::PeerV6;
use super::swarm::Swarm;
use super::{Capacity, InfoHash, Intervals, Ipv4Only, Minute, RefusalTerms, Tracker};

/// A flavour with the plugs that its parameters name; without parameters, every switch is off.
pub(crate) struct TestFlavour<F = Ipv4Only, A = Open, C = Standalone, N = Unlogged, W = WantedUnlogged, I = AnyClient> {
    admission: A,
    clients: I,
    cluster: C,
    network_log: N,
    wanted_log: W,
    families: PhantomData<F>,
}

impl<F: AddressFamilies, A: Admission, C: Cluster, N: NetworkLog, W: WantedLog, I: Clients> Flavour
    for TestFlavour<F, A, C, N, W, I>
{
    type Families = F;
    type Admission = A;
    type Clients = I;
    type Cluster = C;
    type NetworkLog = N;
    type WantedLog = W;

    fn admission(&self) -> &A {
        &self.admission
    }

    fn clients(&self) -> &I {
        &self.clients
    }

    fn cluster(&self) -> &C {
        &self.cluster
    }

    fn network_log(&self) -> &N {
        &self.network_log
    }

    fn wanted_log(&self) -> &W {
        &self.wanted_log
    }
}

impl<F, A, C> TestFlavour<F, A, C> {
    /// Makes a flavour with these plugs, which serves every client and counts nothing.
    pub(crate) fn with_plugs(admission: A, cluster: C) -> Self {
        Self::with_logs(admission, cluster, Unlogged, WantedUnlogged)
    }
}

impl<F, A, C, N, W> TestFlavour<F, A, C, N, W> {
    /// Makes a flavour with these plugs, which serves every client.
    pub(crate) fn with_logs(admission: A, cluster: C, network_log: N, wanted_log: W) -> Self {
        Self { admission, clients: AnyClient, cluster, network_log, wanted_log, families: PhantomData }
    }

    /// Changes which clients it serves.
    pub(crate) fn with_clients<I>(self, clients: I) -> TestFlavour<F, A, C, N, W, I> {
        let Self { admission, cluster, network_log, wanted_log, families, clients: AnyClient } = self;
        TestFlavour { admission, clients, cluster, network_log, wanted_log, families }
    }
}

/// The tracker of a test: alone, unlogged, and open unless the test says otherwise.
pub(crate) type TestTracker<F = Ipv4Only, A = Open, C = Standalone> = Tracker<TestFlavour<F, A, C>>;

impl<F: AddressFamilies, A: Admission, C: Cluster> TestTracker<F, A, C> {
    /// Makes an empty tracker with these plugs. Its key is the same in every test.
    pub(crate) fn with_plugs(capacity: Capacity, now: Minute, admission: A, cluster: C) -> Self {
        Self::new(key(), capacity, Intervals::default(), now, TestFlavour::with_plugs(admission, cluster))
    }
}

/// Tells whether a type implements `Debug`, by which secrets would get into logs.
#[cfg(test)]
macro_rules! is_printable {
    ($type:ty) => {{
        struct Probe<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "a type has the one or the other")]
        trait Otherwise {
            const PRINTS: bool = false;
        }
        impl<T> Otherwise for Probe<T> {}
        // Where it applies, it is preferred to the trait's.
        #[allow(dead_code, reason = "a type has the one or the other")]
        impl<T: std::fmt::Debug> Probe<T> {
            const PRINTS: bool = true;
        }
        Probe::<$type>::PRINTS
    }};
}
#[cfg(test)]
pub(crate) use is_printable;

/// Returns the key of every tracker of a test.
pub(crate) fn key() -> HashKey {
    HashKey::from_bytes(&std::array::from_fn(|i| (i * 53 + 7) as u8))
}

impl<F: AddressFamilies> TestTracker<F> {
    /// Makes an empty tracker in which every switch is off.
    pub(crate) fn plain(capacity: Capacity, now: Minute) -> Self {
        Self::with_plugs(capacity, now, Open, Standalone)
    }

    /// Makes an empty tracker of any capacity, in which every switch is off, with these intervals.
    pub(crate) fn with_intervals(intervals: Intervals, now: Minute) -> Self {
        Self::with_address_limit(intervals, 0, now)
    }

    /// Makes an empty tracker of any capacity, in which every switch is off, with these intervals and so many peers of
    /// one address in a swarm.
    pub(crate) fn with_address_limit(intervals: Intervals, peers_per_address: u32, now: Minute) -> Self {
        let capacity = Capacity { peers_per_address, ..Capacity::NONE };
        Self::new(key(), capacity, intervals, now, TestFlavour::with_plugs(Open, Standalone))
    }
}

/// IPv6 peers only.
pub(crate) struct Ipv6Only;

impl AddressFamilies for Ipv6Only {
    type Peers = Swarm<PeerV6>;

    const IPV4: bool = false;
    const IPV6: bool = true;
}

/// Serves every torrent but [`THAT_ONE`].
pub(crate) struct NotThatOne;

/// The torrent that [`NotThatOne`] refuses.
pub(crate) const THAT_ONE: InfoHash = InfoHash([b'!'; 20]);

impl Admission for NotThatOne {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        *info_hash != THAT_ONE
    }
}

/// Serves every torrent but [`THAT_ONE`], which it refuses with these terms.
pub(crate) struct RefusesWith(pub(crate) RefusalTerms);

impl Admission for RefusesWith {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        NotThatOne.admits(info_hash)
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        Some(self.0)
    }
}

/// Remembers how many peers were asked for.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<usize>>>);

impl Asked {
    /// Returns what was asked for since the last call.
    pub(crate) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl WantedLog for Asked {
    type OfWorker = Self;

    fn for_worker(&self) -> Self {
        self.clone()
    }

    fn page(&self) -> Option<String> {
        Some(format!("{:?}", self.take()))
    }
}

impl WorkerWanted for Asked {
    fn count(&self, wanted: usize) {
        self.0.lock().unwrap().push(wanted);
    }
}

/// Admits everything, and has the status of a list that is read from a file.
#[allow(dead_code, reason = "only some builds have a page that shows it")]
pub(crate) struct Listed;

impl Admission for Listed {
    const RESTRICTS: bool = true;

    fn admits(&self, _: &InfoHash) -> bool {
        true
    }

    fn list(&self) -> Option<ListStatus> {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        Some(ListStatus { torrents: 12, since, failures: 3 })
    }
}

/// Serves every client but those whose peer ids begin with `-XX`, and those that have none.
pub(crate) struct NotXx(pub(crate) Option<RefusalTerms>);

impl Clients for NotXx {
    const RESTRICTS: bool = true;

    fn serves(&self, peer_id: &[u8]) -> bool {
        !peer_id.is_empty() && !peer_id.starts_with(b"-XX")
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        self.0
    }
}

/// A transport that remembers the changes it takes.
#[derive(Default)]
pub(crate) struct Recorder {
    name: &'static str,
    taken: Mutex<Vec<Change>>,
    full: AtomicBool,
}

impl Cluster for Recorder {
    const LISTENS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(self.name)
    }

    fn publish(&self, change: &Change) -> bool {
        let takes = !self.full.load(Ordering::Relaxed);
        if takes {
            self.taken.lock().unwrap().push(*change);
        }
        takes
    }

    fn transports(&self) -> Vec<TransportStatus> {
        let counts = TransportCounts::default();
        vec![TransportStatus {
            name: self.name,
            title: "A recorder",
            counts,
            lag: Duration::ZERO,
            members: 0,
            connected: None,
        }]
    }
}

impl Recorder {
    /// Makes a transport of this name that has taken nothing yet.
    pub(crate) fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Returns what it has taken since the last call.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    /// Makes it take nothing from now on, or everything again.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

/// A transport that takes everything and has this status.
pub(crate) struct Counted(pub(crate) TransportStatus);

impl Cluster for Counted {
    const LISTENS: bool = true;

    fn knows(&self, _: Origin) -> bool {
        false
    }

    fn publish(&self, _: &Change) -> bool {
        true
    }

    fn transports(&self) -> Vec<TransportStatus> {
        vec![self.0]
    }
}
