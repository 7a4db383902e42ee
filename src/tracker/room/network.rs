//! The networks by which it is told who holds how much.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::tracker::families::TorrentPeers;
use crate::tracker::keyed_hash::HashKey;

/// Bits of an IPv4 address that its network is told by: networks of this size are the smallest that are routed by
/// themselves on the internet.
const IPV4_BITS: u32 = 24;
/// The same of an IPv6 address: what a site is given (RFC 6177).
const IPV6_BITS: u32 = 48;

/// What one customer of a provider can have for himself: an IPv4 /24, an IPv6 /48. Kept as its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Returns the network that an address is in.
    pub fn of(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - IPV4_BITS))).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_BITS))).into(),
        })
    }
}

impl Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.0, if self.0.is_ipv4() { IPV4_BITS } else { IPV6_BITS })
    }
}

/// Most peers that [`sole_network`] looks at. Made-up torrents have few, and a shard is locked meanwhile.
pub(super) const MAX_LOOKED_AT: usize = 1024;
/// Slots of a large swarm that are looked at between two questions whether that was enough.
const STEP: usize = 32;
/// Peers that are looked at in one step, since they stand in an array.
const FEW: usize = 64;

/// Returns the network that all peers of a torrent are of; `None` if they are of several, if there is none, or if there
/// are more than [`MAX_LOOKED_AT`].
pub(super) fn sole_network(peers: &impl TorrentPeers, key: &HashKey) -> Option<Network> {
    let number = peers.counts().peers();
    if number > MAX_LOOKED_AT {
        return None;
    }
    let step = if number <= FEW { usize::MAX } else { STEP };
    let mut found = None;
    let mut is_sole = true;
    let mut next = Some(0);
    while let Some(from) = next.filter(|_| is_sole) {
        next = peers.walk(key, from, step, |endpoint: SocketAddr, _| {
            let network = Network::of(endpoint.ip());
            is_sole &= *found.get_or_insert(network) == network;
        });
    }
    found.filter(|_| is_sole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Minute;
    use crate::tracker::address_limit::AddressLimit;
    use crate::tracker::peer::{PeerState, PeerV4, PeerV6};
    use crate::tracker::swarm::Swarm;
    use crate::tracker::testing::key;

    #[test]
    fn addresses_with_24_or_48_bits_in_common_are_of_one_network() {
        let network = |address: &str| Network::of(address.parse().unwrap()).to_string();
        assert_eq!(network("127.0.1.255"), "127.0.1.0/24");
        assert_eq!(network("127.0.2.0"), "127.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
        assert_eq!(network("::1"), "::/48");
        assert_ne!(Network::of([0, 0, 0, 0].into()), Network::of([0_u16; 8].into()), "of different families");
    }

    fn swarm<P: crate::tracker::peer::Peer>(endpoints: impl Iterator<Item = SocketAddr>) -> Swarm<P> {
        let mut swarm = Swarm::default();
        for (n, endpoint) in endpoints.enumerate() {
            let seeder = n % 3 == 0;
            let state = PeerState::new(Minute(7), seeder, false);
            let limit = AddressLimit::new(0, Minute(7));
            TorrentPeers::upsert(&mut swarm, &key(), endpoint, seeder, limit, |_| state);
        }
        swarm
    }

    #[test]
    fn a_torrent_counts_for_a_network_when_all_its_peers_are_of_it() {
        let of = |many: u16| (0..many).map(|n| SocketAddr::from(([10, 0, 1, n as u8], 1000 + n)));
        let own = Network::of([10, 0, 1, 0].into());
        let other = SocketAddr::from(([10, 0, 2, 0], 1));
        for many in [1, 2, 3, 40, 64, 65, 300, 1024] {
            assert_eq!(sole_network(&swarm::<PeerV4>(of(many)), &key()), Some(own), "{many}");
            assert_eq!(sole_network(&swarm::<PeerV4>(of(many - 1).chain([other])), &key()).is_none(), many > 1);
        }
        assert_eq!(sole_network(&swarm::<PeerV4>(of(0)), &key()), None);
        assert_eq!(sole_network(&swarm::<PeerV4>(of(1025)), &key()), None, "too many to be looked at");
    }

    #[test]
    fn a_site_is_one_network_whatever_addresses_it_has() {
        let of = |many: u16| (0..many).map(|n| SocketAddr::from(([0x2001, 0xdb8, 1, n, n, 0, 0, n], 1000)));
        let other = SocketAddr::from(([0x2001, 0xdb8, 2, 0, 0, 0, 0, 1], 1000));
        for many in [1, 2, 64, 65, 300] {
            assert!(sole_network(&swarm::<PeerV6>(of(many)), &key()).is_some());
            assert_eq!(sole_network(&swarm::<PeerV6>(of(many).chain([other])), &key()), None);
        }
    }
}
