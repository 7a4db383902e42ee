//! What the configuration is told about the build that it configures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{ConfigError, Problem};
use super::settings::Settings;

/// The facts of a build, passed in as one plain value: the configuration knows neither the server nor the switches.
#[derive(Debug, Clone, Copy)]
pub struct BuildFacts<'a> {
    /// The names of the Cargo features that are on, in the order in which errors list them.
    pub features: &'a [&'a str],
    /// Whether the build serves IPv4 clients.
    pub ipv4: bool,
    /// Whether the build serves IPv6 clients.
    pub ipv6: bool,
    /// Returns an error if the settings lack something that a switch of the build requires.
    pub check: fn(&Settings) -> Result<(), ConfigError>,
}

impl BuildFacts<'_> {
    /// Refuses what none of these features brings to the build. An empty `needs` means that every build has it.
    ///
    /// # Errors
    ///
    /// The build has none of them.
    pub fn require(&self, needs: &[&'static str]) -> Result<(), Problem> {
        if needs.is_empty() || needs.iter().any(|feature| self.features.contains(feature)) {
            return Ok(());
        }
        Err(Problem::NeedsFeature { needs: needs.to_vec(), build: self.in_words() })
    }

    /// Refuses an address to listen on of a family that the build does not serve.
    pub(super) fn require_family(&self, address: IpAddr) -> Result<(), Problem> {
        match address {
            IpAddr::V4(_) if !self.ipv4 => Err(Problem::NeedsIpv4 { address }),
            IpAddr::V6(_) if !self.ipv6 => Err(Problem::NeedsIpv6 { address, build: self.in_words() }),
            _ => Ok(()),
        }
    }

    /// Returns the address that means every address, once for each family that the build serves.
    pub(super) fn wildcards(&self) -> Vec<IpAddr> {
        let ipv4 = self.ipv4.then_some(Ipv4Addr::UNSPECIFIED.into());
        let ipv6 = self.ipv6.then_some(Ipv6Addr::UNSPECIFIED.into());
        ipv4.into_iter().chain(ipv6).collect()
    }

    /// Returns the features as errors name them.
    fn in_words(&self) -> String {
        if self.features.is_empty() { "none".to_owned() } else { self.features.join(", ") }
    }
}

#[cfg(any(test, fuzzing))]
impl<'a> BuildFacts<'a> {
    /// The facts of a build with these features, in which no switch requires a setting.
    pub(crate) fn with_features(features: &'a [&'a str]) -> Self {
        let dual_stack = features.contains(&"dual-stack");
        let ipv6 = dual_stack || features.contains(&"v6");
        Self { features, ipv4: dual_stack || !ipv6, ipv6, check: |_| Ok(()) }
    }
}
