//! Connection ids: proof that a client receives what is sent to its address (BEP 15, "UDP connections / spoofing").

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::num::NonZeroU16;

use siphasher::sip::SipHasher24;

use crate::tracker::Minute;

/// Issues and checks connection ids. An id is a keyed hash of the client's address and of a slot of time (a number of
/// minutes), so nothing is stored for a client that has connected.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionIds {
    key: (u64, u64),
    slot_minutes: u32,
}

impl ConnectionIds {
    /// Makes an issuer whose ids are accepted for one to two times `slot_minutes`. `key` is secret and random: whoever
    /// knows it can announce from addresses that are not his own.
    pub fn new(key: (u64, u64), slot_minutes: NonZeroU16) -> Self {
        Self { key, slot_minutes: slot_minutes.get().into() }
    }

    /// Returns the id for a client that connects `now`.
    pub fn issue(&self, address: IpAddr, now: Minute) -> u64 {
        self.id(address, self.slot(now))
    }

    /// Returns whether `id` was issued to this address, in the present slot of time or the previous one.
    pub fn accepts(&self, id: u64, address: IpAddr, now: Minute) -> bool {
        let slot = self.slot(now);
        id == self.id(address, slot) || id == self.id(address, slot.wrapping_sub(1))
    }

    fn slot(&self, now: Minute) -> u32 {
        now.0 / self.slot_minutes
    }

    fn id(&self, address: IpAddr, slot: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        // Numbers, not slices of bytes: the compiler knows how long they are.
        match address {
            IpAddr::V4(v4) => hasher.write_u64(u64::from(slot) << 32 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let [high, low] = halves(v6.to_bits());
                hasher.write_u64(high);
                hasher.write_u64(low);
                hasher.write_u32(slot);
            }
        }
        hasher.finish()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(key: u64, minutes: u16) -> ConnectionIds {
        ConnectionIds::new((key, 1), NonZeroU16::new(minutes).unwrap())
    }

    #[test]
    fn an_id_is_accepted_for_one_slot_and_refused_after_two() {
        for minutes in [1, 2, 5, 60] {
            let ids = ids(7, minutes);
            for start in 1000..1000 + 2 * u32::from(minutes) {
                let client = "192.0.2.1".parse().unwrap();
                let id = ids.issue(client, Minute(start));
                for age in 0..=u32::from(minutes) {
                    assert!(ids.accepts(id, client, Minute(start + age)), "{minutes} {start} {age}");
                }
                assert!(!ids.accepts(id, client, Minute(start + 2 * u32::from(minutes))));
                assert!(!ids.accepts(id, client, Minute(start - 2 * u32::from(minutes))));
            }
        }
    }

    #[test]
    fn an_id_is_of_use_to_one_address_at_one_tracker_only() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        for issued_to in addresses {
            let id = ids(7, 2).issue(issued_to, Minute(50));
            for address in addresses {
                assert_eq!(ids(7, 2).accepts(id, address, Minute(50)), address == issued_to);
                assert!(!ids(8, 2).accepts(id, address, Minute(50)), "another key");
            }
        }
    }
}
