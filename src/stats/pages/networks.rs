//! Rows of networks, as `mode=s24s` and `mode=busy` have them, and the networks with the most peers, for the former.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tracker::AddressFamilies;
use crate::tracker::store::Store;

/// Networks on a page at most, for each length of prefix.
pub const ROWS: usize = 256;
/// The greatest number that a row has room for.
const MAX_SHOWN: u32 = 99_999_999;

/// A table has room for one network for so many peers that the tracker keeps: at most some two bytes for each of them.
const PEERS_PER_ROOM: usize = 16;
/// It has room for so many networks at least.
const LEAST_ROOM: usize = 4096;
/// And at most: room is made in one step, which is to be short.
const MAX_ROOM: usize = 65_536;

/// Where a network of either family begins: the first 64 bits of its address, IPv4 filled up with zeros.
pub type Network = u64;

/// The network of one address: 64 bits of it.
#[inline]
pub fn network_of(ip: IpAddr) -> Network {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()) << 32,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            [a, b, c, d].iter().fold(0, |network, segment| network << 16 | u64::from(*segment))
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
    /// Those of IPv4, in the order of a page.
    pub const IPV4: [Self; 2] = [Self { bits: 24, ipv6: false }, Self { bits: 16, ipv6: false }];
    /// Those of IPv6.
    pub const IPV6: [Self; 2] = [Self { bits: 48, ipv6: true }, Self { bits: 32, ipv6: true }];

    /// The network of this length that `network` belongs to.
    #[inline]
    pub fn around(self, network: Network) -> Network {
        network & u64::MAX << (64 - self.bits)
    }

    /// Appends a part of a page: the largest networks, from the most to the least, and an empty line.
    pub fn write(self, networks: impl Iterator<Item = (Network, u32)>, page: &mut String) {
        let rank = |&(network, number): &(Network, u32)| (Reverse(number), network);
        let mut rows = Vec::with_capacity(2 * ROWS);
        for row in networks {
            if rows.len() == 2 * ROWS {
                rows.select_nth_unstable_by_key(ROWS, rank);
                rows.truncate(ROWS);
            }
            rows.push(row);
        }
        rows.sort_unstable_by_key(rank);
        // Writing to a string does not fail.
        let _ = writeln!(page, "Networks, limit /{}:", self.bits);
        for (network, number) in rows.into_iter().take(ROWS) {
            let _ = writeln!(page, "{:08}: {}", number.min(MAX_SHOWN), self.address(network));
        }
        page.push('\n');
    }

    fn address(self, network: Network) -> IpAddr {
        if self.ipv6 {
            Ipv6Addr::from_bits(u128::from(network) << 64).into()
        } else {
            Ipv4Addr::from_bits((network >> 32) as u32).into()
        }
    }
}

/// How many peers each network has, as far as a walk over all peers has got.
#[derive(Debug)]
pub(super) struct Networks {
    tables: Vec<Table>,
    /// Peers that were shown under a lock and are still to be counted.
    shown: Vec<IpAddr>,
}

impl Networks {
    /// No peer of the store has been seen.
    pub(super) fn of<F: AddressFamilies>(store: &Store<F>) -> Self {
        let room = (store.census().peers.peers() / PEERS_PER_ROOM).clamp(LEAST_ROOM, MAX_ROOM);
        let ipv4 = F::IPV4.then_some(Prefix::IPV4);
        let ipv6 = F::IPV6.then_some(Prefix::IPV6);
        let prefixes = ipv4.into_iter().chain(ipv6).flatten();
        Self { tables: prefixes.map(|prefix| Table::new(prefix, room)).collect(), shown: Vec::new() }
    }

    /// Takes note of a peer: a copy, so that a lock is not held for longer than that takes.
    pub(super) fn visit(&mut self, ip: IpAddr) {
        self.shown.push(ip);
    }

    /// Counts what was shown.
    pub(super) fn count(&mut self) {
        for ip in &self.shown {
            let network = network_of(*ip);
            self.tables.iter_mut().filter(|table| table.prefix.ipv6 == ip.is_ipv6()).for_each(|table| {
                table.count(network);
            });
        }
        self.shown.clear();
    }

    /// All peers have been shown. Says whether they are to be shown once more.
    pub(super) fn finish_walk(&mut self) -> bool {
        self.tables.iter_mut().map(Table::finish_walk).filter(|again| *again).count() > 0
    }

    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        for table in &self.tables {
            let networks = table.counts.iter().map(|(network, peers)| (*network, *peers));
            table.prefix.write(networks.filter(|(_, peers)| *peers > 0), &mut page);
        }
        page
    }
}

/// The peers of each network.
///
/// Strangers can have as many networks as they have peers, so there may not be room for all. Then each network is
/// counted less what the one in the middle has, and those that have nothing left make room (Misra and Gries). What one
/// network loses so, half of those that there is room for lose with it: no more than twice [`PEERS_PER_ROOM`], or, where
/// there are millions of peers, two of [`MAX_ROOM`] parts of them. So whoever has more than that stays, and a second
/// walk finds out how many peers those that stayed really have.
#[derive(Debug)]
struct Table {
    prefix: Prefix,
    room: usize,
    /// With a key of its own: strangers choose what is in it.
    counts: HashMap<Network, u32>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the first walk.
    Counting {
        /// All networks have found room so far.
        exact: bool,
    },
    /// In a second walk, in which no network is new.
    Recounting,
    /// All numbers are exact. Another table may need another walk.
    Done,
}

impl Table {
    fn new(prefix: Prefix, room: usize) -> Self {
        Self { prefix, room, counts: HashMap::new(), state: State::Counting { exact: true } }
    }

    fn count(&mut self, network: Network) {
        let network = self.prefix.around(network);
        match self.state {
            State::Counting { .. } => {
                *self.counts.entry(network).or_default() += 1;
                if self.counts.len() > self.room {
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

    fn make_room(&mut self) {
        self.state = State::Counting { exact: false };
        let mut counts: Vec<_> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, less, _) = counts.select_nth_unstable(middle);
        self.counts.retain(|_, peers| {
            *peers = peers.saturating_sub(*less);
            *peers > 0
        });
    }

    /// A walk is at its end. Says whether another is needed.
    fn finish_walk(&mut self) -> bool {
        let rough = self.state == State::Counting { exact: false };
        if rough {
            self.counts.values_mut().for_each(|peers| *peers = 0);
        }
        self.state = if rough { State::Recounting } else { State::Done };
        rough
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What a table counts, in as many walks as it wants.
    fn counted(prefix: Prefix, room: usize, addresses: &[IpAddr]) -> (BTreeMap<IpAddr, u32>, usize) {
        let mut table = Table::new(prefix, room);
        let mut walks = 0;
        loop {
            walks += 1;
            for address in addresses {
                table.count(network_of(*address));
                assert!(table.counts.len() <= room);
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
        let [by_24, by_16] = Prefix::IPV4;
        let begin = |address: IpAddr, len: usize| {
            let IpAddr::V4(address) = address else { panic!("{address}") };
            let mut bytes = address.octets();
            bytes[len..].fill(0);
            IpAddr::from(bytes)
        };
        assert_eq!(counted(by_24, 200, &addresses), (expected(&addresses, |address| begin(address, 3)), 1));
        assert_eq!(counted(by_16, 1, &addresses), (expected(&addresses, |address| begin(address, 2)), 1));
    }

    #[test]
    fn ipv6_networks_are_told_apart_by_48_and_by_32_bits() {
        let addresses = ["2001:db8:1:2::3", "2001:db8:1:ffff::", "2001:db8:2::", "2001:db9::"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let find = |prefix| {
            let mut page = String::new();
            prefix_page(prefix, &addresses, &mut page);
            page
        };
        let [by_48, by_32] = Prefix::IPV6;
        assert_eq!(
            find(by_48),
            "Networks, limit /48:\n00000002: 2001:db8:1::\n00000001: 2001:db8:2::\n00000001: 2001:db9::\n\n"
        );
        assert_eq!(find(by_32), "Networks, limit /32:\n00000003: 2001:db8::\n00000001: 2001:db9::\n\n");
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
        Prefix::IPV4[0].write(rows, &mut page);
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
            hosts in prop::collection::vec(0..40_u8, 0..400), crowd in 0..3000_u32, room in 20..200_usize,
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
            let (found, walks) = counted(Prefix::IPV4[0], room, &addresses);
            prop_assert_eq!(walks, 1 + usize::from(all.len() > room));
            for (network, peers) in &all {
                // What was promised.
                if found.contains_key(network) || *peers as usize > 2 * addresses.len() / room {
                    prop_assert_eq!(found.get(network), Some(peers));
                }
            }
        }
    }
}
