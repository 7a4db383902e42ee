//! Sockets that serve both families: to them, IPv4 clients have IPv6 addresses (RFC 4291, section 2.5.5.2).
//!
//! The tracker binds none of these, but whoever hands it a socket may have. Those at a path are in [`unix`].

pub mod unix;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::SockRef;

/// Returns whether IPv4 clients come to a bound socket under IPv4-mapped addresses: it is bound to `::`, or to such an
/// address, and not restricted to IPv6.
///
/// # Errors
///
/// The system cannot say: it is no socket.
pub fn serves_both_families(socket: &impl AsFd) -> io::Result<bool> {
    let socket = SockRef::from(socket);
    let local = socket.local_addr()?.as_socket_ipv6().map(|local| *local.ip());
    let takes_mapped = local.is_some_and(|ip| ip.is_unspecified() || ip.to_ipv4_mapped().is_some());
    Ok(takes_mapped && !socket.only_v6()?)
}

/// Returns the address of a client as it is, of one that is IPv4-mapped or not.
pub fn unmapped(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn bound(address: &str, only_v6: Option<bool>) -> Socket {
        let address: SocketAddr = address.parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        only_v6.map_or(Ok(()), |only_v6| socket.set_only_v6(only_v6)).unwrap();
        socket.bind(&address.into()).unwrap();
        socket
    }

    #[test]
    fn a_socket_serves_both_families_if_ipv4_clients_come_to_it_as_ipv6() {
        for (address, only_v6, serves_both) in [
            ("[::]:0", Some(false), true),
            ("[::]:0", Some(true), false),
            ("[::ffff:127.0.0.1]:0", Some(false), true),
            ("[::ffff:0.0.0.0]:0", Some(false), true),
            ("[::1]:0", Some(false), false),
            ("[::1]:0", Some(true), false),
            ("0.0.0.0:0", None, false),
            ("127.0.0.1:0", None, false),
        ] {
            assert_eq!(serves_both_families(&bound(address, only_v6)).unwrap(), serves_both, "{address} {only_v6:?}");
        }
        assert!(serves_both_families(&File::open("/").unwrap()).is_err());
    }

    #[test]
    fn only_mapped_addresses_are_unmapped() {
        for (address, expected) in [
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
            ("[::192.0.2.7]:80", "[::192.0.2.7]:80"),
            ("[2001:db8::7]:80", "[2001:db8::7]:80"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(unmapped(address.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
