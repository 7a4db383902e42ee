//! The header of the PROXY protocol, versions 1 and 2, by which proxies that do not speak HTTP name their client. Here
//! it is called a greeting, since HTTP has headers too. Sections are those of the protocol's specification,
//! `proxy-protocol.txt` of haproxy.
//!
//! It is strict, as the specification wants it, but for one thing: families that it does not know name nobody, where it
//! would have them refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{FromStr, from_utf8};

/// Maximum length of a greeting, in bytes: the least that a TCP segment must have room for (section 2).
pub(super) const MAX_GREETING: usize = 536;

/// Maximum length of a greeting in version 1, in bytes, with its line end (section 2.1).
const MAX_LINE: usize = 107;

/// What version 1 begins with.
const PREFIX: &[u8] = b"PROXY ";

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes in version 2 before the addresses: the signature, version and command, family, length of the rest.
const FIXED_LEN: usize = SIGNATURE.len() + 4;

/// Version 2, and a connection that the proxy makes for itself, to see whether the tracker is there.
const LOCAL: u8 = 0x20;
/// Version 2, and a connection that the proxy makes for a client.
const PROXY: u8 = 0x21;

/// A client that is connected by TCP over IPv4.
const TCP4: u8 = 0x11;
/// A client that is connected by TCP over IPv6.
const TCP6: u8 = 0x21;

/// A whole greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The client's endpoint; `None` if the greeting names nobody: the connection is the proxy's own, or the client is
    /// not connected by TCP.
    pub(super) client: Option<SocketAddr>,
    /// Its length, in bytes. HTTP begins behind it.
    pub(super) len: usize,
}

/// What has come is no greeting, whatever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Greeting {
    /// Reads the greeting at the beginning of `bytes`. Returns `None` if its end has not come yet, which it cannot say
    /// of [`MAX_GREETING`] bytes.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        if is_begun(PREFIX, bytes) {
            version_1(bytes)
        } else if is_begun(SIGNATURE, bytes) {
            version_2(bytes)
        } else {
            Err(Malformed)
        }
    }
}

/// Returns whether `bytes` begin with `mark`, as far as they have come.
fn is_begun(mark: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(mark) || mark.starts_with(bytes)
}

/// Reads the line of version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 80`, or `PROXY UNKNOWN` with anything behind.
fn version_1(bytes: &[u8]) -> Result<Option<Greeting>, Malformed> {
    const END: &[u8] = b"\r\n";
    let bounded = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = bounded.windows(END.len()).position(|window| window == END) else {
        return if bounded.len() < MAX_LINE { Ok(None) } else { Err(Malformed) };
    };
    let words = bounded.get(..end).and_then(|line| line.strip_prefix(PREFIX)).ok_or(Malformed)?;
    let mut words = words.split(|&byte| byte == b' ');
    let client = match words.next() {
        Some(b"UNKNOWN") => None,
        Some(b"TCP4") => Some(source::<Ipv4Addr>(words)?),
        Some(b"TCP6") => Some(source::<Ipv6Addr>(words)?),
        _ => return Err(Malformed),
    };
    Ok(Some(Greeting { client, len: end + END.len() }))
}

/// Reads two addresses and two ports, and nothing more. Returns those of the source. The destination is this tracker,
/// by whatever address.
fn source<'a, A: FromStr + Into<IpAddr>>(words: impl Iterator<Item = &'a [u8]>) -> Result<SocketAddr, Malformed> {
    let mut words = words.map(|word| from_utf8(word).map_err(|_| Malformed));
    let mut word = || words.next().ok_or(Malformed)?;
    let source: A = word()?.parse().map_err(|_| Malformed)?;
    let _destination: A = word()?.parse().map_err(|_| Malformed)?;
    let [source_port, _] = [port(word()?)?, port(word()?)?];
    if words.next().is_some() {
        return Err(Malformed);
    }
    Ok(endpoint(source.into(), source_port))
}

/// Reads a port: digits, without zeros before them.
fn port(word: &str) -> Result<u16, Malformed> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain).ok_or(Malformed)
}

/// Reads the bytes of version 2. What stands behind the addresses, as far as the length reaches, is passed over.
fn version_2(bytes: &[u8]) -> Result<Option<Greeting>, Malformed> {
    if bytes.get(SIGNATURE.len()).is_some_and(|&byte| byte != LOCAL && byte != PROXY) {
        return Err(Malformed);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_LEN>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let rest_len = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED_LEN + rest_len;
    if len > MAX_GREETING {
        return Err(Malformed);
    }
    let Some(rest) = rest.get(..rest_len) else { return Ok(None) };
    let client = match (command, family) {
        (PROXY, TCP4) => Some(ipv4_source(rest)?),
        (PROXY, TCP6) => Some(ipv6_source(rest)?),
        _ => None,
    };
    Ok(Some(Greeting { client, len }))
}

/// Reads two addresses of 4 bytes and two ports. Returns those of the source.
fn ipv4_source(bytes: &[u8]) -> Result<SocketAddr, Malformed> {
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *bytes.first_chunk().ok_or(Malformed)?;
    Ok(endpoint(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
}

/// Reads two addresses of 16 bytes and two ports. Returns those of the source.
fn ipv6_source(bytes: &[u8]) -> Result<SocketAddr, Malformed> {
    let (addresses, ports) = bytes.split_first_chunk::<32>().ok_or(Malformed)?;
    let source: &[u8; 16] = addresses.first_chunk().ok_or(Malformed)?;
    let [high, low, _, _] = *ports.first_chunk().ok_or(Malformed)?;
    Ok(endpoint(IpAddr::from(*source), u16::from_be_bytes([high, low])))
}

/// Returns an endpoint whose address is an IPv4 one if it is IPv4-mapped.
fn endpoint(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found at the beginning of these bytes, whose end has come.
    fn client(bytes: &[u8]) -> Result<Option<String>, Malformed> {
        let greeting = Greeting::parse(bytes)?.expect("a whole one");
        assert_eq!(greeting.len, bytes.len());
        Ok(greeting.client.map(|client| client.to_string()))
    }

    fn version_2(command: u8, family: u8, len: u16, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &len.to_be_bytes(), rest].concat()
    }

    /// A greeting in version 2 whose length is right.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        version_2(command, family, rest.len().try_into().unwrap(), rest)
    }

    fn ipv4(client: [u8; 4], port: u16) -> Vec<u8> {
        [&client[..], &[198, 51, 100, 1], &port.to_be_bytes(), &6969_u16.to_be_bytes()].concat()
    }

    fn ipv6(client: &str, port: u16) -> Vec<u8> {
        let client: Ipv6Addr = client.parse().unwrap();
        [&client.octets()[..], &[0xfe; 16], &port.to_be_bytes(), &6969_u16.to_be_bytes()].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for (line, expected) in [
            ("TCP4 192.0.2.1 198.51.100.1 56324 443", "192.0.2.1:56324"),
            ("TCP4 255.255.255.255 255.255.255.255 65535 65535", "255.255.255.255:65535"),
            ("TCP4 0.0.0.0 0.0.0.0 0 0", "0.0.0.0:0"),
            ("TCP6 2001:db8::1 ::1 1 2", "[2001:db8::1]:1"),
            ("TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2", "[2001:db8::1]:1"),
            ("TCP6 ::ffff:192.0.2.1 ::1 1 2", "192.0.2.1:1"),
            ("TCP6 ::ffff:c000:201 ::1 1 2", "192.0.2.1:1"),
            (&format!("TCP6 {longest} {longest} 65535 65535"), &format!("[{longest}]:65535")),
        ] {
            assert_eq!(client(format!("PROXY {line}\r\n").as_bytes()), Ok(Some(expected.into())), "{line}");
        }
    }

    #[test]
    fn bytes_name_the_client_and_what_follows_the_addresses_is_passed_over() {
        let (mut long, tlv) = (ipv4([192, 0, 2, 1], 56324), [0x04, 0x00, 0x03, 1, 2, 3]);
        assert_eq!(client(&binary(PROXY, TCP4, &long)), Ok(Some("192.0.2.1:56324".into())));
        long.extend(tlv);
        assert_eq!(client(&binary(PROXY, TCP4, &long)), Ok(Some("192.0.2.1:56324".into())));
        long.resize(MAX_GREETING - FIXED_LEN, 0xff);
        assert_eq!(client(&binary(PROXY, TCP4, &long)), Ok(Some("192.0.2.1:56324".into())));
        assert_eq!(client(&binary(PROXY, TCP6, &ipv6("2001:db8::1", 0))), Ok(Some("[2001:db8::1]:0".into())));
        let with_tlv = [&ipv6("2001:db8::1", 7)[..], &tlv].concat();
        assert_eq!(client(&binary(PROXY, TCP6, &with_tlv)), Ok(Some("[2001:db8::1]:7".into())));
        assert_eq!(client(&binary(PROXY, TCP6, &ipv6("::ffff:192.0.2.1", 7))), Ok(Some("192.0.2.1:7".into())));
    }

    #[test]
    fn some_name_nobody() {
        let worst = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(worst.len(), MAX_LINE);
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN \xff\0\r \n,\r\n", worst.as_bytes()] {
            assert_eq!(client(line), Ok(None), "{}", line.escape_ascii());
        }
        let unix = [7; 216];
        for (command, family, rest) in [
            (LOCAL, 0x00, &b""[..]),
            (LOCAL, TCP4, &ipv4([192, 0, 2, 1], 7)),
            (LOCAL, TCP4, b""),
            (LOCAL, 0xff, &[0xff; 520]),
            (PROXY, 0x00, b""),
            (PROXY, 0x00, b"\x04\0\0"),
            (PROXY, 0x12, &ipv4([192, 0, 2, 1], 7)),
            (PROXY, 0x22, &ipv6("::1", 7)),
            (PROXY, 0x10, &ipv4([192, 0, 2, 1], 7)),
            (PROXY, 0x31, &unix),
            (PROXY, 0x32, &unix),
            (PROXY, 0x41, b"x"),
            (PROXY, 0xff, &[0xff; 520]),
        ] {
            assert_eq!(client(&binary(command, family, rest)), Ok(None), "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_is_no_greeting_is_malformed_as_soon_as_it_shows() {
        let too_long = format!("PROXY UNKNOWN {}", "x".repeat(MAX_LINE - 14));
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01",
            b"P ",
            b"PROXX",
            b"proxy ",
            b"PROXY\t",
            b"\r\nG",
            b"\r\n\r\n\0\r\nQUIT\r",
            &version_2(0x11, TCP4, 12, b"")[..13],
            &version_2(0x31, TCP4, 12, b"")[..13],
            &version_2(0x22, TCP4, 12, b"")[..13],
            &version_2(0x2f, TCP4, 12, b"")[..13],
            &version_2(PROXY, TCP4, 521, b""),
            &version_2(LOCAL, 0x00, 0xffff, b""),
            &binary(PROXY, TCP4, b""),
            &binary(PROXY, TCP4, &[1; 11]),
            &binary(PROXY, TCP6, &[1; 35]),
            &binary(PROXY, TCP6, &[1; 12]),
            too_long.as_bytes(),
            &[too_long.as_bytes(), b"\r\n"].concat(),
        ] {
            assert_eq!(Greeting::parse(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
        for line in [
            "",
            "TCP4",
            "TCP4 ",
            "TCP5 192.0.2.1 192.0.2.2 1 2",
            "UDP4 192.0.2.1 192.0.2.2 1 2",
            "tcp4 192.0.2.1 192.0.2.2 1 2",
            "UNKNOWNS",
            "TCP4 192.0.2.1 192.0.2.2 1",
            "TCP4 192.0.2.1 192.0.2.2 1 2 ",
            "TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "TCP4  192.0.2.1 192.0.2.2 1 2",
            "TCP4 192.0.2.1\t192.0.2.2 1 2",
            "TCP4 2001:db8::1 ::1 1 2",
            "TCP6 192.0.2.1 192.0.2.2 1 2",
            "TCP4 192.0.2.1 ::1 1 2",
            "TCP4 192.0.2 192.0.2.2 1 2",
            "TCP4 192.0.2.01 192.0.2.2 1 2",
            "TCP4 192.0.2.256 192.0.2.2 1 2",
            "TCP4 192.0.2.1 nonsense 1 2",
            "TCP6 [2001:db8::1] ::1 1 2",
            "TCP6 fe80::1%1 ::1 1 2",
            "TCP4 192.0.2.1 192.0.2.2 65536 2",
            "TCP4 192.0.2.1 192.0.2.2 1 65536",
            "TCP4 192.0.2.1 192.0.2.2 +1 2",
            "TCP4 192.0.2.1 192.0.2.2 -1 2",
            "TCP4 192.0.2.1 192.0.2.2 01 2",
            "TCP4 192.0.2.1 192.0.2.2 1 00",
            "TCP4 192.0.2.1 192.0.2.2  2",
            "TCP4 192.0.2.1 192.0.2.2 x 2",
            "TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "TCP4 192.0.2.1 192.0.2.2 1 2\r",
            "TCP4 192.0.2.\u{e9} 192.0.2.2 1 2",
        ] {
            assert_eq!(Greeting::parse(format!("PROXY {line}\r\n").as_bytes()), Err(Malformed), "{line:?}");
        }
        assert_eq!(Greeting::parse(b"PROXY UNKNOWN\n\n"), Ok(None), "a line ends with both");
    }

    /// A greeting that is right, with the client that it names.
    fn greeting() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
        let line = (any::<SocketAddr>(), any::<SocketAddr>()).prop_map(|(client, other)| {
            let [from, to] = match (client.ip(), other.ip()) {
                (IpAddr::V4(client), _) => [client.to_string(), "192.0.2.1".into()],
                (IpAddr::V6(client), IpAddr::V6(other)) => [client.to_string(), other.to_string()],
                (IpAddr::V6(client), IpAddr::V4(_)) => [client.to_string(), "::".into()],
            };
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), other.port());
            (line.into_bytes(), Some(endpoint(client.ip(), client.port())))
        });
        let bytes = (any::<SocketAddr>(), prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(client, tlvs)| {
            let (family, addresses) = match client.ip() {
                IpAddr::V4(ip) => (TCP4, ipv4(ip.octets(), client.port())),
                IpAddr::V6(ip) => (TCP6, ipv6(&ip.to_string(), client.port())),
            };
            let bytes = binary(PROXY, family, &[addresses, tlvs].concat());
            (bytes, Some(endpoint(client.ip(), client.port())))
        });
        let nobody = "PROXY UNKNOWN( [ -~]{0,91})?\r\n".prop_map(|line| (line.into_bytes(), None));
        let local = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..=520))
            .prop_map(|(family, rest)| (binary(LOCAL, family, &rest), None));
        prop_oneof![line, bytes, nobody, local]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_greeting_is_read_when_its_last_byte_is_there_and_no_further(
            (bytes, client) in greeting(),
            behind: Vec<u8>,
        ) {
            for end in 0..bytes.len() {
                prop_assert_eq!(Greeting::parse(&bytes[..end]), Ok(None), "{}", end);
            }
            let expected = Ok(Some(Greeting { client, len: bytes.len() }));
            prop_assert_eq!(Greeting::parse(&[bytes, behind].concat()), expected);
        }

        #[test]
        fn no_bytes_are_too_strange_and_all_are_decided_in_time(
            mark in prop::sample::select(vec![
                &b""[..], PREFIX, b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x02",
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..700),
        ) {
            let bytes = [mark, &tail].concat();
            let found = Greeting::parse(&bytes);
            if let Ok(Some(greeting)) = found {
                prop_assert!(greeting.len <= bytes.len().min(MAX_GREETING));
            }
            prop_assert!(found != Ok(None) || bytes.len() < MAX_GREETING);
            // What has been decided stays so, whatever follows.
            if found != Ok(None) {
                prop_assert_eq!(Greeting::parse(&[&bytes[..], b"\r\n more"].concat()), found);
            }
        }
    }
}
