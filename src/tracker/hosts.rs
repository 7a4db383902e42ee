//! Which addresses a peer can have.

use std::net::{IpAddr, Ipv4Addr};

/// Returns whether an address can be that of one host, and is written as clients' are: it is not unspecified,
/// multicast, broadcast or IPv4-mapped. Private and loopback addresses are hosts': clients may have them.
pub fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip.to_ipv4_mapped().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_where_packets_go_to_many_or_to_nobody() {
        for (address, expected) in [
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("239.255.255.255", false),
            ("255.255.255.255", false),
            ("0.0.0.1", true),
            ("10.0.0.255", true),
            ("127.0.0.1", true),
            ("169.254.0.1", true),
            ("240.0.0.1", true),
            ("192.0.2.1", true),
            ("::", false),
            ("ff02::1", false),
            ("ff0e::1", false),
            ("::ffff:192.0.2.1", false),
            ("::ffff:0.0.0.0", false),
            ("::ffff:255.255.255.255", false),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(is_host(address.parse().unwrap()), expected, "{address}");
        }
    }
}
