//! How many errors go to addresses that have not proved themselves, so that nobody can have the tracker flood another.

use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use siphasher::sip::SipHasher13;

use crate::atomic::AtomicU64;
use crate::tracker::{Holder, Second};

/// Addresses that are counted apart, if their hashes differ: 32 KiB.
const CELLS: usize = 4096;

/// Counts the errors that each address (of IPv6: each network of 64 bits) is sent in each second of the clock, over all
/// workers, and says when there have been enough.
///
/// Which cell an address has is decided by a hash under a secret key, anew in each second. Addresses that happen to
/// have the same one share what each could have alone, for that second. So nobody can spend what another address has
/// coming, but by chance: errors that go to so many addresses that most cells are used up are more than a machine
/// sends.
///
/// It is asked on behalf of errors alone. Cells are shared by the workers without a lock; one that is used up is only
/// read, so a flood from one address does not have them wait for each other.
pub struct ErrorLimit {
    key: (u64, u64),
    each: NonZeroU32,
    /// The second (its lower 32 bits) in the upper half, and the errors in the lower.
    cells: Box<[AtomicU64]>,
}

impl ErrorLimit {
    /// Allows `each` errors a second. `key` is secret and random. Allocates all that there is ever to be.
    pub fn new(key: (u64, u64), each: NonZeroU32) -> Self {
        Self { key, each, cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts an error to this address. Returns false if it is one too many; it is not counted then.
    pub fn allows(&self, address: IpAddr, now: Second) -> bool {
        let counted = |cell: u64| {
            let second = now.0 << 32;
            // The clock of another worker may have been read a moment earlier or later, in another second: then each of
            // the two counts from the beginning.
            let errors = if cell & !ERRORS == second { cell & ERRORS } else { 0 };
            (errors < u64::from(self.each.get())).then_some(second | (errors + 1))
        };
        let cell = self.cell(address, now);
        cell.is_some_and(|cell| cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok())
    }

    fn cell(&self, address: IpAddr, now: Second) -> Option<&AtomicU64> {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(now.0);
        Holder::from(address).hash(&mut hasher);
        let number = usize::try_from(hasher.finish() % CELLS as u64).ok()?;
        self.cells.get(number)
    }
}

/// The bits of a cell that hold the errors.
const ERRORS: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::testing::is_printable;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::thread;

    const NOW: Second = Second(1_740_000_000);

    fn limit(each: u32) -> ErrorLimit {
        ErrorLimit::new((1, 2), NonZeroU32::new(each).unwrap())
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn v6(network: u64, host: u64) -> IpAddr {
        IpAddr::V6(((u128::from(network) << 64) | u128::from(host)).into())
    }

    /// Returns how many of so many errors are allowed.
    fn allowed(limit: &ErrorLimit, address: IpAddr, now: Second, asked: u32) -> u32 {
        (0..asked).filter(|_| limit.allows(address, now)).count() as u32
    }

    #[test]
    fn an_address_is_sent_so_many_errors_in_each_second() {
        for each in [1, 2, 1000, u32::MAX] {
            let limit = limit(each);
            for second in [0, 1, 2, 1000, 1 << 32, u64::MAX - NOW.0] {
                assert_eq!(allowed(&limit, v4(7), Second(NOW.0 + second), 1500), each.min(1500), "second {second}");
            }
        }
        let limit = limit(3);
        for second in 0..100 {
            assert_eq!(allowed(&limit, v4(7), Second(NOW.0 + second), 10), 3);
        }
        assert_eq!(allowed(&limit, v4(7), Second(NOW.0 + 99), 10), 0, "in the same second");
    }

    #[test]
    fn a_network_of_64_bits_is_one_address_of_ipv6() {
        let limit = limit(3);
        assert_eq!((0..10).filter(|host| limit.allows(v6(7, host << 60), NOW)).count(), 3);
        assert_eq!(allowed(&limit, v6(8, 0), NOW, 10), 3, "its neighbour");
    }

    #[test]
    fn whoever_shares_a_cell_in_one_second_has_one_alone_in_the_next() {
        let limit = limit(1);
        let shares = |n: u32, now| std::ptr::eq(limit.cell(v4(0), now).unwrap(), limit.cell(v4(n), now).unwrap());
        let sharing: Vec<_> = (1..200_000).filter(|n| shares(*n, NOW)).collect();
        assert!((20..90).contains(&sharing.len()), "one in 4096: {}", sharing.len());
        assert!(limit.allows(v4(0), NOW) && sharing.iter().all(|n| !limit.allows(v4(*n), NOW)));
        let next = Second(NOW.0 + 1);
        assert!(sharing.iter().filter(|n| shares(**n, next)).count() < 3);
    }

    #[test]
    fn all_workers_together_send_no_more() {
        let limit = limit(1000);
        let sent: u32 = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| allowed(&limit, v4(7), NOW, 500))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(sent, 1000);
    }

    #[test]
    fn its_key_cannot_be_printed() {
        assert!(!is_printable!(ErrorLimit));
    }

    proptest! {
        #[test]
        fn what_is_allowed_is_what_a_count_for_each_cell_and_second_allows(
            asked in prop::collection::vec((0..6_u32, 0..3_u64), 1..300), each in 1..20_u32,
        ) {
            let limit = limit(each);
            let mut sent = BTreeMap::<_, u32>::new();
            let mut second = NOW.0;
            for (address, later) in asked {
                second += later / 2;
                let cell = std::ptr::from_ref(limit.cell(v4(address), Second(second)).unwrap());
                let sent = sent.entry((second, cell)).or_default();
                prop_assert_eq!(limit.allows(v4(address), Second(second)), *sent < each);
                *sent = each.min(*sent + 1);
            }
        }
    }
}
