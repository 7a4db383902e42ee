//! The journal: the batches of this tracker, numbered, until the server surely has them; and for as long as there is
//! room, so that whoever has missed one can have it again.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
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
    /// Bytes of records in a batch at most.
    max_len: usize,
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
            max_len: usize::MAX,
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

    /// Returns how many batches have been sent that have not surely gone out.
    pub(super) fn in_flight(&self) -> u64 {
        // Those that were forgotten before they were sent are not on their way.
        self.cursor.saturating_sub(self.first().max(self.proven + 1))
    }

    /// Returns whether all has been sent, and surely went out.
    pub(super) fn is_proven(&self) -> bool {
        self.proven + 1 >= self.next
    }

    /// Adds a batch, or several if it is too large for one.
    pub(super) fn push(&mut self, sealed: Sealed, repeats: bool) {
        for sealed in sealed.split(self.max_len) {
            self.bytes += sealed.records.len();
            self.entries.push_back(Entry { sequence: self.next, sealed, repeats, sent_at: None });
            self.next += 1;
        }
    }

    /// Sets how many bytes of records a batch has at most. Those that were never sent are split.
    pub(super) fn set_max_len(&mut self, bytes: usize) {
        if bytes >= mem::replace(&mut self.max_len, bytes) {
            return;
        }
        let first_unsent = self.first().max(self.sent + 1);
        let kept = usize::try_from(first_unsent - self.first()).unwrap_or(usize::MAX);
        let unsent = self.entries.split_off(kept.min(self.entries.len()));
        self.next = self.next.min(first_unsent);
        for Entry { sealed, repeats, .. } in unsent {
            self.bytes -= sealed.records.len();
            self.push(sealed, repeats);
        }
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

    /// Returns the first batch that is kept of those made since a minute, and whether none of them has been forgotten.
    pub(super) fn recent(&self, since: Minute) -> (u64, bool) {
        let older = self.entries.partition_point(|entry| entry.sealed.at < since);
        (self.first() + older as u64, older > 0 || self.first() == 1)
    }

    /// Returns since when peers are to be published anew to make up for the batches from this one on that are not kept
    /// any more; `None` if all are.
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

#[cfg(test)]
mod tests {
    use super::super::batch::tests::{NOW, change, sealed};
    use super::*;
    use crate::tracker::Change;

    const SECOND: Duration = Duration::from_secs(1);

    /// A batch with a peer that was seen so many minutes ago.
    fn batch(age: u32) -> Sealed {
        sealed(&[Change { seen: Minute(NOW.0 - age), ..change("192.0.2.1:1") }], NOW)
    }

    fn journal(batches: u32, room: usize) -> Journal {
        let mut journal = Journal::with_room(1000, room);
        (0..batches).for_each(|age| journal.push(batch(age), false));
        journal
    }

    fn sends(journal: &mut Journal, now: Instant) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| journal.send_next(now).map(|(entry, again)| (entry.sequence, again))).collect()
    }

    fn sends_again(journal: &mut Journal, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| journal.send_asked(now).map(|entry| entry.sequence)).collect()
    }

    #[test]
    fn what_did_not_surely_go_out_goes_out_again() {
        let (mut journal, now) = (journal(3, 10), Instant::now());
        assert_eq!(journal.in_flight(), 0);
        assert_eq!(sends(&mut journal, now), [(1, false), (2, false), (3, false)]);
        assert_eq!((journal.in_flight(), journal.is_proven()), (3, false));
        journal.prove(2);
        journal.push(batch(0), false);
        journal.begin_again();
        assert_eq!((journal.in_flight(), journal.sent()), (0, 3));
        assert_eq!(sends(&mut journal, now), [(3, true), (4, false)]);
        // Nothing proves what has not been sent.
        journal.push(batch(0), false);
        journal.prove(9);
        assert_eq!((journal.proven(), journal.is_proven()), (4, false));
        assert_eq!(sends(&mut journal, now), [(5, false)]);
        journal.prove(5);
        journal.prove(1);
        assert!(journal.is_proven());
    }

    #[test]
    fn what_was_missed_is_sent_again_once_for_all_who_ask_at_a_time() {
        let (mut journal, now) = (journal(5, 10), Instant::now());
        sends(&mut journal, now);
        journal.push(batch(0), false);
        assert_eq!((journal.ask(&(2..4), now), sends_again(&mut journal, now)), (None, vec![]), "it is on its way");
        let later = now + REPEAT_AFTER;
        for missed in [2..4, 2..4, 3..5, 3..3, 7..u64::MAX] {
            assert_eq!(journal.ask(&missed, later), None);
        }
        assert_eq!(sends_again(&mut journal, later), [2, 3, 4]);
        journal.ask(&(2..4), later + SECOND);
        assert!(sends_again(&mut journal, later + SECOND).is_empty());
        assert_eq!(journal.ask(&(0..u64::MAX), later + 10 * SECOND), Some(Lost { from: 0, since: Minute(0) }));
        assert_eq!(sends_again(&mut journal, later + 10 * SECOND), [1, 2, 3, 4, 5], "the sixth has not been sent");
    }

    #[test]
    fn what_there_is_no_room_for_is_made_up_for_from_when_its_peers_were_seen() {
        let (mut journal, now) = (journal(3, 3), Instant::now());
        sends(&mut journal, now);
        journal.prove(2);
        // Those that surely went out are no loss; whoever asks for them is told since when peers are wanted.
        (10..12).for_each(|age| journal.push(batch(age), false));
        assert_eq!(journal.forget(NOW), (0, None));
        assert_eq!((journal.first(), journal.since(3)), (3, None));
        assert_eq!(journal.ask(&(1..4), now), Some(Lost { from: 1, since: Minute(NOW.0 - 1) }));
        assert_eq!(journal.since(2), Some(Minute(NOW.0 - 1)));
        // Those that may not have gone out are.
        (0..2).for_each(|age| journal.push(batch(age), false));
        assert_eq!(journal.forget(NOW), (2, Some(Lost { from: 3, since: Minute(NOW.0 - 10) })));
        assert_eq!(sends(&mut journal, now), [(5, false), (6, false), (7, false)]);
    }

    #[test]
    fn bytes_are_bounded_as_batches_are_and_so_is_what_is_known_of_those_that_are_gone() {
        let mut journal = journal(10, 10_000);
        assert_eq!(journal.forget(NOW), (0, None));
        (0..90).for_each(|_| journal.push(batch(3), false));
        let (count, lost) = journal.forget(NOW);
        assert_eq!((count, lost), (65, Some(Lost { from: 1, since: Minute(NOW.0 - 9) })));
        assert!(journal.bytes <= 1000);
        assert_eq!(journal.in_flight(), 0, "none of them has been sent");
        let many = MAX_FORGOTTEN as u64 + 100;
        for _ in 0..many {
            journal.push(batch(7), false);
            journal.forget(NOW);
        }
        assert_eq!(journal.forgotten.len(), MAX_FORGOTTEN);
        assert_eq!(journal.since(1), Some(Minute(0)), "it is not known any more");
        assert_eq!(journal.since(journal.first() - 1), Some(Minute(NOW.0 - 7)));
    }

    #[test]
    fn what_nobody_can_use_any_more_is_forgotten() {
        let mut journal = journal(2, 10);
        assert_eq!(journal.forget(NOW + MAX_WAIT), (0, None));
        assert_eq!(journal.forget(NOW + MAX_WAIT + 1), (2, Some(Lost { from: 1, since: Minute(NOW.0 - 1) })));
        assert_eq!((journal.first(), journal.next(), sends(&mut journal, Instant::now())), (3, 3, vec![]));
    }
}
