//! Two multicast networks with two bridges each, and a tracker that is on the other transport alone. Of either
//! network one bridge may die, and what it has not sent. Held against a naive model of what the clients have done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;
use proptest::prelude::*;

use super::counts::TransportCounters;
use super::election::{Election, MAX_SILENCE};
use super::inbox;
use super::outbox::{Codec, Outbox, RELEASE_DELAY};
use crate::tracker::store::Cursor;
use crate::tracker::testing::TestTracker;
use crate::tracker::{
    AnnounceRequest, Capacity, Change, Cluster, Event, Flavour as _, InfoHash, Ipv4Only, Minute, Open, Origin,
    PeerRequest, TransportCounts, TransportStatus,
};

const START: Minute = Minute(29_000_191);
const SYNC: &str = "sync";
const NATS: &str = "nats";

/// A member of a multicast network, or of the other transport.
struct Wire {
    name: &'static str,
    outbox: Outbox<Plain>,
    /// Of a bridge, on multicast.
    election: Option<Mutex<(Election, bool)>>,
    id: u32,
    clock: Mutex<Instant>,
}

/// Writes changes as they are: torrent, peer, flags, and the minute.
struct Plain;

const RECORD_LEN: usize = 7;

impl Codec for Plain {
    type Kind = ();
    const KINDS: &'static [()] = &[()];
    const MAX_WAITING: usize = 256;

    fn kind(_: &Change) {}

    fn begin(&self, (): ()) -> Vec<u8> {
        Vec::new()
    }

    fn append(&self, packet: &mut Vec<u8>, change: &Change) {
        let flags = u8::from(change.seeder) | u8::from(change.completed) << 1 | u8::from(change.stopped) << 2;
        packet.extend([change.info_hash.0[0], change.endpoint.port() as u8, flags]);
        packet.extend(change.seen.0.to_be_bytes());
    }

    fn is_full(packet: &[u8], (): ()) -> bool {
        packet.len() >= 50 * RECORD_LEN
    }
}

/// Reads a packet. Multicast has no ages.
fn read(packet: &[u8], name: &'static str, now: Minute) -> Vec<Change> {
    let read = |record: &[u8]| {
        let seen = Minute(u32::from_be_bytes(record[3..].try_into().unwrap()));
        Change {
            info_hash: InfoHash([record[0]; 20]),
            endpoint: endpoint(record[1]),
            seeder: record[2] & 1 != 0,
            completed: record[2] & 2 != 0,
            stopped: record[2] & 4 != 0,
            seen: if name == NATS { seen } else { now },
            origin: Origin::Transport { name, member: 0 },
        }
    };
    packet.chunks_exact(RECORD_LEN).map(read).collect()
}

fn endpoint(peer: u8) -> SocketAddr {
    ([192, 0, 2, 1], u16::from(peer) + 256 * 4).into()
}

impl Wire {
    fn new(name: &'static str, id: Option<u32>, now: Instant) -> Self {
        let outbox = Outbox::new(Plain, Duration::from_secs(15), now);
        let election = id.map(|id| Mutex::new((Election::new(id, now), false)));
        Self { name, outbox, election, id: id.unwrap_or_default(), clock: Mutex::new(now) }
    }
}

impl Cluster for Wire {
    const LISTENS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(self.name)
    }

    fn publish(&self, change: &Change) -> bool {
        self.outbox.add(change, *self.clock.lock().unwrap())
    }

    fn forwards(&self) -> bool {
        self.election.as_ref().is_none_or(|election| election.lock().unwrap().1)
    }

    fn hold(&self, change: &Change) -> bool {
        self.outbox.hold(change, *self.clock.lock().unwrap())
    }

    fn hear(&self, changes: &mut Vec<Change>) {
        self.outbox.hear(changes);
    }

    fn transports(&self) -> Vec<TransportStatus> {
        let (counts, lag) = (TransportCounts::default(), Duration::ZERO);
        vec![TransportStatus { name: self.name, title: "A wire", counts, lag, connected: None }]
    }
}

/// A tracker, whatever it is on.
trait Node {
    fn wires(&self) -> Vec<&Wire>;
    fn forwards(&self) -> bool;
    fn announce(&self, peer: u8, torrent: u8, seeder: bool, event: Event, now: Minute);
    fn absorb(&self, changes: &[Change], now: Minute);
    fn known(&self) -> Known;
    fn downloads(&self) -> BTreeMap<u8, u32>;
}

/// Whether each peer of each torrent is a seeder.
type Known = BTreeMap<(u8, u8), bool>;

const TORRENTS: u8 = 3;

trait Wires: Cluster {
    fn list(&self) -> Vec<&Wire>;
}

impl Wires for Wire {
    fn list(&self) -> Vec<&Wire> {
        vec![self]
    }
}

impl Wires for (Wire, Wire) {
    fn list(&self) -> Vec<&Wire> {
        vec![&self.0, &self.1]
    }
}

impl<C: Wires> Node for TestTracker<Ipv4Only, Open, C> {
    fn wires(&self) -> Vec<&Wire> {
        self.flavour().cluster().list()
    }

    fn forwards(&self) -> bool {
        self.flavour().cluster().forwards()
    }

    fn announce(&self, peer: u8, torrent: u8, seeder: bool, event: Event, now: Minute) {
        let (info_hash, endpoint) = (InfoHash([torrent; 20]), endpoint(peer));
        let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
        TestTracker::announce(self, &announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }

    fn absorb(&self, changes: &[Change], now: Minute) {
        let counters = TransportCounters::default();
        inbox::absorb(self, changes, changes.len(), now, &counters, |_, _| {});
        assert_eq!(counters.counts().records_refused, 0);
    }

    fn known(&self) -> Known {
        let (mut known, mut cursor) = (Known::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.store().walk_peers(from, &mut 1000, |info_hash, endpoint, state| {
                let name = (info_hash.0[0], endpoint.port() as u8);
                known.insert(name, state.seeder());
            });
        }
        known
    }

    fn downloads(&self) -> BTreeMap<u8, u32> {
        let of = |torrent: u8| Some((torrent, self.scrape(&InfoHash([torrent; 20]))?.downloaded));
        (0..TORRENTS).filter_map(of).filter(|(_, downloaded)| *downloaded > 0).collect()
    }
}

/// A place for a tracker: which multicast network it is on, and whether it is on the other transport.
struct Place {
    network: Option<u8>,
    is_on_nats: bool,
    node: Option<Box<dyn Node>>,
}

struct Simulation {
    places: Vec<Place>,
    start: Instant,
    seconds: u32,
    ids: Rng,
}

/// Trackers that never die: one in each network, and the one beyond.
const HOMES: [usize; 3] = [0, 3, 6];
/// The bridges of each network.
const BRIDGES: [[usize; 2]; 2] = [[1, 2], [4, 5]];

impl Simulation {
    fn new(seed: u64) -> Self {
        let place = |network, is_on_nats| Place { network, is_on_nats, node: None };
        let network = |n| [place(Some(n), false), place(Some(n), true), place(Some(n), true)];
        let places = [network(0).into_iter().collect(), network(1).into_iter().collect(), vec![place(None, true)]];
        let places = places.into_iter().flat_map(|places: Vec<Place>| places).collect();
        let mut simulation = Self { places, start: Instant::now(), seconds: 0, ids: Rng::with_seed(seed) };
        (0..simulation.places.len()).for_each(|at| simulation.start(at));
        simulation
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds.into())
    }

    fn minute(&self) -> Minute {
        START + self.seconds / 60
    }

    /// Starts a tracker.
    fn start(&mut self, at: usize) {
        let (now, minute, id) = (self.now(), self.minute(), self.ids.u32(..));
        let Place { network, is_on_nats, .. } = self.places[at];
        let bridge = || (Wire::new(SYNC, Some(id), now), Wire::new(NATS, None, now));
        let node: Box<dyn Node> = match (network, is_on_nats) {
            (Some(_), true) => Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, bridge())),
            (Some(_), false) => {
                Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, Wire::new(SYNC, None, now)))
            }
            (None, _) => Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, Wire::new(NATS, None, now))),
        };
        self.places[at].node = Some(node);
    }

    fn nodes(&self) -> impl Iterator<Item = (&Place, &dyn Node)> {
        self.places.iter().filter_map(|place| Some((place, place.node.as_deref()?)))
    }

    /// One second goes by: bridges decide who forwards, and some or all of what is to be told arrives.
    fn tick(&mut self, rng: &mut Rng, tells_all: bool) {
        self.seconds += 1;
        let (now, minute) = (self.now(), self.minute());
        let mut said = Vec::new();
        for (place, node) in self.nodes() {
            for wire in node.wires() {
                *wire.clock.lock().unwrap() = now;
                if let Some(election) = &wire.election {
                    let (election, forwards) = &mut *election.lock().unwrap();
                    *forwards = election.forwards(true, now);
                    said.extend(election.next_keep_alive(true, now).map(|is_able| (place.network, wire, is_able)));
                }
            }
            let forwards = node.forwards();
            node.wires().iter().for_each(|wire| wire.outbox.set_forwarding(forwards, now));
        }
        for (network, sender, is_able) in said {
            for (_, node) in self.nodes().filter(|(place, _)| place.network == network) {
                let wire = node.wires()[0];
                if let Some(election) = wire.election.as_ref().filter(|_| !std::ptr::eq(wire, sender)) {
                    election.lock().unwrap().0.hear(sender.id, is_able, now);
                }
            }
        }
        for (place, node) in self.nodes() {
            for wire in node.wires() {
                // What a bridge forwards is due within a second; what clients announce may wait for longer.
                let is_bridge = place.network.is_some() && place.is_on_nats;
                if !(is_bridge || tells_all || rng.u8(..4) == 0) {
                    continue;
                }
                while let Some(packet) = wire.outbox.take_any() {
                    let changes = read(&packet.bytes, wire.name, minute);
                    for (other, receiver) in self.nodes().filter(|(_, receiver)| !is_same(*receiver, node)) {
                        let hears = if wire.name == NATS { other.is_on_nats } else { other.network == place.network };
                        if hears {
                            receiver.absorb(&changes, minute);
                        }
                    }
                }
            }
        }
    }
}

fn is_same(one: &dyn Node, other: &dyn Node) -> bool {
    std::ptr::addr_eq(one, other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_trackers_agree_although_bridges_die(
        seed: u64,
        steps in prop::collection::vec((0..6_u8, any::<bool>(), 0..3_usize), 30..200),
    ) {
        let mut rng = Rng::with_seed(seed);
        let mut simulation = Simulation::new(seed);
        let (mut there, mut downloads, mut completed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        // What a bridge has not heard it cannot forward: it begins when all are there.
        (0..10).for_each(|_| simulation.tick(&mut rng, false));
        for (events, touches, network) in steps {
            for _ in 0..events {
                // Each client announces itself to one tracker.
                let (peer, torrent) = (rng.u8(..60), rng.u8(..TORRENTS));
                let home = simulation.places[HOMES[usize::from(peer) % HOMES.len()]].node.as_ref().unwrap();
                let name = (torrent, peer);
                let minute = simulation.minute();
                match rng.u8(..4) {
                    0 if there.remove(&name).is_some() => home.announce(peer, torrent, false, Event::Stopped, minute),
                    1 if completed.insert(name) => {
                        *downloads.entry(torrent).or_insert(0) += 1;
                        there.insert(name, true);
                        home.announce(peer, torrent, true, Event::Completed, minute);
                    }
                    _ => {
                        there.insert(name, completed.contains(&name));
                        home.announce(peer, torrent, completed.contains(&name), Event::Update, minute);
                    }
                }
            }
            simulation.tick(&mut rng, false);
            // A bridge dies when the other one has listened for long enough to take over.
            let may_die = touches && simulation.seconds > (MAX_SILENCE + RELEASE_DELAY).as_secs() as u32;
            if let Some([one, other]) = BRIDGES.get(network).filter(|_| may_die) {
                if [one, other].iter().all(|at| simulation.places[**at].node.is_some()) {
                    simulation.places[if rng.bool() { *one } else { *other }].node = None;
                }
            }
        }
        (0..30).for_each(|_| simulation.tick(&mut rng, true));
        for (at, place) in simulation.places.iter().enumerate() {
            let Some(node) = &place.node else { continue };
            let known = node.known();
            let differs = |name: &&(u8, u8)| known.get(*name) != there.get(*name);
            let differing: BTreeSet<_> = known.keys().chain(there.keys()).filter(differs).collect();
            prop_assert!(differing.is_empty(), "at {}: {:?}", at, differing);
            prop_assert_eq!(&node.downloads(), &downloads, "at {}", at);
        }
    }
}
