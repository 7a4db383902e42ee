//! `sync-live` (`WANT_SYNC_LIVE`): a cluster of trackers keeps each other's peers by UDP multicast.
//!
//! - [`packet`]: bytes to changes and back.
//! - [`outbox`]: changes of our own are gathered into packets.
//! - [`inbox`]: whose packets are believed, and what is done with them.
//! - [`link`]: the socket.
//!
//! The way out: a worker puts a change into the outbox, which is all that an announce waits for; a thread sends what
//! is full or due. The way in: another thread receives, and gives what it believes to the tracker. Nothing is
//! acknowledged: what is lost is made up for when the peer is told again, and a peer whose leaving is lost is
//! forgotten like one that leaves without a word.

mod inbox;
mod link;
mod outbox;
mod packet;

use std::io::ErrorKind::TimedOut;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::config::{ConfigError, Settings};
use crate::server::{Beginning, Opening, Plug, StartError};
use crate::stats::{Counter, WorkerCounters};
use crate::stop::StopToken;
use crate::tracker::{Change, Clock, Cluster, Flavour, Origin, Tracker};

use inbox::Inbox;
use link::{Buffer, Link};
use outbox::{Outbox, OutgoingPacket};
use packet::TrackerId;

const KEY: &str = "livesync.cluster.listen";

/// What changes that come by live sync are known by.
const ORIGIN: Origin = Origin::Transport("sync-live");

/// How long a thread may take to see that it is to end, or that a packet is due.
const TICK: Duration = Duration::from_millis(250);

/// This tracker as a member of its cluster.
pub struct Node(Arc<Shared>);

/// What the threads share.
struct Shared {
    link: Link,
    inbox: Inbox,
    outbox: Mutex<Outbox>,
    /// A packet in the outbox has become full.
    filled: Condvar,
}

impl Cluster for Node {
    const LISTENS: bool = true;

    fn id(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.0.inbox.own.0))
    }

    fn knows(&self, origin: Origin) -> bool {
        origin == ORIGIN
    }

    fn publish(&self, change: &Change) -> bool {
        let now = Instant::now();
        if self.0.outbox().add(change, now) {
            self.0.filled.notify_one();
        }
        true
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
            let error = std::io::Error::other(format!("{KEY} names no IPv4 address"));
            return Err(StartError::System { what: "join a cluster", error });
        };
        Link::open(listen, TICK)
    }

    fn plug(link: Link, settings: &Settings) -> Result<Self, StartError> {
        let mut id = [0; 4];
        getrandom::fill(&mut id)
            .map_err(|error| StartError::System { what: "get random numbers", error: error.into() })?;
        let inbox = Inbox { own: TrackerId(id), believed: settings.livesync.node_ip.clone() };
        let shared =
            Shared { outbox: Mutex::new(Outbox::new(inbox.own, Instant::now())), filled: Condvar::new(), link, inbox };
        shared.log_membership();
        Ok(Self(Arc::new(shared)))
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let (shared, counters) = (Arc::clone(&self.0), beginning.counters.for_worker());
        beginning.threads.spawn("sync-out", move |stop| shared.send(&counters, &stop))?;

        let (shared, counters) = (Arc::clone(&self.0), beginning.counters.for_worker());
        let (tracker, clock) = (Arc::clone(beginning.tracker), beginning.clock);
        beginning.threads.spawn("sync-in", move |stop| shared.receive(&tracker, clock, &counters, &stop))
    }

    /// Nobody announces any more: the others hear of the last changes too.
    fn finish(&self, deadline: Instant) {
        let mut outbox = self.0.outbox();
        while let Some(packet) = outbox.take_any(Instant::now()) {
            let sent = if Instant::now() < deadline { self.0.link.send(&packet.bytes) } else { Err(TimedOut.into()) };
            if let Err(error) = sent {
                return warn!("cannot tell the cluster of the last changes: {error}");
            }
        }
    }
}

impl Shared {
    fn log_membership(&self) {
        let Self { link: Link { group, interface, .. }, inbox: Inbox { own, believed }, .. } = self;
        info!("live sync with group {group} on {interface}, tracker id {own}");
        if believed.is_empty() {
            warn!("livesync.cluster.node_ip is empty: this tracker tells the cluster and believes nobody in it");
        }
    }

    /// A panic in another thread is a defect, but each of our changes leaves the outbox whole: go on.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what becomes full or due until `stop` is told.
    fn send(&self, worker_counters: &WorkerCounters, stop: &StopToken) {
        let mut complaints = Complaints::default();
        while !stop.is_stopped() {
            match self.next_packet(worker_counters) {
                None => {}
                Some(packet) => match self.link.send(&packet.bytes) {
                    Ok(()) => {
                        complaints.end();
                        worker_counters.count(Counter::SyncPacketsOut);
                        worker_counters.add(Counter::SyncRecordsOut, packet.records as u64);
                    }
                    Err(error) => {
                        complaints.say(|| warn!("cannot tell the cluster: {error}; what is not told is lost"));
                        worker_counters.count(Counter::SyncPacketsLost);
                    }
                },
            }
        }
    }

    /// Waits for a packet to send, but no longer than [`TICK`].
    fn next_packet(&self, worker_counters: &WorkerCounters) -> Option<OutgoingPacket> {
        let waiting = self.filled.wait_timeout_while(self.outbox(), TICK, |outbox| !outbox.is_waiting());
        let (mut outbox, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        worker_counters.add(Counter::SyncPacketsLost, outbox.take_lost() as u64);
        outbox.take(Instant::now())
    }

    /// Takes over what is received until `stop` is told.
    fn receive<F: Flavour>(
        &self,
        tracker: &Tracker<F>,
        clock: impl Clock,
        worker_counters: &WorkerCounters,
        stop: &StopToken,
    ) {
        let mut buffer = Buffer::default();
        let mut complaints = Complaints::default();
        while !stop.is_stopped() {
            match self.link.receive(&mut buffer) {
                Ok(None) => {}
                Ok(Some((datagram, from))) => {
                    complaints.end();
                    if let Err(refused) = self.inbox.take(datagram, from, tracker, clock.now(), worker_counters) {
                        debug!("a live sync packet from {from} is refused: {refused}");
                    }
                }
                Err(error) => {
                    complaints.say(|| warn!("cannot receive live sync packets: {error}; trying again"));
                    thread::sleep(TICK);
                }
            }
        }
    }
}

/// What is wrong is said once, until it has been right again.
#[derive(Default)]
struct Complaints {
    said: bool,
}

impl Complaints {
    fn say(&mut self, complain: impl FnOnce()) {
        if !std::mem::replace(&mut self.said, true) {
            complain();
        }
    }

    fn end(&mut self) {
        self.said = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_start_without_an_address() {
        let mut settings = Settings::default();
        assert_eq!(
            Node::check(&settings).unwrap_err().to_string(),
            "livesync.cluster.listen is missing: a build with the feature sync-live does not start without it"
        );
        settings.livesync.listen = Some(([192, 0, 2, 1], 9696).into());
        assert_eq!(Node::check(&settings), Ok(()));
    }
}
