//! The packet of one kind that is being filled.

use std::mem;
use std::time::Instant;

use crate::cluster::record::RecordKind;

/// A packet to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct OutgoingPacket {
    /// Which records it has.
    pub kind: RecordKind,
    /// As it is written on the wire.
    pub bytes: Vec<u8>,
    /// How many changes it holds.
    pub records: usize,
}

/// The packet of one kind that is not finished yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: RecordKind,
    pub(super) bytes: Vec<u8>,
    pub(super) records: usize,
    /// When it is taken even if it is not full.
    pub(super) due: Instant,
}

/// What has become of a change that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddResult {
    /// It is in a packet that is not full yet.
    Batched,
    /// It completed a packet, which can be taken now.
    Completed,
    /// There is no room for it.
    Refused,
}

impl Draft {
    /// Returns the packet, and begins the next one, in which no record is yet, to be taken by `due`.
    pub(super) fn finish(&mut self, next: Vec<u8>, due: Instant) -> OutgoingPacket {
        self.due = due;
        let (bytes, records) = (mem::replace(&mut self.bytes, next), mem::take(&mut self.records));
        OutgoingPacket { kind: self.kind, bytes, records }
    }
}
