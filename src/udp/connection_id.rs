//! Connection ids: proof that a client receives what is sent to its address (BEP 15, "UDP connections / spoofing").
//!
//! Several trackers may have one name, so that the second packet of a client reaches another one than the first. Those
//! that share a secret, from a file, accept each other's ids ([`shared`]).

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::tracker::Second;

mod key;
pub mod shared;

use key::Key;
use shared::{Shared, SharedSecret, WallClock};

/// Issues and checks connection ids. An id is a hash of the client's address under the key of a slot of time (a number
/// of minutes), so nothing is stored for a client that has connected. The keys are derived from one secret.
///
/// The secret and the keys are never printed: neither this nor [`Slot`] implements `Debug`.
#[derive(Clone)]
pub struct ConnectionIds {
    secret: Key,
    /// How long a slot is.
    slot_seconds: u64,
    /// The slot that was asked for last.
    slot: Slot,
    /// The seconds of the tracker's clock in which it is the present one: the first, and how many.
    present: (u64, u64),
    /// `None`: no other tracker has the secret.
    shared: Option<Shared>,
}

/// The ids of one slot of time, and of the one before.
#[derive(Clone, Copy)]
pub struct Slot {
    key: Key,
    previous_key: Key,
}

impl ConnectionIds {
    /// Makes an issuer whose ids are accepted for one to two times `slot_minutes`. `secret` is random: whoever knows it
    /// can announce from addresses that are not his own.
    pub fn new(secret: (u64, u64), slot_minutes: NonZeroU16) -> Self {
        let (secret, slot_seconds) = (Key(secret.0, secret.1), 60 * u64::from(slot_minutes.get()));
        Self { secret, slot_seconds, slot: Slot::new(secret, 0), present: (0, slot_seconds), shared: None }
    }

    /// Makes one that accepts the ids of other trackers with the same secret and the same `slot_minutes` as well. Their
    /// slots and its own are those of the wall clock; one that is ahead or behind by less than a slot does no harm.
    pub fn shared(secret: SharedSecret, slot_minutes: NonZeroU16, wall_clock: WallClock) -> Self {
        let shared = Some(Shared::new(wall_clock));
        Self { shared, present: (0, 0), ..Self::new(secret.words(), slot_minutes) }
    }

    /// Returns the present slot. Derives its keys if it has just begun.
    #[inline]
    pub fn slot(&mut self, now: Second) -> Slot {
        let (first, seconds) = self.present;
        if now.0.wrapping_sub(first) >= seconds {
            self.begin_slot(now);
        }
        self.slot
    }

    #[cold]
    fn begin_slot(&mut self, now: Second) {
        let (number, present) = match &mut self.shared {
            None => {
                let number = now.0 / self.slot_seconds;
                (number, (number * self.slot_seconds, self.slot_seconds))
            }
            Some(shared) => {
                let (time, seconds) = shared.look_at_wall_clock();
                let number = time.0 / self.slot_seconds;
                shared.begin_slot(self.secret, number);
                (number, (now.0, seconds))
            }
        };
        self.slot = Slot::new(self.secret, number);
        self.present = present;
    }

    /// Returns whether `id`, which the present slot does not accept, was issued to this address in the next one, by a
    /// tracker with the same secret whose clock is ahead. Complains if one is further ahead than that.
    #[cold]
    pub fn accepts_from_ahead(&mut self, id: u64, address: IpAddr, now: Second) -> bool {
        let Self { shared: Some(shared), secret, slot_seconds, .. } = self else { return false };
        shared.accepts_next(id, address) || {
            shared.look_further_ahead(*secret, id, address, now, *slot_seconds);
            false
        }
    }
}

impl Slot {
    /// Derives the keys of the slot with this number, and of the one before.
    fn new(secret: Key, number: u64) -> Self {
        Self { key: secret.derive(number), previous_key: secret.derive(number.wrapping_sub(1)) }
    }

    /// Returns the id for a client that connects.
    #[inline]
    pub fn issue(&self, address: IpAddr) -> u64 {
        self.key.id(address)
    }

    /// Returns whether `id` was issued to this address, in this slot of time or the previous one.
    ///
    /// How long it takes does not depend on how many bits of a guess are right: ids are compared as numbers of 64 bits,
    /// by one instruction (on 32-bit machines by some without a jump). It shows only in which of the two slots a right
    /// one was issued.
    #[inline]
    pub fn accepts(&self, id: u64, address: IpAddr) -> bool {
        self.key.issued(id, address) || self.previous_key.issued(id, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Minute;
    use crate::tracker::testing::is_printable;
    use std::collections::BTreeSet;

    fn ids(key: u64, minutes: u16) -> ConnectionIds {
        ConnectionIds::new((key, 1), NonZeroU16::new(minutes).unwrap())
    }

    #[test]
    fn an_id_is_accepted_for_one_slot_and_refused_after_two() {
        for minutes in [1, 2, 5, 60, u16::MAX] {
            let (mut ids, minutes) = (ids(7, minutes), u32::from(minutes));
            let few = minutes.min(60);
            for start in (0..2 * few).flat_map(|n| [1000 + 2 * minutes + n, u32::MAX - 3 * minutes - n]) {
                let client = "192.0.2.1".parse().unwrap();
                let id = ids.slot(Minute(start).into()).issue(client);
                for age in (0..=few).chain([minutes]) {
                    assert!(ids.slot(Minute(start + age).into()).accepts(id, client), "{minutes} {start} {age}");
                }
                assert!(!ids.slot(Minute(start + 2 * minutes).into()).accepts(id, client));
                assert!(!ids.slot(Minute(start - 2 * minutes).into()).accepts(id, client));
            }
        }
    }

    #[test]
    fn an_id_is_good_from_the_first_second_to_the_last() {
        for now in [0, 1, 59, 60, 60 * u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            for minutes in [1, 60, u16::MAX] {
                let (slot, client) = (ids(7, minutes).slot(Second(now)), "2001:db8::1".parse().unwrap());
                assert!(slot.accepts(slot.issue(client), client), "{now} {minutes}");
            }
        }
    }

    #[test]
    fn a_slot_begins_with_its_first_second_and_ends_with_its_last() {
        let (mut ids, client) = (ids(7, 2), "192.0.2.1".parse().unwrap());
        let mut id = |second| ids.slot(Second(second)).issue(client);
        let (before, first, after) = (id(119), id(120), id(240));
        assert_eq!((id(0), id(1), id(119)), (before, before, before));
        assert_eq!((id(239), id(121), id(180)), (first, first, first), "also when time runs backwards");
        assert_eq!((id(241), id(359)), (after, after));
        assert!(before != first && first != after);
    }

    #[test]
    fn an_id_is_of_use_to_one_address_at_one_tracker_only() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let slot = |key| ids(key, 2).slot(Minute(50).into());
        for issued_to in addresses {
            let id = slot(7).issue(issued_to);
            for address in addresses {
                assert_eq!(slot(7).accepts(id, address), address == issued_to);
                assert!(!slot(8).accepts(id, address), "another key");
            }
        }
    }

    #[test]
    fn an_id_with_any_wrong_bit_is_refused() {
        let (slot, client) = (ids(7, 2).slot(Minute(50).into()), "192.0.2.1".parse().unwrap());
        let id = slot.issue(client);
        assert!((0..64).all(|bit| !slot.accepts(id ^ (1 << bit), client)));
    }

    #[test]
    fn neither_the_secret_nor_a_key_can_be_printed() {
        assert!(!is_printable!(ConnectionIds) && !is_printable!(Slot) && !is_printable!(Key));
    }

    #[test]
    fn each_slot_has_a_key_of_its_own_that_is_derived_from_the_secret() {
        let mut halves = BTreeSet::new();
        for (key, number) in [7, 8].into_iter().flat_map(|key| (0..1000).map(move |number| (key, number))) {
            let Slot { key: Key(a, b), .. } = Slot::new(Key(key, 1), number);
            halves.extend([a, b, key, 1]);
        }
        assert_eq!(halves.len(), 2 * 2 * 1000 + 3, "no half of a key is one of another's, or of a secret");
        let (one, next) = (Slot::new(Key(7, 1), 41), Slot::new(Key(7, 1), 42));
        assert_eq!((one.key.0, one.key.1), (next.previous_key.0, next.previous_key.1));
    }
}
