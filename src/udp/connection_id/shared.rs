//! Connection ids of several trackers that share a secret: each accepts those of all others.
//!
//! They have nothing in common but the secret and the time. So slots are counted by the wall clock, as it is now: the
//! clock of the tracker, which goes on from what the wall clock said at the start, may have begun with a wrong one.
//! Clocks never quite agree, and so the next slot is accepted beside the present one and the one before.

use std::net::IpAddr;
use std::sync::Arc;

use siphasher::sip128::SipHasher24;
use tracing::warn;

use super::key::Key;
use crate::log::Complaints;
use crate::tracker::Second;

/// Bytes that a key has at least.
pub const MIN_KEY: usize = 32;

/// Slots ahead that are looked at for ids of clocks that are wrong by more than a slot: 62 days of the usual hours, and
/// some 4,500 hashes.
const SLOTS_AHEAD: u64 = 1500;

/// Returns what the wall clock says.
pub type WallClock = Arc<dyn Fn() -> Second + Send + Sync>;

/// A secret that several trackers have. It is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SharedSecret(u64, u64);

impl SharedSecret {
    /// Derives the secret from all bytes of a key; `None` if they are fewer than [`MIN_KEY`]. They are random: how they
    /// are written does not matter, but each of them does.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let seed = key.first_chunk().filter(|_| key.len() >= MIN_KEY)?;
        let hash = SipHasher24::new_with_key(seed).hash(key);
        Some(Self(hash.h1, hash.h2))
    }

    /// Returns the secret as [`ConnectionIds::new`](super::ConnectionIds::new) takes it.
    pub fn words(self) -> (u64, u64) {
        (self.0, self.1)
    }
}

/// What an issuer has besides if others share its secret.
#[derive(Clone)]
pub(super) struct Shared {
    wall_clock: WallClock,
    /// The number of the present slot, and the key of the next one.
    number: u64,
    next_key: Key,
    /// The second in which it was last looked for ids of clocks that are far ahead.
    looked: Option<Second>,
    /// Of all workers.
    complaints: Arc<Complaints>,
}

impl Shared {
    pub(super) fn new(wall_clock: WallClock) -> Self {
        Self { wall_clock, number: 0, next_key: Key(0, 0), looked: None, complaints: Arc::default() }
    }

    /// Returns what the wall clock says, and for how many seconds that will do: somebody may set it meanwhile.
    pub(super) fn look_at_wall_clock(&self) -> (Second, u64) {
        let time = (self.wall_clock)();
        (time, 60 - time.0 % 60)
    }

    pub(super) fn begin_slot(&mut self, secret: Key, number: u64) {
        self.number = number;
        self.next_key = secret.derive(number.wrapping_add(1));
    }

    pub(super) fn accepts_next(&self, id: u64, address: IpAddr) -> bool {
        self.next_key.issued(id, address)
    }

    /// Complains if a tracker whose clock is ahead by more than a slot has issued `id`. Looks at one id in a second, so
    /// that strangers who send many wrong ones cannot make it dear. Ids of clocks that are behind are like old ones:
    /// trackers with such clocks complain of this one.
    pub(super) fn look_further_ahead(&mut self, secret: Key, id: u64, address: IpAddr, now: Second, slot_seconds: u64) {
        if self.looked == Some(now) {
            return;
        }
        self.looked = Some(now);
        if let Some(slots) = slots_ahead(secret, self.number, id, address) {
            // It was issued when that slot had come there, while the present one has not ended here.
            let minutes = (slots - 1) * slot_seconds / 60;
            self.complaints.say(|| {
                warn!(
                    "a client has a connection id of a clock that is more than {minutes} minutes ahead of this machine's: \
                     one of two trackers with the same listen.udp_connection_id_key_file has a wrong clock, and they \
                     refuse each other's clients"
                );
            });
        }
    }
}

/// Returns how many slots after this one that slot is in which `id` was issued; `None` if there is none within reach.
fn slots_ahead(secret: Key, number: u64, id: u64, address: IpAddr) -> Option<u64> {
    (2..=SLOTS_AHEAD).find(|slots| secret.derive(number.wrapping_add(*slots)).issued(id, address))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;

    use crate::atomic::AtomicU64;

    use super::super::ConnectionIds;
    use super::*;
    use crate::tracker::testing::is_printable;

    const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
    /// A minute that begins an hour.
    const NOON: u64 = 60 * 60 * 500_000;

    /// A tracker with a wall clock that can be set. The tracker's own clock says something else, but runs as fast.
    struct Node {
        ids: ConnectionIds,
        wall_clock: Arc<AtomicU64>,
        now: u64,
    }

    impl Node {
        fn new(key: &[u8], minutes: u16, time: u64) -> Self {
            let wall_clock = Arc::new(AtomicU64::new(time));
            let read = Arc::clone(&wall_clock);
            let read: WallClock = Arc::new(move || Second(read.load(Ordering::Relaxed)));
            let secret = SharedSecret::from_key(key).unwrap();
            let ids = ConnectionIds::shared(secret, NonZeroU16::new(minutes).unwrap(), read);
            Self { ids, wall_clock, now: 77 }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += seconds;
            self.wall_clock.fetch_add(seconds, Ordering::Relaxed);
        }

        fn set_wall_clock(&self, time: u64) {
            self.wall_clock.store(time, Ordering::Relaxed);
        }

        fn issue(&mut self) -> u64 {
            self.ids.slot(Second(self.now)).issue(client())
        }

        /// As a service does it.
        fn accepts(&mut self, id: u64) -> bool {
            let now = Second(self.now);
            self.ids.slot(now).accepts(id, client()) || self.ids.accepts_from_ahead(id, client(), now)
        }
    }

    fn client() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    #[test]
    fn all_versions_derive_the_same_secret_and_the_same_ids_from_a_key() {
        let secret = SharedSecret::from_key(&KEY).unwrap();
        // By another implementation of SipHash-2-4 with 128 bits.
        assert_eq!(secret.words(), (9_457_347_008_150_801_599, 13_371_605_217_089_179_273));
        assert_eq!(Node::new(&KEY, 60, NOON).issue(), 2_954_084_177_275_243_262);
    }

    #[test]
    fn each_byte_of_a_key_matters_and_32_are_enough() {
        let secret = |key: &[u8]| SharedSecret::from_key(key).map(SharedSecret::words);
        let long = [7; 100];
        for len in 0..=long.len() {
            assert_eq!(secret(&long[..len]).is_some(), len >= 32, "{len}");
            for at in 0..len.min(long.len() - 1) {
                let mut other = long;
                other[at] ^= 1;
                assert!(len < 32 || secret(&other[..len]) != secret(&long[..len]), "{at} of {len}");
            }
            assert!(len < 32 || secret(&long[..len]) != secret(&[&long[..len], b"\n"].concat()), "{len}");
        }
    }

    #[test]
    fn the_secret_cannot_be_printed() {
        assert!(!is_printable!(SharedSecret) && !is_printable!(Shared));
    }

    #[test]
    fn trackers_with_the_same_key_accept_each_others_ids_and_with_another_they_do_not() {
        let mut node = Node::new(&KEY, 60, NOON);
        let (mut same, mut other) = (Node::new(&KEY, 60, NOON), Node::new(&[7; 32], 60, NOON));
        let id = node.issue();
        assert!(node.accepts(id) && same.accepts(id) && !other.accepts(id));
        let (theirs, others) = (same.issue(), other.issue());
        assert!(node.accepts(theirs) && !node.accepts(others));
        let mut alone = ConnectionIds::new((1, 2), NonZeroU16::MIN);
        assert!(!alone.accepts_from_ahead(id, client(), Second(NOON)), "it has no others");
    }

    #[test]
    fn a_wall_clock_that_is_set_right_while_the_tracker_runs_is_heeded_within_a_minute() {
        let (mut right, mut wrong) = (Node::new(&KEY, 60, NOON), Node::new(&KEY, 60, 0));
        let (id, theirs) = (right.issue(), wrong.issue());
        assert!(!wrong.accepts(id) && !right.accepts(theirs));
        wrong.set_wall_clock(NOON);
        wrong.pass(59);
        right.pass(59);
        assert!(!wrong.accepts(id), "its present slot is looked up once a minute");
        wrong.pass(1);
        right.pass(1);
        let theirs = wrong.issue();
        assert!(wrong.accepts(id) && right.accepts(theirs));
    }

    #[test]
    fn slots_begin_and_end_with_those_of_the_wall_clock_to_the_second() {
        let mut node = Node::new(&KEY, 2, NOON + 119);
        let before = node.issue();
        node.pass(1);
        let after = node.issue();
        assert_ne!(before, after);
        node.pass(119);
        assert!(node.issue() == after && node.accepts(before));
        node.pass(1);
        assert!(node.issue() != after && !node.accepts(before) && node.accepts(after));
    }

    #[test]
    fn the_first_and_the_last_second_are_like_any_other() {
        for time in [0, 1, u64::MAX - 120, u64::MAX] {
            let mut node = Node::new(&KEY, 1, time);
            let id = node.issue();
            assert!(node.accepts(id) && !node.accepts(id ^ 1), "{time}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_by_more_than_a_slot_is_told_by_how_much() {
        let ahead = |minutes: u64| {
            let mut node = Node::new(&KEY, 60, NOON + 60 * minutes);
            slots_ahead(
                SharedSecret::from_key(&KEY).map(|secret| Key(secret.0, secret.1)).unwrap(),
                NOON / 3600,
                node.issue(),
                client(),
            )
        };
        for (minutes, slots) in [
            (0, None),
            (119, None),
            (120, Some(2)),
            (179, Some(2)),
            (180, Some(3)),
            (24 * 60, Some(24)),
            (1500 * 60, Some(1500)),
            (1501 * 60, None),
        ] {
            assert_eq!(ahead(minutes), slots, "{minutes}");
        }
    }

    #[test]
    fn one_id_in_a_second_is_looked_at_for_clocks_that_are_far_ahead() {
        let mut node = Node::new(&KEY, 60, NOON);
        let far = Node::new(&KEY, 60, NOON + 7 * 3600).issue();
        let mut looked = Vec::new();
        for _ in 0..3 {
            for _ in 0..3 {
                assert!(!node.accepts(far));
                looked.push(node.ids.shared.as_ref().and_then(|shared| shared.looked));
            }
            node.pass(1);
        }
        let seconds = [77, 77, 77, 78, 78, 78, 79, 79, 79].map(|second| Some(Second(second)));
        assert_eq!(looked, seconds);
    }

    proptest! {
        /// The model: slots are numbers of minutes since 1970 of each clock, and those accept that differ by one at
        /// most.
        #[test]
        fn ids_of_the_present_the_previous_and_the_next_slot_are_accepted_and_no_others(
            minutes in prop_oneof![1..5_u16, Just(60), Just(1440)],
            time in NOON..NOON + 1_000_000,
            ahead in -400_000..400_000_i64,
            near in -3..=3_i64,
            by_slots: bool,
            later in 0..400_000_u64,
        ) {
            let slot = 60 * u64::from(minutes);
            let ahead = if by_slots { near * i64::try_from(slot).unwrap() } else { ahead };
            let later = if by_slots { later % (3 * slot) } else { later };
            let issued = time.checked_add_signed(ahead).unwrap();
            let id = Node::new(&KEY, minutes, issued).issue();
            let mut node = Node::new(&KEY, minutes, time);
            node.issue();
            node.pass(later);
            let difference = (issued / slot).abs_diff((time + later) / slot);
            prop_assert_eq!(node.accepts(id), difference <= 1, "{} slots", difference);
        }
    }
}
