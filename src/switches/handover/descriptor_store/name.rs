//! What a socket of the tracker's own is called in the store.

use std::fmt;
use std::net::SocketAddr;

/// The name of a socket: protocol, address and worker, as in `udp/[__]_6969/0`. Names in a store have no colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketName {
    protocol: &'static str,
    address: SocketAddr,
    worker: u32,
}

impl SocketName {
    /// Names the socket of the first worker.
    pub(super) fn first(protocol: &'static str, address: SocketAddr) -> Self {
        Self { protocol, address, worker: 0 }
    }

    /// Names the socket of the next worker.
    pub(super) fn next(self) -> Self {
        Self { worker: self.worker.saturating_add(1), ..self }
    }

    /// Reads a name; `None` if it is not one of the tracker's own.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (protocol, rest) = name.split_once('/')?;
        let (address, worker) = rest.rsplit_once('/')?;
        let protocol = ["tcp", "udp"].into_iter().find(|known| *known == protocol)?;
        Some(Self { protocol, address: address.replace('_', ":").parse().ok()?, worker: worker.parse().ok()? })
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, worker } = self;
        write!(f, "{protocol}/{}/{worker}", address.to_string().replace(':', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_what_a_store_allows_and_is_read_as_it_was_written() {
        for (address, expected) in [
            ("0.0.0.0:6969", "udp/0.0.0.0_6969/1"),
            ("[::]:80", "udp/[__]_80/1"),
            ("[2001:db8::7]:6969", "udp/[2001_db8__7]_6969/1"),
            ("[fe80::1%3]:6969", "udp/[fe80__1%3]_6969/1"),
        ] {
            let name = SocketName::first("udp", address.parse().unwrap()).next();
            assert_eq!(name.to_string(), expected);
            assert_eq!(SocketName::parse(expected), Some(name));
            assert!(expected.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') && expected.len() < 256);
        }
    }

    #[test]
    fn names_of_others_are_not_read() {
        for name in [
            "",
            "unknown",
            "opentracker.socket",
            "udp",
            "udp/0.0.0.0_6969",
            "udp/0.0.0.0_6969/",
            "udp/0.0.0.0_6969/-1",
            "udp/0.0.0.0/0",
            "sctp/0.0.0.0_6969/0",
            "UDP/0.0.0.0_6969/0",
            "tcp/0.0.0.0_6969/0/0",
            "tcp/localhost_6969/0",
        ] {
            assert_eq!(SocketName::parse(name), None, "{name}");
        }
    }
}
