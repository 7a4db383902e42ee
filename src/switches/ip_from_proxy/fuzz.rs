//! Any header that names a proxy's client, and any greeting of the PROXY protocol.

use std::net::{IpAddr, SocketAddr};

use super::greeting::{Greeting, MAX_GREETING};
use super::{FromProxy, Proxies};
use crate::config::Settings;
use crate::fuzz::Choices;
use crate::http::address::address_and_port;
use crate::http::flavour::ClientAddress as _;
use crate::http::query::Query;
use crate::http::request::Request;
use crate::server::Plug as _;
use crate::tracker::Ipv4Only;

const HEADERS: [&str; 4] = ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"];

/// Takes the bytes as what stands in a head behind the request line. The first byte says in which header proxies name
/// their clients, and whether the bytes are its value or whole lines.
pub(in crate::switches) fn any_header(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let how = choices.byte();
    let name = HEADERS[usize::from(how & 3)];
    let head = if how & 4 == 0 {
        [b"GET / HTTP/1.1\r\n", name.as_bytes(), b": ", choices.0, b"\r\n\r\n"].concat()
    } else {
        [b"GET / HTTP/1.1\r\n", choices.0, b"\r\n\r\n"].concat()
    };
    let mut settings = Settings::default();
    settings.access.proxy =
        ["10.0.0.0/8", "2001:db8:ff::/48"].iter().map(|network| network.parse().expect("a network")).collect();
    settings.access.proxy_header = name.to_owned();
    let proxies = Proxies(settings.access.proxy.clone());
    let plug = FromProxy::plug((), &settings).expect("nothing to fail");
    let mut slots = Request::slots();
    let Ok(Some((request, _))) = Request::parse(&head, &mut slots) else { return };
    let ask = |connection: IpAddr| {
        let announce = plug.of_announce::<Ipv4Only>(connection, 6881, &request, &Query::EMPTY);
        (announce.map(|endpoint| endpoint.ip()), plug.of_page(connection, &request))
    };

    let stranger = IpAddr::from([198, 51, 100, 1]);
    assert_eq!(ask(stranger), (Ok(stranger), Ok(stranger)), "a stranger's word counts for nothing");

    let proxy = IpAddr::from([10, 0, 0, 1]);
    let (announce, page) = ask(proxy);
    let lines: Vec<_> = request.header(name).collect();
    if lines.is_empty() {
        assert!(announce.is_err() && page == Ok(proxy));
        return;
    }
    assert_eq!(announce, page);
    // Read from the left: all that are proxies' at the end of the list do not count, and the one before them does.
    let list = lines.join(&b","[..]);
    let entries = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
    let found: Vec<_> = entries.map(|entry| address_and_port(entry).map(|(address, _)| address)).collect();
    let at = found.iter().rposition(|entry| !matches!(entry, Ok(address) if proxies.contain(*address))).unwrap_or(0);
    match found.get(at) {
        Some(expected) => assert_eq!(page, *expected),
        None => assert!(page.is_err(), "an empty list names nobody"),
    }
}

/// Takes the bytes as what comes over the connection of a proxy.
pub(in crate::switches) fn any_greeting(bytes: &[u8]) {
    let read = Greeting::parse(bytes);
    match read {
        Ok(None) => assert!(bytes.len() < MAX_GREETING, "more than any greeting has has come"),
        Ok(Some(Greeting { len, client })) => {
            assert!(len <= bytes.len().min(MAX_GREETING));
            for cut in 0..len {
                assert_eq!(Greeting::parse(&bytes[..cut]), Ok(None), "cut after {cut} bytes");
            }
            // Whatever follows is HTTP.
            let behind = [&bytes[..len], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(Greeting::parse(&behind), read);
            if let Some(client) = client {
                assert_eq!(client.ip(), client.ip().to_canonical());
                for greeting in [line(client), binary(client)] {
                    assert_eq!(
                        Greeting::parse(&greeting),
                        Ok(Some(Greeting { client: Some(client), len: greeting.len() }))
                    );
                }
            }
        }
        Err(_) => assert_eq!(Greeting::parse(&[bytes, b"\r\n"].concat()), read, "what follows cannot mend it"),
    }
}

/// Returns the greeting for a client in version 1.
fn line(client: SocketAddr) -> Vec<u8> {
    let (ip, port) = (client.ip(), client.port());
    format!("PROXY {} {ip} {ip} {port} 6969\r\n", if ip.is_ipv4() { "TCP4" } else { "TCP6" }).into_bytes()
}

/// Returns the greeting for a client in version 2, with something behind the addresses.
fn binary(client: SocketAddr) -> Vec<u8> {
    let (family, address) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let rest = [&address, &address, &client.port().to_be_bytes()[..], &[0x1b, 0x39], b"\x04\0\0"].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family, 0, rest.len() as u8][..], &rest].concat()
}
