//! What must hold for the configuration as a whole, and the defaults that depend on the build.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::{ConfigError, Problem};
use super::settings::{DEFAULT_PORT, Settings};
use super::value::check_family;

impl Settings {
    /// Whether a build with these features can start with these settings.
    ///
    /// # Errors
    ///
    /// The first of: a list, or an address for live sync, that the build does not start without; `-i` with an address
    /// of a family that the build does not serve; an address and port that is to be opened twice.
    pub fn check(&self, features: &[&str]) -> Result<(), ConfigError> {
        let needed = [
            ("accesslist-white", "access.whitelist", self.access.whitelist.is_some()),
            ("sync-live", "livesync.cluster.listen", self.livesync.listen.is_some()),
        ];
        for (feature, key, present) in needed {
            if features.contains(&feature) && !present {
                return Err(ConfigError::of_key(key, Problem::Missing { feature }));
            }
        }
        self.check_default_ip(features)?;
        for (key, addresses) in [("listen.tcp", &self.listen.tcp), ("listen.udp", &self.listen.udp)] {
            if let Some(address) = first_repeated(addresses) {
                return Err(ConfigError::of_key(key, Problem::SameAddress { address }));
            }
        }
        Ok(())
    }

    /// The same settings with both protocols on the default port if no address to listen on was named: on the address
    /// of `-i`, or on every address of the families that the build serves.
    pub fn resolved(&self, features: &[&str]) -> Self {
        let mut resolved = self.clone();
        if self.names_no_address() {
            let ips = self.listen.default_ip.map_or_else(|| wildcards(features).to_vec(), |ip| vec![ip]);
            let addresses: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)).collect();
            resolved.listen.tcp.clone_from(&addresses);
            resolved.listen.udp = addresses;
        }
        resolved
    }

    /// Addresses of keys were checked when they were read, but `-i` may have been meant for live sync alone.
    fn check_default_ip(&self, features: &[&str]) -> Result<(), ConfigError> {
        let Some(ip) = self.listen.default_ip.filter(|_| self.names_no_address()) else { return Ok(()) };
        check_family(ip, features).map_err(|problem| ConfigError::of_option("-i", None, problem))
    }

    fn names_no_address(&self) -> bool {
        self.listen.tcp.is_empty() && self.listen.udp.is_empty()
    }
}

/// "Every address", once for each family that the build serves.
pub(super) fn wildcards(features: &[&str]) -> &'static [IpAddr] {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if features.contains(&"dual-stack") {
        &[V4, V6]
    } else if features.contains(&"v6") {
        &[V6]
    } else {
        &[V4]
    }
}

/// Two sockets on port 0 get two ports, so those are never the same.
fn first_repeated(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut sorted: Vec<_> = addresses.iter().filter(|address| address.port() != 0).collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(**one),
        _ => None,
    })
}
