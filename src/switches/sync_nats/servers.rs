//! The configured servers: their addresses, and the names that their certificates have to be for.
//!
//! Names are looked up once, while the process still can. Every address of every name is a server of its own for the
//! client, which is told numbers alone, and so looks nothing up.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use async_nats::ServerAddr;
use async_nats::rustls::pki_types::ServerName;
use tracing::warn;

use crate::config::{NatsHost, NatsServer};
use crate::server::StartError;

/// The configured servers, with all of their addresses.
#[derive(Debug, Clone)]
pub(super) struct Servers(Vec<Resolved>);

/// A configured server at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    server: NatsServer,
    address: SocketAddr,
}

impl Servers {
    /// Looks up the names. One that has no address at present is left out, with a warning, where there is another.
    ///
    /// # Errors
    ///
    /// No server has an address.
    pub(super) fn resolve(configured: &[NatsServer]) -> Result<Self, StartError> {
        Self::resolve_by(configured, |name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    fn resolve_by(
        configured: &[NatsServer],
        look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<Self, StartError> {
        let mut found = Vec::new();
        let mut failed = Vec::new();
        for server in configured {
            let addresses = match &server.host {
                NatsHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, server.port)]),
                NatsHost::Name(name) => look_up(name, server.port),
            };
            match addresses {
                Ok(addresses) if !addresses.is_empty() => {
                    for address in addresses {
                        let resolved = Resolved { server: server.clone(), address };
                        if !found.contains(&resolved) {
                            found.push(resolved);
                        }
                    }
                }
                Ok(_) => failed.push((server.host.to_string(), io::Error::other("it has no address"))),
                Err(error) => failed.push((server.host.to_string(), error)),
            }
        }
        let key = "sync.nats.servers";
        if found.is_empty() {
            if let Some((host, error)) = failed.into_iter().next() {
                return Err(StartError::Name { key, host, error });
            }
        } else {
            for (host, error) in failed {
                warn!("{key}: cannot look up {host}: {error}; the tracker goes on without it until it is restarted");
            }
        }
        Ok(Self(found))
    }

    /// Returns what the client connects to, without repetitions.
    pub(super) fn urls(&self) -> io::Result<Vec<ServerAddr>> {
        let mut urls = Vec::new();
        for Resolved { server, address } in &self.0 {
            let scheme = if server.tls { "tls" } else { "nats" };
            let url = format!("{scheme}://{address}").parse()?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        Ok(urls)
    }

    /// Returns the ports to which connections are made.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|one| one.server.port)
    }

    /// Returns whether every server has to speak TLS.
    pub(super) fn all_have_tls(&self) -> bool {
        self.0.iter().all(|one| one.server.tls)
    }

    /// Returns whether a server has to speak TLS.
    pub(super) fn any_has_tls(&self) -> bool {
        self.0.iter().any(|one| one.server.tls)
    }

    /// Returns whom the certificate of the server at this address has to be for: any of these. Of an address that a
    /// server announced, whoever one of the configured servers may be, or the address.
    pub(super) fn names_of(&self, ip: IpAddr) -> Vec<ServerName<'static>> {
        let of = |one: &Resolved| match &one.server.host {
            NatsHost::Name(name) => ServerName::try_from(name.clone()).ok(),
            NatsHost::Ip(ip) => Some(ServerName::from(*ip)),
        };
        let mut names: Vec<_> = self.0.iter().filter(|one| one.address.ip() == ip).filter_map(of).collect();
        if names.is_empty() {
            names = self.0.iter().filter_map(of).chain([ServerName::from(ip)]).collect();
        }
        names.dedup();
        names
    }

    /// Returns what the server at this address is called in the log: its configured name and the address.
    pub(super) fn called(&self, address: SocketAddr) -> String {
        let name = self.0.iter().find(|one| one.address == address).map(|one| &one.server.host);
        match name {
            Some(NatsHost::Name(name)) => format!("{name} ({address})"),
            Some(NatsHost::Ip(_)) => address.to_string(),
            None => format!("{address}, which another server announced"),
        }
    }
}

/// All of them, as they were configured.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&NatsServer> = None;
        for Resolved { server, .. } in &self.0 {
            match before {
                Some(before) if before == server => {}
                Some(_) => write!(f, ", {server}")?,
                None => server.fmt(f)?,
            }
            before = Some(server);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Settings;

    /// Returns servers as the configuration reads them.
    pub(in super::super) fn servers(texts: &[&str]) -> Vec<NatsServer> {
        let mut settings = Settings::default();
        let listed: Vec<_> = texts.iter().map(|text| format!("'{text}'")).collect();
        let toml = format!("sync.nats.servers = [{}]\n", listed.join(", "));
        let facts = crate::config::BuildFacts { features: &["sync-nats"], ipv4: true, ipv6: true, check: |_| Ok(()) };
        crate::config::apply_bytes(&mut settings, std::path::Path::new("test"), toml.as_bytes(), &facts).unwrap();
        settings.sync.nats.servers
    }

    fn resolved(texts: &[&str]) -> Result<Servers, String> {
        let look_up = |name: &str, port| match name {
            "one.example" => Ok(vec![SocketAddr::from(([192, 0, 2, 1], port)), "[2001:db8::1]:4222".parse().unwrap()]),
            "other.example" => Ok(vec![SocketAddr::from(([192, 0, 2, 1], port))]),
            "empty.example" => Ok(vec![]),
            _ => Err(io::Error::other("no such name")),
        };
        Servers::resolve_by(&servers(texts), look_up).map_err(|error| error.to_string())
    }

    fn urls(servers: &Servers) -> Vec<String> {
        let host = |url: ServerAddr| format!("{}://{} {}", url.scheme(), url.host(), url.port());
        servers.urls().unwrap().into_iter().map(host).collect()
    }

    #[test]
    fn the_client_is_given_every_address_and_no_name() {
        let servers = resolved(&["one.example", "tls://other.example:4443", "198.51.100.1", "one.example"]).unwrap();
        let expected =
            ["nats://192.0.2.1 4222", "nats://2001:db8::1 4222", "tls://192.0.2.1 4443", "nats://198.51.100.1 4222"];
        assert_eq!(urls(&servers), expected);
        assert_eq!(servers.ports().collect::<std::collections::BTreeSet<_>>(), [4222, 4443].into());
        assert!(servers.any_has_tls() && !servers.all_have_tls());
        let text = "nats://one.example:4222, tls://other.example:4443, nats://198.51.100.1:4222";
        assert_eq!(servers.to_string(), text);
    }

    #[test]
    fn a_name_without_an_address_is_left_out_where_there_is_another() {
        let servers = resolved(&["nowhere.example", "empty.example", "other.example"]).unwrap();
        assert_eq!(urls(&servers), ["nats://192.0.2.1 4222"]);
        let none = resolved(&["nowhere.example"]).unwrap_err();
        assert_eq!(none, "sync.nats.servers: cannot look up nowhere.example: no such name");
        let none = resolved(&["empty.example"]).unwrap_err();
        assert_eq!(none, "sync.nats.servers: cannot look up empty.example: it has no address");
    }

    #[test]
    fn a_certificate_has_to_be_for_a_name_that_has_the_address() {
        let names = |servers: &Servers, ip: &str| {
            let names = servers.names_of(ip.parse().unwrap());
            names.iter().map(|name| name.to_str().into_owned()).collect::<Vec<_>>()
        };
        let servers = resolved(&["one.example", "other.example", "198.51.100.1"]).unwrap();
        assert_eq!(names(&servers, "192.0.2.1"), ["one.example", "other.example"]);
        assert_eq!(names(&servers, "2001:db8::1"), ["one.example"]);
        assert_eq!(names(&servers, "198.51.100.1"), ["198.51.100.1"]);
        let announced = names(&servers, "203.0.113.1");
        for name in ["one.example", "other.example", "198.51.100.1", "203.0.113.1"] {
            assert!(announced.contains(&name.to_owned()), "{announced:?}");
        }
    }

    #[test]
    fn the_log_calls_a_server_by_its_name_and_address() {
        let servers = resolved(&["one.example", "198.51.100.1"]).unwrap();
        let called = |address: &str| servers.called(address.parse().unwrap());
        assert_eq!(called("192.0.2.1:4222"), "one.example (192.0.2.1:4222)");
        assert_eq!(called("198.51.100.1:4222"), "198.51.100.1:4222");
        assert_eq!(called("203.0.113.1:4222"), "203.0.113.1:4222, which another server announced");
    }
}
