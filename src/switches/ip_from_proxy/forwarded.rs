//! The header in which proxies that speak HTTP name their client.
//!
//! Each proxy adds the address that it was asked from to the end of the list in the header. What stands to the left of
//! the entry that the outermost of our proxies made is the client's own word. So the list is read from its end: the
//! first address that is not a blessed proxy's is the client's. If all are blessed, the client sits among the proxies,
//! and the first entry of the list is its own.
//!
//! A request of a blessed proxy without the header is that of somebody on its own host: a health check, an exporter.
//! Pages are sent to it as to any client at the proxy's address. An announce is refused: a proxy that forgets the
//! header would make one peer of all its clients. A header that is there and makes no sense is refused for pages too,
//! or what is for the proxy alone would be shown to whoever asks through it.

use std::net::{IpAddr, SocketAddr};

use crate::config::Settings;
use crate::http::address::{BadAddress, address_and_port};
use crate::http::flavour::ClientAddress;
use crate::http::query::Query;
use crate::http::request::Request;
use crate::server::{Plug, StartError, opens_nothing};
use crate::tracker::AddressFamilies;

use super::Proxies;

/// Which proxies are believed, and the header in which they say for whom they ask.
#[derive(Debug)]
pub struct FromProxy {
    proxies: Proxies,
    header: String,
}

impl FromProxy {
    /// Returns the address of the client for whom `connection` asks; `None` for a proxy that does not say.
    ///
    /// # Errors
    ///
    /// It is a proxy's, and its header cannot be understood.
    fn client(&self, connection: IpAddr, request: &Request<'_>) -> Result<Option<IpAddr>, BadAddress> {
        if !self.proxies.contain(connection) {
            return Ok(Some(connection));
        }
        if request.header(&self.header).next().is_none() {
            return Ok(None);
        }
        let mut client = Err(BadAddress);
        for entry in entries_from_the_right(request, &self.header) {
            let (address, _) = address_and_port(entry)?;
            client = Ok(Some(address));
            if !self.proxies.contain(address) {
                break;
            }
        }
        client
    }
}

impl ClientAddress for FromProxy {
    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        request: &Request<'_>,
        _: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress> {
        let client = self.client(connection, request)?.ok_or(BadAddress)?;
        Ok(SocketAddr::new(client, port))
    }

    fn of_page(&self, connection: IpAddr, request: &Request<'_>) -> Result<IpAddr, BadAddress> {
        Ok(self.client(connection, request)?.unwrap_or(connection))
    }

    fn is_proxy(&self, connection: IpAddr) -> bool {
        self.proxies.contain(connection)
    }
}

impl Plug for FromProxy {
    opens_nothing!();

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        Ok(Self { proxies: Proxies(settings.access.proxy.clone()), header: settings.access.proxy_header.clone() })
    }
}

/// Returns the entries of a header, the last one first. Several lines of a header are one list, and empty entries mean
/// nothing (RFC 9110, sections 5.2 and 5.6.1).
fn entries_from_the_right<'a>(request: &Request<'a>, header: &str) -> impl Iterator<Item = &'a [u8]> {
    let entries = request.header(header).rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::tracker::Ipv4Only;

    const PROXY: &str = "10.0.0.1";

    fn from_proxy() -> FromProxy {
        let mut settings = Settings::default();
        settings.access.proxy =
            ["10.0.0.0/8", "2001:db8:ff::/48"].iter().map(|network| network.parse().unwrap()).collect();
        FromProxy::plug((), &settings).unwrap()
    }

    type Found = Result<IpAddr, BadAddress>;

    /// Returns whose announce it is, and who asks for a page, through `connection` with these lines in the head.
    fn ask_both(plug: &FromProxy, connection: &str, lines: &[u8]) -> (Found, Found) {
        let head = [b"GET / HTTP/1.1\r\n", lines, b"\r\n"].concat();
        let mut room = Request::slots();
        let Ok(Some((request, _))) = Request::parse(&head, &mut room) else {
            return (Err(BadAddress), Err(BadAddress));
        };
        let connection = connection.parse().unwrap();
        let announce = plug.of_announce::<Ipv4Only>(connection, 6881, &request, &Query::EMPTY);
        assert!(announce.is_ok_and(|peer| peer.port() == 6881) || announce.is_err());
        (announce.map(|peer| peer.ip()), plug.of_page(connection, &request))
    }

    /// Returns who both are: one and the same.
    fn ask(plug: &FromProxy, connection: &str, lines: &[u8]) -> Found {
        let (announce, page) = ask_both(plug, connection, lines);
        assert_eq!(announce, page);
        page
    }

    /// The same with `X-Forwarded-For: value`.
    fn forwarded(connection: &str, value: &str) -> Option<String> {
        let client = ask(&from_proxy(), connection, format!("X-Forwarded-For: {value}\r\n").as_bytes());
        client.ok().map(|address| address.to_string())
    }

    #[test]
    fn the_header_of_anybody_else_is_not_looked_at() {
        for connection in ["11.0.0.1", "2001:db8:fe::1", "::1"] {
            for value in ["192.0.2.1", "nonsense", "", "10.0.0.1"] {
                assert_eq!(forwarded(connection, value).as_deref(), Some(connection), "{value}");
            }
        }
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.9.9.9,10.0.0.2", "192.0.2.1"),
            ("127.0.0.1,nonsense,,\t 192.0.2.1 ,\t10.0.0.2 , ,", "192.0.2.1"),
            ("6.6.6.6, 2001:db8::1, 2001:db8:ff::9", "2001:db8::1"),
            ("2001:db8::1, ::ffff:10.1.2.3", "2001:db8::1"),
        ] {
            for proxy in [PROXY, "2001:db8:ff::1", "::ffff:10.0.0.1"] {
                assert_eq!(forwarded(proxy, value).as_deref(), Some(expected), "{value}");
            }
        }
    }

    #[test]
    fn a_client_among_the_proxies_is_the_first_of_the_list() {
        assert_eq!(forwarded(PROXY, "10.0.0.7").as_deref(), Some("10.0.0.7"));
        assert_eq!(forwarded(PROXY, "10.0.0.7, 10.0.0.8,10.0.0.9").as_deref(), Some("10.0.0.7"));
    }

    #[test]
    fn an_address_has_many_forms() {
        for (value, expected) in [
            ("192.0.2.1:567", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("[2001:db8::1]:567", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:567", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
        ] {
            assert_eq!(forwarded(PROXY, value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_understood_is_refused() {
        for value in [
            "",
            " , ,",
            "unknown",
            "_hidden",
            "for=192.0.2.1",
            "\"192.0.2.1\"",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "192.0.2.1 10.0.0.2",
            "192.0.2.1; 10.0.0.2",
            "[192.0.2.1]",
            "[2001:db8::1",
            "192.0.2.1, unknown",
            "192.0.2.1, unknown, 10.0.0.2",
            "unknown, 10.0.0.2",
        ] {
            assert_eq!(forwarded(PROXY, value), None, "{value}");
        }
        assert_eq!(ask(&from_proxy(), PROXY, b"X-Forwarded-For: 192.0.2.\xff\r\n"), Err(BadAddress));
    }

    #[test]
    fn a_proxy_without_the_header_may_read_pages_for_itself_and_announces_nothing() {
        for proxy in [PROXY, "2001:db8:ff::1", "::ffff:10.0.0.1"] {
            for lines in [&b""[..], b"X-Real-IP: 192.0.2.1\r\n", b"Forwarded: for=192.0.2.1\r\n"] {
                let expected = (Err(BadAddress), Ok(proxy.parse().unwrap()));
                assert_eq!(ask_both(&from_proxy(), proxy, lines), expected, "{}", lines.escape_ascii());
            }
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = b"X-Forwarded-For: 6.6.6.6\r\nA: b\r\nx-forwarded-for: 192.0.2.1, 10.1.1.1\r\n\
                      X-FORWARDED-FOR: 10.2.2.2\r\nX-Forwarded-For:\r\n";
        assert_eq!(ask(&from_proxy(), PROXY, lines), Ok([192, 0, 2, 1].into()));
    }

    #[test]
    fn the_header_may_have_another_name() {
        let plug = FromProxy { header: "CF-Connecting-IP".into(), ..from_proxy() };
        let lines = b"X-Forwarded-For: 6.6.6.6\r\ncf-connecting-ip: 192.0.2.1\r\n";
        assert_eq!(ask(&plug, PROXY, lines), Ok([192, 0, 2, 1].into()));
        let (announce, page) = ask_both(&plug, PROXY, b"X-Forwarded-For: 6.6.6.6\r\n");
        assert_eq!((announce, page), (Err(BadAddress), Ok(PROXY.parse().unwrap())));
    }

    #[test]
    fn connections_with_proxies_are_told_from_others() {
        for (connection, expected) in
            [(PROXY, true), ("::ffff:10.9.9.9", true), ("2001:db8:ff::1", true), ("11.0.0.1", false), ("::1", false)]
        {
            assert_eq!(from_proxy().is_proxy(connection.parse().unwrap()), expected, "{connection}");
        }
    }

    #[test]
    fn without_proxies_every_connection_is_the_clients_own() {
        let plug = FromProxy::plug((), &Settings::default()).unwrap();
        assert_eq!(ask(&plug, PROXY, b"X-Forwarded-For: 6.6.6.6\r\n"), Ok([10, 0, 0, 1].into()));
    }

    /// An address of a proxy, in one of the forms that proxies write.
    fn blessed() -> impl Strategy<Value = String> {
        let ipv4 = any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(10, b, c, d));
        let ipv6 = any::<u64>().prop_map(|low| Ipv6Addr::from((0x2001_0db8_00ff_u128 << 80) | u128::from(low)));
        prop_oneof![
            ipv4.clone().prop_map(|ip| ip.to_string()),
            (ipv4.clone(), any::<u16>()).prop_map(|(ip, port)| format!("{ip}:{port}")),
            ipv4.prop_map(|ip| ip.to_ipv6_mapped().to_string()),
            ipv6.clone().prop_map(|ip| ip.to_string()),
            (ipv6, any::<u16>()).prop_map(|(ip, port)| format!("[{ip}]:{port}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_header_is_too_strange(bytes: Vec<u8>, text in "[0-9a-f.:,\\[\\] ]{0,60}") {
            for value in [&bytes[..], text.as_bytes()] {
                let client = ask(&from_proxy(), PROXY, &[b"X-Forwarded-For: ", value, b"\r\n"].concat());
                prop_assert_ne!(client, Ok([10, 0, 0, 1].into()), "never the proxy's own");
            }
        }

        #[test]
        fn whatever_the_client_writes_what_the_proxies_add_counts(
            claim in "[!-~ ]{0,40}",
            client: IpAddr,
            proxies in prop::collection::vec(blessed(), 0..5),
        ) {
            prop_assume!(!from_proxy().proxies.contain(client));
            let value = [&[claim, client.to_string()], &proxies[..]].concat().join(", ");
            prop_assert_eq!(forwarded(PROXY, &value), Some(client.to_canonical().to_string()));
        }
    }
}
