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
//! | 4 | the sender's tracker id in live sync, or, without that, some of the number that it has drawn |
//! | 1 | minutes that the batch waited before it was sent; the records are so much older |
//! | 1 | the kind of its records: 4 or 6 |
//! | the rest | records as live sync has them; the last byte is the peer's age: minutes since it was seen |
//!
//! Ages travel, not times: the clocks of two trackers may be hours apart.

use std::ops::Range;
use std::time::Instant;

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
pub(super) const MAX_HEADER: usize = 4 + 1 + MAX_NAME + 4 * 8 + 4 + 1 + 1;
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
    /// The sender's id in live sync, or something else that no other tracker has.
    pub(super) member: [u8; 4],
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
        let (&member, rest) = rest.split_first_chunk().ok_or(ParseError::TooShort)?;
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
        Ok(Self { sender, sequence, made_up, member, waited, kind, records })
    }

    /// Returns the batch as it travels in this cluster.
    pub(super) fn write(&self, cluster: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_HEADER + self.records.len());
        write_prefix(&mut bytes, MAGIC, cluster);
        for number in [self.sender, self.sequence, self.made_up.start, self.made_up.end] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.member);
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

    /// Returns what each record says, in a batch that came `now`, perhaps behind a later one; `None` for one whose
    /// flags have no meaning yet.
    pub(super) fn changes(&self, now: Minute, is_late: bool) -> impl Iterator<Item = Option<Change>> + '_ {
        let seen = move |age: u8| Minute(now.0.saturating_sub(u32::from(self.waited) + u32::from(age)));
        let member = u32::from_be_bytes(self.member);
        let origin =
            if is_late { Origin::Late { name: NAME, member } } else { Origin::Transport { name: NAME, member } };
        let read = move |record| record::read(record, self.kind, origin, seen);
        self.records.chunks_exact(self.kind.record_len()).map(read)
    }
}

/// Gathers changes for batches. What it writes is not sent as it is: [`Sealed`] makes ages of minutes.
///
/// A draft is the minute in which its first change was seen (4 bytes), and records that end with the minute in which
/// their change was seen, modulo 256.
#[derive(Debug)]
pub(super) struct BatchCodec;

const DRAFT_HEADER: usize = 4;

impl Codec for BatchCodec {
    /// A megabyte: the thread empties it many times a second, whether there is a connection or not.
    const MAX_WAITING: usize = 16;

    fn begin(&self, _: RecordKind) -> Vec<u8> {
        let mut draft = Vec::with_capacity(MAX_BATCH);
        draft.extend([0; DRAFT_HEADER]);
        draft
    }

    #[expect(clippy::cast_possible_truncation, reason = "kept modulo 256, as said above")]
    fn append(&self, draft: &mut Vec<u8>, change: &Change) {
        if let [a, b, c, d] = draft.as_mut_slice() {
            [*a, *b, *c, *d] = change.seen.0.to_be_bytes();
        }
        record::append(draft, change, change.seen.0 as u8);
    }

    fn is_full(draft: &[u8], kind: RecordKind) -> bool {
        draft.len() + kind.record_len() > DRAFT_HEADER + MAX_BATCH - MAX_HEADER
    }
}

/// The records of a batch, with ages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) kind: RecordKind,
    pub(super) records: Vec<u8>,
    /// The minute that the ages count back from.
    pub(super) at: Minute,
    /// When that was.
    pub(super) since: Instant,
    /// When the peer was seen that was seen first of all.
    pub(super) oldest: Minute,
}

impl Sealed {
    /// Makes ages of the minutes in a draft; `None` if nobody can use it, as its first change was seen so long ago.
    pub(super) fn new(kind: RecordKind, mut draft: Vec<u8>, now: Minute, since: Instant) -> Option<Self> {
        let first = Minute(u32::from_be_bytes(*draft.first_chunk()?));
        if now.since(first) > MAX_WAIT {
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
        Some(Self { kind, records: draft, at: now, since, oldest: Minute(now.0.saturating_sub(greatest)) })
    }

    /// Returns how many records it has.
    pub(super) fn count(&self) -> usize {
        self.records.len() / self.kind.record_len()
    }

    /// Returns the same in parts of so many bytes of records at most, but of one record at least.
    pub(super) fn split(self, bytes: usize) -> Vec<Self> {
        if self.records.len() <= bytes {
            return vec![self];
        }
        let record = self.kind.record_len();
        let parts = self.records.chunks((bytes / record).max(1) * record);
        parts.map(|records| Self { records: records.to_vec(), ..self }).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tracker::InfoHash;
    use proptest::prelude::*;

    pub(in super::super) const NOW: Minute = Minute(29_000_191);
    const NAME_OF_CLUSTER: &str = "trackers.test";

    pub(in super::super) fn change(endpoint: &str) -> Change {
        Change {
            info_hash: InfoHash([7; 20]),
            endpoint: endpoint.parse().unwrap(),
            seeder: false,
            completed: false,
            stopped: false,
            seen: NOW,
            origin: Origin::Transport { name: NAME, member: 0 },
        }
    }

    /// Gathers changes, which are all of one kind, and seals them.
    pub(in super::super) fn sealed(changes: &[Change], now: Minute) -> Sealed {
        let mut draft = BatchCodec.begin(RecordKind::of(&changes[0]));
        changes.iter().for_each(|change| BatchCodec.append(&mut draft, change));
        Sealed::new(RecordKind::of(&changes[0]), draft, now, Instant::now()).unwrap()
    }

    fn batch(records: &[u8], kind: RecordKind) -> Batch<'_> {
        let (sender, sequence, made_up, member) = (0x0102, 3, 1..3, [9, 8, 7, 6]);
        Batch { sender, sequence, made_up, member, waited: 5, kind, records }
    }

    #[test]
    fn a_batch_is_right_to_the_byte() {
        let told = [Change { seeder: true, completed: true, seen: Minute(NOW.0 - 2), ..change("192.0.2.1:6881") }];
        let sealed = sealed(&told, NOW);
        let expected: &[&[u8]] = &[
            b"OTB\x01\x0dtrackers.test",
            &[0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3],
            &[9, 8, 7, 6, 5, 4],
            &[7; 20],
            &[192, 0, 2, 1, 0x1a, 0xe1, 0xc0, 2],
        ];
        assert_eq!(batch(&sealed.records, sealed.kind).write(NAME_OF_CLUSTER), expected.concat());
    }

    #[test]
    fn what_is_malformed_is_refused_and_why() {
        let records = sealed(&[change("192.0.2.1:1")], NOW).records;
        let whole = batch(&records, RecordKind::Ipv4).write(NAME_OF_CLUSTER);
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            bytes
        };
        let numbers = 4 + 1 + NAME_OF_CLUSTER.len();
        for (bytes, expected) in [
            (vec![], ParseError::TooShort),
            (whole[..3].to_vec(), ParseError::TooShort),
            (whole[..numbers + 37].to_vec(), ParseError::TooShort),
            (vec![0; MAX_BATCH + 1], ParseError::TooLong),
            (with(0, b'X'), ParseError::Foreign),
            (with(2, b'A'), ParseError::Foreign),
            (with(3, 2), ParseError::UnknownVersion(2)),
            (with(4, 255), ParseError::TooShort),
            (with(4, 12), ParseError::OtherCluster),
            (with(5, b'T'), ParseError::OtherCluster),
            (with(numbers + 37, 5), ParseError::UnknownKind(5)),
            (with(numbers + 37, 6), ParseError::PartialRecord),
            (whole[..whole.len() - 1].to_vec(), ParseError::PartialRecord),
            // Records without a number, the number that is never used, and a range that ends before it begins.
            (with(numbers + 15, 0), ParseError::Nonsense),
            ([&whole[..numbers + 8], &[255; 8], &whole[numbers + 16..]].concat(), ParseError::Nonsense),
            (with(numbers + 23, 4), ParseError::Nonsense),
        ] {
            assert_eq!(Batch::parse(&bytes, NAME_OF_CLUSTER), Err(expected), "{bytes:?}");
        }
        assert_eq!(Batch::parse(&whole, "another"), Err(ParseError::OtherCluster));
    }

    #[test]
    fn a_full_batch_is_no_longer_than_batches_may_be() {
        let name = "n".repeat(MAX_NAME);
        for (endpoint, most) in [("192.0.2.1:1", 2281), ("[::1]:1", 1597)] {
            let (change, kind) = (change(endpoint), RecordKind::of(&change(endpoint)));
            let mut draft = BatchCodec.begin(kind);
            while !BatchCodec::is_full(&draft, kind) {
                BatchCodec.append(&mut draft, &change);
            }
            let sealed = Sealed::new(kind, draft, NOW, Instant::now()).unwrap();
            assert_eq!(sealed.count(), most);
            let bytes = batch(&sealed.records, kind).write(&name);
            assert!(bytes.len() <= MAX_BATCH && bytes.len() + kind.record_len() > MAX_BATCH);
            assert_eq!(Batch::parse(&bytes, &name).unwrap().count(), most);
        }
    }

    #[test]
    fn what_waited_becomes_older_by_that() {
        let seen = [NOW, Minute(NOW.0 - 44), NOW + 1];
        let told = seen.map(|seen| Change { seen, ..change("192.0.2.1:1") });
        let sealed = sealed(&told, NOW + 3);
        assert_eq!((sealed.at, sealed.oldest, sealed.kind), (NOW + 3, Minute(NOW.0 - 44), RecordKind::Ipv4));
        let bytes = batch(&sealed.records, sealed.kind).write(NAME_OF_CLUSTER);
        // It waited for five minutes, and is read by a tracker whose clock is an hour ahead.
        let read = Batch::parse(&bytes, NAME_OF_CLUSTER).unwrap();
        let read: Vec<_> = read.changes(NOW + 8 + 60, false).map(|change| change.unwrap().seen).collect();
        assert_eq!(read, seen.map(|seen| seen + 60));
    }

    #[test]
    fn who_was_seen_in_the_coming_minute_is_of_this_one() {
        let sealed = sealed(&[Change { seen: NOW + 1, ..change("192.0.2.1:1") }], NOW);
        assert_eq!(sealed.records.last(), Some(&0));
    }

    #[test]
    fn a_draft_that_nobody_can_use_any_more_is_dropped() {
        for (waited, is_used) in [(0, true), (MAX_WAIT, true), (MAX_WAIT + 1, false), (500, false)] {
            let mut draft = BatchCodec.begin(RecordKind::Ipv4);
            BatchCodec.append(&mut draft, &change("192.0.2.1:1"));
            let sealed = Sealed::new(RecordKind::Ipv4, draft, NOW + waited, Instant::now());
            assert_eq!(sealed.is_some(), is_used, "{waited}");
        }
        assert_eq!(Sealed::new(RecordKind::Ipv4, BatchCodec.begin(RecordKind::Ipv4), NOW, Instant::now()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(
            sender: u64, sequence in 1..u64::MAX, from: u64, walked in 0..1000_u64, member: [u8; 4], waited: u8,
            ages in prop::collection::vec(0..90_u32, 1..50), is_v4: bool, now in 1000..u32::MAX,
        ) {
            let endpoint = if is_v4 { "192.0.2.1:1" } else { "[::1]:1" };
            let told: Vec<_> =
                ages.iter().map(|age| Change { seen: Minute(now - age), ..change(endpoint) }).collect();
            let sealed = sealed(&told, Minute(now));
            let made_up = from..from.saturating_add(walked);
            let Sealed { kind, ref records, .. } = sealed;
            let batch = Batch { sender, sequence, made_up, member, waited, kind, records };
            let bytes = batch.write(NAME_OF_CLUSTER);
            let read = Batch::parse(&bytes, NAME_OF_CLUSTER).unwrap();
            prop_assert_eq!(&read, &batch);
            let seen: Vec<_> = read.changes(Minute(now), false).map(|change| change.unwrap().seen.0).collect();
            prop_assert_eq!(seen, ages.iter().map(|age| now - age - u32::from(waited)).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Batch::parse(&bytes, NAME_OF_CLUSTER);
            let mut behind = Vec::new();
            write_prefix(&mut behind, MAGIC, NAME_OF_CLUSTER);
            behind.extend(&bytes);
            if let Ok(batch) = Batch::parse(&behind, NAME_OF_CLUSTER) {
                prop_assert_eq!(batch.changes(NOW, true).count(), batch.count());
                prop_assert_eq!(batch.write(NAME_OF_CLUSTER), behind);
            }
        }
    }
}
