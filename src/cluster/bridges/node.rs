//! Trackers whose transports are lists of packets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cluster::counts::TransportCounters;
use crate::cluster::election::Election;
use crate::cluster::inbox;
use crate::cluster::members::Members;
use crate::cluster::outbox::{Codec, MAX_FORWARD_DELAY, Outbox};
use crate::cluster::record::RecordKind;
use crate::tracker::store::Cursor;
use crate::tracker::testing::TestTracker;
use crate::tracker::{
    AnnounceRequest, Change, Cluster, Event, Flavour as _, InfoHash, Ipv4Only, KnownPeer, KnownTorrent, MergeCounts,
    Minute, Open, Origin, PeerRequest, TransportCounts, TransportStatus,
};

pub(super) const START: Minute = Minute(29_000_191);
pub(super) const SYNC: &str = "sync";
pub(super) const NATS: &str = "nats";

/// A member of a multicast network, or of the other transport.
pub(super) struct Wire {
    pub(super) name: &'static str,
    pub(super) outbox: Outbox<Plain>,
    /// Of a bridge: who is heard.
    members: Option<Arc<Members>>,
    /// Of a bridge, on multicast: the election, and whether this bridge forwards.
    pub(super) election: Option<Mutex<(Election, bool)>>,
    pub(super) id: u32,
    pub(super) clock: Mutex<Instant>,
}

/// Writes changes as they are: torrent, peer, flags, and the minute.
pub(super) struct Plain;

const RECORD_LEN: usize = 7;

impl Codec for Plain {
    const MAX_WAITING: usize = 256;

    fn begin(&self, _: RecordKind) -> Vec<u8> {
        Vec::new()
    }

    fn append(&self, packet: &mut Vec<u8>, change: &Change) {
        let flags = u8::from(change.seeder) | (u8::from(change.completed) << 1) | (u8::from(change.stopped) << 2);
        packet.extend([change.info_hash.0[0], change.endpoint.port() as u8, flags]);
        packet.extend(change.seen.0.to_be_bytes());
    }

    fn is_full(packet: &[u8], _: RecordKind) -> bool {
        packet.len() >= 50 * RECORD_LEN
    }
}

/// Reads a packet. Multicast has no ages.
pub(super) fn read(packet: &[u8], Wire { name, id, .. }: &Wire, now: Minute) -> Vec<Change> {
    let read = |record: &[u8]| {
        let seen = Minute(u32::from_be_bytes(record[3..].try_into().unwrap()));
        Change {
            info_hash: InfoHash([record[0]; 20]),
            endpoint: endpoint(record[1]),
            seeder: record[2] & 1 != 0,
            completed: record[2] & 2 != 0,
            stopped: record[2] & 4 != 0,
            seen: if *name == NATS { seen } else { now },
            origin: Origin::Transport { name, member: *id },
        }
    };
    packet.chunks_exact(RECORD_LEN).map(read).collect()
}

/// Writes who is known as a packet, as a minute older than they are here.
pub(super) fn write_known(swarms: &Swarms, now: Minute) -> Vec<u8> {
    let mut packet = Vec::new();
    for (torrent, (peers, _)) in swarms {
        for KnownPeer { endpoint, seeder, completed, age } in peers.iter().copied() {
            let seen = Minute(now.0 - age - 1);
            let (info_hash, origin) = (InfoHash([*torrent; 20]), Origin::Client);
            let change = Change { info_hash, endpoint, seeder, completed, stopped: false, seen, origin };
            Plain.append(&mut packet, &change);
        }
    }
    packet
}

fn endpoint(peer: u8) -> SocketAddr {
    ([192, 0, 2, 1], u16::from(peer) + 256 * 4).into()
}

impl Wire {
    pub(super) fn new(name: &'static str, id: u32, now: Instant) -> Self {
        let outbox = Outbox::new(Plain, Duration::from_secs(15), now);
        Self { name, outbox, members: None, election: None, id, clock: Mutex::new(now) }
    }

    pub(super) fn of_bridge(name: &'static str, id: u32, now: Instant) -> Self {
        let members = Arc::new(Members::new(Duration::from_secs(20), now));
        let wire = Self::new(name, id, now);
        wire.outbox.set_delay(MAX_FORWARD_DELAY, now);
        let outbox = wire.outbox.among(Arc::clone(&members));
        let election = (name == SYNC).then(|| Mutex::new((Election::new(id, now), false)));
        Self { outbox, members: Some(members), election, ..wire }
    }

    /// Hears another member, and what it says if that is a keep-alive. Returns the answer.
    pub(super) fn meet(&self, id: u32, is_able: Option<bool>, now: Instant) -> Option<bool> {
        let is_new = self.members.as_ref()?.hear(id, now);
        let (election, _) = &mut *self.election.as_ref()?.lock().unwrap();
        election.hear(id, is_able?, now);
        if is_new { election.answer(now) } else { None }
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

    fn hear<'a>(&self, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        self.outbox.hear(self.name, changes)
    }

    fn transports(&self) -> Vec<TransportStatus> {
        let (counts, lag) = (TransportCounts::default(), Duration::ZERO);
        vec![TransportStatus { name: self.name, title: "A wire", counts, lag, members: 0, connected: None }]
    }
}

/// A tracker that is on NATS alone: it remembers who has stopped, as all do that are on NATS.
pub(super) struct NatsAlone(pub(super) Wire);

impl Cluster for NatsAlone {
    const LISTENS: bool = true;
    const REMEMBERS_STOPS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        self.0.knows(origin)
    }

    fn publish(&self, change: &Change) -> bool {
        self.0.publish(change)
    }

    fn transports(&self) -> Vec<TransportStatus> {
        self.0.transports()
    }
}

/// A tracker, whatever it is on.
pub(super) trait Node {
    fn wires(&self) -> Vec<&Wire>;
    fn forwards(&self) -> bool;
    fn announce(&self, peer: u8, torrent: u8, seeder: bool, event: Event, now: Minute);
    fn absorb(&self, changes: &[Change], now: Minute);
    fn swarms(&self, now: Minute) -> Swarms;
    /// Takes over what another tracker knows.
    fn merge(&self, swarms: &Swarms, now: Minute);
}

/// The peers and the downloads of each torrent that a tracker knows.
pub(super) type Swarms = BTreeMap<u8, (Vec<KnownPeer>, u32)>;

/// Whether each peer of each torrent is a seeder.
pub(super) type Known = BTreeMap<(u8, u8), bool>;

pub(super) fn known(swarms: &Swarms) -> Known {
    let name = |torrent: u8, peer: &KnownPeer| ((torrent, peer.endpoint.port() as u8), peer.seeder);
    swarms.iter().flat_map(|(torrent, (peers, _))| peers.iter().map(|peer| name(*torrent, peer))).collect()
}

pub(super) const TORRENTS: u8 = 3;

pub(super) trait Wires: Cluster {
    fn list(&self) -> Vec<&Wire>;
}

impl Wires for Wire {
    fn list(&self) -> Vec<&Wire> {
        vec![self]
    }
}

impl Wires for NatsAlone {
    fn list(&self) -> Vec<&Wire> {
        vec![&self.0]
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

    fn swarms(&self, now: Minute) -> Swarms {
        let of = |torrent: u8| (torrent, self.scrape(&InfoHash([torrent; 20])).unwrap_or_default().downloaded);
        let mut swarms: Swarms = (0..TORRENTS).map(of).map(|(torrent, many)| (torrent, (Vec::new(), many))).collect();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.store().walk_peers(from, &mut 1000, |info_hash, endpoint, state| {
                let age = now.since(state.seen(now));
                let peer = KnownPeer { endpoint, seeder: state.seeder(), completed: state.completed(), age };
                swarms.entry(info_hash.0[0]).or_default().0.push(peer);
            });
        }
        swarms
    }

    fn merge(&self, swarms: &Swarms, now: Minute) {
        for (torrent, (peers, downloaded)) in swarms {
            let info_hash = InfoHash([*torrent; 20]);
            let known = KnownTorrent { info_hash, downloaded: *downloaded, empty_for: 0, peers };
            TestTracker::merge(self, &known, now, &mut MergeCounts::default());
        }
    }
}
