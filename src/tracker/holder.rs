//! Whom it is counted for what strangers take: peers of a torrent, errors over UDP, places of connections, seats of
//! full scrapes.

use std::net::IpAddr;

/// What one stranger surely has all of: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u64);

/// Stands before IPv4 addresses. IPv6 networks that begin so are multicast, from which nobody asks.
const IPV4: u64 = 0xffff_ffff << 32;

impl From<IpAddr> for Holder {
    #[inline]
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IPV4 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self(address.octets().first_chunk().map_or(0, |half| u64::from_be_bytes(*half))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(address: &str) -> Holder {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_is_one_and_of_ipv6_a_network_of_64_bits() {
        assert_ne!(holder("192.0.2.1"), holder("192.0.2.2"));
        assert_eq!(holder("192.0.2.1"), holder("::ffff:192.0.2.1"));
        assert_eq!(holder("2001:db8::1"), holder("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(holder("2001:db8::1"), holder("2001:db8:0:1::1"));
        assert_ne!(holder("::1"), holder("0.0.0.1"));
        assert_ne!(holder("::"), holder("0.0.0.0"));
    }
}
