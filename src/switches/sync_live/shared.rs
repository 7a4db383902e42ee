//! What the threads of a member share.

use std::io;
use std::sync::Mutex;

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::cluster::outbox::Outbox;

use super::bridging::Bridging;
use super::inbox::Inbox;
use super::link::Link;
use super::packet::SyncCodec;
use super::snapshot::{Door, Notices};

/// A member of the cluster: its socket, what it has to tell, and what it has heard.
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox<SyncCodec>,
    pub(super) counters: TransportCounters,
    pub(super) bridging: Bridging,
    pub(super) notices: Notices,
    /// Where snapshots are given, until the thread that gives them has it.
    pub(super) door: Mutex<Option<Door>>,
}

impl Shared {
    /// Sends a packet with so many changes, and counts what became of it.
    pub(super) fn send_packet(&self, packet: &[u8], records: usize) -> io::Result<()> {
        let sent = self.link.send(packet);
        match sent {
            Ok(()) => {
                self.counters.count(TransportCounter::PacketsSent);
                self.counters.add(TransportCounter::RecordsSent, records);
                self.counters.add(TransportCounter::BytesSent, packet.len());
            }
            Err(_) => self.counters.count(TransportCounter::PacketsLost),
        }
        sent
    }
}
