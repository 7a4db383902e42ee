//! Simulated trackers of two multicast networks and of the other transport.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::node::{NATS, NatsAlone, Node, START, SYNC, Wire, read, write_known};
use crate::cluster::election::LONG_LISTENING;
use crate::tracker::testing::TestTracker;
use crate::tracker::{Capacity, Minute, Open};

/// A place for a tracker: which multicast network it is on, and whether it is on the other transport.
pub(super) struct Place {
    network: Option<u8>,
    is_on_nats: bool,
    pub(super) node: Option<Box<dyn Node>>,
    /// The second in which the tracker started.
    pub(super) started: u32,
    /// It knows all that has been announced since the beginning.
    pub(super) is_complete: bool,
}

pub(super) struct Simulation {
    pub(super) places: Vec<Place>,
    start: Instant,
    pub(super) seconds: u32,
    ids: Rng,
}

/// Trackers that never die: one in each network, of which the first is a bridge, and the one beyond.
pub(super) const HOMES: [usize; 3] = [0, 3, 6];
/// The bridges of each network.
pub(super) const BRIDGES: [[usize; 2]; 2] = [[1, 2], [4, 5]];
/// A bridge may die when the other one has listened for so many seconds, so that it can take over.
const MIN_LISTENED: u32 = LONG_LISTENING.as_secs() as u32 + 1;

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let place = |network, is_on_nats| Place { network, is_on_nats, node: None, started: 0, is_complete: true };
        let network = |n, is_bridge| [place(Some(n), is_bridge), place(Some(n), true), place(Some(n), true)];
        let places = network(0, true).into_iter().chain(network(1, false)).chain([place(None, true)]).collect();
        let mut simulation = Self { places, start: Instant::now(), seconds: 0, ids: Rng::with_seed(seed) };
        (0..simulation.places.len()).for_each(|at| simulation.start(at));
        simulation
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds.into())
    }

    pub(super) fn minute(&self) -> Minute {
        START + self.seconds / 60
    }

    /// Starts a tracker.
    fn start(&mut self, at: usize) {
        let (now, minute, id) = (self.now(), self.minute(), self.ids.u32(1..));
        let Place { network, is_on_nats, .. } = self.places[at];
        let bridge = || (Wire::of_bridge(SYNC, id, now), Wire::of_bridge(NATS, id, now));
        let node: Box<dyn Node> = match (network, is_on_nats) {
            (Some(_), true) => Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, bridge())),
            (Some(_), false) => {
                Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, Wire::new(SYNC, id, now)))
            }
            (None, _) => {
                let alone = NatsAlone(Wire::new(NATS, 0, now));
                Box::new(TestTracker::with_plugs(Capacity::NONE, minute, Open, alone))
            }
        };
        self.places[at].node = Some(node);
        self.places[at].started = self.seconds;
    }

    /// Starts a bridge again that has died, with a copy of what a tracker knows that knows everything, or with nothing.
    fn start_again(&mut self, at: usize, donor: Option<usize>) {
        let copy = donor.and_then(|donor| Some(self.places[donor].node.as_ref()?.swarms(self.minute())));
        self.start(at);
        let (minute, Place { node, is_complete, .. }) = (self.minute(), &mut self.places[at]);
        *is_complete = copy.is_some();
        if let Some((node, copy)) = node.as_ref().zip(copy) {
            node.merge(&copy, minute);
        }
    }

    /// A bridge dies, or one that is dead starts again.
    pub(super) fn touch(&mut self, bridges: [usize; 2], rng: &mut Rng) {
        if let Some(dead) = bridges.into_iter().find(|at| self.places[*at].node.is_none()) {
            // The other bridge has heard what was told before on both transports. What is on its way to another donor
            // would be missed.
            let donor = bridges.into_iter().find(|at| *at != dead && self.places[*at].is_complete && rng.u8(..4) > 0);
            self.start_again(dead, donor);
        } else {
            self.kill(bridges, rng);
        }
    }

    /// One of the bridges of a network dies, if none has before.
    pub(super) fn kill(&mut self, bridges: [usize; 2], rng: &mut Rng) {
        let [dies, other] = if rng.bool() { bridges } else { [bridges[1], bridges[0]] };
        let has_listened = self.seconds >= self.places[other].started + MIN_LISTENED;
        if has_listened && self.places[other].node.is_some() {
            self.places[dies].node = None;
        }
    }

    fn nodes(&self) -> impl Iterator<Item = (&Place, &dyn Node)> {
        self.places.iter().filter_map(|place| Some((place, place.node.as_deref()?)))
    }

    /// One second goes by: bridges decide who forwards, and some or all of what is to be told arrives.
    pub(super) fn tick(&mut self, rng: &mut Rng, tells_all: bool) {
        self.seconds += 1;
        self.nodes().flat_map(|(_, node)| node.wires()).for_each(|wire| *wire.clock.lock().unwrap() = self.now());
        // Who has just started may hear changes before it has heard of anybody.
        let decides_first = rng.bool();
        if decides_first {
            self.decide();
        }
        self.deliver(rng, tells_all);
        if !decides_first {
            self.decide();
        }
    }

    fn decide(&self) {
        let now = self.now();
        let mut said = VecDeque::new();
        for (place, node) in self.nodes() {
            for wire in node.wires() {
                if let Some(election) = &wire.election {
                    let (election, forwards) = &mut *election.lock().unwrap();
                    *forwards = election.forwards(true, now);
                    said.extend(election.next_keep_alive(true, now).map(|is_able| (place.network, wire.id, is_able)));
                }
            }
            let forwards = node.forwards();
            node.wires().iter().for_each(|wire| wire.outbox.set_forwarding(forwards, now));
        }
        if self.seconds % 5 == 0 {
            // Who is on the other transport says that it is there, if it has nothing else to say.
            let wires = || self.nodes().flat_map(|(_, node)| node.wires()).filter(|wire| wire.name == NATS);
            for (wire, other) in wires().flat_map(|wire| wires().map(move |other| (wire, other.id))) {
                if wire.id != other {
                    wire.meet(other, None, now);
                }
            }
        }
        while let Some((network, sender, is_able)) = said.pop_front() {
            for (_, node) in self.nodes().filter(|(place, _)| place.network == network) {
                let wire = node.wires()[0];
                if wire.id != sender {
                    said.extend(wire.meet(sender, Some(is_able), now).map(|is_able| (network, wire.id, is_able)));
                }
            }
        }
    }

    fn deliver(&self, rng: &mut Rng, tells_all: bool) {
        let now = self.now();
        for (place, node) in self.nodes() {
            for wire in node.wires() {
                // What a bridge forwards is due within a second; what clients announce may wait for longer.
                let is_bridge = place.network.is_some() && place.is_on_nats;
                if !(is_bridge || tells_all || rng.u8(..4) == 0) {
                    continue;
                }
                let waits = is_bridge && wire.name == SYNC && !(node.forwards() || tells_all);
                let take = || if waits { wire.outbox.take_due(now) } else { wire.outbox.take_any() };
                while let Some(packet) = take() {
                    self.tell(place, node, wire, &packet.bytes);
                }
            }
        }
    }

    /// All who are on this wire of a tracker hear a packet.
    fn tell(&self, place: &Place, node: &dyn Node, wire: &Wire, packet: &[u8]) {
        let (now, minute) = (self.now(), self.minute());
        let changes = read(packet, wire, minute);
        for (other, receiver) in self.nodes().filter(|(_, receiver)| !is_same(*receiver, node)) {
            let hears = if wire.name == NATS { other.is_on_nats } else { other.network == place.network };
            if hears {
                let wires = receiver.wires();
                wires.iter().filter(|by| by.name == wire.name).for_each(|by| _ = by.meet(wire.id, None, now));
                receiver.absorb(&changes, minute);
            }
        }
    }

    /// A tracker tells what it has to tell on the wire of this name alone.
    pub(super) fn tell_halfway(&self, at: usize, name: &str) {
        let place = &self.places[at];
        let node = place.node.as_deref().unwrap();
        for wire in node.wires().into_iter().filter(|wire| wire.name == name) {
            while let Some(packet) = wire.outbox.take_any() {
                self.tell(place, node, wire, &packet.bytes);
            }
        }
    }

    /// A tracker on the other transport tells anew whom it knows: as a minute older than they are there.
    pub(super) fn walk(&self, at: usize) {
        let place = &self.places[at];
        let node = place.node.as_deref().unwrap();
        let wire = node.wires().into_iter().find(|wire| wire.name == NATS).unwrap();
        self.tell(place, node, wire, &write_known(&node.swarms(self.minute()), self.minute()));
    }
}

fn is_same(one: &dyn Node, other: &dyn Node) -> bool {
    std::ptr::addr_eq(one, other)
}
