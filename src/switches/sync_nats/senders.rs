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

/// How often is asked for what a tracker had said before it was heard for the first time. What has not come then is not
/// there any more, or is made up for by a walk.
const EARLY_ASKS: u32 = 2;

/// What this tracker knows of what another said before it was heard for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// All of it: it comes with a snapshot.
    Known,
    /// What is older than this tracker, or so old that it does not matter.
    OldKnown,
    /// Nothing.
    Missed,
}

/// What is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) sender: Sender,
    pub(super) missed: Range<u64>,
    /// Only what it said in the last minutes matters.
    pub(super) is_recent: bool,
}

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
    /// The first batch behind those that were sent before it was heard for the first time, of which only recent ones
    /// are asked for; and how often they still are.
    early: u64,
    early_asks: u32,
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

    /// Notes a batch. If its sender is heard for the first time, `before` says what is missing of what it said before.
    pub(super) fn note(&mut self, batch: &Batch<'_>, before: Before, now: Instant) -> Verdict {
        let Batch { sender, sequence, ref made_up, .. } = *batch;
        let is_empty = batch.records.is_empty();
        if !self.known.contains_key(&sender) && !self.make_room(now) {
            return Verdict::Refused;
        }
        let jitter = MAX_JITTER.mul_f64(self.rng.f64());
        let known = self.known.entry(sender).or_insert_with(|| {
            let earlier = if is_empty { sequence } else { sequence.saturating_sub(1) };
            let mut known = Known {
                highest: if before == Before::Missed { 0 } else { earlier },
                taken: 0,
                missing: Vec::new(),
                early: if before == Before::Missed { 0 } else { earlier.saturating_add(1) },
                early_asks: 0,
                heard: now,
                ask_at: now,
                pause: FIRST_PAUSE,
            };
            if before == Before::OldKnown {
                known.miss_early(now + jitter);
            }
            known
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

    /// There is no snapshot: what others said before they were heard for the first time is not known from there.
    pub(super) fn miss_snapshot(&mut self, now: Instant) {
        for known in self.known.values_mut().filter(|known| known.early_asks == 0) {
            known.miss_early(now + MAX_JITTER.mul_f64(self.rng.f64()));
        }
    }

    /// Somebody else has asked. If he will hear what is missing here, there is no need to ask as well. What is recent
    /// is so for so many minutes.
    pub(super) fn heard_ask(&mut self, ask: &Ask, recent: u64, now: Instant) {
        let Some(known) = self.known.get_mut(&ask.sender) else { return };
        let Some(missing) = known.span() else { return };
        let is_as_old = ask.minutes == 0 || known.is_early(&missing) && ask.minutes >= recent;
        if is_as_old && ask.missed.start <= missing.start && missing.end <= ask.missed.end {
            known.ask_at = known.ask_at.max(now + FIRST_PAUSE.mul_f64(0.5 + self.rng.f64() / 2.0));
        }
    }

    /// Returns what is to be asked `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for (&sender, known) in &mut self.known {
            let answers = now.saturating_duration_since(known.heard) < ANSWERS_WITHIN;
            if !answers || now < known.ask_at {
                continue;
            }
            let is_early = |known: &Known| known.span().is_some_and(|missing| known.is_early(&missing));
            if is_early(known) && known.early_asks == 0 {
                known.settle(&(0..known.early));
            }
            let is_recent = is_early(known);
            let Some(missed) = known.span() else { continue };
            known.early_asks -= u32::from(is_recent);
            known.ask_at = now + known.pause;
            known.pause = (known.pause * 2).min(MAX_PAUSE);
            due.push(Due { sender, missed, is_recent });
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

    /// Returns whether some of what is missing was sent before it was heard for the first time.
    fn is_early(&self, missing: &Range<u64>) -> bool {
        missing.start < self.early
    }

    /// Notes that what it said before it was heard for the first time is missing, and when that is asked for.
    fn miss_early(&mut self, ask_at: Instant) {
        if self.early > 1 {
            self.missing.insert(0, 1..self.early);
            (self.early_asks, self.ask_at, self.pause) = (EARLY_ASKS, ask_at, FIRST_PAUSE);
        }
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

    fn due(sender: Sender, missed: Range<u64>) -> Due {
        Due { sender, missed, is_recent: false }
    }

    /// Notes batches of the sender 1, negative ones without records.
    fn note(senders: &mut Senders, sequences: &[i64], now: Instant) -> Vec<Verdict> {
        let note = |&sequence: &i64| {
            let records: &[u8] = if sequence < 0 { &[] } else { &[0; 28] };
            senders.note(&batch(1, sequence.unsigned_abs(), records), Before::Missed, now)
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
        assert_eq!(senders.due(now + MAX_JITTER), [due(1, 3..8)]);
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
            senders.note(&batch(1, 9, records), Before::Known, now);
            senders.note(&batch(2, 9, records), Before::Missed, now);
            senders.note(&batch(3, 0, &[]), Before::Missed, now);
            senders.note(&batch(3, 1, records), Before::Missed, now);
            let expected = if records.is_empty() { vec![due(2, missed), due(3, 1..2)] } else { vec![due(2, missed)] };
            assert_eq!(senders.due(now + MAX_JITTER), expected);
        }
    }

    #[test]
    fn of_what_was_said_before_a_tracker_was_heard_only_recent_batches_are_asked_for_and_not_for_ever() {
        let now = Instant::now();
        let recent = |missed| [Due { is_recent: true, ..due(1, missed) }];
        for (before, snapshot_is_missed) in [(Before::OldKnown, false), (Before::Known, true)] {
            let mut senders = Senders::new(1);
            assert_eq!(senders.note(&batch(1, 9, &[0; 28]), before, now), NEW, "there is no gap");
            assert_eq!(senders.due(now + MAX_JITTER).is_empty(), snapshot_is_missed);
            if snapshot_is_missed {
                senders.miss_snapshot(now);
                assert_eq!(senders.due(now + MAX_JITTER), recent(1..9));
            }
            assert_eq!(senders.note(&batch(1, 8, &[0; 28]), before, now + SECOND), Verdict::Late);
            let ask = |minutes| Ask { asker: 7, sender: 1, missed: 1..9, minutes };
            senders.heard_ask(&ask(1), 2, now + 4 * SECOND);
            assert_eq!(senders.due(now + 5 * SECOND), recent(1..8), "he does not ask for all that is recent here");
            senders.note(&batch(1, 12, &[0; 28]), before, now + 12 * SECOND);
            assert_eq!(senders.due(now + 14 * SECOND), [due(1, 10..12)], "the others are not there any more");
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
        assert_eq!(senders.due(now + 1000 * SECOND), [due(1, 1..2)]);
    }

    #[test]
    fn who_hears_another_ask_for_the_same_waits_for_the_answer() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        note(&mut senders, &[1, 4, 6], now);
        let ask = |missed| Ask { asker: 7, sender: 1, missed, minutes: 0 };
        senders.heard_ask(&ask(3..6), 2, now + MAX_JITTER);
        assert_eq!(senders.due(now + MAX_JITTER), [due(1, 2..6)], "he will not hear all that is missing here");
        senders.heard_ask(&ask(1..9), 2, now + 4 * SECOND);
        assert_eq!(senders.due(now + 5 * SECOND), []);
        assert_eq!(senders.due(now + 8 * SECOND), [due(1, 2..6)]);
    }

    #[test]
    fn a_walk_makes_up_for_what_it_says() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        note(&mut senders, &[1, 9], now);
        for (made_up, left) in
            [(0..0, Some(2..9)), (4..4, Some(2..9)), (1..5, Some(5..9)), (8..20, Some(5..8)), (0..8, None)]
        {
            senders.note(&Batch { made_up, ..batch(1, 9, &[]) }, Before::Missed, now);
            assert_eq!(senders.known[&1].span(), left);
        }
    }

    #[test]
    fn those_who_are_heard_keep_their_places() {
        let (mut senders, now) = (Senders::new(1), Instant::now());
        for sender in 0..MAX_SENDERS as u64 {
            assert_eq!(senders.note(&batch(sender, 1, &[0; 28]), Before::Known, now), NEW);
        }
        assert_eq!(senders.note(&batch(5000, 1, &[0; 28]), Before::Known, now), Verdict::Refused);
        assert_eq!(senders.note(&batch(7, 2, &[0; 28]), Before::Known, now + SILENT_AFTER), NEW);
        assert_eq!(senders.note(&batch(5000, 1, &[0; 28]), Before::Known, now + SILENT_AFTER), NEW);
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
                let verdict = senders.note(&batch(1, sequence, records), Before::Missed, now);
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
                senders.note(&batch(1, sequence, &[0; 28]), Before::Missed, now);
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
