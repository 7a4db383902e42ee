//! What unit tests build trackers from: one flavour whose plug points are parameters, and plugs that are easy to see
//! through.

use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::families::AddressFamilies;
use super::flavour::TransportStatus;
use super::flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Open, Origin, Standalone, Unlogged};
use super::keyed_hash::HashKey;
use super::peer::PeerV6;
use super::swarm::Swarm;
use super::{Capacity, InfoHash, Ipv4Only, Minute, Tracker};

/// Every plug point is what its parameter says; without parameters, every switch is off.
pub(crate) struct TestFlavour<F = Ipv4Only, A = Open, C = Standalone, N = Unlogged> {
    admission: A,
    cluster: C,
    network_log: N,
    families: PhantomData<F>,
}

impl<F: AddressFamilies, A: Admission, C: Cluster, N: NetworkLog> Flavour for TestFlavour<F, A, C, N> {
    type Families = F;
    type Admission = A;
    type Cluster = C;
    type NetworkLog = N;

    fn admission(&self) -> &A {
        &self.admission
    }

    fn cluster(&self) -> &C {
        &self.cluster
    }

    fn network_log(&self) -> &N {
        &self.network_log
    }
}

impl<F, A, C> TestFlavour<F, A, C> {
    /// With these plugs, and nobody who counts networks.
    pub(crate) fn with_plugs(admission: A, cluster: C) -> Self {
        Self { admission, cluster, network_log: Unlogged, families: PhantomData }
    }
}

/// The tracker of a test: alone, unlogged, and open unless the test says otherwise.
pub(crate) type TestTracker<F = Ipv4Only, A = Open, C = Standalone> = Tracker<TestFlavour<F, A, C>>;

impl<F: AddressFamilies, A: Admission, C: Cluster> TestTracker<F, A, C> {
    /// An empty tracker with these plugs. Its key is the same in every test.
    pub(crate) fn with_plugs(capacity: Capacity, now: Minute, admission: A, cluster: C) -> Self {
        Self::new(key(), capacity, now, TestFlavour::with_plugs(admission, cluster))
    }
}

/// The key of every tracker of a test.
pub(crate) fn key() -> HashKey {
    HashKey::from_bytes(&std::array::from_fn(|i| (i * 53 + 7) as u8))
}

impl<F: AddressFamilies> TestTracker<F> {
    /// An empty tracker in which every switch is off.
    pub(crate) fn plain(capacity: Capacity, now: Minute) -> Self {
        Self::with_plugs(capacity, now, Open, Standalone)
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

/// A cluster that remembers what it is told.
#[derive(Default)]
pub(crate) struct Recorder {
    name: &'static str,
    told: Mutex<Vec<Change>>,
    full: AtomicBool,
}

impl Cluster for Recorder {
    const LISTENS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin == Origin::Transport(self.name)
    }

    fn publish(&self, change: &Change) -> bool {
        let takes = !self.full.load(Ordering::Relaxed);
        if takes {
            self.told.lock().unwrap().push(*change);
        }
        takes
    }
}

impl Recorder {
    /// A transport of this name that has been told nothing.
    pub(crate) fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// What it has taken since it was asked last.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// From now on it takes nothing, or takes everything again.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

/// A cluster that takes everything, and says that it has counted this.
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
