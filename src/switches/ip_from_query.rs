//! `ip-from-query` (`WANT_IP_FROM_QUERY_STRING`): an announce over HTTP may name the peer's address, in `ip=` (BEP 3),
//! `ipv4=` or `ipv6=` (BEP 7).
//!
//! It is believed whoever says so, which suits tests and closed networks. It says where a peer is, not who asks: it
//! opens no statistics.
//!
//! An announce makes one peer, at one address: the first of these that there is, where addresses of a family that the
//! build does not keep are passed over.
//!
//! 1. The last `ip=`: somebody has chosen it.
//! 2. The last `ipv4=` or `ipv6=`. If there are both, that of the family of the client's own address: a client that has
//!    both addresses sends both, but announces over each of them, so that both become known.
//! 3. The client's own address.

use std::net::{IpAddr, SocketAddr};

use crate::http::address::{BadAddress, address, address_and_port};
use crate::http::flavour::ClientAddress;
use crate::http::query::{Encoded, Query};
use crate::http::request::Request;
use crate::server::plugs;
use crate::tracker::AddressFamilies;

/// Bytes in the longest address: IPv6 that ends in the form of IPv4, in brackets, with a port.
const MAX_ADDRESS: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535".len();

plugs! {
    /// The address in the query; without one that fits, what `Below` says.
    #[derive(Debug)]
    pub struct FromQuery<Below> {
        below: Below,
    }
}

impl<Below: ClientAddress> ClientAddress for FromQuery<Below> {
    const ASKS_QUERY: bool = true;

    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress> {
        let named = Named::read::<F>(*query, port)?;
        let own = || self.below.of_announce::<F>(connection, port, request, query);
        match named {
            Named { chosen: Some(chosen), .. } => Ok(chosen),
            Named { ipv4: Some(ipv4), ipv6: Some(ipv6), .. } => {
                Ok(if own().is_ok_and(|own| own.is_ipv6()) { ipv6 } else { ipv4 })
            }
            Named { ipv4: Some(one), .. } | Named { ipv6: Some(one), .. } => Ok(one),
            Named { .. } => own(),
        }
    }

    fn of_page(&self, connection: IpAddr, request: &Request<'_>) -> Result<IpAddr, BadAddress> {
        self.below.of_page(connection, request)
    }

    fn is_proxy(&self, connection: IpAddr) -> bool {
        self.below.is_proxy(connection)
    }
}

/// The endpoints that a query names, of the families that the build keeps.
#[derive(Default)]
struct Named {
    /// From `ip=`.
    chosen: Option<SocketAddr>,
    /// From `ipv4=`.
    ipv4: Option<SocketAddr>,
    /// From `ipv6=`.
    ipv6: Option<SocketAddr>,
}

impl Named {
    /// Reads a query. `port` is that of addresses without a port of their own.
    ///
    /// # Errors
    ///
    /// An `ip=` is no address, or empty: to announce another one than was meant would be worse than to announce none.
    /// What is wrong with the others is passed over: clients send them without being asked to.
    fn read<F: AddressFamilies>(query: Query<'_>, port: u16) -> Result<Self, BadAddress> {
        let fits = |endpoint: &SocketAddr| F::serves(endpoint.ip());
        let mut named = Self::default();
        for (key, value) in query.pairs() {
            if key.is(b"ip") {
                named.chosen = Some(chosen(value, port)?).filter(fits).or(named.chosen);
            } else if key.is(b"ipv4") {
                named.ipv4 = own_word(value, port).filter(SocketAddr::is_ipv4).filter(fits).or(named.ipv4);
            } else if key.is(b"ipv6") {
                named.ipv6 = own_word(value, port).filter(SocketAddr::is_ipv6).filter(fits).or(named.ipv6);
            }
        }
        Ok(named)
    }
}

/// Reads the value of `ip=`: an address alone.
fn chosen(value: Encoded<'_>, port: u16) -> Result<SocketAddr, BadAddress> {
    let mut room = [0; MAX_ADDRESS];
    let ip = address(value.decode(&mut room).ok().flatten().ok_or(BadAddress)?)?;
    Ok(SocketAddr::new(ip, port))
}

/// Reads the value of `ipv4=` or `ipv6=`: an address, perhaps with a port. Port 0 says nothing.
fn own_word(value: Encoded<'_>, port: u16) -> Option<SocketAddr> {
    let mut room = [0; MAX_ADDRESS];
    let (ip, own_port) = address_and_port(value.decode(&mut room).ok()??).ok()?;
    Some(SocketAddr::new(ip, own_port.filter(|port| *port != 0).unwrap_or(port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::flavour::Connected;
    use crate::tracker::Ipv4Only;
    use crate::tracker::testing::Ipv6Only;

    const PORT: u16 = 6881;
    const OWN: &str = "192.0.2.9";

    /// Both families are served, and that is all that is asked of it here.
    struct BothFamilies;

    impl AddressFamilies for BothFamilies {
        type Peers = <Ipv4Only as AddressFamilies>::Peers;

        const IPV4: bool = true;
        const IPV6: bool = true;
    }

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

        fn is_proxy(&self, _: IpAddr) -> bool {
            true
        }
    }

    fn ask<F: AddressFamilies>(
        below: impl ClientAddress,
        connection: &str,
        query: &[u8],
    ) -> Result<SocketAddr, BadAddress> {
        let mut room = Request::slots();
        let (request, _) = Request::parse(b"GET / HTTP/1.1\r\n\r\n", &mut room).unwrap().unwrap();
        let plug = FromQuery { below };
        let connection = connection.parse().unwrap();
        assert_eq!(plug.is_proxy(connection), plug.below.is_proxy(connection));
        assert_eq!(
            plug.of_page(connection, &request),
            plug.below.of_page(connection, &request),
            "never from the query"
        );
        plug.of_announce::<F>(connection, PORT, &request, &Query::new(query))
    }

    /// The address that is announced to a tracker that keeps both families; `None` if it is refused.
    fn named(query: &str) -> Option<String> {
        let endpoint = ask::<BothFamilies>(Connected, OWN, query.as_bytes()).ok()?;
        assert_eq!(endpoint.port(), PORT);
        Some(endpoint.ip().to_string())
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
            ("ipv4=10.0.0.1", "10.0.0.1"),
            ("%69pv6=%3a%3A1", "::1"),
        ] {
            assert_eq!(named(query).as_deref(), Some(expected), "{query}");
        }
        for query in ["ip=10.0.0.1", "ipv4=10.0.0.1", "ipv4=10.0.0.1&ipv6=::1"] {
            let expected = Ok(SocketAddr::from(([10, 0, 0, 1], PORT)));
            assert_eq!(ask::<BothFamilies>(Unclear, OWN, query.as_bytes()), expected, "{query}");
        }
    }

    #[test]
    fn without_one_it_is_what_it_would_be_without_the_switch() {
        for query in ["", "ipx=1", "xip=1.2.3.4", "IP=1.2.3.4", "ipv5=::1", "ipv=1.2.3.4"] {
            assert_eq!(named(query).as_deref(), Some(OWN), "{query}");
        }
        assert_eq!(ask::<BothFamilies>(Unclear, OWN, b"port=1"), Err(BadAddress));
    }

    #[test]
    fn the_first_that_fits_is_taken() {
        // To trackers that keep IPv4, IPv6 and both, from clients of their family; to that of both, from both.
        for (query, ipv4, ipv6, both_from_ipv4, both_from_ipv6) in [
            ("ip=10.0.0.1", "10.0.0.1", "::9", "10.0.0.1", "10.0.0.1"),
            ("ip=::1", OWN, "::1", "::1", "::1"),
            ("ip=10.0.0.1&ip=::1&ip=10.0.0.2", "10.0.0.2", "::1", "10.0.0.2", "10.0.0.2"),
            ("ip=::1&ipv4=10.0.0.1", "10.0.0.1", "::1", "::1", "::1"),
            ("ipv4=10.0.0.1&ip=10.0.0.2&ipv6=::1", "10.0.0.2", "::1", "10.0.0.2", "10.0.0.2"),
            ("ipv6=::1", OWN, "::1", "::1", "::1"),
            ("ipv4=10.0.0.1", "10.0.0.1", "::9", "10.0.0.1", "10.0.0.1"),
            ("ipv6=::1&ipv4=10.0.0.1", "10.0.0.1", "::1", "10.0.0.1", "::1"),
            ("ipv4=10.0.0.1&ipv6=::1", "10.0.0.1", "::1", "10.0.0.1", "::1"),
            ("ipv6=::1&ipv6=::2&ipv6=x", OWN, "::2", "::2", "::2"),
        ] {
            let ip = |answer: Result<SocketAddr, BadAddress>| answer.unwrap().ip().to_string();
            let query = query.as_bytes();
            let found = [
                ip(ask::<Ipv4Only>(Connected, OWN, query)),
                ip(ask::<Ipv6Only>(Connected, "::9", query)),
                ip(ask::<BothFamilies>(Connected, OWN, query)),
                ip(ask::<BothFamilies>(Connected, "::9", query)),
            ];
            assert_eq!(found, [ipv4, ipv6, both_from_ipv4, both_from_ipv6], "{}", query.escape_ascii());
        }
    }

    #[test]
    fn what_clients_say_unasked_may_have_a_port_and_need_make_no_sense() {
        for (query, expected) in [
            ("ipv6=[2001:db8::1]:7", "[2001:db8::1]:7"),
            ("ipv6=%5B2001:db8::1%5D%3a7", "[2001:db8::1]:7"),
            ("ipv6=[2001:db8::1]:0", "[2001:db8::1]:6881"),
            ("ipv6=[2001:db8::1]", "[2001:db8::1]:6881"),
            ("ipv4=10.0.0.1:7", "10.0.0.1:7"),
            ("ipv4=[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
        ] {
            let found = ask::<BothFamilies>(Connected, OWN, query.as_bytes()).unwrap();
            assert_eq!(found.to_string(), expected, "{query}");
        }
        for value in ["", "nonsense", "10.0.0.256", "10.0.0.1:99999", "::1", "%zz", "10.0.0.1%00", "[10.0.0.1]"] {
            assert_eq!(named(&format!("ipv4={value}")).as_deref(), Some(OWN), "{value}");
        }
        for value in ["", "fe80::1%25eth0", "10.0.0.1", "::ffff:10.0.0.1", "::1:", "[::1]:x", "[::1", "%"] {
            assert_eq!(named(&format!("ipv6={value}")).as_deref(), Some(OWN), "{value}");
        }
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
        for query in ["ip=10.0.0.1&ip=", "ip=&ip=10.0.0.1", "ipv4=10.0.0.1&ip=x"] {
            assert_eq!(named(query), None, "{query}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_is_too_strange(key in "ip(v4|v6)?=", value: Vec<u8>) {
            let _ = ask::<BothFamilies>(Connected, OWN, &[key.as_bytes(), &value[..]].concat());
        }

        #[test]
        fn an_address_is_understood_as_it_is_written(address: IpAddr) {
            prop_assert_eq!(named(&format!("ip={address}")), Some(address.to_canonical().to_string()));
        }

        #[test]
        fn what_is_announced_is_kept_whatever_the_query_names(
            names in prop::collection::vec(("ip(v4|v6)?", any::<IpAddr>()), 0..6),
        ) {
            let query: Vec<_> = names.iter().map(|(key, ip)| format!("{key}={ip}")).collect();
            let query = query.join("&");
            let ipv4 = ask::<Ipv4Only>(Connected, OWN, query.as_bytes()).unwrap();
            let ipv6 = ask::<Ipv6Only>(Connected, "::9", query.as_bytes()).unwrap();
            prop_assert!(ipv4.is_ipv4() && ipv6.is_ipv6());
            // What fits a tracker of one family fits one of both.
            let both = ask::<BothFamilies>(Connected, OWN, query.as_bytes()).unwrap();
            let named = |ip: IpAddr| names.iter().any(|(_, name)| name.to_canonical() == ip);
            prop_assert!(both == ipv4 || both == ipv6, "{both} {ipv4} {ipv6}");
            prop_assert!(both.ip().to_string() == OWN || named(both.ip()));
        }
    }
}
