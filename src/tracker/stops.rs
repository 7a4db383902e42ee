//! Who has stopped, so that a late copy of an announce does not bring a peer back.
//!
//! A change can come on several ways, and by one of them long after the others: a tracker that was cut off publishes
//! anew what it knows, another begins to forward, a snapshot is taken. Who has stopped is in no swarm any more, so it
//! is remembered here. There is no need to forget a stop: changes that are older than peers are kept are refused
//! anyway, and the oldest stop of a bucket makes place for a new one.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use crate::atomic::AtomicU64;

use super::clock::Minute;
use super::flavour::Origin;
use super::keyed_hash::HashKey;

/// Most stops that are remembered: 1 MiB.
pub const MAX_STOPS: usize = BUCKETS * BUCKET_LEN;

/// Most minutes by which a copy may be dated later, by a transport that says no ages.
const MAX_COPY_AGE: u32 = 2;

const BUCKETS: usize = 1 << 14;
const BUCKET_LEN: usize = 8;

/// A peer's last stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// When it stopped.
    pub minute: Minute,
    /// Its completed download has been counted.
    pub counted: bool,
    ways: Ways,
}

/// On which ways a stop came, a bit for each: in a copy of all that another tracker knows, from the client, or by one
/// of six transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways(u64);

/// A bounded memory of stops. Each is read and written under the lock of its torrent's shard. A bucket is shared by all
/// shards: if two threads write to it in the same moment, one of the stops may be lost.
pub(super) struct Stops(Box<[Bucket]>);

/// One cache line. An entry of 0 is vacant; else its bits are, from the highest, 35 of the peer's hash, 20 of the
/// minute, 8 of the ways, and one that says whether the download has been counted.
#[derive(Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; BUCKET_LEN]);

const _: () = assert!(BUCKET_LEN * size_of::<u64>() == 64);

const MINUTE_BITS: u32 = 20;
const WAYS_BITS: u32 = 8;
const MAX_AGE: u32 = (1 << MINUTE_BITS) - 1;
/// Where the bits of the hash begin.
const HASH_SHIFT: u32 = MINUTE_BITS + WAYS_BITS + 1;

impl Stop {
    /// Makes the stop of a peer; `origin` is `None` if it was in a copy of all that another tracker knows.
    pub fn new(minute: Minute, origin: Option<Origin>, counted: bool) -> Self {
        Self { minute, counted, ways: Ways::of(origin) }
    }

    /// Returns whether a change of a peer seen in this minute is a late copy of what the peer announced before it
    /// stopped, or of the stop.
    ///
    /// One of the same minute is none if it came, not late, on a way on which the stop has come: there what comes later
    /// was announced later, so the client has started again. One that came late is a copy also if it is dated in the
    /// next minute: what it has waited is known in whole minutes. But a download that was counted is not completed
    /// again so soon: that is a copy, by a transport that says no ages, which is dated later than the stop.
    pub fn precedes(&self, seen: Minute, origin: Option<Origin>, completes: bool) -> bool {
        let is_late = matches!(origin, Some(Origin::Late { .. }));
        let in_order = !is_late && self.ways.0 & Ways::of(origin).0 != 0;
        let is_counted = completes && self.counted && !self.is_long_before(seen);
        let seen = if is_late { Minute(seen.0.saturating_sub(1)) } else { seen };
        seen < self.minute || seen == self.minute && !in_order || is_counted
    }

    /// Returns whether what is seen in this minute is no copy of the stop, or of what came before it: bridges hold
    /// copies for no longer.
    pub fn is_long_before(&self, seen: Minute) -> bool {
        seen.since(self.minute) > MAX_COPY_AGE
    }

    /// Returns the same stop, but with the peer's download counted.
    #[must_use]
    pub fn with_download_counted(self) -> Self {
        Self { counted: true, ..self }
    }

    /// Returns what is remembered of two stops of the same peer: the later one; of the same minute one that came on the
    /// ways of both. A download that was counted before one of them stays counted.
    fn after(self, earlier: Self) -> Self {
        let last = if earlier.minute > self.minute { earlier } else { self };
        let ways = if earlier.minute == self.minute { Ways(earlier.ways.0 | self.ways.0) } else { last.ways };
        Self { counted: self.counted || earlier.counted, ways, ..last }
    }

    fn entry(self, hash: u64) -> u64 {
        let minute = u64::from(self.minute.0) & mask(MINUTE_BITS);
        (hash & !mask(HASH_SHIFT)) | (minute << (WAYS_BITS + 1)) | (self.ways.0 << 1) | u64::from(self.counted)
    }

    fn of_entry(entry: u64, now: Minute) -> Self {
        let ways = Ways((entry >> 1) & mask(WAYS_BITS));
        Self { minute: Minute(now.0.saturating_sub(age(entry, now))), counted: entry & 1 != 0, ways }
    }
}

impl Ways {
    fn of(origin: Option<Origin>) -> Self {
        let fold = |name: &str| name.bytes().fold(0, |sum: u64, byte| (sum * 31 + u64::from(byte)) % 6);
        Self(match origin {
            None => 1,
            Some(Origin::Client) => 2,
            Some(Origin::Transport { name, .. } | Origin::Late { name, .. }) => 4 << fold(name),
        })
    }
}

impl Stops {
    pub(super) fn new() -> Self {
        Self((0..BUCKETS).map(|_| Bucket::default()).collect())
    }

    /// Remembers the stop of the peer with this hash.
    #[cold]
    #[inline(never)] // So that what an announce does that is no stop stays short.
    pub(super) fn note(&self, hash: u64, stop: Stop, now: Minute) {
        let mut oldest = None;
        for slot in self.bucket(hash) {
            let entry = slot.load(Ordering::Relaxed);
            if is_of(entry, hash) {
                return slot.store(stop.after(Stop::of_entry(entry, now)).entry(hash), Ordering::Relaxed);
            }
            let age = if entry == 0 { u32::MAX } else { age(entry, now) };
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, slot));
            }
        }
        if let Some((_, slot)) = oldest {
            slot.store(stop.entry(hash), Ordering::Relaxed);
        }
    }

    /// Returns the last stop of the peer with this hash, if it is remembered.
    pub(super) fn find(&self, hash: u64, now: Minute) -> Option<Stop> {
        let entries = self.bucket(hash).iter().map(|slot| slot.load(Ordering::Relaxed));
        entries.filter(|entry| is_of(*entry, hash)).map(|entry| Stop::of_entry(entry, now)).next()
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
        self.0.get(hash as usize % BUCKETS).map_or(&[], |bucket| &bucket.0)
    }
}

/// Returns the hash of a peer of a torrent, whose own hash is `torrent`.
pub(super) fn peer_hash(key: &HashKey, torrent: u64, endpoint: SocketAddr) -> u64 {
    let bits = match endpoint.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
    let (high, low) = ((bits >> 64) as u64, bits as u64);
    key.hash_endpoint(key.hash_endpoint(high, low) ^ torrent, u64::from(endpoint.port()))
}

fn is_of(entry: u64, hash: u64) -> bool {
    entry != 0 && (entry ^ hash) & !mask(HASH_SHIFT) == 0
}

/// Returns how many minutes ago the stop was, modulo two years. One of the next minute, noted by a thread whose clock
/// was read a moment later, was just now.
fn age(entry: u64, now: Minute) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the minute's bits are among the lowest")]
    let minute = (entry >> (WAYS_BITS + 1)) as u32;
    let age = now.0.wrapping_sub(minute) & MAX_AGE;
    if age == MAX_AGE { 0 } else { age }
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::testing::key;
    use proptest::prelude::*;

    const NOW: Minute = Minute(29_000_191);
    const ONE: Option<Origin> = Some(Origin::Transport { name: "sync", member: 0 });
    const OTHER: Option<Origin> = Some(Origin::Transport { name: "nats", member: 0 });
    const ONE_BY_ANOTHER: Option<Origin> = Some(Origin::Transport { name: "sync", member: 1 });
    const LATE: Option<Origin> = Some(Origin::Late { name: "sync", member: 0 });

    #[test]
    fn what_was_announced_before_the_stop_is_late_and_what_came_after_is_not() {
        let stop = Stop::new(NOW, ONE, false);
        for (seen, origin, expected) in [
            (Minute(NOW.0 - 1), ONE, true),
            (Minute(NOW.0 - 1), OTHER, true),
            (NOW, ONE, false),
            (NOW, ONE_BY_ANOTHER, false),
            (NOW, OTHER, true),
            (NOW, LATE, true),
            (NOW, Some(Origin::Client), true),
            (NOW, None, true),
            (NOW + 1, OTHER, false),
            (NOW + 1, LATE, true),
            (NOW + 2, LATE, false),
            (NOW + 1, None, false),
        ] {
            assert_eq!(stop.precedes(seen, origin, false), expected, "{seen:?} by {origin:?}");
            assert_eq!(stop.precedes(seen, origin, true), expected, "its download has not been counted");
        }
        let counted = Stop::new(NOW, ONE, true);
        assert!(counted.precedes(NOW, ONE, true) && !counted.precedes(NOW, ONE, false));
        let completed = [ONE, OTHER, LATE, None]
            .map(|origin| (1..5).map(|minutes| counted.precedes(NOW + minutes, origin, true)).collect::<Vec<_>>());
        assert!(completed.iter().all(|of| *of == [true, true, false, false]), "{completed:?}");
        assert!(!counted.precedes(NOW + 1, OTHER, false), "it may have started again");
    }

    #[test]
    fn of_two_stops_the_later_one_is_remembered_and_a_download_stays_counted() {
        let stops = Stops::new();
        for (minute, counted) in [(1, false), (3, true), (2, false), (3, false)] {
            stops.note(7, Stop::new(NOW + minute, ONE, counted), NOW + 3);
        }
        assert_eq!(stops.find(7, NOW + 40), Some(Stop::new(NOW + 3, ONE, true)));
        stops.note(7, Stop::new(NOW + 3, OTHER, false), NOW + 3);
        let found = stops.find(7, NOW + 40).unwrap();
        assert_eq!((found.minute, found.counted), (NOW + 3, true));
        let precedes = [ONE, OTHER, None].map(|origin| found.precedes(NOW + 3, origin, false));
        assert_eq!(precedes, [false, false, true], "it came on two ways");
        assert_eq!(stops.find(7, NOW + 2).map(|stop| stop.minute), Some(NOW + 2), "another clock was read earlier");
        stops.note(7, Stop::new(NOW + 4, ONE, false), NOW + 4);
        assert_eq!(stops.find(7, NOW + 4), Some(Stop::new(NOW + 4, ONE, true)), "a later one has ways of its own");
    }

    #[test]
    fn the_oldest_of_a_bucket_makes_place() {
        let stops = Stops::new();
        let hash = |n: u64| (n << HASH_SHIFT) | 5;
        let stop = |n: u64| Stop::new(NOW + (n as u32 * 7) % 11, None, false);
        (1..=BUCKET_LEN as u64).for_each(|n| stops.note(hash(n), stop(n), NOW + 20));
        let oldest = (1..=BUCKET_LEN as u64).min_by_key(|n| stop(*n).minute).unwrap();
        stops.note(hash(100), Stop::new(NOW, None, true), NOW + 20);
        for n in 1..=BUCKET_LEN as u64 {
            assert_eq!(stops.find(hash(n), NOW + 20), (n != oldest).then(|| stop(n)));
        }
        assert_eq!(stops.find(hash(100), NOW + 20), Some(Stop::new(NOW, None, true)));
        assert_eq!(stops.find(hash(100) + 1, NOW + 20), None, "it is looked for in its bucket");
        assert_eq!((MAX_STOPS, size_of_val(&*stops.0)), (131_072, 1 << 20));
    }

    #[test]
    fn peers_have_hashes_of_their_own() {
        let endpoints = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[::1]:2"];
        let mut hashes: Vec<_> = endpoints
            .iter()
            .flat_map(|endpoint| [1, 2].map(|torrent| peer_hash(&key(), torrent, endpoint.parse().unwrap())))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 2 * endpoints.len());
    }

    proptest! {
        #[test]
        fn whatever_is_noted_is_found(
            hash: u64, minute in 0..40_u32, later in 0..2000_u32, counted: bool, way in prop::sample::select(vec![None, ONE]),
        ) {
            let (stops, stop) = (Stops::new(), Stop::new(NOW + minute, way, counted));
            stops.note(hash, stop, NOW + 40);
            prop_assert_eq!(stops.find(hash, NOW + 40 + later), Some(stop));
            prop_assert_eq!(stops.find(hash ^ (1 << 63), NOW + 40 + later), None);
        }
    }
}
