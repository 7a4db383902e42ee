//! Addresses of clients in texts from outside: a query, a header field.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A request names an address, or should, and it cannot be understood. It is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress;

/// Reads an address. IPv6 may stand in brackets, and IPv4-mapped IPv6 is IPv4.
///
/// # Errors
///
/// The text is no address.
pub fn address(text: &[u8]) -> Result<IpAddr, BadAddress> {
    let text = std::str::from_utf8(text).map_err(|_| BadAddress)?;
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => text.parse(),
    };
    address.map(|address| address.to_canonical()).map_err(|_| BadAddress)
}

/// Reads an address with or without a port; with a port, one in IPv6 form has to stand in brackets.
///
/// # Errors
///
/// The text is neither.
pub fn address_and_port(text: &[u8]) -> Result<(IpAddr, Option<u16>), BadAddress> {
    address(text).map(|address| (address, None)).or_else(|bad| {
        let both: SocketAddr = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(bad)?;
        Ok((both.ip().to_canonical(), Some(both.port())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_in_brackets_or_be_mapped() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:c000:201]", "192.0.2.1"),
        ] {
            assert_eq!(address(text.as_bytes()).unwrap().to_string(), expected);
        }
        for text in ["", "[]", "[192.0.2.1]", "[::1", "::1]", " ::1", "192.0.2.1:80", "\u{ff11}92.0.2.1", "::1%1"] {
            assert_eq!(address(text.as_bytes()), Err(BadAddress), "{text}");
        }
        assert_eq!(address(b"192.0.2.\xff"), Err(BadAddress));
    }

    #[test]
    fn a_port_may_follow() {
        for (text, expected, port) in [
            ("192.0.2.1:0", "192.0.2.1", Some(0)),
            ("[2001:db8::1]:65535", "2001:db8::1", Some(65535)),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1", Some(80)),
            ("[::1]", "::1", None),
            ("::1:80", "::1:80", None),
        ] {
            assert_eq!(address_and_port(text.as_bytes()), Ok((expected.parse().unwrap(), port)), "{text}");
        }
        for text in ["", ":80", "192.0.2.1:", "192.0.2.1:65536", "[192.0.2.1]:80", "[::1]80", "[::1]:+80", "\u{ff11}:1"]
        {
            assert_eq!(address_and_port(text.as_bytes()), Err(BadAddress), "{text}");
        }
    }
}
