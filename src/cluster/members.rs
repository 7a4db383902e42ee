//! Which trackers have been heard lately on a transport.
//!
//! What one of them says by another transport need not be forwarded into this one: it tells it here itself. So a bridge
//! that has just started, and cannot know what was told before, forwards nothing that its network knows. But one that
//! dies may have told it by one transport and not by the other yet: whether it has is seen from what it says next, or
//! from its silence.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::atomic::AtomicU64;
use crate::tracker::Origin;

use super::election::MAX_SILENCE;

/// Most trackers that are remembered, in 2 KiB; a new one takes the place of one that has been silent for longer.
pub const MAX_MEMBERS: usize = BUCKETS * BUCKET_LEN;

/// How far apart a tracker tells the same on its transports: by none a change waits for more than a second. Not longer,
/// lest what a bridge told before another one started, which could not hear it, counts as untold if the first one dies.
pub const MAX_APART: Duration = Duration::from_secs(2);

/// After how much silence a tracker is taken for dead, and what it had to send does not arrive any more.
pub const DEAD_AFTER: Duration = MAX_SILENCE.saturating_add(Duration::from_secs(2));

/// Whether what has come in by another transport has been told by this one too, by the tracker that told it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has: it has been heard here so much later.
    Yes,
    /// It has not, and will not: it is not heard here, or not any more.
    No,
    /// It may have, or does so within a moment, or is dead.
    Unsure,
}

const BUCKETS: usize = 32;
const BUCKET_LEN: usize = 8;

/// The trackers that have been heard lately. Any thread may ask, and waits for nobody; one hears. Time is
/// passed in.
#[derive(Debug)]
pub struct Members {
    since: Instant,
    /// For how many ticks one is remembered that is not heard any more.
    memory: u64,
    buckets: Box<[Bucket]>,
}

/// Milliseconds of a tick, in which it is noted when a tracker was heard: 32 bits of them are 34 years.
const TICK_MILLIS: u64 = 250;

/// One cache line. An entry of 0 is vacant; else it is the number of a tracker, and, in the lower half, in which tick
/// that was last heard.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; BUCKET_LEN]);

impl Members {
    /// Has heard nobody yet. A tracker is remembered for so long when it is not heard any more.
    pub fn new(memory: Duration, now: Instant) -> Self {
        Self { since: now, memory: ticks(memory), buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    /// Hears the tracker with this number. Returns whether it is new: it has not been heard lately.
    pub fn hear(&self, id: u32, now: Instant) -> bool {
        let tick = self.tick(now);
        let mut silent_for = None;
        for slot in self.bucket(id) {
            let entry = slot.load(Ordering::Relaxed);
            if is_of(entry, id) {
                if age(entry, tick) > 0 {
                    slot.store(entry_of(id, tick), Ordering::Relaxed);
                }
                return !self.is_recent(entry, tick);
            }
            let age = if entry == 0 { u64::MAX } else { age(entry, tick) };
            if silent_for.is_none_or(|(longest, _)| age > longest) {
                silent_for = Some((age, slot));
            }
        }
        if let Some((_, slot)) = silent_for.filter(|_| id != 0) {
            slot.store(entry_of(id, tick), Ordering::Relaxed);
        }
        true
    }

    /// Returns whether the tracker with this number has been heard lately. Nobody has the number 0.
    pub fn has(&self, id: u32, now: Instant) -> bool {
        self.silence(id, now).is_some()
    }

    /// Returns how many trackers have been heard lately.
    pub fn count(&self, now: Instant) -> usize {
        let tick = self.tick(now);
        let entries = self.buckets.iter().flat_map(|bucket| &bucket.0).map(|slot| slot.load(Ordering::Relaxed));
        entries.filter(|entry| *entry != 0 && self.is_recent(*entry, tick)).count()
    }

    /// Returns for how long the tracker with this number has been silent, to a tick; `None` if it has not been heard
    /// lately.
    fn silence(&self, id: u32, now: Instant) -> Option<Duration> {
        let tick = self.tick(now);
        let mut entries = self.bucket(id).iter().map(|slot| slot.load(Ordering::Relaxed));
        let entry = entries.find(|entry| is_of(*entry, id) && self.is_recent(*entry, tick))?;
        Some(Duration::from_millis(age(entry, tick) * TICK_MILLIS))
    }

    /// Returns whether a change of this origin, which came in by another transport at that time, was told here too.
    pub fn have_told(&self, origin: Origin, since: Instant, now: Instant) -> Told {
        let (Origin::Transport { member, .. } | Origin::Late { member, .. }) = origin else { return Told::No };
        match self.silence(member, now) {
            None => Told::No,
            Some(silence) if now >= since + MAX_APART + silence => Told::Yes,
            Some(silence) if silence >= DEAD_AFTER => Told::No,
            Some(_) => Told::Unsure,
        }
    }

    fn tick(&self, now: Instant) -> u64 {
        ticks(now.saturating_duration_since(self.since)) & TICKS
    }

    fn is_recent(&self, entry: u64, tick: u64) -> bool {
        age(entry, tick) <= self.memory
    }

    fn bucket(&self, id: u32) -> &[AtomicU64] {
        self.buckets.get(id as usize % BUCKETS).map_or(&[], |bucket| &bucket.0)
    }
}

/// The bits of an entry that are the tick.
const TICKS: u64 = u32::MAX as u64;

fn ticks(time: Duration) -> u64 {
    time.as_secs() * (1000 / TICK_MILLIS) + u64::from(time.subsec_millis()) / TICK_MILLIS
}

fn entry_of(id: u32, tick: u64) -> u64 {
    (u64::from(id) << 32) | tick
}

fn is_of(entry: u64, id: u32) -> bool {
    id != 0 && entry >> 32 == u64::from(id)
}

fn age(entry: u64, tick: u64) -> u64 {
    tick.saturating_sub(entry & TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MEMORY: Duration = Duration::from_secs(60);

    #[test]
    fn a_tracker_is_remembered_for_a_while() {
        let now = Instant::now();
        let members = Members::new(MEMORY, now);
        assert!(!members.has(7, now));
        assert!(members.hear(7, now) && !members.hear(7, now));
        assert!(members.has(7, now + MEMORY) && !members.has(7, now + MEMORY + Duration::from_secs(1)));
        assert!(members.hear(7, now + MEMORY + Duration::from_secs(1)), "it is new again");
        assert!(members.has(7, now), "another clock was read earlier");
    }

    #[test]
    fn those_who_have_been_heard_lately_are_counted_each_once() {
        let now = Instant::now();
        let members = Members::new(MEMORY, now);
        assert_eq!(members.count(now), 0);
        for id in [7, 8, 7, 0] {
            members.hear(id, now);
        }
        assert_eq!((members.count(now), members.count(now + MEMORY)), (2, 2));
        members.hear(8, now + MEMORY);
        assert_eq!(members.count(now + MEMORY + Duration::from_secs(1)), 1);
    }

    #[test]
    fn who_goes_on_has_told_on_both_ways_and_who_falls_silent_may_not_have() {
        let now = Instant::now();
        let members = Members::new(MEMORY, now);
        let has_told = |member, since, now| members.have_told(Origin::Transport { name: "other", member }, since, now);
        members.hear(7, now);
        assert_eq!((has_told(7, now, now), has_told(8, now, now)), (Told::Unsure, Told::No));
        assert_eq!(members.have_told(Origin::Client, now, now), Told::No);
        let dead = now + DEAD_AFTER;
        assert_eq!(has_told(7, now, dead - Duration::from_millis(1)), Told::Unsure);
        assert_eq!((has_told(7, now, dead), has_told(7, dead, dead)), (Told::No, Told::No));
        members.hear(7, now + MAX_APART);
        assert_eq!((has_told(7, now, dead), has_told(7, dead, dead)), (Told::Yes, Told::Unsure));
        assert_eq!(has_told(7, now, now + MAX_APART + MEMORY), Told::Yes);
    }

    #[test]
    fn it_is_noted_to_a_quarter_of_a_second_who_was_heard_when() {
        let start = Instant::now();
        let tick = Duration::from_millis(TICK_MILLIS);
        for millis in (0..3000).step_by(50) {
            let members = Members::new(MEMORY, start);
            let heard = start + Duration::from_millis(millis);
            members.hear(7, heard);
            let told = |since| members.have_told(Origin::Transport { name: "other", member: 7 }, since, start + MEMORY);
            assert_eq!(told(heard - MAX_APART - tick), Told::Yes, "{millis}");
            assert_eq!(told(heard - MAX_APART + tick), Told::No, "{millis}");
        }
    }

    #[test]
    fn nobody_has_the_number_0() {
        let now = Instant::now();
        let members = Members::new(MEMORY, now);
        assert!(members.hear(0, now) && members.hear(0, now) && !members.has(0, now));
    }

    #[test]
    fn of_too_many_those_are_remembered_that_were_heard_last() {
        let now = Instant::now();
        let members = Members::new(MEMORY, now);
        let many = MAX_MEMBERS as u32;
        (1..=2 * many).for_each(|id| assert!(members.hear(id, now + Duration::from_millis(u64::from(id) * 50))));
        let at = now + Duration::from_millis(u64::from(many) * 100);
        assert_eq!(
            (1..=2 * many).filter(|id| members.has(*id, at)).collect::<Vec<_>>(),
            Vec::from_iter(many + 1..=2 * many)
        );
        assert_eq!((MAX_MEMBERS, size_of_val(&*members.buckets)), (256, 2048));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_remembers_what_a_plain_map_would(steps in prop::collection::vec((1..200_u32, 0..20_u32), 1..200)) {
            let mut now = Instant::now();
            let (members, mut expected) = (Members::new(MEMORY, now), BTreeMap::new());
            for (id, seconds) in steps {
                now += Duration::from_secs(seconds.into());
                let is_recent = |heard: &Instant| now - *heard <= MEMORY;
                prop_assert_eq!(members.hear(id, now), !expected.get(&id).is_some_and(is_recent));
                expected.insert(id, now);
                for id in 0..200 {
                    prop_assert_eq!(members.has(id, now), expected.get(&id).is_some_and(is_recent), "{}", id);
                }
            }
        }
    }
}
