//! The addresses that mean every address, in a build that serves both families.

use std::net::{Ipv4Addr, SocketAddr};

use tracing::info;

/// Adds the wildcard of IPv4 behind each wildcard of IPv6: one socket of the original serves both families there. Logs
/// what it adds.
///
/// What is configured goes before. An IPv4 address on the same port says what IPv4 clients are to be answered on, and
/// the wildcard could not be opened beside it.
pub(super) fn add_ipv4(protocol: &str, addresses: &mut Vec<SocketAddr>) {
    let configured = std::mem::take(addresses);
    for &address in &configured {
        addresses.push(address);
        let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        if is_wildcard_of_ipv6(address) && !configured.iter().any(|other| excludes(*other, wildcard)) {
            info!("{protocol} {address} means both families in this build: {wildcard} is opened too");
            addresses.push(wildcard);
        }
    }
}

/// Returns whether these are the wildcards of both families on any free port, for which one port is chosen.
pub(super) fn share_a_free_port(one: SocketAddr, other: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified() && address.port() == 0;
    any(one) && any(other) && one.is_ipv4() != other.is_ipv4()
}

fn is_wildcard_of_ipv6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Returns whether the wildcard of IPv4 is there already or cannot be opened beside a configured address. Two sockets
/// on port 0 get two ports, so those do not exclude each other.
fn excludes(configured: SocketAddr, wildcard: SocketAddr) -> bool {
    configured == wildcard || configured.is_ipv4() && configured.port() == wildcard.port() && configured.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(words: &str) -> Vec<SocketAddr> {
        words.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn the_wildcard_of_ipv6_brings_that_of_ipv4_unless_ipv4_is_configured_on_its_port() {
        for (configured, expected) in [
            ("", ""),
            ("[::]:80", "[::]:80 0.0.0.0:80"),
            ("[::]:80 [::]:81", "[::]:80 0.0.0.0:80 [::]:81 0.0.0.0:81"),
            ("[::]:80 0.0.0.0:80", "[::]:80 0.0.0.0:80"),
            ("0.0.0.0:80 [::]:80", "0.0.0.0:80 [::]:80"),
            ("0.0.0.0:81 [::]:80", "0.0.0.0:81 [::]:80 0.0.0.0:80"),
            ("[::]:80 192.0.2.1:80", "[::]:80 192.0.2.1:80"),
            ("[::]:80 192.0.2.1:81", "[::]:80 0.0.0.0:80 192.0.2.1:81"),
            ("[::]:0", "[::]:0 0.0.0.0:0"),
            ("[::]:0 127.0.0.1:0", "[::]:0 0.0.0.0:0 127.0.0.1:0"),
            ("0.0.0.0:0 [::]:0", "0.0.0.0:0 [::]:0"),
            ("[::1]:80 192.0.2.1:80", "[::1]:80 192.0.2.1:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            let mut found = addresses(configured);
            add_ipv4("tcp", &mut found);
            assert_eq!(found, addresses(expected), "{configured}");
            add_ipv4("tcp", &mut found);
            assert_eq!(found, addresses(expected), "{configured}, twice");
        }
    }

    #[test]
    fn wildcards_of_both_families_share_a_port_that_is_free() {
        for (words, expected) in [
            ("[::]:0 0.0.0.0:0", true),
            ("0.0.0.0:0 [::]:0", true),
            ("0.0.0.0:0 0.0.0.0:0", false),
            ("[::]:0 0.0.0.0:80", false),
            ("[::1]:0 0.0.0.0:0", false),
        ] {
            let [one, other] = addresses(words)[..] else { panic!("{words}") };
            assert_eq!(share_a_free_port(one, other), expected, "{words}");
        }
    }
}
