//! Trackers with clocks of their own, the network between them, and what all of them should know.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::*;
use crate::stats::{Counters, WorkerCounters};
use crate::switches::sync_nats::batch::NAME;
use crate::switches::sync_nats::member::Shared;
use crate::tracker::store::Cursor;
use crate::tracker::testing::{TestFlavour, TestTracker};
use crate::tracker::{
    AnnounceRequest, Capacity, Change, Cluster, Event, InfoHash, Ipv4Only, Open, Origin, PeerRequest, Second,
    TransportCounts, TransportStatus,
};

const TORRENTS: u8 = 6;
const PEERS: u8 = 40;
/// Seconds between two announces of a peer: they are of different minutes.
const APART: u64 = 180;
const STEP: Duration = Duration::from_millis(50);
const STEPS_A_SECOND: u64 = 20;
/// Restarts of a world at most.
const SPARE: usize = 4;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// How many messages do not reach a tracker, as they get lost between servers.
    pub(super) loss: f64,
    /// How often, in a second, a tracker loses its connection.
    pub(super) cuts: f64,
    /// How often, in a second, a connection dies, which is noticed some seconds later.
    pub(super) silent_cuts: f64,
    /// Half of the trackers do not hear the other half.
    pub(super) partition: bool,
    /// There is no server.
    pub(super) dark: bool,
    /// Nobody is permitted to hear himself.
    pub(super) no_echo: bool,
    /// Peers stop.
    pub(super) stops: bool,
}

impl Faults {
    pub(super) const NONE: Self =
        Self { loss: 0.0, cuts: 0.0, silent_cuts: 0.0, partition: false, dark: false, no_echo: false, stops: true };
}

type Flavoured = TestFlavour<Ipv4Only, Open, Plug>;

/// A transport that puts changes into the outbox at the time of the world.
struct Plug {
    shared: Arc<Shared>,
    now: Arc<Mutex<Instant>>,
}

impl Cluster for Plug {
    const LISTENS: bool = true;
    const REMEMBERS_STOPS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(NAME)
    }

    fn publish(&self, change: &Change) -> bool {
        self.shared.publish(change, *self.now.lock().unwrap())
    }

    fn transports(&self) -> Vec<TransportStatus> {
        vec![self.shared.status(Instant::now())]
    }
}

/// A tracker without its part in the exchange.
struct Site {
    shared: Arc<Shared>,
    tracker: TestTracker<Ipv4Only, Open, Plug>,
    counters: Arc<WorkerCounters>,
    /// How far its clock is ahead, in seconds.
    ahead: u64,
}

/// A place where a tracker runs: one after the other.
struct Place<'a> {
    site: &'a Site,
    machine: Machine<'a, Flavoured>,
    connection: Option<u64>,
    connections: u64,
    /// It has a connection by which nothing goes any more.
    is_dead: bool,
    /// The second in which a cut is over.
    dark_until: u64,
    heard: VecDeque<(Topic, Vec<u8>)>,
    /// Whether it has started again, and so has not counted what it did not see.
    is_new: bool,
}

/// A client, as it should be known everywhere.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    home: usize,
    is_there: bool,
    seeder: bool,
    announced: Option<u64>,
}

pub(super) struct World<'a> {
    places: Vec<Place<'a>>,
    spare: std::slice::Iter<'a, Site>,
    clients: BTreeMap<(u8, u8), Client>,
    downloads: BTreeMap<u8, u32>,
    rng: Rng,
    now: Arc<Mutex<Instant>>,
    start: Instant,
    step: u64,
}

impl World<'_> {
    /// Makes a world of so many trackers, and calls `live` with it.
    pub(super) fn with(places: usize, seed: u64, live: impl FnOnce(&mut World<'_>)) {
        let start = Instant::now();
        let now = Arc::new(Mutex::new(start));
        let mut rng = Rng::with_seed(seed);
        let counters = Counters::default();
        let sites: Vec<_> = (0..places + SPARE)
            .map(|n| {
                let shared = Arc::new(Shared::new("test".into(), rng.u64(..), start));
                let plug = Plug { shared: Arc::clone(&shared), now: Arc::clone(&now) };
                // Their clocks differ by up to an hour and a half, and in when a minute begins.
                let ahead = if n == 0 { 0 } else { rng.u64(0..5400) };
                let minute = Minute(29_000_000 + u32::try_from(ahead / 60).unwrap());
                let tracker = TestTracker::with_plugs(Capacity::NONE, minute, Open, plug);
                Site { shared, tracker, counters: counters.for_worker(), ahead }
            })
            .collect();
        let mut spare = sites.iter();
        let places = spare.by_ref().take(places).map(Place::new).collect();
        let (clients, downloads) = (BTreeMap::new(), BTreeMap::new());
        live(&mut World { places, spare, clients, downloads, rng, now, start, step: 0 });
    }

    /// Has each keep so many batches at most.
    pub(super) fn keep_batches(&mut self, batches: usize) {
        self.places.iter_mut().for_each(|place| place.machine.journal = Journal::with_room(1 << 20, batches));
    }

    /// Has each come to the server in its second.
    pub(super) fn come_late(&mut self, seconds: &[u64]) {
        for (place, second) in self.places.iter_mut().zip(seconds) {
            place.connection = None;
            place.dark_until = *second;
        }
    }

    /// Lets so many seconds pass, in which clients announce themselves.
    pub(super) fn run(&mut self, seconds: u64, faults: &Faults) {
        for step in 0..seconds * STEPS_A_SECOND {
            if step % 4 == 0 {
                self.announce(faults);
            }
            self.live(faults);
        }
    }

    /// Lets so many seconds pass, in which nothing happens.
    pub(super) fn pause(&mut self, seconds: u64) {
        (0..seconds * STEPS_A_SECOND).for_each(|_| self.live(&Faults::NONE));
    }

    /// Returns what each has counted of it.
    pub(super) fn counted(&self, what: impl Fn(TransportCounts) -> u64) -> Vec<u64> {
        self.places.iter().map(|place| what(place.site.shared.counters.counts())).collect()
    }

    /// Ends a tracker in order, and starts another in its place, which another gives all that it knows.
    pub(super) fn restart(&mut self, at: usize) {
        let now = self.now(at);
        let mut out = Vec::new();
        let connection = self.places[at].connection;
        self.places[at].machine.finish(connection, now, &mut out);
        self.carry(at, out, &Faults::NONE);
        self.pause(30);
        let next = Place::new(self.spare.next().unwrap());
        let ended = std::mem::replace(&mut self.places[at], next);
        self.places[at].is_new = true;
        self.pause(1);
        let donor = (at + 1) % self.places.len();
        let changes = self.places[donor].changes(self.now(donor).minute, self.now(at).minute);
        let minute = self.now(at).minute;
        self.places[at].site.tracker.absorb_group(&changes, minute, |_, outcome| _ = outcome.unwrap());
        assert_ne!(ended.site.shared.sender, self.places[at].site.shared.sender);
    }

    /// Panics where a tracker does not know what all should know.
    pub(super) fn check(&self) {
        let is_there = |(name, client): (&(u8, u8), &Client)| client.is_there.then_some((*name, client.seeder));
        let expected: BTreeMap<_, _> = self.clients.iter().filter_map(is_there).collect();
        assert!(expected.len() > 50);
        for (at, place) in self.places.iter().enumerate() {
            let minute = self.now(at).minute;
            let known: BTreeMap<_, _> =
                place.changes(minute, minute).iter().map(|change| (name(change), change.seeder)).collect();
            let wrong = |(name, client): &(&(u8, u8), &Client)| {
                let expected = client.is_there.then_some(client.seeder);
                known.get(*name).copied() != expected
            };
            let wrong: Vec<_> = self.clients.iter().filter(wrong).collect();
            assert!(wrong.is_empty(), "at {at} in second {}: {wrong:?}", self.step / STEPS_A_SECOND);
            let count = |torrent: &u8| {
                place.site.tracker.scrape(&InfoHash([*torrent; 20])).map_or(0, |counts| counts.downloaded)
            };
            let counted: BTreeMap<_, _> = self.downloads.keys().map(|torrent| (*torrent, count(torrent))).collect();
            assert!(place.is_new || counted == self.downloads, "at {at}: {counted:?}, not {:?}", self.downloads);
        }
    }

    fn now(&self, at: usize) -> Now {
        let seconds = self.step / STEPS_A_SECOND + self.places[at].site.ahead;
        Now::new(*self.now.lock().unwrap(), Second(Second::from(Minute(29_000_000)).0 + seconds))
    }

    /// Has a client announce itself to its tracker.
    fn announce(&mut self, faults: &Faults) {
        let name = (self.rng.u8(0..TORRENTS), self.rng.u8(0..PEERS));
        let second = self.step / STEPS_A_SECOND;
        let home = self.rng.usize(0..self.places.len());
        let client = self.clients.entry(name).or_insert(Client { home, ..Client::default() });
        if client.announced.is_some_and(|announced| second < announced + APART) {
            return;
        }
        client.announced = Some(second);
        let event = match self.rng.u8(0..4) {
            0 if faults.stops && client.is_there => Event::Stopped,
            1 if !client.seeder && client.is_there => Event::Completed,
            _ => Event::Update,
        };
        client.is_there = event != Event::Stopped;
        if event == Event::Completed {
            client.seeder = true;
            *self.downloads.entry(name.0).or_default() += 1;
        }
        let (home, seeder) = (client.home, client.seeder);
        if event == Event::Stopped {
            client.seeder = false;
        }
        let endpoint = (Ipv4Addr::new(192, 0, 2, name.1), 6881).into();
        let request = AnnounceRequest { info_hash: InfoHash([name.0; 20]), endpoint, seeder, uploaded: false, event };
        let minute = self.now(home).minute;
        let tracker = &self.places[home].site.tracker;
        tracker.announce(&request, minute, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }

    /// Lets a step pass.
    fn live(&mut self, faults: &Faults) {
        self.step += 1;
        *self.now.lock().unwrap() = self.start + STEP * u32::try_from(self.step).unwrap();
        let second = self.step / STEPS_A_SECOND;
        for at in 0..self.places.len() {
            let now = self.now(at);
            if self.step % STEPS_A_SECOND == 0 {
                let (cut, silent) = (self.rng.f64() < faults.cuts, self.rng.f64() < faults.silent_cuts);
                let (until, notices) = (second + self.rng.u64(1..40), self.rng.f64() < 0.1);
                let place = &mut self.places[at];
                if cut || faults.dark || place.is_dead && notices {
                    place.cut(if faults.dark { second + 1 } else { until });
                } else if silent {
                    place.is_dead = true;
                } else if place.connection.is_none() && second > place.dark_until {
                    place.connect();
                }
            }
            let place = &mut self.places[at];
            let mut out = Vec::new();
            for (topic, payload) in std::mem::take(&mut place.heard) {
                place.machine.see_connection(place.connection, now);
                place.machine.hear(topic, &payload, now);
            }
            place.machine.turn(place.connection, now, &mut out);
            self.carry(at, out, faults);
        }
    }

    /// Brings what a tracker says to the others, or does not.
    fn carry(&mut self, from: usize, out: Vec<Message>, faults: &Faults) {
        if self.places[from].is_dead || self.places[from].connection.is_none() {
            return;
        }
        let half = self.places.len() / 2;
        for Message { topic, payload } in out {
            for (to, place) in self.places.iter_mut().enumerate() {
                let is_cut = faults.partition && (from < half) != (to < half);
                // To itself everything comes back over the same server.
                let lost = to != from && (is_cut || self.rng.f64() < faults.loss);
                let is_for = topic != Topic::Echo || to == from && !faults.no_echo;
                if is_for && !lost && !place.is_dead && place.connection.is_some() {
                    place.heard.push_back((topic, payload.clone()));
                }
            }
        }
    }
}

impl<'a> Place<'a> {
    fn new(site: &'a Site) -> Self {
        let Site { shared, tracker, counters, .. } = site;
        let machine = Machine::new(Member { shared, tracker, worker_counters: counters, inherits: false });
        let mut place = Self {
            site,
            machine,
            connection: None,
            connections: 0,
            is_dead: false,
            dark_until: 0,
            heard: VecDeque::new(),
            is_new: false,
        };
        place.connect();
        place
    }

    fn connect(&mut self) {
        self.connections += 1;
        self.connection = Some(self.connections);
        self.is_dead = false;
    }

    fn cut(&mut self, until: u64) {
        self.connection = None;
        self.is_dead = false;
        self.dark_until = until;
        // What was on its way is lost with the connection, or comes before the cut is seen.
        if until % 2 == 0 {
            self.heard.clear();
        }
    }

    /// Returns who is known, as changes for a tracker whose clock says `there`.
    fn changes(&self, now: Minute, there: Minute) -> Vec<Change> {
        let (mut changes, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.site.tracker.store().walk_peers(from, &mut 1000, |info_hash, endpoint, state| {
                changes.push(Change {
                    info_hash: *info_hash,
                    endpoint,
                    seeder: state.seeder(),
                    completed: state.completed(),
                    stopped: false,
                    seen: Minute(there.0 - state.age(now)),
                    origin: Origin::Transport { name: NAME, member: 0 },
                });
            });
        }
        changes
    }
}

fn name(change: &Change) -> (u8, u8) {
    let SocketAddr::V4(endpoint) = change.endpoint else { panic!("an IPv4 peer") };
    (change.info_hash.0[0], endpoint.ip().octets()[3])
}
