//! Pages of networks: their rows, which `mode=s24s` and `mode=busy` have in common, and the count of the peers of each
//! network, for `mode=s24s`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tracker::AddressFamilies;
use crate::tracker::store::Store;

/// Maximum number of networks on a page, for each length of prefix.
pub const MAX_ROWS: usize = 256;
/// The greatest number that fits into the eight digits of a row. A greater one is shown as this.
const MAX_SHOWN: u32 = 99_999_999;

/// The prefixes that `mode=s24s` counts IPv4 by, in the order of the page: as in the original.
const IPV4: [Prefix; 2] = [Prefix::ipv4(28), Prefix::ipv4(24)];
/// The prefixes that it counts IPv6 by: those of a link and of a site (RFC 6177). The original's /68 is a network that
/// nobody has.
const IPV6: [Prefix; 2] = [Prefix::ipv6(64), Prefix::ipv6(48)];

/// A table has an entry for every 16 peers of the tracker, which costs some two bytes a peer at most.
const PEERS_PER_ENTRY: usize = 16;
/// Minimum number of networks that a table has room for.
const MIN_CAPACITY: usize = 4096;
/// Maximum number of networks that a table has room for. All of them are gone over to make room, which must not take
/// long.
const MAX_CAPACITY: usize = 65_536;

/// A network of either family: the first 64 bits of its first address. Behind the 32 bits of IPv4 stand zeros.
pub type Network = u64;

/// Returns the smallest network that an address is in: its first 64 bits, or all 32 of IPv4.
#[inline]
pub fn network_of(ip: IpAddr) -> Network {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()) << 32,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            [a, b, c, d].iter().fold(0, |network, segment| (network << 16) | u64::from(*segment))
        }
    }
}

/// A length of prefix, by which networks of one family are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bits: u32,
    ipv6: bool,
}

impl Prefix {
    /// The prefix of IPv4 networks with so many bits in common: 1 to 32.
    pub const fn ipv4(bits: u32) -> Self {
        Self { bits, ipv6: false }
    }

    /// The prefix of IPv6 networks with so many bits in common: 1 to 64.
    pub const fn ipv6(bits: u32) -> Self {
        Self { bits, ipv6: true }
    }

    /// Returns the network with a prefix of this length that `network` is in.
    #[inline]
    pub fn truncate(self, network: Network) -> Network {
        network & (u64::MAX << (64 - self.bits))
    }

    /// Appends a part of a page: the [`MAX_ROWS`] networks with the highest numbers, from the highest on, and an empty
    /// line. Takes time that grows with the number of networks, and memory that does not.
    pub fn write(self, networks: impl Iterator<Item = (Network, u32)>, page: &mut String) {
        let rank = |&(network, number): &(Network, u32)| (Reverse(number), network);
        let mut rows = Vec::with_capacity(2 * MAX_ROWS);
        for row in networks {
            if rows.len() == 2 * MAX_ROWS {
                rows.select_nth_unstable_by_key(MAX_ROWS, rank);
                rows.truncate(MAX_ROWS);
            }
            rows.push(row);
        }
        rows.sort_unstable_by_key(rank);
        // Writing to a string does not fail.
        let _ = writeln!(page, "Networks, limit /{}:", self.bits);
        for (network, number) in rows.into_iter().take(MAX_ROWS) {
            let _ = writeln!(page, "{:08}: {}", number.min(MAX_SHOWN), self.address(network));
        }
        page.push('\n');
    }

    /// Returns the first address of a network.
    fn address(self, network: Network) -> IpAddr {
        if self.ipv6 {
            Ipv6Addr::from_bits(u128::from(network) << 64).into()
        } else {
            Ipv4Addr::from_bits((network >> 32) as u32).into()
        }
    }
}

/// The peers of each network, counted by every prefix of the families that a tracker serves, as far as a walk over all
/// peers has got.
#[derive(Debug)]
pub(super) struct Networks {
    tables: Vec<Table>,
    /// Peers that the walk has come by and that are still to be counted.
    visited: Vec<IpAddr>,
}

impl Networks {
    /// Returns empty tables, of a size that fits the store's number of peers.
    pub(super) fn for_store<F: AddressFamilies>(store: &Store<F>) -> Self {
        let capacity = (store.census().peers.peers() / PEERS_PER_ENTRY).clamp(MIN_CAPACITY, MAX_CAPACITY);
        let ipv4 = F::IPV4.then_some(IPV4);
        let ipv6 = F::IPV6.then_some(IPV6);
        let prefixes = ipv4.into_iter().chain(ipv6).flatten();
        Self { tables: prefixes.map(|prefix| Table::new(prefix, capacity)).collect(), visited: Vec::new() }
    }

    /// Remembers the address of a peer. It is counted later: the shard is locked now, for no longer than a copy takes.
    pub(super) fn visit(&mut self, ip: IpAddr) {
        self.visited.push(ip);
    }

    /// Counts the peers that were visited since the last call.
    pub(super) fn count_visited(&mut self) {
        for ip in &self.visited {
            let network = network_of(*ip);
            self.tables.iter_mut().filter(|table| table.prefix.ipv6 == ip.is_ipv6()).for_each(|table| {
                table.count(network);
            });
        }
        self.visited.clear();
    }

    /// Ends a walk over all peers. Returns whether another one is needed.
    pub(super) fn finish_walk(&mut self) -> bool {
        let mut again = false;
        for table in &mut self.tables {
            again |= table.finish_walk();
        }
        again
    }

    /// Returns the page.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        for table in &self.tables {
            let networks = table.counts.iter().map(|(network, peers)| (*network, *peers));
            table.prefix.write(networks.filter(|(_, peers)| *peers > 0), &mut page);
        }
        page
    }
}

/// The peers of each network, by one prefix.
///
/// Strangers can have as many networks as they have peers, so a table may not have room for all. When it is full, the
/// count of the network in the middle is taken off every count, and the networks that have nothing left make room
/// (Misra and Gries). Whatever one network loses, at least half a table of others lose as well, so it loses no more
/// than `2 * peers / capacity`: twice [`PEERS_PER_ENTRY`], or more where [`MAX_CAPACITY`] bounds the table. A network
/// with more peers than that stays, and a second walk counts how many peers those that stayed really have.
#[derive(Debug)]
struct Table {
    prefix: Prefix,
    /// Maximum number of networks.
    capacity: usize,
    /// Peers by network. Hashed with a random key, since strangers choose what is in it.
    counts: HashMap<Network, u32>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the first walk.
    Counting {
        /// All networks have found room so far, so nothing was taken off.
        exact: bool,
    },
    /// In a second walk, in which no network is new.
    Recounting,
    /// All counts are exact. Another table may need another walk.
    Done,
}

impl Table {
    fn new(prefix: Prefix, capacity: usize) -> Self {
        Self { prefix, capacity, counts: HashMap::new(), state: State::Counting { exact: true } }
    }

    /// Counts a peer in `network`.
    fn count(&mut self, network: Network) {
        let network = self.prefix.truncate(network);
        match self.state {
            State::Counting { .. } => {
                *self.counts.entry(network).or_default() += 1;
                if self.counts.len() > self.capacity {
                    self.make_room();
                }
            }
            State::Recounting => {
                if let Some(peers) = self.counts.get_mut(&network) {
                    *peers += 1;
                }
            }
            State::Done => {}
        }
    }

    /// Drops the smaller half of the networks, or more, and takes as much off the others as the largest of those had.
    fn make_room(&mut self) {
        self.state = State::Counting { exact: false };
        let mut counts: Vec<_> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        self.counts.retain(|_, peers| {
            *peers = peers.saturating_sub(*median);
            *peers > 0
        });
    }

    /// Ends a walk over all peers. Returns whether this table needs another one.
    fn finish_walk(&mut self) -> bool {
        let again = self.state == State::Counting { exact: false };
        if again {
            self.counts.values_mut().for_each(|peers| *peers = 0);
        }
        self.state = if again { State::Recounting } else { State::Done };
        again
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What a table counts, and in how many walks.
    fn counted(prefix: Prefix, capacity: usize, addresses: &[IpAddr]) -> (BTreeMap<IpAddr, u32>, usize) {
        let mut table = Table::new(prefix, capacity);
        let mut walks = 0;
        loop {
            walks += 1;
            for address in addresses {
                table.count(network_of(*address));
                assert!(table.counts.len() <= capacity);
            }
            if !table.finish_walk() {
                let found = table.counts.into_iter().filter(|(_, peers)| *peers > 0);
                return (found.map(|(network, peers)| (prefix.address(network), peers)).collect(), walks);
            }
        }
    }

    fn expected(addresses: &[IpAddr], network: impl Fn(IpAddr) -> IpAddr) -> BTreeMap<IpAddr, u32> {
        addresses.iter().fold(BTreeMap::new(), |mut counts, address| {
            *counts.entry(network(*address)).or_default() += 1;
            counts
        })
    }

    #[test]
    fn as_long_as_there_is_room_one_walk_counts_all() {
        let addresses: Vec<IpAddr> = (0..5000_u32).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n * 7).into()).collect();
        let [by_28, by_24] = IPV4;
        let begin = |address: IpAddr, hosts: u32| {
            let IpAddr::V4(address) = address else { panic!("{address}") };
            IpAddr::from(Ipv4Addr::from_bits(address.to_bits() / hosts * hosts))
        };
        assert_eq!(counted(by_28, 2200, &addresses), (expected(&addresses, |address| begin(address, 16)), 1));
        assert_eq!(counted(by_24, 140, &addresses), (expected(&addresses, |address| begin(address, 256)), 1));
    }

    #[test]
    fn ipv6_networks_are_told_apart_by_64_and_by_48_bits() {
        let addresses = ["2001:db8:1:2::3", "2001:db8:1:2:8000::", "2001:db8:1:ffff::", "2001:db9::"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let find = |prefix| {
            let mut page = String::new();
            prefix_page(prefix, &addresses, &mut page);
            page
        };
        let [by_64, by_48] = IPV6;
        assert_eq!(
            find(by_64),
            "Networks, limit /64:\n00000002: 2001:db8:1:2::\n00000001: 2001:db8:1:ffff::\n00000001: 2001:db9::\n\n"
        );
        assert_eq!(find(by_48), "Networks, limit /48:\n00000003: 2001:db8:1::\n00000001: 2001:db9::\n\n");
    }

    fn prefix_page(prefix: Prefix, addresses: &[IpAddr], page: &mut String) {
        let mut table = Table::new(prefix, 100);
        addresses.iter().for_each(|address| table.count(network_of(*address)));
        prefix.write(table.counts.into_iter(), page);
    }

    #[test]
    fn a_part_has_256_rows_of_8_digits_and_a_defined_order() {
        let network = |n: u32| u64::from(n) << 40;
        let rows = (0..3000_u32).rev().map(|n| (network(n), if n == 2999 { u32::MAX } else { 5 + n / 2000 }));
        let mut page = String::new();
        Prefix::ipv4(24).write(rows, &mut page);
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(
            lines[..4],
            ["Networks, limit /24:", "99999999: 0.11.183.0", "00000006: 0.7.208.0", "00000006: 0.7.209.0"]
        );
        assert_eq!((lines.len(), lines[256], lines[257]), (1 + 256 + 1, "00000006: 0.8.206.0", ""));
    }

    proptest! {
        #[test]
        fn crowds_do_not_drive_out_the_largest_networks(
            hosts in prop::collection::vec(0..40_u8, 0..400), crowd in 0..3000_u32, capacity in 20..200_usize,
        ) {
            let mut addresses: Vec<IpAddr> = hosts.iter().map(|n| Ipv4Addr::new(10, 0, n / 4, *n).into()).collect();
            // Everybody of the crowd is a network of its own; it comes between the others.
            addresses.extend((0..crowd).map(|n| IpAddr::from(Ipv4Addr::from_bits(n << 8))));
            fastrand::Rng::with_seed(7).shuffle(&mut addresses);
            let by_24 = |address: IpAddr| match address {
                IpAddr::V4(address) => IpAddr::from(Ipv4Addr::from_bits(address.to_bits() >> 8 << 8)),
                IpAddr::V6(_) => address,
            };
            let all = expected(&addresses, by_24);
            let (found, walks) = counted(Prefix::ipv4(24), capacity, &addresses);
            prop_assert_eq!(walks, 1 + usize::from(all.len() > capacity));
            for (network, peers) in &all {
                // As the documentation of `Table` promises.
                if found.contains_key(network) || *peers as usize > 2 * addresses.len() / capacity {
                    prop_assert_eq!(found.get(network), Some(peers));
                }
            }
        }
    }
}
