//! The value of `--health`: which tracker is asked whether it answers, and over what.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{BuildFacts, DEFAULT_PORT, Problem};

const EXPECTED: &str = "[udp:|tcp:][IP:PORT], such as 127.0.0.1:6969, udp:[::1]:80 or tcp:";

/// Where a tracker is asked, and over which protocols: one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthTarget {
    /// Over HTTP.
    pub tcp: bool,
    /// Over UDP.
    pub udp: bool,
    /// The same for both.
    pub address: SocketAddr,
}

impl HealthTarget {
    /// Reads `[udp:|tcp:][IP:PORT]`. Without a protocol it is both, without an address port 6969 on the loopback of the
    /// family that the build serves, IPv4 if it serves both.
    ///
    /// # Errors
    ///
    /// What is not of this form; port 0.
    pub(super) fn read(value: &OsStr, build: &BuildFacts<'_>) -> Result<Self, Problem> {
        let loopback = if build.ipv4 { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        let read = || {
            let text = value.to_str()?;
            let (protocol, address) = ["tcp", "udp"]
                .into_iter()
                .find_map(|name| Some((name, text.strip_prefix(name)?.strip_prefix(':')?)))
                .unwrap_or(("", text));
            let address = match address {
                "" => SocketAddr::new(loopback, DEFAULT_PORT),
                address => address.parse().ok().filter(|address: &SocketAddr| address.port() != 0)?,
            };
            Some(Self { tcp: protocol != "udp", udp: protocol != "tcp", address })
        };
        read().ok_or_else(|| Problem::unexpected(EXPECTED, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, features: &[&str]) -> Option<(bool, bool, String)> {
        let target = HealthTarget::read(OsStr::new(text), &BuildFacts::with_features(features)).ok()?;
        Some((target.tcp, target.udp, target.address.to_string()))
    }

    #[test]
    fn what_is_not_said_is_both_protocols_and_the_loopback_of_the_build() {
        for (text, features, tcp, udp, address) in [
            ("", &[][..], true, true, "127.0.0.1:6969"),
            ("", &["v6"], true, true, "[::1]:6969"),
            ("", &["dual-stack"], true, true, "127.0.0.1:6969"),
            ("udp:", &["v6"], false, true, "[::1]:6969"),
            ("tcp:", &[], true, false, "127.0.0.1:6969"),
            ("192.0.2.1:80", &["v6"], true, true, "192.0.2.1:80"),
            ("[2001:db8::1]:80", &[], true, true, "[2001:db8::1]:80"),
            ("udp:192.0.2.1:80", &[], false, true, "192.0.2.1:80"),
            ("tcp:[::1]:80", &[], true, false, "[::1]:80"),
        ] {
            assert_eq!(read(text, features), Some((tcp, udp, address.into())), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_with_a_port_is_refused() {
        for text in ["localhost:6969", "127.0.0.1", "127.0.0.1:0", ":6969", "http:", "udp", "udp:tcp:", "tcp:6969", " "]
        {
            assert_eq!(read(text, &[]), None, "{text}");
        }
        let error = HealthTarget::read(OsStr::new("udp:x"), &BuildFacts::with_features(&[])).unwrap_err();
        assert_eq!(error.to_string(), format!("takes {EXPECTED}, not \"udp:x\""));
    }
}
