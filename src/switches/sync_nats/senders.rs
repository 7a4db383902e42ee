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
    /// The highest that has come with changes.
    taken: u64,
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
    /// It has not come before, but one that was sent later has.
    Late,
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
            taken: 0,
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
        if !is_new {
            return Verdict::Known { gap };
        }
        let is_late = sequence < known.taken;
        known.taken = known.taken.max(sequence);
        if is_late { Verdict::Late } else { Verdict::New { gap } }
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
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::record::RecordKind;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SECOND: Duration = Duration::from_secs(1);

    fn batch(sender: Sender, sequence: u64, records: &[u8]) -> Batch<'_> {
        let kind = RecordKind::Ipv4;
        Batch { sender, sequence, made_up: 0..0, member: [0; 4], waited: 0, kind, records }
    }

    const NEW: Verdict = Verdict::New { gap: false };
    const KNOWN: Verdict = Verdict::Known { gap: false };

    /// Notes batches of the sender 1, negative ones without records.
    fn note(senders: &mut Senders, sequences: &[i64], now: Instant) -> Vec<Verdict> {
        let note = |&sequence: &i64| {
            let records: &[u8] = if sequence < 0 { &[] } else { &[0; 28] };
            senders.note(&batch(1, sequence.unsigned_abs(), records), false, now)
        };
        sequences.iter().map(note).collect()
    }

    #[test]
    fn a_batch_is_taken_once_and_a_gap_is_seen_by_what_comes_behind_it() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        assert_eq!(note(&mut senders, &[1, 2, 2, 1, -2], now), [NEW, NEW, KNOWN, KNOWN, KNOWN]);
        assert_eq!(senders.due(now + SECOND), []);
        let (new, known) = (Verdict::New { gap: true }, Verdict::Known { gap: true });
        assert_eq!(note(&mut senders, &[5, -7], now), [new, known]);
        assert_eq!(senders.due(now + MAX_JITTER), [(1, 3..8)]);
        assert_eq!(
            note(&mut senders, &[4, 4, 7, 3, 6], now),
            [Verdict::Late, KNOWN, NEW, Verdict::Late, Verdict::Late]
        );
        assert_eq!(senders.due(now + 10 * SECOND), []);
    }

    #[test]
    fn who_begins_to_listen_has_missed_nothing_and_who_listened_has_missed_all_before_the_first() {
        let now = Instant::now();
        for (records, missed) in [(&[0_u8; 28][..], 1..9), (&[], 1..10)] {
            let mut senders = Senders::new(1);
            senders.note(&batch(1, 9, records), true, now);
            senders.note(&batch(2, 9, records), false, now);
            senders.note(&batch(3, 0, &[]), false, now);
            senders.note(&batch(3, 1, records), false, now);
            let expected = if records.is_empty() { vec![(2, missed), (3, 1..2)] } else { vec![(2, missed)] };
            assert_eq!(senders.due(now + MAX_JITTER), expected);
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_again_and_again_but_less_and_less_often() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        let mut asked = Vec::new();
        for second in 0..300 {
            note(&mut senders, &[-1], now + second * SECOND);
            if !senders.due(now + second * SECOND).is_empty() {
                asked.push(second);
            }
        }
        let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [4, 8, 16, 32, 60, 60, 60]);
        // Who is silent would not answer.
        assert_eq!(senders.due(now + 1000 * SECOND), []);
        note(&mut senders, &[-1], now + 1000 * SECOND);
        assert_eq!(senders.due(now + 1000 * SECOND), [(1, 1..2)]);
    }

    #[test]
    fn who_hears_another_ask_for_the_same_waits_for_the_answer() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        note(&mut senders, &[1, 4, 6], now);
        let ask = |missed| Ask { asker: 7, sender: 1, missed, minutes: 0 };
        senders.heard_ask(&ask(3..6), now + MAX_JITTER);
        assert_eq!(senders.due(now + MAX_JITTER), [(1, 2..6)], "he will not hear all that is missing here");
        senders.heard_ask(&ask(1..9), now + 4 * SECOND);
        assert_eq!(senders.due(now + 5 * SECOND), []);
        assert_eq!(senders.due(now + 8 * SECOND), [(1, 2..6)]);
    }

    #[test]
    fn a_walk_makes_up_for_what_it_says() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        note(&mut senders, &[1, 9], now);
        for (made_up, left) in
            [(0..0, Some(2..9)), (4..4, Some(2..9)), (1..5, Some(5..9)), (8..20, Some(5..8)), (0..8, None)]
        {
            senders.note(&Batch { made_up, ..batch(1, 9, &[]) }, false, now);
            assert_eq!(senders.known[&1].span(), left);
        }
    }

    #[test]
    fn those_who_are_heard_keep_their_places() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        for sender in 0..MAX_SENDERS as u64 {
            assert_eq!(senders.note(&batch(sender, 1, &[0; 28]), true, now), NEW);
        }
        assert_eq!(senders.note(&batch(5000, 1, &[0; 28]), true, now), Verdict::Refused);
        assert_eq!(senders.note(&batch(7, 2, &[0; 28]), true, now + SILENT_AFTER), NEW);
        assert_eq!(senders.note(&batch(5000, 1, &[0; 28]), true, now + SILENT_AFTER), NEW);
        assert_eq!(senders.known.len(), 2);
    }

    #[test]
    fn whoever_was_there_before_a_cut_and_not_after_it_is_lost() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        note(&mut senders, &[1], now);
        let cut = now + 10 * SECOND;
        assert!(senders.has_lost_any(cut, 20 * SECOND) && !senders.has_lost_any(cut, 5 * SECOND));
        assert_eq!((senders.any(cut), senders.any(now + 100 * SECOND)), (Some(1), None));
        note(&mut senders, &[-1], cut + SECOND);
        assert!(!senders.has_lost_any(cut, 20 * SECOND));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_batch_is_taken_once_whatever_the_order(
            sequences in prop::collection::vec((1..100_u64, any::<bool>()), 0..200),
        ) {
            let (mut senders, now) = (Senders::new(1), Instant::now());
            let (mut taken, mut highest) = (BTreeSet::new(), 0);
            for (sequence, is_empty) in sequences {
                let records: &[u8] = if is_empty { &[] } else { &[0; 28] };
                let verdict = senders.note(&batch(1, sequence, records), false, now);
                let is_new = !is_empty && taken.insert(sequence);
                prop_assert_eq!(matches!(verdict, Verdict::New { .. } | Verdict::Late), is_new);
                highest = highest.max(sequence);
                let known = &senders.known[&1];
                let missing: BTreeSet<_> = known.missing.iter().cloned().flatten().collect();
                let expected: BTreeSet<_> = (1..=highest).filter(|sequence| !taken.contains(sequence)).collect();
                prop_assert_eq!(missing, expected);
                prop_assert!(known.missing.len() <= MAX_GAPS);
            }
        }

        #[test]
        fn of_too_many_gaps_nothing_is_forgotten(steps in prop::collection::vec(1..1_000_000_u64, 0..300)) {
            let (mut senders, now) = (Senders::new(1), Instant::now());
            let (mut sequence, mut taken) = (0, BTreeSet::new());
            for step in steps {
                sequence += step;
                senders.note(&batch(1, sequence, &[0; 28]), false, now);
                taken.insert(sequence);
                let known = &senders.known[&1];
                prop_assert!(known.missing.len() <= MAX_GAPS);
                let holds = |sequence: u64| known.missing.iter().any(|gap| gap.contains(&sequence));
                for sequence in &taken {
                    prop_assert!(*sequence == 1 || taken.contains(&(sequence - 1)) || holds(sequence - 1));
                }
            }
        }
    }
}
