//! Secret keys: what connection ids are hashes under.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The secret, or the key of a slot of time. It is never printed.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) u64, pub(super) u64);

impl Key {
    /// Derives the key of a slot. Who knows that key learns nothing of this one, nor of any other slot's.
    pub(super) fn derive(self, slot: u64) -> Self {
        let half = |half: u64| self.hash(|hasher| hasher.write_u64((slot << 1) | half));
        Self(half(0), half(1))
    }

    /// Returns whether this is the id of an address.
    #[inline]
    pub(super) fn issued(self, id: u64, address: IpAddr) -> bool {
        self.id(address) ^ id == 0
    }

    #[inline]
    pub(super) fn id(self, address: IpAddr) -> u64 {
        // Numbers, not slices of bytes: the compiler knows how long they are.
        self.hash(|hasher| match address {
            IpAddr::V4(v4) => hasher.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [high, low] = halves(v6.to_bits());
                hasher.write_u64(high);
                hasher.write_u64(low);
            }
        })
    }

    #[inline]
    fn hash(self, write: impl FnOnce(&mut SipHasher24)) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        write(&mut hasher);
        hasher.finish()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}
