//! The senders: which batches of each other tracker have been taken, and which are missing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::ask::Ask;
use super::batch::{Batch, Sender};

/// Trackers that are known at most.
const MAX_SENDERS: usize = 1024;
/// Gaps that are known of each at most. Of more, the first two become one.
const MAX_GAPS: usize = 64;
/// A tracker that has been silent for so long makes room for another. Each says something every few seconds.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// Only who has been heard within this time is asked.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How long it takes at most until what is missing is asked for: another may ask first.
const MAX_JITTER: Duration = Duration::from_secs(1);
/// How long an answer may take before the same is asked again: at first, and at most. It doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What is known of the other trackers of the cluster: at most a megabyte.
#[derive(Debug)]
pub(super) struct Senders {
    known: BTreeMap<Sender, Known>,
    rng: Rng,
}

/// What is known of one.
#[derive(Debug)]
struct Known {
    /// The highest sequence number that it is known to have sent.
    highest: u64,
    /// Lower ones that have not come, in their order.
    missing: Vec<Range<u64>>,
    heard: Instant,
    /// When what is missing is asked for, if anything is.
    ask_at: Instant,
    pause: Duration,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has not come before. `gap`: it shows that others have not come.
    New { gap: bool },
    /// It has come before, or there is nothing in it.
    Known { gap: bool },
    /// There are too many senders.
    Refused,
}

impl Senders {
    /// Makes a table without senders. The seed spreads in time what several trackers ask.
    pub(super) fn new(seed: u64) -> Self {
        Self { known: BTreeMap::new(), rng: Rng::with_seed(seed) }
    }

    /// Notes a batch. Whoever is heard for the first time has missed nothing of it if `starts`: this tracker has only
    /// just begun to listen. Else all batches before the first are missing.
    pub(super) fn note(&mut self, batch: &Batch<'_>, starts: bool, now: Instant) -> Verdict {
        let Batch { sender, sequence, ref made_up, .. } = *batch;
        let is_empty = batch.records.is_empty();
        if !self.known.contains_key(&sender) && !self.make_room(now) {
            return Verdict::Refused;
        }
        let jitter = MAX_JITTER.mul_f64(self.rng.f64());
        let known = self.known.entry(sender).or_insert_with(|| Known {
            highest: if starts && !is_empty {
                sequence - 1
            } else if starts {
                sequence
            } else {
                0
            },
            missing: Vec::new(),
            heard: now,
            ask_at: now,
            pause: FIRST_PAUSE,
        });
        known.heard = now;
        let mut gap = false;
        let end = if is_empty { sequence + 1 } else { sequence };
        if end > known.highest + 1 {
            if known.missing.is_empty() {
                (known.ask_at, known.pause) = (now + jitter, FIRST_PAUSE);
            }
            gap = true;
            known.miss(known.highest + 1..end);
        }
        let is_new = !is_empty && (sequence > known.highest || known.settle(&(sequence..sequence + 1)));
        known.highest = known.highest.max(sequence);
        known.settle(made_up);
        if is_new { Verdict::New { gap } } else { Verdict::Known { gap } }
    }

    /// Somebody else has asked. If he will hear what is missing here, there is no need to ask as well.
    pub(super) fn heard_ask(&mut self, ask: &Ask, now: Instant) {
        let Some(known) = self.known.get_mut(&ask.sender) else { return };
        let Some(missing) = known.span() else { return };
        if ask.missed.start <= missing.start && missing.end <= ask.missed.end {
            known.ask_at = known.ask_at.max(now + FIRST_PAUSE.mul_f64(0.5 + self.rng.f64() / 2.0));
        }
    }

    /// Returns what is to be asked `now`: who, and which of its batches are missing.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Sender, Range<u64>)> {
        let mut due = Vec::new();
        for (&sender, known) in &mut self.known {
            let answers = now.saturating_duration_since(known.heard) < ANSWERS_WITHIN;
            let Some(missing) = known.span().filter(|_| answers && now >= known.ask_at) else { continue };
            known.ask_at = now + known.pause;
            known.pause = (known.pause * 2).min(MAX_PAUSE);
            due.push((sender, missing));
        }
        due
    }

    /// Returns whether anybody was heard of within `time` before `since`, but not since then.
    pub(super) fn has_lost_any(&self, since: Instant, time: Duration) -> bool {
        self.known.values().any(|known| known.heard < since && since.saturating_duration_since(known.heard) < time)
    }

    /// Returns one of those who would answer, at random.
    pub(super) fn any(&mut self, now: Instant) -> Option<Sender> {
        let answers = |known: &Known| now.saturating_duration_since(known.heard) < ANSWERS_WITHIN;
        let there: Vec<_> = self.known.iter().filter(|(_, known)| answers(known)).map(|(&sender, _)| sender).collect();
        self.rng.choice(there)
    }

    /// Makes room for one more. Those who are heard keep their places.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.known.len() < MAX_SENDERS {
            return true;
        }
        self.known.retain(|_, known| now.saturating_duration_since(known.heard) < SILENT_AFTER);
        self.known.len() < MAX_SENDERS
    }
}

impl Known {
    /// Returns the range from the first to the last that is missing.
    fn span(&self) -> Option<Range<u64>> {
        Some(self.missing.first()?.start..self.missing.last()?.end)
    }

    /// Notes that these are missing, behind all that are missing already.
    fn miss(&mut self, gap: Range<u64>) {
        self.missing.push(gap);
        if self.missing.len() > MAX_GAPS {
            // What came between the two may be taken twice.
            let first = self.missing.remove(0);
            if let Some(next) = self.missing.first_mut() {
                next.start = first.start;
            }
        }
    }

    /// Notes that these are not missing any more. Returns whether any of them was.
    fn settle(&mut self, came: &Range<u64>) -> bool {
        let overlaps = |gap: &Range<u64>| gap.start < came.end && came.start < gap.end;
        if !self.missing.iter().any(overlaps) {
            return false;
        }
        let mut left = Vec::with_capacity(self.missing.len() + 1);
        for gap in self.missing.drain(..) {
            let (before, behind) = (gap.start..gap.end.min(came.start), gap.start.max(came.end)..gap.end);
            left.extend([before, behind].into_iter().filter(|part| !part.is_empty()));
        }
        self.missing = left;
        true
    }
}
