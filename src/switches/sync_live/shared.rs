//! What the threads of a member share.

use std::io;

use crate::cluster::counts::{TransportCounter, TransportCounters};
use crate::cluster::outbox::Outbox;

use super::inbox::Inbox;
use super::link::Link;
use super::packet::SyncCodec;

/// A member of the cluster: its socket, what it has to tell, and what it has heard.
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox<SyncCodec>,
    pub(super) counters: TransportCounters,
}

impl Shared {
    /// Sends a packet with so many changes, and counts what became of it.
    pub(super) fn send_packet(&self, packet: &[u8], records: usize) -> io::Result<()> {
        let sent = self.link.send(packet);
        match sent {
            Ok(()) => {
                self.counters.count(TransportCounter::PacketsSent);
                self.counters.add(TransportCounter::RecordsSent, records);
            }
            Err(_) => self.counters.count(TransportCounter::PacketsLost),
        }
        sent
    }
}
