//! Two multicast networks with three trackers each, of which two or all are bridges, and a tracker that is on the other
//! transport alone. Of either network one bridge at a time may die, with what it has not sent, and start again: with
//! nothing, or with a copy of what the other bridge knows. Held against a naive model of what the clients have done.

mod node;
mod simulation;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};

use self::node::{Known, NATS, SYNC, TORRENTS, known};
use self::simulation::{BRIDGES, HOMES, Simulation};
use crate::tracker::{Event, Minute};

/// How many clients announce themselves, and whether something happens to a bridge of which network.
type Step = (u8, bool, usize);

/// What the clients have done.
#[derive(Default)]
struct Model {
    there: Known,
    /// When each has stopped.
    stopped: BTreeMap<(u8, u8), Minute>,
    completed: BTreeSet<(u8, u8)>,
    /// Who has completed a download within [`MIN_PAUSE`] of a stop, and not stopped since. A bridge to which the stop
    /// has come by multicast last, which dates it later, takes that for a late copy of a download before the stop: it
    /// counts it, and may not know the client until it is told again.
    hidden: BTreeSet<(u8, u8)>,
    /// In which second a peer has left that had completed its download, and the torrent.
    left: Vec<(u32, u8)>,
}

impl Model {
    /// A client announces itself to the tracker that it always does.
    fn announce(&mut self, simulation: &Simulation, pause: u32, rng: &mut Rng) {
        let (peer, torrent, minute) = (rng.u8(..60), rng.u8(..TORRENTS), simulation.minute());
        let home = simulation.places[HOMES[usize::from(peer) % HOMES.len()]].node.as_ref().unwrap();
        let name = (torrent, peer);
        // What a bridge tells comes on two ways, of which multicast has no ages.
        let pause = if home.wires().len() > 1 { MIN_PAUSE.max(pause) } else { pause };
        let has_stopped_within = |minutes| self.stopped.get(&name).is_some_and(|at| minute.since(*at) < minutes);
        if has_stopped_within(pause) {
            return;
        }
        let has_just_stopped = has_stopped_within(MIN_PAUSE);
        let (seeder, event) = match rng.u8(..4) {
            0 if self.there.contains_key(&name) => (false, Event::Stopped),
            1 if self.completed.insert(name) => (true, Event::Completed),
            _ => (self.completed.contains(&name), Event::Update),
        };
        if event == Event::Completed && has_just_stopped {
            self.hidden.insert(name);
        }
        if event == Event::Stopped {
            self.hidden.remove(&name);
            self.there.remove(&name);
            self.stopped.insert(name, minute);
            self.left.extend(self.completed.contains(&name).then_some((simulation.seconds, torrent)));
        } else {
            self.there.insert(name, seeder);
        }
        home.announce(peer, torrent, seeder, event, minute);
        if event == Event::Completed && rng.u8(..3) == 0 {
            // What comes on one of two ways after the minute is over may be taken for something new.
            self.there.remove(&name);
            self.stopped.insert(name, minute);
            self.left.push((simulation.seconds, torrent));
            home.announce(peer, torrent, true, Event::Stopped, minute);
        }
    }

    fn check(&self, simulation: &Simulation) -> Result<(), TestCaseError> {
        for (at, place) in simulation.places.iter().enumerate() {
            let Some(node) = &place.node else { continue };
            let swarms = node.swarms(simulation.minute());
            let known = known(&swarms);
            // Who started with nothing knows nothing wrong.
            let missing = self.there.keys().filter(|_| place.is_complete);
            let may_hide = |name: &(u8, u8)| self.hidden.contains(name) && !known.contains_key(name);
            let differs = |name: &&(u8, u8)| known.get(*name) != self.there.get(*name) && !may_hide(name);
            let differing: BTreeSet<_> = known.keys().chain(missing).filter(differs).collect();
            prop_assert!(differing.is_empty(), "at {}: {:?}", at, differing);
            for (torrent, (_, counted)) in swarms {
                let expected = self.completed.iter().filter(|(of, _)| *of == torrent).count() as u32;
                // A copy does not say who has left: a bridge that hears again afterwards that such a peer has completed
                // and left, as the other one has held it, counts the download once more, for itself and for those that
                // take a copy of it.
                let has_left = |(second, of): &&(u32, u8)| *of == torrent && *second <= place.started;
                let most = expected + self.left.iter().filter(has_left).count() as u32;
                let least = if place.is_complete { expected } else { 0 };
                prop_assert!((least..=most).contains(&counted), "at {}: {} of {}", at, counted, expected);
            }
        }
        Ok(())
    }
}

/// Minutes after which a client that starts again has surely stopped before, however the copies of both are dated.
const MIN_PAUSE: u32 = 3;

/// After how many seconds everybody has heard everything.
const MAX_LATE: u32 = 30;

/// Who has stopped does not start again for so many minutes, by the clock.
fn run(
    seed: u64,
    steps: &[Step],
    pause: u32,
    touch: impl Fn(&mut Simulation, [usize; 2], &mut Rng),
) -> Result<(), TestCaseError> {
    let (mut rng, mut simulation, mut model) = (Rng::with_seed(seed), Simulation::new(seed), Model::default());
    // What a bridge has not heard it cannot forward: it begins when all are there.
    (0..12).for_each(|_| simulation.tick(&mut rng, false));
    for (announces, touches, network) in steps {
        (0..*announces).for_each(|_| model.announce(&simulation, pause, &mut rng));
        (0..rng.u8(1..4)).for_each(|_| simulation.tick(&mut rng, false));
        if let Some(bridges) = BRIDGES.get(*network).filter(|_| *touches) {
            touch(&mut simulation, *bridges, &mut rng);
        }
    }
    (0..MAX_LATE).for_each(|_| simulation.tick(&mut rng, true));
    model.check(&simulation)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..6_u8, any::<bool>(), 0..3_usize), 30..200)
}

/// Its client has announced itself, or left, a moment before. A tracker that does not know it yet tells what it knows.
#[test]
fn what_a_bridge_has_told_on_one_way_when_it_dies_comes_on_the_other_too() {
    let both = |at| [(at, SYNC, false), (at, SYNC, true), (at, NATS, false), (at, NATS, true)];
    for (at, name, leaves) in [1, 2].into_iter().flat_map(both) {
        let (mut rng, mut simulation) = (Rng::with_seed(1), Simulation::new(1));
        let mut model = Model::default();
        (0..12).for_each(|_| simulation.tick(&mut rng, true));
        let announce = |simulation: &Simulation, event| {
            simulation.places[at].node.as_ref().unwrap().announce(7, 0, false, event, simulation.minute());
        };
        announce(&simulation, Event::Update);
        if leaves {
            (0..12).for_each(|_| simulation.tick(&mut rng, true));
            announce(&simulation, Event::Stopped);
        } else {
            model.there.insert((0, 7), false);
        }
        simulation.tell_halfway(at, name);
        simulation.walk(HOMES[2]);
        simulation.places[at].node = None;
        (0..MAX_LATE).for_each(|_| simulation.tick(&mut rng, true));
        model.check(&simulation).unwrap_or_else(|error| panic!("{at} {name} {leaves}: {error}"));
    }
}

/// The same runs each time. Of some thousands that are drawn anew (`PROPTEST_RNG_SEED=$RANDOM PROPTEST_CASES=2000`) one
/// may still find what nobody has thought of, when several things come together within two minutes: that is for whoever
/// looks for it, and not for whoever has changed something else.
const RUNS: RngSeed = RngSeed::Fixed(16);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        rng_seed: RUNS,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_trackers_agree_although_bridges_die(seed: u64, steps in steps()) {
        run(seed, &steps, 0, Simulation::kill)?;
    }

    /// A client that has stopped starts again in the third minute after that at the earliest: multicast has no ages, so
    /// a stop that is held comes as one of the next minute or the one after; and within a minute the way counts, but a
    /// bridge that has just started has heard of the stop on one of two ways only.
    #[test]
    fn all_trackers_agree_although_bridges_die_and_start_again(seed: u64, steps in steps()) {
        run(seed, &steps, MIN_PAUSE, Simulation::touch)?;
    }
}
