//! `ip-from-query` (`WANT_IP_FROM_QUERY_STRING`): an announce over HTTP may name the peer's address in `ip=`.
//!
//! It is believed whoever says so, which suits tests and closed networks. It says where a peer is, not who asks: it
//! opens no statistics.

use std::net::{IpAddr, SocketAddr};

use crate::http::address::{BadAddress, address};
use crate::http::flavour::ClientAddress;
use crate::http::query::Query;
use crate::http::request::Request;
use crate::server::plugs;
use crate::tracker::AddressFamilies;

/// Bytes in the longest address: IPv6 that ends in the form of IPv4, in brackets.
const MAX_ADDRESS: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]".len();

plugs! {
    /// The address in `ip=`; without one, what `Below` says.
    #[derive(Debug)]
    pub struct FromQuery<Below> {
        below: Below,
    }
}

impl<Below: ClientAddress> ClientAddress for FromQuery<Below> {
    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress> {
        let Some(value) = query.last("ip") else {
            return self.below.of_announce::<F>(connection, port, request, query);
        };
        // An empty value is refused too: to announce another address than was meant would be worse.
        let mut room = [0; MAX_ADDRESS];
        let ip = address(value.decode(&mut room).ok().flatten().ok_or(BadAddress)?)?;
        Ok(SocketAddr::new(ip, port))
    }

    fn of_page(&self, connection: IpAddr, request: &Request<'_>) -> Result<IpAddr, BadAddress> {
        self.below.of_page(connection, request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::flavour::Connected;
    use crate::tracker::Ipv4Only;

    const PORT: u16 = 6881;

    /// A proxy's header that cannot be understood.
    struct Unclear;

    impl ClientAddress for Unclear {
        fn of_announce<F: AddressFamilies>(
            &self,
            _: IpAddr,
            _: u16,
            _: &Request<'_>,
            _: &Query<'_>,
        ) -> Result<SocketAddr, BadAddress> {
            Err(BadAddress)
        }

        fn of_page(&self, _: IpAddr, _: &Request<'_>) -> Result<IpAddr, BadAddress> {
            Err(BadAddress)
        }
    }

    fn ask(below: impl ClientAddress, query: &[u8]) -> Result<IpAddr, BadAddress> {
        let mut room = Request::slots();
        let (request, _) = Request::parse(b"GET / HTTP/1.1\r\n\r\n", &mut room).unwrap().unwrap();
        let connection = "192.0.2.9".parse().unwrap();
        let peer = FromQuery { below }.of_announce::<Ipv4Only>(connection, PORT, &request, &Query::new(query))?;
        assert_eq!(peer.port(), PORT);
        Ok(peer.ip())
    }

    fn named(query: &str) -> Option<String> {
        ask(Connected, query.as_bytes()).ok().map(|address| address.to_string())
    }

    #[test]
    fn an_address_in_the_query_wins() {
        for (query, expected) in [
            ("ip=10.0.0.1", "10.0.0.1"),
            ("a=b&ip=1.2.3.4&ip=10.0.0.1&c", "10.0.0.1"),
            ("%69p=10%2e0.0.%31", "10.0.0.1"),
            ("ip=2001:db8::1", "2001:db8::1"),
            ("ip=2001%3adb8%3A%3a1", "2001:db8::1"),
            ("ip=[::1]", "::1"),
            ("ip=%5b::1%5D", "::1"),
            ("ip=::ffff:10.0.0.1", "10.0.0.1"),
            ("ip=[::ffff:a00:1]", "10.0.0.1"),
            ("ip=[0000:0000:0000:0000:0000:ffff:255.255.255.255]", "255.255.255.255"),
        ] {
            assert_eq!(named(query).as_deref(), Some(expected), "{query}");
        }
        assert_eq!(ask(Unclear, b"ip=10.0.0.1"), Ok("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn without_one_it_is_what_it_would_be_without_the_switch() {
        for query in ["", "ipv6=::1", "ipx=1", "xip=1.2.3.4", "IP=1.2.3.4"] {
            assert_eq!(named(query).as_deref(), Some("192.0.2.9"), "{query}");
        }
        assert_eq!(ask(Unclear, b"port=1"), Err(BadAddress));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for value in [
            "",
            "localhost",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1:80",
            "010.0.0.1",
            "167772161",
            "10.0.0.1%20",
            "10.0.0.1%00",
            "10.0.0.1%",
            "[10.0.0.1]",
            "[::1",
            "::1]",
            "[[::1]]",
            "[::1]:80",
            "fe80::1%25eth0",
            "%ff",
            "[0000:0000:0000:0000:0000:0ffff:255.255.255.255]",
        ] {
            assert_eq!(named(&format!("ip={value}")), None, "{value}");
        }
        assert_eq!(named("ip"), None);
        assert_eq!(named("ip=10.0.0.1&ip="), None, "the last one counts");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_is_too_strange(value: Vec<u8>) {
            let _ = ask(Connected, &[b"ip=", &value[..]].concat());
        }

        #[test]
        fn an_address_is_understood_as_it_is_written(address: IpAddr) {
            prop_assert_eq!(ask(Connected, format!("ip={address}").as_bytes()), Ok(address.to_canonical()));
        }
    }
}
