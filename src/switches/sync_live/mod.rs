//! `sync-live` (`WANT_SYNC_LIVE`): a cluster of trackers keeps each other's peers by UDP multicast.
//!
//! - [`packet`]: bytes to changes and back.
//! - [`inbox`]: which packets are believed.
//! - [`link`]: the socket.
//!
//! The way out: a worker puts a change into the [outbox](crate::cluster::outbox); a thread sends what is full or due.
//! The way in: another thread receives, and gives what it believes to the tracker. Nothing is acknowledged: what is
//! lost is made up for when the peer is told again, and a peer whose leaving is lost is forgotten like one that leaves
//! without a word.

mod inbox;
mod link;
mod packet;

use std::io::{self, ErrorKind::TimedOut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::cluster::complaints::Complaints;
use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::cluster::outbox::{Outbox, OutgoingPacket};
use crate::cluster::trust::Trust;
use crate::config::{ConfigError, Settings};
use crate::server::{Beginning, Opening, Plug, StartError};
use crate::stop::StopToken;
use crate::tracker::{Change, Clock, Cluster, Flavour, Origin, TransportStatus};

use inbox::{Inbox, Receiver};
use link::{Buffer, Link};
use packet::{NAME, SyncCodec, TrackerId};

const KEY: &str = "livesync.cluster.listen";

/// A packet that is not full goes out when the one before it is so old.
const DELAY: Duration = Duration::from_secs(15);

/// How long a thread may take to see that it is to end, or that a packet is due.
const TICK: Duration = Duration::from_millis(250);

/// This tracker as a member of its cluster, which it has joined.
pub struct Node(Arc<Shared>);

/// What the threads share.
struct Shared {
    link: Link,
    inbox: Inbox,
    outbox: Outbox<SyncCodec>,
    counters: TransportCounters,
}

impl Cluster for Node {
    const LISTENS: bool = true;

    fn id(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.0.inbox.own.0))
    }

    fn knows(&self, origin: Origin) -> bool {
        origin == Origin::Transport(NAME)
    }

    fn publish(&self, change: &Change) -> bool {
        self.0.outbox.add(change, Instant::now())
    }

    fn transports(&self) -> Vec<TransportStatus> {
        vec![TransportStatus { name: NAME, title: "Live sync", counts: self.0.counters.counts() }]
    }
}

impl Plug for Node {
    type Opened = Link;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        // The address chooses the network in which peers are told; there is no safe guess.
        settings.livesync.listen.map(drop).ok_or_else(|| ConfigError::missing(KEY, "sync-live"))
    }

    /// The group's port may be one that only root can bind.
    fn open(opening: &Opening<'_>) -> Result<Link, StartError> {
        // The configuration names one, and an IPv4 one, or is refused; this is for callers that check nothing.
        let Some(SocketAddr::V4(listen)) = opening.settings.livesync.listen else {
            let error = io::Error::other(format!("{KEY} names no IPv4 address"));
            return Err(StartError::System { what: "join a cluster", error });
        };
        Link::open(listen, TICK)
    }

    fn plug(link: Link, settings: &Settings) -> Result<Self, StartError> {
        let mut id = [0; 4];
        getrandom::fill(&mut id)
            .map_err(|error| StartError::System { what: "get random numbers", error: error.into() })?;
        let inbox = Inbox { own: TrackerId(id), trust: Trust::new(settings.livesync.node_ip.clone()) };
        let outbox = Outbox::new(SyncCodec(inbox.own), DELAY, Instant::now());
        let shared = Shared { link, inbox, outbox, counters: TransportCounters::default() };
        shared.log_membership();
        Ok(Self(Arc::new(shared)))
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let shared = Arc::clone(&self.0);
        beginning.threads.spawn("sync-out", move |stop| shared.send(&stop))?;

        let (shared, worker_counters) = (Arc::clone(&self.0), beginning.counters.for_worker());
        let (tracker, clock) = (Arc::clone(beginning.tracker), beginning.clock);
        beginning.threads.spawn("sync-in", move |stop| {
            let receiver =
                Receiver { tracker: &tracker, counters: &shared.counters, worker_counters: &worker_counters };
            shared.receive(&receiver, clock, &stop);
        })
    }

    /// Sends the last packets: nobody announces any more, so there will be no others.
    fn finish(&self, deadline: Instant) {
        let Shared { outbox, .. } = &*self.0;
        while let Some(packet) = outbox.take_any() {
            let sent = if Instant::now() < deadline { self.0.send_packet(&packet) } else { Err(TimedOut.into()) };
            if let Err(error) = sent {
                return warn!("cannot tell the cluster of the last changes: {error}");
            }
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

    /// Sends what becomes full or due until `stop` is told.
    fn send(&self, stop: &StopToken) {
        let mut complaints = Complaints::default();
        while !stop.is_stopped() {
            let packet = self.outbox.next(TICK);
            self.counters.add(TransportCounter::PacketsLost, self.outbox.take_lost());
            let Some(packet) = packet else { continue };
            match self.send_packet(&packet) {
                Ok(()) => complaints.end(),
                Err(error) => complaints.say(|| warn!("cannot tell the cluster: {error}; what is not told is lost")),
            }
        }
    }

    /// Sends a packet, and counts what became of it.
    fn send_packet(&self, packet: &OutgoingPacket) -> io::Result<()> {
        let sent = self.link.send(&packet.bytes);
        match sent {
            Ok(()) => {
                self.counters.count(TransportCounter::PacketsSent);
                self.counters.add(TransportCounter::RecordsSent, packet.records);
            }
            Err(_) => self.counters.count(TransportCounter::PacketsLost),
        }
        sent
    }

    /// Takes over what is received until `stop` is told.
    fn receive<F: Flavour>(&self, receiver: &Receiver<'_, F>, clock: impl Clock, stop: &StopToken) {
        let mut buffer = Buffer::default();
        let mut complaints = Complaints::default();
        while !stop.is_stopped() {
            match self.link.receive(&mut buffer) {
                Ok(None) => {}
                Ok(Some((datagram, from))) => {
                    complaints.end();
                    if let Err(error) = self.inbox.take(datagram, from, clock.now(), receiver) {
                        debug!("a live sync packet from {from} is refused: {error}");
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
    use packet::tests::change;

    /// A node without threads, and another member of its cluster.
    fn node() -> (Node, Link) {
        let open = |port| Link::open(format!("127.0.0.1:{port}").parse().unwrap(), Duration::from_millis(10)).unwrap();
        let link = open(0);
        let member = open(link.group.port());
        (Node::plug(link, &Settings::default()).unwrap(), member)
    }

    /// How many records there are in each packet that the member hears.
    fn heard(member: &Link) -> Vec<usize> {
        let mut buffer = Buffer::default();
        let mut packets = Vec::new();
        while let Some((datagram, _)) = member.receive(&mut buffer).unwrap() {
            packets.push(packet::parse(datagram).unwrap().records());
        }
        packets
    }

    fn publish(node: &Node, many: u16) {
        (1..=many).for_each(|port| assert!(node.publish(&change(&format!("192.0.2.1:{port}")))));
    }

    #[test]
    fn all_that_was_taken_is_told_at_the_end_although_a_thread_goes_on() {
        let (node, member) = node();
        publish(&node, 60);
        assert!(node.publish(&change("[2001:db8::1]:1")));
        // What a thread holds that outlives its grace.
        let shared = Arc::clone(&node.0);
        node.finish(Instant::now() + Duration::from_secs(60));
        assert_eq!(heard(&member), [52, 8, 1]);
        let counts = node.transports().into_iter().map(|transport| transport.counts);
        assert_eq!(counts.map(|counts| (counts.packets_sent, counts.records_sent)).collect::<Vec<_>>(), [(3, 61)]);
        assert_eq!(shared.outbox.take_any(), None);
    }

    #[test]
    fn nothing_is_told_after_the_deadline() {
        let (node, member) = node();
        publish(&node, 60);
        node.finish(Instant::now());
        assert_eq!(heard(&member), []);
    }
}
