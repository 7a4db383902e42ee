//! The journal: the batches of this tracker, numbered, until the server surely has them; and for as long as there is room,
//! so that whoever has missed one can have it again.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::tracker::Minute;

use super::batch::{MAX_WAIT, Sealed};

/// Bytes of records that are kept at most.
const MAX_BYTES: usize = 8 << 20;
/// Batches that are kept at most.
const MAX_BATCHES: usize = 4096;
/// Batches of which it is known how far back they went although they are not kept any more.
const MAX_FORGOTTEN: usize = 4096;
/// A batch is not sent again for who has missed it until so long after it was last sent: several who ask are served
/// together.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// The batches of this tracker. Their sequence numbers begin with 1.
#[derive(Debug)]
pub(super) struct Journal {
    /// Bytes and batches that are kept at most.
    room: (usize, usize),
    /// With consecutive sequence numbers.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The sequence number of the next entry.
    next: u64,
    /// The next to be sent.
    cursor: u64,
    /// The last that has been sent, and that surely has gone out.
    sent: u64,
    proven: u64,
    /// Those to be sent again, as somebody has missed them.
    asked: BTreeSet<u64>,
    /// Those before the entries, the last at the end: when the peer was seen in each that was seen first of all.
    forgotten: VecDeque<Minute>,
}

/// A batch with its number.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) sealed: Sealed,
    /// Whether its changes have been published before.
    pub(super) repeats: bool,
    sent_at: Option<Instant>,
}

/// What a walk is to make up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// The first batch that has been lost.
    pub(super) from: u64,
    /// Peers that were seen since then are to be published anew.
    pub(super) since: Minute,
}

impl Lost {
    /// Returns what makes up for both.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self { from: self.from.min(other.from), since: self.since.min(other.since) }
    }
}

impl Journal {
    /// Makes an empty journal.
    pub(super) fn new() -> Self {
        Self::with_room(MAX_BYTES, MAX_BATCHES)
    }

    /// Makes an empty journal that keeps so many bytes and batches at most.
    pub(super) fn with_room(bytes: usize, batches: usize) -> Self {
        Self {
            room: (bytes, batches),
            entries: VecDeque::new(),
            bytes: 0,
            next: 1,
            cursor: 1,
            sent: 0,
            proven: 0,
            asked: BTreeSet::new(),
            forgotten: VecDeque::new(),
        }
    }

    /// Returns the sequence number that the next batch will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Returns the sequence number of the last batch that was sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the sequence number of the last batch that surely went out: the server has had it and all before it.
    pub(super) fn proven(&self) -> u64 {
        self.proven
    }

    /// Returns the sequence number of the first batch that can still be sent.
    pub(super) fn first(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.sequence)
    }

    /// Returns how many batches have been sent behind `base`, or what surely went out if that is later.
    pub(super) fn in_flight(&self, base: u64) -> u64 {
        self.cursor.saturating_sub(1).saturating_sub(self.proven.max(base))
    }

    /// Returns whether all has been sent, and surely went out.
    pub(super) fn is_proven(&self) -> bool {
        self.proven + 1 >= self.next
    }

    /// Adds a batch.
    pub(super) fn push(&mut self, sealed: Sealed, repeats: bool) {
        self.bytes += sealed.records.len();
        self.entries.push_back(Entry { sequence: self.next, sealed, repeats, sent_at: None });
        self.next += 1;
    }

    /// Forgets batches for which there is no room, or that nobody can use any more. Returns how many of them did not
    /// surely go out, and what makes up for them.
    pub(super) fn forget(&mut self, now: Minute) -> (usize, Option<Lost>) {
        let (mut count, mut lost) = (0, None);
        while let Some(entry) = self.entries.front() {
            let is_old = now.since(entry.sealed.at) > MAX_WAIT;
            if !is_old && self.bytes <= self.room.0 && self.entries.len() <= self.room.1 {
                break;
            }
            let (sequence, since) = (entry.sequence, entry.sealed.oldest);
            self.bytes -= entry.sealed.records.len();
            self.entries.pop_front();
            self.asked.remove(&sequence);
            self.forgotten.push_back(since);
            if self.forgotten.len() > MAX_FORGOTTEN {
                self.forgotten.pop_front();
            }
            if sequence > self.proven {
                count += 1;
                lost = Some(Lost { from: sequence, since }.and(lost));
            }
        }
        self.cursor = self.cursor.max(self.first());
        (count, lost)
    }

    /// Returns the next batch that is to be sent, and whether it has been sent before.
    pub(super) fn send_next(&mut self, now: Instant) -> Option<(&Entry, bool)> {
        let sent = self.send(self.cursor, now)?;
        self.cursor += 1;
        self.sent = self.sent.max(self.cursor - 1);
        let entry = self.entry(self.cursor - 1)?;
        Some((entry, sent.is_some()))
    }

    /// Returns a batch that is to be sent again, as somebody has missed it.
    pub(super) fn send_asked(&mut self, now: Instant) -> Option<&Entry> {
        let sequence = self.asked.pop_first()?;
        self.send(sequence, now)?;
        self.entry(sequence)
    }

    /// The server has had this batch, and all before it.
    pub(super) fn prove(&mut self, sequence: u64) {
        self.proven = self.proven.max(sequence.min(self.sent));
    }

    /// Whatever did not surely go out is to be sent again.
    pub(super) fn begin_again(&mut self) {
        self.cursor = (self.proven + 1).max(self.first()).min(self.next);
        self.asked.clear();
    }

    /// Somebody has missed these batches: they are to be sent again. Returns what makes up for those that are not kept
    /// any more. Batches that have just been sent, or are still to be sent, are left out.
    pub(super) fn ask(&mut self, missed: &Range<u64>, now: Instant) -> Option<Lost> {
        for sequence in missed.start.max(self.first())..missed.end.min(self.cursor) {
            let due = |entry: &Entry| entry.sent_at.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT_AFTER);
            if self.entry(sequence).is_some_and(due) {
                self.asked.insert(sequence);
            }
        }
        let from = missed.start;
        self.since(from).filter(|_| !missed.is_empty()).map(|since| Lost { from, since })
    }

    /// Returns since when peers are to be published anew to make up for the batches from this one on that are not kept any
    /// more; `None` if all are.
    pub(super) fn since(&self, from: u64) -> Option<Minute> {
        let known = self.first() - self.forgotten.len() as u64;
        if from >= self.first() {
            None
        } else if from < known {
            // Nothing is known of them any more: all peers.
            Some(Minute(0))
        } else {
            let skipped = usize::try_from(from - known).unwrap_or(usize::MAX);
            self.forgotten.iter().skip(skipped).min().copied()
        }
    }

    /// Notes that an entry is sent. Returns when it was sent before; `None` if there is no such entry.
    fn send(&mut self, sequence: u64, now: Instant) -> Option<Option<Instant>> {
        let at = usize::try_from(sequence.checked_sub(self.first())?).ok()?;
        Some(self.entries.get_mut(at)?.sent_at.replace(now))
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first())?).ok()?)
    }
}
