//! Counts for each network how often something comes from it: what `log-networks` and `spot-woodpecker` have in common.
//! What is counted is called a call here.
//!
//! Memory does not grow, whatever comes: 64 KiB for each of two lengths of prefix (IPv4: /24 and /16, IPv6: /48 and
//! /32), in each family that the tracker serves. [`table`] says which networks are kept when there are too many.
//!
//! Each minute takes a sixteenth of each count: a network's number is about that of its calls in the last quarter of an
//! hour.
//!
//! Where calls are many, one in [`LOT`] is counted for all of them. Then counting costs next to nothing, and processors
//! do not fight over the count of a network that all of them hear from.

mod table;

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;

use crate::atomic::AtomicU64;
use crate::server::{StartError, new_hash_key};
use crate::stats::pages::networks::{Prefix, network_of};
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::{AddressFamilies, Minute};

use table::Table;

/// The prefixes that IPv4 is counted by, in the order of the page. The last original that had such a page listed /24.
const IPV4: [Prefix; 2] = [Prefix::ipv4(24), Prefix::ipv4(16)];
/// The prefixes that IPv6 is counted by.
const IPV6: [Prefix; 2] = [Prefix::ipv6(48), Prefix::ipv6(32)];

/// Calls of a minute that are counted each for itself.
const MAX_COUNTED_SINGLY: u64 = 65_536;
/// Of all others of that minute, one in so many is drawn at random, and counted as so many. The standard error of a
/// number of a thousand is 12 % then, that of a hundred thousand 1.2 %.
const LOT: u32 = 16;

/// The counts of the networks that call a tracker which serves the families `F`.
pub(super) struct NetworkCounts<F> {
    key: HashKey,
    pace: Pace,
    ipv4: Vec<Table>,
    ipv6: Vec<Table>,
    families: PhantomData<F>,
}

impl<F: AddressFamilies> NetworkCounts<F> {
    /// Makes counts under a new key, of networks that have not called yet.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub(super) fn new() -> Result<Self, StartError> {
        Ok(Self::with_key(new_hash_key()?))
    }

    /// The same, under this key. It is secret: with it, strangers could choose networks that share one bucket.
    fn with_key(key: HashKey) -> Self {
        let tables = |serves: bool, prefixes: [Prefix; 2]| {
            if serves { prefixes.map(Table::new).into() } else { Vec::new() }
        };
        Self {
            key,
            pace: Pace::default(),
            ipv4: tables(F::IPV4, IPV4),
            ipv6: tables(F::IPV6, IPV6),
            families: PhantomData,
        }
    }

    /// Counts a call from `address`.
    pub(super) fn count(&self, address: IpAddr, now: Minute, rng: &mut Rng) {
        let Some(calls) = self.pace.calls(now, rng) else { return };
        let network = network_of(address);
        for table in if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 } {
            table.count(network, calls, now, &self.key, rng);
        }
    }

    /// Returns the page that lists the networks that call most, from the most on.
    pub(super) fn page(&self, now: Minute) -> String {
        let mut page = String::new();
        for table in self.ipv4.iter().chain(&self.ipv6) {
            table.prefix().write(table.calls(now), &mut page);
        }
        page
    }
}

/// The minute (upper 32 bits), and how many calls of it have been counted each for itself (lower 32 bits).
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    /// Returns as how many calls this one is to be counted; `None` if it is passed over.
    #[inline]
    fn calls(&self, now: Minute, rng: &mut Rng) -> Option<u32> {
        let now = u64::from(now.0) << 32;
        let counted = self.0.load(Relaxed);
        if counted < now {
            // If this fails, another thread has done the same.
            let _ = self.0.compare_exchange(counted, now + 1, Relaxed, Relaxed);
        } else if counted & u64::from(u32::MAX) < MAX_COUNTED_SINGLY {
            self.0.fetch_add(1, Relaxed);
        } else {
            return (rng.u32(..LOT) == 0).then_some(LOT);
        }
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::stats::pages::networks::MAX_ROWS;
    use crate::tracker::Ipv4Only;
    use crate::tracker::testing::Ipv6Only;
    use std::net::Ipv4Addr;

    const NOW: Minute = Minute(29_000_000);

    struct Both;

    impl AddressFamilies for Both {
        type Peers = <Ipv4Only as AddressFamilies>::Peers;

        const IPV4: bool = true;
        const IPV6: bool = true;
    }

    fn counts<F: AddressFamilies>() -> NetworkCounts<F> {
        NetworkCounts::with_key(HashKey::from_bytes(&[7; 48]))
    }

    fn all_call<F: AddressFamilies>(counts: &NetworkCounts<F>, addresses: &[(&str, u32)]) {
        for (address, times) in addresses {
            (0..*times).for_each(|_| counts.count(address.parse().unwrap(), NOW, &mut Rng::with_seed(1)));
        }
    }

    #[test]
    fn the_page_lists_networks_from_the_busiest_to_the_idlest() {
        let ipv4 = [("192.0.2.1", 2), ("192.0.2.255", 1), ("192.0.3.1", 5), ("10.0.0.1", 3), ("0.0.0.0", 3)];
        let ipv6 = [("2001:db8:1:2::3", 1), ("2001:db8:1::", 1), ("2001:db8:2::", 1), ("::1", 1), ("fe80::1", 12)];
        let page_v4 = "Networks, limit /24:\n\
                       00000005: 192.0.3.0\n00000003: 0.0.0.0\n00000003: 10.0.0.0\n00000003: 192.0.2.0\n\n\
                       Networks, limit /16:\n00000008: 192.0.0.0\n00000003: 0.0.0.0\n00000003: 10.0.0.0\n\n";
        let page_v6 = "Networks, limit /48:\n\
                       00000012: fe80::\n00000002: 2001:db8:1::\n00000001: ::\n00000001: 2001:db8:2::\n\n\
                       Networks, limit /32:\n00000012: fe80::\n00000003: 2001:db8::\n00000001: ::\n\n";
        let (one, other, both) = (counts::<Ipv4Only>(), counts::<Ipv6Only>(), counts::<Both>());
        for addresses in [&ipv4, &ipv6] {
            all_call(&one, addresses);
            all_call(&other, addresses);
            all_call(&both, addresses);
        }
        assert_eq!(one.page(NOW), page_v4);
        assert_eq!(other.page(NOW), page_v6);
        assert_eq!(both.page(NOW), [page_v4, page_v6].concat());
    }

    #[test]
    fn a_page_before_anybody_called_has_no_rows() {
        let empty = "Networks, limit /24:\n\nNetworks, limit /16:\n\n";
        assert_eq!(counts::<Ipv4Only>().page(NOW), empty);
    }

    #[test]
    fn many_calls_are_counted_by_lot() {
        let pace = Pace::default();
        let mut rng = Rng::with_seed(1);
        for minute in [NOW, NOW + 1] {
            let mut weigh = |times| (0..times).filter_map(|_| pace.calls(minute, &mut rng)).collect::<Vec<_>>();
            assert_eq!(weigh(65_536), [1; 65_536], "each for itself");
            let weights = weigh(160_000);
            assert!((9_000..11_000).contains(&weights.len()) && weights.iter().all(|weight| *weight == LOT));
        }
        assert!(pace.calls(NOW + 2, &mut rng).is_some());
        assert_eq!(pace.calls(NOW, &mut rng), Some(1), "a thread that is late does no harm");
    }

    #[test]
    fn the_page_has_room_for_8_digits_and_256_networks() {
        let counts = counts::<Ipv4Only>();
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            counts.ipv4[0].count(network_of([192, 0, 2, 0].into()), 10_000_000, NOW, &counts.key, &mut rng);
        }
        (0..1000).for_each(|n| counts.count(Ipv4Addr::from_bits(n << 8).into(), NOW, &mut rng));
        let page = counts.page(NOW);
        assert!(page.starts_with("Networks, limit /24:\n99999999: 192.0.2.0\n00000001: 0.0.0.0\n"), "{page}");
        assert_eq!(page.lines().count(), (1 + 256 + 1) + (1 + 4 + 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_is_invented(
            called in prop::collection::vec((any::<IpAddr>(), 0..3_u32), 0..300),
        ) {
            let counts = counts::<Both>();
            let mut rng = Rng::with_seed(1);
            let mut now = NOW;
            for (address, minutes) in &called {
                now = now + *minutes;
                counts.count(*address, now, &mut rng);
            }
            let page = counts.page(now);
            prop_assert!(page.lines().count() <= 4 * (MAX_ROWS + 2));
            for line in page.lines().filter(|line| line.contains(": ")) {
                let (calls, network) = line.split_once(": ").unwrap();
                prop_assert!(calls.len() == 8 && calls.parse::<usize>().unwrap() <= called.len());
                let network: IpAddr = network.parse().unwrap();
                let called_from_there = called.iter().any(|(address, _)| match (address, network) {
                    (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
                    (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..4] == b.octets()[..4],
                    _ => false,
                });
                prop_assert!(called_from_there, "{}", line);
            }
        }
    }
}
