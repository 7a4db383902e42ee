//! Who has had a full scrape, in memory that does not grow.

use std::hash::{Hash as _, Hasher as _};
use std::net::Ipv6Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::tracker::Holder;

/// Entries that share their places with each other alone.
const WAYS: usize = 8;
/// With [`WAYS`] entries in each, 65,536 addresses in 1.5 MiB.
const SETS: usize = 8192;

/// For each address (of IPv6: each network of 64 bits) until when it gets no other full scrape.
///
/// An address has its entry in a set of [`WAYS`], which a hash under a secret key chooses. When a set is full, the one
/// in it goes that had its full scrape first, and can have another at once: whoever wants that has to ask from as many
/// other addresses as there is room for.
///
/// The lock is taken by full scrapes alone, for as long as it takes to look at one set.
pub(super) struct Table {
    key: (u64, u64),
    interval: Duration,
    sets: Mutex<Box<[Set]>>,
}

type Set = [Entry; WAYS];

/// One that is over is as good as vacant. Those that have never been used are over, whoever's they are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    holder: Holder,
    /// Since the process started.
    until: Duration,
}

const _: () = assert!(size_of::<Set>() * SETS <= 3 << 19);

impl Table {
    /// Returns a table in which nobody has had anything. Each gets one in `interval`. `key` is secret and random.
    /// Allocates all that there is ever to be.
    pub(super) fn new(key: (u64, u64), interval: Duration) -> Self {
        Self::with_sets(SETS, key, interval)
    }

    fn with_sets(sets: usize, key: (u64, u64), interval: Duration) -> Self {
        let unused =
            Entry { holder: Holder::from(std::net::IpAddr::from(Ipv6Addr::UNSPECIFIED)), until: Duration::ZERO };
        Self { key, interval, sets: Mutex::new(vec![[unused; WAYS]; sets].into()) }
    }

    /// Checks whether the holder could have a full scrape now.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(super) fn check(&self, holder: Holder, now: Duration) -> Result<(), Duration> {
        self.with_set(holder, |set| Self::wait(set, holder, now)).unwrap_or(Ok(()))
    }

    /// Lets the holder have a full scrape now. Returns until when it gets no other.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(super) fn admit(&self, holder: Holder, now: Duration) -> Result<Duration, Duration> {
        let until = now.saturating_add(self.interval);
        let admitted = self.with_set(holder, |set| {
            Self::wait(set, holder, now)?;
            // Its own, which is over, or else the one that is over first.
            if let Some(entry) = set.iter_mut().min_by_key(|entry| (entry.holder != holder, entry.until)) {
                *entry = Entry { holder, until };
            }
            Ok(until)
        });
        admitted.unwrap_or(Ok(until))
    }

    /// Takes back what the holder was given until then: nothing came of it.
    pub(super) fn take_back(&self, holder: Holder, until: Duration) {
        self.with_set(holder, |set| {
            for entry in set.iter_mut().filter(|entry| entry.holder == holder && entry.until == until) {
                entry.until = Duration::ZERO;
            }
        });
    }

    fn wait(set: &Set, holder: Holder, now: Duration) -> Result<(), Duration> {
        let left = set.iter().filter(|entry| entry.holder == holder).map(|entry| entry.until.saturating_sub(now)).max();
        left.filter(|left| !left.is_zero()).map_or(Ok(()), Err)
    }

    fn with_set<T>(&self, holder: Holder, work: impl FnOnce(&mut Set) -> T) -> Option<T> {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        holder.hash(&mut hasher);
        let hash = hasher.finish();
        // Nothing panics while it is locked.
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(hash % sets.len() as u64).ok()?;
        sets.get_mut(at).map(work)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::tracker::testing::is_printable;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn holder(n: u32) -> Holder {
        std::net::IpAddr::V4(n.into()).into()
    }

    fn table(sets: usize) -> Table {
        Table::with_sets(sets, (1, 2), INTERVAL)
    }

    /// What happens next, to which holder.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Check(u32),
        Admit(u32),
        /// Takes back what that holder was given last.
        TakeBack(u32),
    }

    /// Steps, each with the milliseconds that have passed before it, at least one: of two that were admitted in the
    /// same moment either may go.
    fn steps(holders: u32) -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            1 => (0..holders).prop_map(Step::Check),
            4 => (0..holders).prop_map(Step::Admit),
            1 => (0..holders).prop_map(Step::TakeBack),
        ];
        prop::collection::vec((prop_oneof![1..50_u64, 1..150_000_u64], step), 0..200)
    }

    /// All who have had one, in the order in which they had it, with the end of their interval.
    #[derive(Default)]
    struct Naive {
        room: usize,
        entries: Vec<(u32, Duration)>,
    }

    impl Naive {
        fn check(&self, n: u32, now: Duration) -> Result<(), Duration> {
            let found = self.entries.iter().find(|&&(holder, until)| holder == n && until > now);
            found.map_or(Ok(()), |(_, until)| Err(*until - now))
        }

        fn admit(&mut self, n: u32, now: Duration) -> Result<Duration, Duration> {
            self.check(n, now)?;
            self.entries.retain(|(holder, _)| *holder != n);
            if self.entries.len() == self.room {
                self.entries.remove(0);
            }
            self.entries.push((n, now + INTERVAL));
            Ok(now + INTERVAL)
        }

        fn take_back(&mut self, n: u32, until: Duration) {
            self.entries.retain(|entry| *entry != (n, until));
        }
    }

    /// Does the same to both.
    fn compare(table: &Table, mut naive: Naive, steps: Vec<(u64, Step)>) {
        let (mut now, mut given) = (Duration::ZERO, HashMap::new());
        for (millis, step) in steps {
            now += Duration::from_millis(millis);
            match step {
                Step::Check(n) => assert_eq!(table.check(holder(n), now), naive.check(n, now), "{n} at {now:?}"),
                Step::Admit(n) => {
                    let admitted = table.admit(holder(n), now);
                    assert_eq!(admitted, naive.admit(n, now), "{n} at {now:?}");
                    admitted.map(|until| given.insert(n, until)).ok();
                }
                Step::TakeBack(n) => {
                    if let Some(until) = given.get(&n) {
                        table.take_back(holder(n), *until);
                        naive.take_back(n, *until);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn when_a_set_is_full_the_first_who_had_one_goes(steps in steps(20)) {
            compare(&table(1), Naive { room: WAYS, ..Naive::default() }, steps);
        }

        #[test]
        fn as_long_as_no_set_is_full_everybody_is_remembered(steps in steps(WAYS as u32)) {
            compare(&table(3), Naive { room: usize::MAX, ..Naive::default() }, steps);
        }
    }

    #[test]
    fn nobody_is_refused_because_of_others_and_memory_does_not_grow() {
        let table = Table::new((3, 4), INTERVAL);
        for n in 0..200_000 {
            assert!(table.admit(holder(n), Duration::from_millis(n.into())).is_ok(), "{n}");
        }
        let sets = table.sets.lock().unwrap();
        assert_eq!(sets.len() * WAYS, 65_536);
        let used = sets.iter().flatten().filter(|entry| !entry.until.is_zero()).count();
        assert!(used > 65_000, "{used} of them are used");
    }

    #[test]
    fn of_many_who_ask_in_the_same_moment_from_one_address_one_is_admitted() {
        let (table, admitted) = (table(1), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    if table.admit(holder(1), Duration::from_secs(1)).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1);
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!is_printable!(Table));
    }
}
