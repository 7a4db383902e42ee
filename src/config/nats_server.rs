//! A server of NATS, as `sync.nats.servers` names it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The port where none is named.
const DEFAULT_PORT: u16 = 4222;

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4, which counts a byte before and one behind it).
const MAX_HOST: usize = 253;

/// A server of NATS. Whether its name has an address is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// The connection has to be one of TLS.
    pub tls: bool,
    /// A name, or an address.
    pub host: NatsHost,
    /// 1 to 65535.
    pub port: u16,
    /// A user or a token stands before the host. It is not kept: whoever sees the configuration would see it, so
    /// [`NatsSettings`](super::NatsSettings) has files for secrets.
    pub has_user: bool,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsHost {
    /// A name to be looked up.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl NatsServer {
    /// Reads `HOST`, `HOST:PORT`, or either behind `nats://` or `tls://`. An IPv6 address stands in brackets, unless it
    /// stands alone. Returns none where that is no server.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            Some(_) => return None,
        };
        let (has_user, rest) = rest.rsplit_once('@').map_or((false, rest), |(_, rest)| (true, rest));
        if let Ok(ip) = rest.parse::<Ipv6Addr>() {
            return Some(Self { tls, host: NatsHost::Ip(ip.into()), port: DEFAULT_PORT, has_user });
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (ip, port) = rest.split_once(']')?;
                (NatsHost::Ip(ip.parse::<Ipv6Addr>().ok()?.into()), port)
            }
            None => {
                let (host, port) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
                (NatsHost::parse(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0)?
            }
            None if port.is_empty() => DEFAULT_PORT,
            _ => return None,
        };
        Some(Self { tls, host, port, has_user })
    }
}

impl NatsHost {
    /// Reads a name or an IPv4 address.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        // What ends in a number is meant as an address, and is none.
        let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        let is_name = name.len() <= MAX_HOST && name.split('.').all(is_label) && !is_number;
        is_name.then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

/// As it could be written in the configuration.
impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// As it stands before a port.
impl fmt::Display for NatsHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        NatsServer::parse(text).map(|server| server.to_string())
    }

    #[test]
    fn a_server_is_a_host_perhaps_with_a_port_and_whether_it_has_to_speak_tls() {
        for (text, expected) in [
            ("nats.example.org", "nats://nats.example.org:4222"),
            ("NATS.example.org.", "nats://nats.example.org:4222"),
            ("localhost:1", "nats://localhost:1"),
            ("nats://192.0.2.1", "nats://192.0.2.1:4222"),
            ("192.0.2.1:65535", "nats://192.0.2.1:65535"),
            ("tls://nats_1.example-2.org:4443", "tls://nats_1.example-2.org:4443"),
            ("2001:db8::1", "nats://[2001:db8::1]:4222"),
            ("tls://[2001:db8::1]", "tls://[2001:db8::1]:4222"),
            ("[::1]:4443", "nats://[::1]:4443"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
            assert_eq!(read(expected).as_deref(), Some(expected));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let long = format!("{}.org", "a.".repeat(130));
        for text in [
            "",
            "nats://",
            "http://nats.example.org",
            "ws://nats.example.org",
            "user:secret@",
            "nats.example.org:",
            "nats.example.org:0",
            "nats.example.org:65536",
            "nats.example.org:+1",
            "nats.example.org/",
            "nats..example.org",
            ".",
            "-a",
            "a-",
            "256.1.1.1",
            "1.2.3",
            "[::1",
            "[::1]4222",
            "[192.0.2.1]",
            "a b",
            "a,b",
            "nats:///a",
            long.as_str(),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_user_before_the_host_is_seen_and_not_kept() {
        for text in ["user:secret@nats.example.org", "nats://to@ken@nats.example.org:4222"] {
            let server = NatsServer::parse(text).unwrap();
            assert!(server.has_user);
            assert_eq!(server.to_string(), "nats://nats.example.org:4222");
            assert!(!format!("{server:?}").contains("secret"));
        }
        assert!(!NatsServer::parse("nats.example.org").unwrap().has_user);
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_read_again_as_the_same(text in "(nats://|tls://)?[a-z0-9.:\\[\\]_-]{0,20}") {
            if let Some(server) = NatsServer::parse(&text) {
                prop_assert_eq!(NatsServer::parse(&server.to_string()), Some(server));
            }
        }
    }
}
