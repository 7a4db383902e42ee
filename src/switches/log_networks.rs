//! `log-networks` (`WANT_LOG_NETWORKS`): counts requests for each network, for `/stats?mode=busy`.
//!
//! Whatever comes, the counts take 64 KiB for each of two lengths of prefix (IPv4: /24 and /16, IPv6: /48 and /32), in
//! each family that the tracker serves. Each such [`Table`] has room for 5120 networks. As long as there are not more
//! of them, almost all are counted; when there are, those that ask most are kept: a network that has no slot takes that
//! of the idlest of the [`SLOTS`] that it might have, with a chance of one in as many requests as that one counts, and
//! takes its count over. So a crowd of networks that ask once or twice does not wash away one that asks often, and one
//! that begins to ask often does not stay out for long.
//!
//! Each minute takes a sixteenth of each count: a network's number is about that of its requests in the last quarter of
//! an hour. A bucket of slots is brought up to date when it is used next.
//!
//! Threads count side by side without locks. Where two of them meet, the worst that can happen is that a request is
//! counted for a neighbour in the table, or that a newcomer takes two slots, of which one dies out.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::config::Settings;
use crate::core::keyed_hash::Key;
use crate::core::{Family, Minute, NetworkLog};
use crate::server::{Plug, StartError};

/// Networks on the page at most, for each length of prefix.
const ROWS: usize = 256;
/// The greatest number that the page has room for.
const MOST_SHOWN: u32 = 99_999_999;

/// Buckets in a table.
const BUCKETS: usize = 512;
/// Networks in a bucket: those that two cache lines have room for. Processors fetch lines in pairs.
const SLOTS: usize = 10;

/// One request, as it is counted: in sixteenths, so that what a minute takes away from small counts is not nothing.
const ONE: u32 = 16;
/// From here on one request in [`LOT`] is counted, for all of them: processors that hear from the same network all the
/// time do not fight for its count. The number is right within a few percent.
const COUNTED_BY_LOT: u32 = 65_536 * ONE;
const LOT: u32 = 16;
/// Far from what a count has room for, since threads look first and add then.
const MOST_COUNTED: u32 = u32::MAX / 2;

/// The networks that ask a tracker which serves the family `F`.
pub struct Networks<F> {
    key: Key,
    ipv4: Vec<Table>,
    ipv6: Vec<Table>,
    family: PhantomData<F>,
}

impl<F: Family> Networks<F> {
    /// No network has asked yet. The key is secret: with it, strangers could choose networks that share one bucket.
    fn new(key: Key) -> Self {
        let tables = |serves: bool, prefixes: [u32; 2]| match serves {
            true => prefixes.map(Table::new).into(),
            false => Vec::new(),
        };
        Self {
            key,
            ipv4: tables(F::serves(Ipv4Addr::UNSPECIFIED.into()), [24, 16]),
            ipv6: tables(F::serves(Ipv6Addr::UNSPECIFIED.into()), [48, 32]),
            family: PhantomData,
        }
    }
}

impl<F: Family> NetworkLog for Networks<F> {
    fn saw(&self, address: IpAddr, now: Minute) {
        let (network, tables) = match address {
            IpAddr::V4(ip) => (network_of_ipv4(ip), &self.ipv4),
            IpAddr::V6(ip) => (network_of_ipv6(ip), &self.ipv6),
        };
        for table in tables {
            table.count(network, now, &self.key);
        }
    }

    fn busy(&self, now: Minute) -> Option<String> {
        let mut page = String::new();
        for table in &self.ipv4 {
            table.write(now, ipv4_of_network, &mut page);
        }
        for table in &self.ipv6 {
            table.write(now, ipv6_of_network, &mut page);
        }
        Some(page)
    }
}

impl<F: Family> Plug for Networks<F> {
    fn plug(_: &Settings) -> Result<Self, StartError> {
        let mut key = [0; 48];
        getrandom::fill(&mut key)
            .map_err(|error| StartError::System { what: "get random numbers", error: error.into() })?;
        Ok(Self::new(Key::from_bytes(&key)))
    }
}

/// Where a network of either family begins: the first 64 bits of its address, IPv4 filled up with zeros.
type Network = u64;

fn network_of_ipv4(ip: Ipv4Addr) -> Network {
    u64::from(ip.to_bits()) << 32
}

fn network_of_ipv6(ip: Ipv6Addr) -> Network {
    let [a, b, c, d, ..] = ip.segments();
    [a, b, c, d].iter().fold(0, |network, segment| network << 16 | u64::from(*segment))
}

fn ipv4_of_network(network: Network) -> IpAddr {
    Ipv4Addr::from_bits(u32::try_from(network >> 32).unwrap_or_default()).into()
}

fn ipv6_of_network(network: Network) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(network) << 64).into()
}

/// The counts for one length of prefix.
struct Table {
    prefix: u32,
    buckets: Box<[Bucket]>,
}

impl Table {
    fn new(prefix: u32) -> Self {
        Self { prefix, buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    #[inline]
    fn count(&self, network: Network, now: Minute, key: &Key) {
        let network = network & u64::MAX << (64 - self.prefix);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let at = key.endpoint(0, network) as usize % BUCKETS;
        if let Some(bucket) = self.buckets.get(at) {
            bucket.bring_up_to(now);
            bucket.count(network);
        }
    }

    /// Appends this table's part of the page: from the busiest network to the idlest, and an empty line.
    fn write(&self, now: Minute, address: fn(Network) -> IpAddr, page: &mut String) {
        let mut rows: Vec<_> = self.buckets.iter().flat_map(|bucket| bucket.requests(now)).collect();
        rows.sort_unstable_by_key(|&(network, requests)| (Reverse(requests), network));
        // Writing to a string does not fail.
        let _ = writeln!(page, "Networks, limit /{}:", self.prefix);
        for (network, requests) in rows.into_iter().take(ROWS) {
            let _ = writeln!(page, "{:08}: {}", requests.min(MOST_SHOWN), address(network));
        }
        page.push('\n');
    }
}

/// A slot that was never used is that of network 0, which has not asked.
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
    fn count(&self, network: Network) {
        let slot = self.slots().find(|(held, _)| held.load(Relaxed) == network);
        let Some((_, count)) = slot else { return self.admit(network) };
        match count.load(Relaxed) {
            ..COUNTED_BY_LOT => count.fetch_add(ONE, Relaxed),
            ..MOST_COUNTED if fastrand::u32(..LOT) == 0 => count.fetch_add(ONE * LOT, Relaxed),
            _ => 0,
        };
    }

    /// Counts a request of a network that has no slot, if it is lucky.
    fn admit(&self, network: Network) {
        let Some((held, count)) = self.slots().min_by_key(|(_, count)| count.load(Relaxed)) else { return };
        let (before, least) = (held.load(Relaxed), count.load(Relaxed));
        let lucky = fastrand::u32(..least.saturating_add(ONE)) < ONE;
        if lucky && held.compare_exchange(before, network, Relaxed, Relaxed).is_ok() {
            count.fetch_add(ONE, Relaxed);
        }
    }

    /// Takes away what the minutes since the last time have to take.
    #[inline]
    fn bring_up_to(&self, now: Minute) {
        let before = self.minute.load(Relaxed);
        if before < now.0 && self.minute.compare_exchange(before, now.0, Relaxed, Relaxed).is_ok() {
            for count in &self.counts {
                let _ = count.fetch_update(Relaxed, Relaxed, |count| Some(left_of(count, now.0 - before)));
            }
        }
    }

    /// The requests of each network, as they count now.
    fn requests(&self, now: Minute) -> impl Iterator<Item = (Network, u32)> {
        let minutes = now.since(Minute(self.minute.load(Relaxed)));
        let requests = move |count: &AtomicU32| (left_of(count.load(Relaxed), minutes) + ONE / 2) / ONE;
        let rows = self.slots().map(move |(network, count)| (network.load(Relaxed), requests(count)));
        rows.filter(|&(_, requests)| requests > 0)
    }

    fn slots(&self) -> impl Iterator<Item = (&AtomicU64, &AtomicU32)> {
        self.networks.iter().zip(&self.counts)
    }
}

/// What is left of a count after so many minutes.
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

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::core::Ipv4Only;

    const NOW: Minute = Minute(29_000_000);

    struct Ipv6Only;
    struct Both;

    impl Family for Ipv6Only {
        type Swarms = <Ipv4Only as Family>::Swarms;

        fn serves(address: IpAddr) -> bool {
            address.is_ipv6()
        }
    }

    impl Family for Both {
        type Swarms = <Ipv4Only as Family>::Swarms;

        fn serves(_: IpAddr) -> bool {
            true
        }
    }

    fn networks<F: Family>() -> Networks<F> {
        Networks::new(Key::from_bytes(&std::array::from_fn(|i| (i * 37 + 11) as u8)))
    }

    fn saw<F: Family>(networks: &Networks<F>, addresses: &[(&str, u32)], now: Minute) {
        for (address, times) in addresses {
            (0..*times).for_each(|_| networks.saw(address.parse().unwrap(), now));
        }
    }

    /// The numbers of one table by network, as the page shows them.
    fn rows(table: &Table, now: Minute) -> Vec<(Network, u32)> {
        let mut page = String::new();
        table.write(now, ipv4_of_network, &mut page);
        let row = |line: &str| {
            let (requests, address) = line.split_once(": ")?;
            Some((network_of_ipv4(address.parse().ok()?), requests.parse().ok()?))
        };
        page.lines().filter_map(row).collect()
    }

    /// Has the table of /24 count a request of the n-th network.
    fn ask(networks: &Networks<Ipv4Only>, n: u32, now: Minute) {
        networks.saw(Ipv4Addr::from_bits(n << 8).into(), now);
    }

    fn requests(networks: &Networks<Ipv4Only>, n: u32, now: Minute) -> u32 {
        let found = rows(&networks.ipv4[0], now).into_iter().find(|(network, _)| *network == u64::from(n) << 40);
        found.map_or(0, |(_, requests)| requests)
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
            saw(&one, addresses, NOW);
            saw(&other, addresses, NOW);
            saw(&both, addresses, NOW);
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
    fn each_minute_takes_a_sixteenth() {
        let networks = networks();
        (0..1600).for_each(|_| ask(&networks, 7, NOW));
        for (minutes, expected) in [(0, 1600), (1, 1500), (2, 1406), (11, 787), (60, 33)] {
            assert_eq!(requests(&networks, 7, NOW + minutes), expected, "{minutes}");
        }
        ask(&networks, 7, NOW + 1);
        assert_eq!(requests(&networks, 7, NOW + 1), 1501, "counting brings up to date");
        ask(&networks, 7, NOW);
        assert_eq!(requests(&networks, 7, NOW + 1), 1502, "a thread that is late does no harm");
        assert_eq!(requests(&networks, 7, NOW), 1502);
        assert_eq!(requests(&networks, 7, NOW + 200), 0);
        assert_eq!(left_of(u32::MAX, u32::MAX), 0);
    }

    #[test]
    fn the_page_shows_the_present() {
        let networks = networks();
        (0..10_000).for_each(|_| ask(&networks, 1, NOW));
        for minute in 0..60 {
            (0..100).for_each(|_| ask(&networks, 2, NOW + minute));
        }
        let now = NOW + 60;
        let (past, present) = (requests(&networks, 1, now), requests(&networks, 2, now));
        assert!((1450..=1500).contains(&present), "a quarter of an hour, less the minute that has just passed");
        assert!(past < 300, "{past}");
    }

    #[test]
    fn the_busiest_of_very_many_are_found() {
        const NETWORKS: usize = 100_000;
        let networks = networks();
        let mut rng = Rng::with_seed(5);
        let mut truth = HashMap::new();
        for _ in 0..400_000 {
            // As many requests fall between 1 and 10 as between 10 and 100.
            let n = (NETWORKS as f64).powf(rng.f64()) as u32;
            *truth.entry(n).or_insert(0) += 1;
            ask(&networks, n, NOW);
        }
        assert!(truth.len() > 10 * BUCKETS * SLOTS / 5, "far more networks than slots: {}", truth.len());
        for n in 1..50 {
            let (found, expected) = (requests(&networks, n, NOW), truth[&n]);
            assert!(found.abs_diff(expected) <= expected / 10 + 30, "{n}: {found} for {expected}");
        }
        assert_eq!(rows(&networks.ipv4[0], NOW).len(), ROWS);
    }

    #[test]
    fn a_crowd_neither_washes_away_nor_keeps_out() {
        let networks = networks();
        (0..200).for_each(|_| ask(&networks, 1 << 23, NOW));
        (0..500_000).for_each(|n| ask(&networks, n, NOW));
        assert_eq!(requests(&networks, 1 << 23, NOW), 200);
        (0..1000).for_each(|_| ask(&networks, 1 << 22, NOW));
        let late = requests(&networks, 1 << 22, NOW);
        assert!((700..1300).contains(&late), "{late}");
    }

    #[test]
    fn what_asks_all_the_time_is_counted_by_lot() {
        let networks = networks();
        (0..1_000_000).for_each(|_| ask(&networks, 7, NOW));
        let found = requests(&networks, 7, NOW);
        assert!((950_000..1_050_000).contains(&found), "{found}");
        let full = &networks.ipv4[0].buckets[0];
        full.counts[0].store(MOST_COUNTED, Relaxed);
        full.bring_up_to(NOW);
        full.counts[0].store(MOST_COUNTED, Relaxed);
        (0..1000).for_each(|_| full.count(0));
        assert_eq!(full.counts[0].load(Relaxed), MOST_COUNTED, "full");
        assert_eq!(rows(&networks.ipv4[0], NOW)[0], (0, 99_999_999));
    }

    #[test]
    fn threads_count_side_by_side() {
        let networks = networks();
        (0..100).for_each(|n| ask(&networks, n, NOW));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|n| ask(&networks, n % 100, NOW)));
            }
        });
        let rows = rows(&networks.ipv4[0], NOW);
        assert_eq!(rows.len(), 100);
        assert!(rows.iter().all(|(_, requests)| *requests == 801), "{rows:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_is_invented_and_nothing_grows(
            asked in prop::collection::vec((any::<IpAddr>(), 0..3_u32), 0..300),
        ) {
            let networks = networks::<Both>();
            let mut now = NOW;
            for (address, minutes) in &asked {
                now = now + *minutes;
                networks.saw(*address, now);
            }
            let page = networks.busy(now).unwrap();
            prop_assert!(page.lines().count() <= 4 * (ROWS + 2));
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
            let buckets = networks.ipv4.iter().chain(&networks.ipv6).map(|table| table.buckets.len());
            prop_assert_eq!(buckets.sum::<usize>() * size_of::<Bucket>(), 4 * 64 * 1024);
        }
    }
}
