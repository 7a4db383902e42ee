//! `v6` (`WANT_V6`): an IPv6 tracker. It listens on IPv6 addresses only, and keeps and hands out IPv6 peers (BEP 7).

use crate::tracker::families::AddressFamilies;
use crate::tracker::peer::PeerV6;
use crate::tracker::swarm::Swarm;

/// IPv6 peers only.
#[derive(Debug)]
pub struct Ipv6Only;

impl AddressFamilies for Ipv6Only {
    type Peers = Swarm<PeerV6>;

    const IPV4: bool = false;
    const IPV6: bool = true;
}
