//! `sync-live` (`WANT_SYNC_LIVE`): a cluster of trackers keeps each other's peers by UDP multicast.
//!
//! - [`packet`]: bytes to changes and back.
//! - [`inbox`]: which packets are believed.
//! - [`link`]: the socket.
//! - [`shared`]: what workers and the threads share.
//! - [`bridging`]: which of several bridges forwards.
//! - [`snapshot`]: how a tracker that starts takes over what another one knows.
//!
//! The way out: a worker puts a change into the [outbox](crate::cluster::outbox); a thread sends what is full or due.
//! The way in: another thread receives, and gives what it believes to the tracker. Nothing is acknowledged: what is
//! lost is made up for when the peer is told again, and a peer whose leaving is lost is forgotten like one that leaves
//! without a word.

mod bridging;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod inbox;
mod link;
mod packet;
mod shared;
mod snapshot;

use std::borrow::Cow;
use std::io::{self, ErrorKind::TimedOut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::cluster::outbox::Outbox;
use crate::cluster::trust::Trust;
use crate::cluster::watch::Watch;
use crate::config::{ConfigError, Settings};
use crate::log::Complaints;
use crate::server::{Beginning, Opening, Plug, StartError, random_words};
use crate::stop::StopToken;
use crate::tracker::{Change, Clock, Cluster, Flavour, Origin, TransportStatus};

use bridging::Bridging;
use inbox::{Inbox, Receiver};
use link::{Buffer, Link};
use packet::{NAME, SyncCodec, TrackerId};
use shared::Shared;
use snapshot::{Door, Notices};

const LISTEN: &str = "livesync.cluster.listen";
const NODE_IP: &str = "livesync.cluster.node_ip";

/// A packet that is not full goes out when the one before it is so old.
const DELAY: Duration = Duration::from_secs(15);

/// The same of a bridge: by its other transports they are told within a second, and here no later, see
/// [`MAX_APART`](crate::cluster::members::MAX_APART).
const DELAY_OF_BRIDGE: Duration = Duration::from_millis(500);

/// How long a thread may take to see that it is to end, or that a packet is due.
const TICK: Duration = Duration::from_millis(250);

/// This tracker as a member of the cluster that it has joined; none if it stands alone, as no address is configured:
/// the address chooses the network in which peers are told, and there is no safe guess.
pub struct Node(Option<Arc<Shared>>);

impl Cluster for Node {
    const LISTENS: bool = true;

    fn id(&self) -> Option<u32> {
        self.0.as_ref().map(|shared| shared.inbox.own.number())
    }

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(NAME)
    }

    fn publish(&self, change: &Change) -> bool {
        // Alone there is nobody to tell: nothing has to be told again.
        self.0.as_ref().is_none_or(|shared| shared.outbox.add(change, Instant::now()))
    }

    fn reaches_beyond(&self, transport: &str) -> bool {
        transport != NAME && self.0.is_some()
    }

    fn forwards(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.bridging.forwards())
    }

    fn hold(&self, change: &Change) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.outbox.hold(change, Instant::now()))
    }

    fn hear<'a>(&self, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        match &self.0 {
            None => changes,
            Some(shared) => shared.outbox.hear(NAME, changes),
        }
    }

    fn transports(&self) -> Vec<TransportStatus> {
        self.0.iter().map(|shared| shared.status()).collect()
    }
}

impl Plug for Node {
    type Opened = Option<(Link, Option<Door>)>;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        // Who names the members of a cluster means to be in it.
        match settings.livesync.listen {
            None if !settings.livesync.node_ip.is_empty() => Err(ConfigError::alone(NODE_IP, LISTEN)),
            None => Ok(()),
            Some(_) => settings.check_interval_in_cluster(),
        }
    }

    /// The group's port may be one that only root can bind.
    fn open(opening: &mut Opening<'_>) -> Result<Self::Opened, StartError> {
        match opening.settings.livesync.listen {
            None => Ok(None),
            Some(SocketAddr::V4(listen)) => {
                let link = Link::open(listen, TICK)?;
                let door = snapshot::open(&link, opening);
                Ok(Some((link, door)))
            }
            // The configuration refuses it; this is for callers that check nothing.
            Some(SocketAddr::V6(_)) => {
                let error = io::Error::other(format!("{LISTEN} names no IPv4 address"));
                Err(StartError::System { what: "join a cluster", error })
            }
        }
    }

    fn plug(opened: Self::Opened, settings: &Settings) -> Result<Self, StartError> {
        let Some((link, door)) = opened else {
            warn!("{LISTEN} is not configured: this tracker stands alone and is in no cluster");
            return Ok(Self(None));
        };
        let [a, b, c, d, ..] = random_words()?.0.to_ne_bytes();
        let inbox = Inbox { own: TrackerId([a, b, c, d]), trust: Trust::new(settings.livesync.node_ip.clone()) };
        let (counters, notices) = (TransportCounters::default(), Notices::default());
        let bridging = Bridging::new(inbox.own, Instant::now());
        let outbox = Outbox::new(SyncCodec(inbox.own), DELAY, Instant::now()).among(Arc::clone(&bridging.members));
        let shared = Shared { link, inbox, outbox, counters, notices, door: Mutex::new(door), bridging };
        shared.log_membership();
        Ok(Self(Some(Arc::new(shared))))
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let (sender, tracker) = (Arc::clone(shared), Arc::clone(beginning.tracker));
        beginning.threads.spawn("sync-out", move |stop| sender.send(tracker.flavour().cluster(), &stop))?;

        let (receiving, worker_counters) = (Arc::clone(shared), beginning.counters.for_worker());
        let (tracker, clock) = (Arc::clone(beginning.tracker), beginning.clock);
        beginning.threads.spawn("sync-in", move |stop| {
            let receiver = Receiver {
                tracker: &tracker,
                counters: &receiving.counters,
                worker_counters: &worker_counters,
                notices: &receiving.notices,
                bridging: &receiving.bridging,
            };
            receiving.receive(&receiver, clock, &stop);
        })?;
        snapshot::begin(shared, beginning)
    }

    /// Sends the last packets: nobody announces any more, so there will be no others.
    fn finish(&self, deadline: Instant) {
        let Some(shared) = &self.0 else { return };
        while let Some(packet) = shared.outbox.take_any() {
            let sent = if Instant::now() < deadline {
                shared.send_packet(&packet.bytes, packet.records)
            } else {
                Err(TimedOut.into())
            };
            if let Err(error) = sent {
                return warn!("cannot tell the cluster of the last changes: {error}");
            }
        }
        // Another bridge need not wait until it takes this one for dead.
        if let Some(keep_alive) = shared.bridging.end() {
            let _ = shared.send_packet(&keep_alive, 0);
        }
    }
}

impl Shared {
    /// Logs which cluster this tracker has joined, and as whom.
    fn log_membership(&self) {
        let Self { link: Link { group, interface, .. }, inbox: Inbox { own, trust }, .. } = self;
        info!("live sync with group {group} on {interface}, tracker id {own}");
        if trust.is_empty() {
            warn!("livesync.cluster.node_ip is empty: this tracker tells the cluster and believes nobody in it");
        }
    }

    /// Returns what monitors are told. Multicast has no connections.
    fn status(&self) -> TransportStatus {
        self.counters.status(NAME, "Live sync", None, Instant::now())
    }

    /// Sends what becomes full or due until `stop` is told.
    fn send<C: Cluster>(&self, cluster: &C, stop: &StopToken) {
        let complaints = Complaints::default();
        let mut watch = Watch::new(Instant::now());
        let elections = [(); 2].map(|()| Complaints::default());
        let send = |packet: &[u8], records| {
            if let Err(error) = self.send_packet(packet, records) {
                complaints.say(|| warn!("cannot tell the cluster: {error}; what is not told is lost"));
            }
        };
        let is_bridge = self.become_bridge(cluster, Instant::now());
        while !stop.is_stopped() {
            if is_bridge {
                let keep_alive = self.decide_forwarding(cluster, &elections);
                keep_alive.iter().for_each(|packet| send(packet, 0));
            }
            let packet = self.outbox.next(TICK);
            self.counters.add(TransportCounter::PacketsLost, self.outbox.take_lost());
            if let Some(summary) = watch.look(Instant::now(), || self.status()) {
                warn!("{summary}");
            }
            packet.iter().for_each(|packet| send(&packet.bytes, packet.records));
        }
    }

    /// Returns whether this tracker is a bridge, which tells without much delay. Who is on no other transport is none,
    /// and sends no keep-alives.
    fn become_bridge<C: Cluster>(&self, cluster: &C, now: Instant) -> bool {
        let is_bridge = C::BRIDGES && cluster.transports().len() > 1;
        if is_bridge {
            self.outbox.set_delay(DELAY_OF_BRIDGE, now);
        }
        is_bridge
    }

    /// Decides whether this tracker forwards between live sync and its other transports. Returns the keep-alive that is
    /// to be sent now.
    fn decide_forwarding(&self, cluster: &impl Cluster, [begins, ends]: &[Complaints; 2]) -> Option<Vec<u8>> {
        let now = Instant::now();
        let (has_changed, keep_alive) = self.bridging.decide(cluster.reaches_beyond(NAME), now);
        let forwards = cluster.forwards();
        self.outbox.set_forwarding(forwards, now);
        if has_changed {
            let (elections, does) = if forwards { (begins, "forwards") } else { (ends, "does not forward") };
            elections.say(|| info!("this tracker {does} between live sync and its other transports from now on"));
        }
        keep_alive
    }

    /// Takes over what is received until `stop` is told.
    fn receive<F: Flavour>(&self, receiver: &Receiver<'_, F>, clock: impl Clock, stop: &StopToken) {
        let mut buffer = Buffer::default();
        let (complaints, refusals) = (Complaints::default(), Complaints::default());
        while !stop.is_stopped() {
            match self.link.receive(&mut buffer) {
                Ok(None) => {}
                Ok(Some((datagram, from))) => {
                    if let Err(error) = self.inbox.take(datagram, from, clock.now(), receiver) {
                        refusals.say(|| debug!("a live sync packet from {from} is refused: {error}"));
                    }
                    if let Some(answer) = self.bridging.answer(Instant::now()) {
                        // One that is lost comes again within a second.
                        let _ = self.send_packet(&answer, 0);
                    }
                }
                Err(error) => {
                    complaints.say(|| warn!("cannot receive live sync packets: {error}; trying again"));
                    stop.sleep(TICK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Standalone;
    use crate::tracker::testing::Recorder;
    use packet::tests::change;

    /// A node without threads, and another member of its cluster.
    fn node() -> (Node, Link) {
        let open = |port| Link::open(format!("127.0.0.1:{port}").parse().unwrap(), Duration::from_millis(10)).unwrap();
        let link = open(0);
        let member = open(link.group.port());
        (Node::plug(Some((link, None)), &Settings::default()).unwrap(), member)
    }

    /// How many records there are in each packet that the member hears.
    fn heard(member: &Link) -> Vec<usize> {
        let mut buffer = Buffer::default();
        let mut packets = Vec::new();
        while let Some((datagram, _)) = member.receive(&mut buffer).unwrap() {
            packets.push(packet::tests::changes_in(datagram).unwrap().records());
        }
        packets
    }

    fn publish(node: &Node, many: u16) {
        (1..=many).for_each(|port| assert!(node.publish(&change(&format!("192.0.2.1:{port}")))));
    }

    #[test]
    fn an_interval_after_which_others_have_forgotten_the_peer_is_refused() {
        let mut settings = Settings::default();
        settings.livesync.listen = Some(([192, 0, 2, 1], 9696).into());
        for (interval, expected) in [
            (300, Ok(())),
            (1800, Ok(())),
            (
                1801,
                Err("tracker.interval is 1801, but may be at most 1800: in a cluster (livesync.cluster.listen, \
                     sync.nats.servers) the others forget a peer after 45 minutes"),
            ),
        ] {
            settings.tracker.interval = interval;
            let found = Node::check(&settings).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
            let lifetime = crate::tracker::Intervals::new(interval, None).peer_lifetime();
            assert_eq!(found.is_ok(), lifetime == 45, "{interval}");
        }
    }

    #[test]
    fn all_that_was_taken_is_told_at_the_end_although_a_thread_goes_on() {
        let (node, member) = node();
        publish(&node, 60);
        assert!(node.publish(&change("[2001:db8::1]:1")));
        // What a thread holds that outlives its grace.
        let shared = node.0.clone().unwrap();
        node.finish(Instant::now() + Duration::from_secs(60));
        assert_eq!(heard(&member), [52, 8, 1]);
        let counts = node.transports().into_iter().map(|transport| transport.counts);
        assert_eq!(counts.map(|counts| (counts.packets_sent, counts.records_sent)).collect::<Vec<_>>(), [(3, 61)]);
        assert_eq!(shared.outbox.take_any(), None);
    }

    #[test]
    fn a_bridge_tells_what_its_clients_announce_within_a_second() {
        for other in [Some("other"), None] {
            let (node, _) = node();
            let shared = node.0.clone().unwrap();
            let own = |endpoint| Change { origin: Origin::Client, ..change(endpoint) };
            let is_bridge = match other {
                Some(other) => shared.become_bridge(&(node, Recorder::named(other)), Instant::now()),
                None => shared.become_bridge(&(node, Standalone), Instant::now()),
            };
            assert_eq!(is_bridge, other.is_some());
            // The first one is due at once.
            shared.outbox.add(&own("192.0.2.1:1"), Instant::now());
            assert!(shared.outbox.take_due(Instant::now()).is_some());
            let now = Instant::now();
            shared.outbox.add(&own("192.0.2.1:2"), now);
            assert_eq!(shared.outbox.take_due(now + Duration::from_secs(1)).is_some(), is_bridge);
        }
    }

    #[test]
    fn without_an_address_a_node_stands_alone() {
        let settings = Settings::default();
        assert_eq!(Node::check(&settings), Ok(()));
        let node = Node::plug(
            Node::open(&mut Opening {
                settings: &settings,
                user: None,
                needs: &mut crate::server::Needs::default(),
                sockets: &mut crate::server::PlugSockets::default(),
            })
            .unwrap(),
            &settings,
        )
        .unwrap();
        publish(&node, 60);
        assert_eq!((node.id(), node.transports()), (None, vec![]));
        node.finish(Instant::now() + Duration::from_secs(60));
    }

    #[test]
    fn members_without_an_address_are_a_mistake() {
        let mut settings = Settings::default();
        settings.livesync.node_ip.push("192.0.2.0/24".parse().unwrap());
        assert_eq!(
            Node::check(&settings).unwrap_err().to_string(),
            "livesync.cluster.node_ip does nothing without livesync.cluster.listen: set both or neither"
        );
        settings.livesync.listen = Some(([127, 0, 0, 1], 0).into());
        assert_eq!(Node::check(&settings), Ok(()));
    }

    #[test]
    fn nothing_is_told_after_the_deadline() {
        let (node, member) = node();
        publish(&node, 60);
        node.finish(Instant::now());
        assert_eq!(heard(&member), Vec::<usize>::new());
    }
}
