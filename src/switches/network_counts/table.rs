//! Counts for the networks that call most, in 64 KiB. A call is whatever is counted.
//!
//! There is room for 5120 networks. As long as there are not more of them, almost all are counted. When there are,
//! those that call most are kept: a network that has no slot takes that of the idlest of the [`SLOTS`] that it might
//! have, with a chance of one in as many calls as that one counts, and takes its count over. So a crowd of networks
//! that call once or twice does not wash away one that calls often, and one that begins to call often does not stay
//! out for long.
//!
//! Threads count side by side without locks. Where two of them meet, the worst that can happen is that a call is
//! counted for a neighbour in the table, or that a newcomer takes two slots, of which one dies out.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use fastrand::Rng;

use crate::atomic::AtomicU64;
use crate::stats::pages::networks::{Network, Prefix};
use crate::tracker::Minute;
use crate::tracker::keyed_hash::HashKey;

/// Buckets in a table.
const BUCKETS: usize = 512;
/// Networks in a bucket: those that two cache lines have room for. Processors fetch lines in pairs.
const SLOTS: usize = 10;

/// One call, as it is counted: in sixteenths, so that what a minute takes away from small counts is not nothing.
const ONE: u32 = 16;
/// A count that has come so far is not raised any more. Far from what it has room for, since threads look first and add
/// then.
const MAX_COUNTED: u32 = u32::MAX / 2;

/// The counts for one length of prefix.
pub(super) struct Table {
    prefix: Prefix,
    buckets: Box<[Bucket]>,
}

impl Table {
    /// Makes an empty table for networks with a prefix of this length.
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix, buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    /// Returns the length of the networks' prefix.
    pub(super) fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Counts calls from somewhere in `network`, of which only the prefix counts.
    #[inline]
    pub(super) fn count(&self, network: Network, calls: u32, now: Minute, key: &HashKey, rng: &mut Rng) {
        let network = self.prefix.truncate(network);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let at = key.hash_endpoint(0, network) as usize % BUCKETS;
        if let Some(bucket) = self.buckets.get(at) {
            bucket.bring_up_to(now);
            bucket.count(network, calls.saturating_mul(ONE), rng);
        }
    }

    /// Returns the networks and their calls, as they count now.
    pub(super) fn calls(&self, now: Minute) -> impl Iterator<Item = (Network, u32)> {
        self.buckets.iter().flat_map(move |bucket| bucket.calls(now))
    }
}

/// A slot that was never used is that of network 0, which has not called.
#[derive(Default)]
#[repr(align(128))]
struct Bucket {
    networks: [AtomicU64; SLOTS],
    counts: [AtomicU32; SLOTS],
    /// Until when the passing of time is accounted for.
    minute: AtomicU32,
}

const _: () = assert!(size_of::<Bucket>() == 128 && size_of::<Bucket>() * BUCKETS == 64 * 1024);

impl Bucket {
    #[inline]
    fn count(&self, network: Network, weight: u32, rng: &mut Rng) {
        let slot = self.slots().find(|(held, _)| held.load(Relaxed) == network);
        let Some((_, count)) = slot else { return self.admit(network, weight, rng) };
        if count.load(Relaxed) < MAX_COUNTED {
            count.fetch_add(weight, Relaxed);
        }
    }

    /// Counts a call of a network that has no slot, if it is lucky.
    fn admit(&self, network: Network, weight: u32, rng: &mut Rng) {
        let Some((held, count)) = self.slots().min_by_key(|(_, count)| count.load(Relaxed)) else { return };
        let (before, least) = (held.load(Relaxed), count.load(Relaxed));
        let lucky = rng.u32(..least.saturating_add(weight)) < weight;
        if lucky && held.compare_exchange(before, network, Relaxed, Relaxed).is_ok() {
            count.fetch_add(weight, Relaxed);
        }
    }

    /// Takes off the counts what the minutes since the bucket's last use take: it is brought up to date when it is
    /// used.
    #[inline]
    fn bring_up_to(&self, now: Minute) {
        let before = self.minute.load(Relaxed);
        if before < now.0 && self.minute.compare_exchange(before, now.0, Relaxed, Relaxed).is_ok() {
            for count in &self.counts {
                let _ = count.fetch_update(Relaxed, Relaxed, |count| Some(left_of(count, now.0 - before)));
            }
        }
    }

    /// Returns the calls of each network, as they count now.
    fn calls(&self, now: Minute) -> impl Iterator<Item = (Network, u32)> {
        let minutes = now.since(Minute(self.minute.load(Relaxed)));
        let calls = move |count: &AtomicU32| (left_of(count.load(Relaxed), minutes) + ONE / 2) / ONE;
        let rows = self.slots().map(move |(network, count)| (network.load(Relaxed), calls(count)));
        rows.filter(|&(_, calls)| calls > 0)
    }

    fn slots(&self) -> impl Iterator<Item = (&AtomicU64, &AtomicU32)> {
        self.networks.iter().zip(&self.counts)
    }
}

/// Returns what is left of a count after so many minutes.
fn left_of(mut count: u32, minutes: u32) -> u32 {
    for _ in 0..minutes {
        if count == 0 {
            break;
        }
        // Rounded up, so that every count ends.
        count -= count.div_ceil(16);
    }
    count
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: Minute = Minute(29_000_000);

    fn key() -> HashKey {
        HashKey::from_bytes(&std::array::from_fn(|i| (i * 37 + 11) as u8))
    }

    /// A table for /24 whose networks are called by the numbers that their first 24 bits are.
    struct Numbered {
        table: Table,
        rng: Rng,
    }

    impl Numbered {
        fn new() -> Self {
            Self { table: Table::new(Prefix::ipv4(24)), rng: Rng::with_seed(1) }
        }

        fn call(&mut self, n: u32, now: Minute) {
            self.table.count((u64::from(n) << 40) | 0xff_ffff, 1, now, &key(), &mut self.rng);
        }

        fn calls(&self, n: u32, now: Minute) -> u32 {
            self.table.calls(now).find(|(found, _)| found >> 40 == u64::from(n)).map_or(0, |(_, calls)| calls)
        }
    }

    #[test]
    fn each_minute_takes_a_sixteenth() {
        let mut networks = Numbered::new();
        (0..1600).for_each(|_| networks.call(7, NOW));
        for (minutes, expected) in [(0, 1600), (1, 1500), (2, 1406), (11, 787), (60, 33)] {
            assert_eq!(networks.calls(7, NOW + minutes), expected, "{minutes}");
        }
        networks.call(7, NOW + 1);
        assert_eq!(networks.calls(7, NOW + 1), 1501, "counting brings up to date");
        networks.call(7, NOW);
        assert_eq!(networks.calls(7, NOW + 1), 1502, "a thread that is late does no harm");
        assert_eq!(networks.calls(7, NOW), 1502);
        assert_eq!(networks.calls(7, NOW + 200), 0);
        assert_eq!(left_of(u32::MAX, u32::MAX), 0);
    }

    #[test]
    fn the_page_shows_the_present() {
        let mut networks = Numbered::new();
        (0..10_000).for_each(|_| networks.call(1, NOW));
        for minute in 0..60 {
            (0..100).for_each(|_| networks.call(2, NOW + minute));
        }
        let now = NOW + 60;
        let (past, present) = (networks.calls(1, now), networks.calls(2, now));
        assert!((1450..=1500).contains(&present), "a quarter of an hour, less the minute that has just passed");
        assert!(past < 300, "{past}");
    }

    #[test]
    fn the_busiest_of_very_many_are_found() {
        let mut networks = Numbered::new();
        let mut rng = Rng::with_seed(5);
        let mut truth = HashMap::new();
        for _ in 0..200_000 {
            // As many calls come from the networks 1 to 10 as from 10 to 100, and so on.
            let n = 100_000_f64.powf(rng.f64()) as u32;
            *truth.entry(n).or_insert(0) += 1;
            networks.call(n, NOW);
        }
        assert!(truth.len() > 5 * BUCKETS * SLOTS, "far more networks than slots: {}", truth.len());
        for n in 1..50 {
            let (found, expected) = (networks.calls(n, NOW), truth[&n]);
            assert!(found.abs_diff(expected) <= expected / 10, "{n}: {found} for {expected}");
        }
        assert!(networks.table.calls(NOW).count() <= 5120);
    }

    #[test]
    fn a_crowd_neither_washes_away_nor_keeps_out() {
        let mut networks = Numbered::new();
        (0..200).for_each(|_| networks.call(1 << 23, NOW));
        (0..200_000).for_each(|n| networks.call(n, NOW));
        assert_eq!(networks.calls(1 << 23, NOW), 200);
        (0..1000).for_each(|_| networks.call(1 << 22, NOW));
        let late = networks.calls(1 << 22, NOW);
        assert!((800..1200).contains(&late), "{late}");
    }

    #[test]
    fn a_count_that_is_full_stays_full() {
        let bucket = Bucket::default();
        bucket.counts[0].store(MAX_COUNTED, Relaxed);
        (0..1000).for_each(|_| bucket.count(0, ONE, &mut Rng::with_seed(1)));
        assert_eq!(bucket.counts[0].load(Relaxed), MAX_COUNTED);
    }

    #[test]
    fn threads_count_side_by_side() {
        let table = Table::new(Prefix::ipv4(24));
        let work = || {
            let (key, mut rng) = (key(), Rng::with_seed(1));
            (0..20_000).for_each(|n| table.count((n % 100) << 40, 1, NOW, &key, &mut rng));
        };
        work();
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        let rows: Vec<_> = table.calls(NOW).collect();
        assert_eq!(rows.len(), 100);
        assert!(rows.iter().all(|(_, calls)| *calls == 1000), "{rows:?}");
    }
}
