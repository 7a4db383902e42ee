//! Batches: changes as they travel over NATS, bytes to values and back.
//!
//! Numbers are big-endian. A batch is:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | [`MAGIC`], the last of which is the version |
//! | 1, and as many as it says | the name of the cluster: the subject that all of its subjects begin with |
//! | 8 | the sender: a number that a tracker draws when it starts |
//! | 8 | the batch's sequence number, from 1 on; in one without records, the highest that the sender has sent |
//! | 8, 8 | the first sequence number that a walk makes up for, and the first after these; both 0 without a walk |
//! | 4 | the sender's tracker id in live sync, or 0 |
//! | 1 | minutes that the batch waited before it was sent; the records are so much older |
//! | 1 | the kind of its records: 4 or 6 |
//! | the rest | records as live sync has them; the last byte is the peer's age: minutes since it was seen |
//!
//! Ages travel, not times: the clocks of two trackers may be hours apart.

use std::ops::Range;

use thiserror::Error;

use crate::cluster::outbox::Codec;
use crate::cluster::record::{self, RecordKind};
use crate::tracker::{Change, Minute, Origin};

/// What NATS is called where transports are told apart: in the origin of changes, and in names of metrics.
pub(super) const NAME: &str = "nats";

/// What a batch begins with.
pub(super) const MAGIC: [u8; 4] = *b"OTB\x01";
/// Bytes in a batch at most.
pub(super) const MAX_BATCH: usize = 64_000;
/// Bytes in the name of a cluster at most.
pub(super) const MAX_NAME: usize = 64;
/// Bytes before the records at most.
const MAX_HEADER: usize = 4 + 1 + MAX_NAME + 4 * 8 + 4 + 1 + 1;
/// Minutes after which a batch that waits is of no use to anybody: older than any peer that is kept.
pub(super) const MAX_WAIT: u32 = 120;

/// The number of a tracker in the cluster. It draws a new one when it starts.
pub(super) type Sender = u64;

/// A batch that is well-formed as a whole. Its records may still be refused, one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch<'a> {
    pub(super) sender: Sender,
    pub(super) sequence: u64,
    /// The sequence numbers that the walk under way makes up for; empty if there is none.
    pub(super) made_up: Range<u64>,
    pub(super) live_sync_id: [u8; 4],
    /// Minutes.
    pub(super) waited: u8,
    pub(super) kind: RecordKind,
    pub(super) records: &'a [u8],
}

/// Why a message is refused as a whole. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ParseError {
    #[error("it is longer than {MAX_BATCH} bytes")]
    TooLong,
    #[error("it ends within its header")]
    TooShort,
    #[error("it is none of opentracker's")]
    Foreign,
    #[error("its version is {0}")]
    UnknownVersion(u8),
    #[error("it says that it is of another cluster")]
    OtherCluster,
    #[error("it has records of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("it ends within a record")]
    PartialRecord,
    #[error("its numbers make no sense")]
    Nonsense,
}

/// Reads what every message begins with: magic, version and name. Returns the rest.
pub(super) fn parse_prefix<'a>(bytes: &'a [u8], magic: [u8; 4], cluster: &str) -> Result<&'a [u8], ParseError> {
    let ([a, b, c, version], rest) = bytes.split_first_chunk().ok_or(ParseError::TooShort)?;
    let [x, y, z, ours] = magic;
    if [*a, *b, *c] != [x, y, z] {
        return Err(ParseError::Foreign);
    }
    if *version != ours {
        return Err(ParseError::UnknownVersion(*version));
    }
    let (&len, rest) = rest.split_first().ok_or(ParseError::TooShort)?;
    let (name, rest) = rest.split_at_checked(len.into()).ok_or(ParseError::TooShort)?;
    if name == cluster.as_bytes() { Ok(rest) } else { Err(ParseError::OtherCluster) }
}

/// Writes what [`parse_prefix`] reads. The configuration allows no name that is longer than [`MAX_NAME`].
pub(super) fn write_prefix(bytes: &mut Vec<u8>, magic: [u8; 4], cluster: &str) {
    let name = cluster.as_bytes().get(..MAX_NAME).unwrap_or(cluster.as_bytes());
    bytes.extend(magic);
    bytes.push(u8::try_from(name.len()).unwrap_or_default());
    bytes.extend(name);
}

/// Takes a number off the front.
pub(super) fn take_number(bytes: &mut &[u8]) -> Result<u64, ParseError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(ParseError::TooShort)?;
    *bytes = rest;
    Ok(u64::from_be_bytes(*number))
}

impl<'a> Batch<'a> {
    /// Reads a batch of this cluster.
    pub(super) fn parse(bytes: &'a [u8], cluster: &str) -> Result<Self, ParseError> {
        if bytes.len() > MAX_BATCH {
            return Err(ParseError::TooLong);
        }
        let mut rest = parse_prefix(bytes, MAGIC, cluster)?;
        let sender = take_number(&mut rest)?;
        let sequence = take_number(&mut rest)?;
        let made_up = take_number(&mut rest)?..take_number(&mut rest)?;
        let (&live_sync_id, rest) = rest.split_first_chunk().ok_or(ParseError::TooShort)?;
        let (&[waited, kind], records) = rest.split_first_chunk().ok_or(ParseError::TooShort)?;
        let kind = match kind {
            4 => RecordKind::Ipv4,
            6 => RecordKind::Ipv6,
            unknown => return Err(ParseError::UnknownKind(unknown)),
        };
        if records.len() % kind.record_len() != 0 {
            return Err(ParseError::PartialRecord);
        }
        // The last number is never used, so that there is always a next one.
        if sequence == u64::MAX || sequence == 0 && !records.is_empty() || made_up.start > made_up.end {
            return Err(ParseError::Nonsense);
        }
        Ok(Self { sender, sequence, made_up, live_sync_id, waited, kind, records })
    }

    /// Returns the batch as it travels in this cluster.
    pub(super) fn write(&self, cluster: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_HEADER + self.records.len());
        write_prefix(&mut bytes, MAGIC, cluster);
        for number in [self.sender, self.sequence, self.made_up.start, self.made_up.end] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.live_sync_id);
        let kind = match self.kind {
            RecordKind::Ipv4 => 4,
            RecordKind::Ipv6 => 6,
        };
        bytes.extend([self.waited, kind]);
        bytes.extend(self.records);
        bytes
    }

    /// Returns how many records it has.
    pub(super) fn count(&self) -> usize {
        self.records.len() / self.kind.record_len()
    }

    /// Returns what each record says, in a batch that came `now`; `None` for one whose flags have no meaning yet.
    pub(super) fn changes(&self, now: Minute) -> impl Iterator<Item = Option<Change>> + '_ {
        let seen = move |age: u8| Minute(now.0.saturating_sub(u32::from(self.waited) + u32::from(age)));
        let read = move |record| record::read(record, self.kind, Origin::Transport(NAME), seen);
        self.records.chunks_exact(self.kind.record_len()).map(read)
    }
}

/// Gathers changes for batches. What it writes is not sent as it is: [`Sealed`] makes ages of minutes.
///
/// A draft is the kind of its records (1 byte), the minute in which its first change was seen (4), and records that end
/// with the minute in which their change was seen, modulo 256.
#[derive(Debug)]
pub(super) struct BatchCodec;

const DRAFT_HEADER: usize = 5;

impl Codec for BatchCodec {
    type Kind = RecordKind;
    const KINDS: &'static [RecordKind] = RecordKind::ALL;
    /// A megabyte: the thread empties it many times a second, whether there is a connection or not.
    const MAX_WAITING: usize = 16;

    fn kind(change: &Change) -> RecordKind {
        RecordKind::of(change)
    }

    fn begin(&self, kind: RecordKind) -> Vec<u8> {
        let mut draft = Vec::with_capacity(MAX_BATCH);
        draft.extend([if kind == RecordKind::Ipv4 { 4 } else { 6 }, 0, 0, 0, 0]);
        draft
    }

    #[expect(clippy::cast_possible_truncation, reason = "kept modulo 256, as said above")]
    fn append(&self, draft: &mut Vec<u8>, change: &Change) {
        if let [_, a, b, c, d] = draft.as_mut_slice() {
            [*a, *b, *c, *d] = change.seen.0.to_be_bytes();
        }
        record::append(draft, change, change.seen.0 as u8);
    }

    fn is_full(draft: &[u8], kind: RecordKind) -> bool {
        draft.len() - DRAFT_HEADER + kind.record_len() > MAX_BATCH - MAX_HEADER
    }
}

/// The records of a batch, with ages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) kind: RecordKind,
    pub(super) records: Vec<u8>,
    /// The minute that the ages count back from.
    pub(super) at: Minute,
    /// When the peer was seen that was seen first of all.
    pub(super) oldest: Minute,
}

impl Sealed {
    /// Makes ages of the minutes in a draft; `None` if nobody can use it, as its first change was seen so long ago.
    pub(super) fn new(mut draft: Vec<u8>, now: Minute) -> Option<Self> {
        let &[kind, a, b, c, d] = draft.first_chunk()?;
        let kind = if kind == 4 { RecordKind::Ipv4 } else { RecordKind::Ipv6 };
        if now.since(Minute(u32::from_be_bytes([a, b, c, d]))) > MAX_WAIT {
            return None;
        }
        draft.drain(..DRAFT_HEADER);
        // Most are much shorter than the room that was made for them.
        draft.shrink_to_fit();
        let mut greatest = 0;
        for record in draft.chunks_exact_mut(kind.record_len()) {
            let Some(last) = record.last_mut() else { continue };
            // Nothing is older than half of 256 minutes; what seems to be was seen in the next minute.
            let age = now.0.wrapping_sub(u32::from(*last)) & 255;
            *last = if age == 255 { 0 } else { u8::try_from(age).unwrap_or(u8::MAX) };
            greatest = greatest.max(u32::from(*last));
        }
        Some(Self { kind, records: draft, at: now, oldest: Minute(now.0.saturating_sub(greatest)) })
    }

    /// Returns how many records it has.
    pub(super) fn count(&self) -> usize {
        self.records.len() / self.kind.record_len()
    }
}
