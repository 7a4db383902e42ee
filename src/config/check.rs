//! What must hold for the configuration as a whole, and the defaults that depend on the build.

use std::net::SocketAddr;

use super::build::BuildFacts;
use super::error::{ConfigError, Problem};
use super::settings::{DEFAULT_PORT, Settings};

/// The longest interval in a cluster, in seconds. Whoever is not told of a peer keeps it for as long as its own
/// configuration says, which nobody else knows: for 45 minutes at least, and the original never for longer. That is one
/// and a half times this.
const MAX_INTERVAL_IN_CLUSTER: u32 = 1800;

impl Settings {
    /// Checks that the build can start with these settings.
    ///
    /// # Errors
    ///
    /// The first of: a setting that a switch of the build requires and that is missing; `-i` with an address of a
    /// family that the build does not serve; an address and port that is to be opened twice; a minimal interval that is
    /// greater than the interval.
    pub fn check(&self, build: &BuildFacts<'_>) -> Result<(), ConfigError> {
        (build.check)(self)?;
        self.check_default_ip(build)?;
        for (key, addresses) in [("listen.tcp", &self.listen.tcp), ("listen.udp", &self.listen.udp)] {
            if let Some(address) = first_repeated(addresses) {
                return Err(ConfigError::of_key(key, Problem::SameAddress { address }));
            }
        }
        self.check_min_interval()
    }

    /// Returns the same settings with both protocols on the default port if no address to listen on was named: on the
    /// address of `-i`, or on every address of the families that the build serves.
    #[must_use]
    pub fn resolved(&self, build: &BuildFacts<'_>) -> Self {
        let mut resolved = self.clone();
        if self.names_no_address() {
            let ips = self.listen.default_ip.map_or_else(|| build.wildcards(), |ip| vec![ip]);
            let addresses: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)).collect();
            resolved.listen.tcp.clone_from(&addresses);
            resolved.listen.udp = addresses;
        }
        resolved
    }

    /// Checks the interval of a tracker that is in a cluster.
    ///
    /// # Errors
    ///
    /// An interval after which the others may have forgotten a peer before it announces itself here again.
    pub fn check_interval_in_cluster(&self) -> Result<(), ConfigError> {
        let (interval, max) = (self.tracker.interval, MAX_INTERVAL_IN_CLUSTER);
        if interval <= max {
            return Ok(());
        }
        let reason =
            "in a cluster (livesync.cluster.listen, sync.nats.servers) the others forget a peer after 45 minutes";
        Err(ConfigError::too_great("tracker.interval", interval.into(), max.into(), reason))
    }

    /// Checks the family of `-i` where the default port is opened on it. Addresses of keys were checked when they were
    /// read, but `-i` may have been meant for live sync alone.
    fn check_default_ip(&self, build: &BuildFacts<'_>) -> Result<(), ConfigError> {
        let Some(ip) = self.listen.default_ip.filter(|_| self.names_no_address()) else { return Ok(()) };
        build.require_family(ip).map_err(|problem| ConfigError::of_option("-i", None, problem))
    }

    /// Checks that the minimum is not above the interval: clients would be told to wait for longer than they may.
    fn check_min_interval(&self) -> Result<(), ConfigError> {
        let (interval, min) = (self.tracker.interval.into(), self.tracker.min_interval.map(u64::from));
        match min.filter(|min| *min > interval) {
            Some(min) => Err(ConfigError::too_great("tracker.min_interval", min, interval, "that is tracker.interval")),
            None => Ok(()),
        }
    }

    fn names_no_address(&self) -> bool {
        self.listen.tcp.is_empty() && self.listen.udp.is_empty()
    }
}

/// Returns an address that stands there twice. Two sockets on port 0 get two ports, so those are never the same.
fn first_repeated(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut sorted: Vec<_> = addresses.iter().filter(|address| address.port() != 0).collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(**one),
        _ => None,
    })
}
