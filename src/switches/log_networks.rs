//! `log-networks` (`WANT_LOG_NETWORKS`): counts requests for each network, for `/stats?mode=busy`.
//!
//! Memory does not grow, whatever comes: 64 KiB for each of two lengths of prefix (IPv4: /24 and /16, IPv6: /48 and
//! /32), in each family that the tracker serves. [`table`] says which networks are kept when there are too many.
//!
//! Each minute takes a sixteenth of each count: a network's number is about that of its requests in the last quarter of
//! an hour.
//!
//! A busy tracker counts one request in [`LOT`] for all of them. Then counting costs next to nothing, and processors do
//! not fight over the count of a network that all of them hear from.

mod table;

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fastrand::Rng;

use crate::config::Settings;
use crate::server::{Plug, StartError, new_hash_key, opens_nothing};
use crate::stats::pages::networks::{Prefix, network_of};
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::{AddressFamilies, Minute, NetworkLog};

use table::Table;

/// The prefixes that IPv4 is counted by, in the order of the page. The last original that had this page listed /24.
const IPV4: [Prefix; 2] = [Prefix::ipv4(24), Prefix::ipv4(16)];
/// The prefixes that IPv6 is counted by.
const IPV6: [Prefix; 2] = [Prefix::ipv6(48), Prefix::ipv6(32)];

/// Requests of a minute that are counted each for itself.
const MAX_COUNTED_SINGLY: u64 = 65_536;
/// Of all others of that minute, one in so many is drawn at random, and counted as so many. The standard error of a
/// number of a thousand is 12 % then, that of a hundred thousand 1.2 %.
const LOT: u32 = 16;

/// The networks that ask a tracker which serves the families `F`.
pub struct Networks<F> {
    key: HashKey,
    pace: Pace,
    ipv4: Vec<Table>,
    ipv6: Vec<Table>,
    families: PhantomData<F>,
}

impl<F: AddressFamilies> Networks<F> {
    /// Makes a log in which no network has asked yet. The key is secret: with it, strangers could choose networks that
    /// share one bucket.
    fn new(key: HashKey) -> Self {
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
}

impl<F: AddressFamilies> NetworkLog for Networks<F> {
    const COUNTS: bool = true;

    fn record(&self, address: IpAddr, now: Minute, rng: &mut Rng) {
        let Some(requests) = self.pace.requests(now, rng) else { return };
        let network = network_of(address);
        for table in if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 } {
            table.count(network, requests, now, &self.key, rng);
        }
    }

    fn busy(&self, now: Minute) -> Option<String> {
        let mut page = String::new();
        for table in self.ipv4.iter().chain(&self.ipv6) {
            table.prefix().write(table.requests(now), &mut page);
        }
        Some(page)
    }
}

impl<F: AddressFamilies> Plug for Networks<F> {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::new(new_hash_key()?))
    }
}

/// The minute (upper 32 bits), and how many requests of it have been counted each for itself (lower 32 bits).
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    /// Returns as how many requests this one is to be counted; `None` if it is passed over.
    #[inline]
    fn requests(&self, now: Minute, rng: &mut Rng) -> Option<u32> {
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

    fn networks<F: AddressFamilies>() -> Networks<F> {
        Networks::new(HashKey::from_bytes(&[7; 48]))
    }

    fn all_ask<F: AddressFamilies>(networks: &Networks<F>, addresses: &[(&str, u32)]) {
        for (address, times) in addresses {
            (0..*times).for_each(|_| networks.record(address.parse().unwrap(), NOW, &mut Rng::with_seed(1)));
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
        let (one, other, both) = (networks::<Ipv4Only>(), networks::<Ipv6Only>(), networks::<Both>());
        for addresses in [&ipv4, &ipv6] {
            all_ask(&one, addresses);
            all_ask(&other, addresses);
            all_ask(&both, addresses);
        }
        assert_eq!(one.busy(NOW).unwrap(), page_v4);
        assert_eq!(other.busy(NOW).unwrap(), page_v6);
        assert_eq!(both.busy(NOW).unwrap(), [page_v4, page_v6].concat());
    }

    #[test]
    fn a_page_before_anybody_asked_has_no_rows() {
        let empty = "Networks, limit /24:\n\nNetworks, limit /16:\n\n";
        assert_eq!(networks::<Ipv4Only>().busy(NOW).unwrap(), empty);
    }

    #[test]
    fn a_busy_tracker_counts_by_lot() {
        let pace = Pace::default();
        let mut rng = Rng::with_seed(1);
        for minute in [NOW, NOW + 1] {
            let mut weigh = |times| (0..times).filter_map(|_| pace.requests(minute, &mut rng)).collect::<Vec<_>>();
            assert_eq!(weigh(65_536), [1; 65_536], "each for itself");
            let weights = weigh(160_000);
            assert!((9_000..11_000).contains(&weights.len()) && weights.iter().all(|weight| *weight == LOT));
        }
        assert!(pace.requests(NOW + 2, &mut rng).is_some());
        assert_eq!(pace.requests(NOW, &mut rng), Some(1), "a thread that is late does no harm");
    }

    #[test]
    fn the_page_has_room_for_8_digits_and_256_networks() {
        let networks = networks::<Ipv4Only>();
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            networks.ipv4[0].count(network_of([192, 0, 2, 0].into()), 10_000_000, NOW, &networks.key, &mut rng);
        }
        (0..1000).for_each(|n| networks.record(Ipv4Addr::from_bits(n << 8).into(), NOW, &mut rng));
        let page = networks.busy(NOW).unwrap();
        assert!(page.starts_with("Networks, limit /24:\n99999999: 192.0.2.0\n00000001: 0.0.0.0\n"), "{page}");
        assert_eq!(page.lines().count(), (1 + 256 + 1) + (1 + 4 + 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_is_invented(
            asked in prop::collection::vec((any::<IpAddr>(), 0..3_u32), 0..300),
        ) {
            let networks = networks::<Both>();
            let mut rng = Rng::with_seed(1);
            let mut now = NOW;
            for (address, minutes) in &asked {
                now = now + *minutes;
                networks.record(*address, now, &mut rng);
            }
            let page = networks.busy(now).unwrap();
            prop_assert!(page.lines().count() <= 4 * (MAX_ROWS + 2));
            for line in page.lines().filter(|line| line.contains(": ")) {
                let (requests, network) = line.split_once(": ").unwrap();
                prop_assert!(requests.len() == 8 && requests.parse::<usize>().unwrap() <= asked.len());
                let network: IpAddr = network.parse().unwrap();
                let asked_from_there = asked.iter().any(|(address, _)| match (address, network) {
                    (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
                    (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..4] == b.octets()[..4],
                    _ => false,
                });
                prop_assert!(asked_from_there, "{}", line);
            }
        }
    }
}
