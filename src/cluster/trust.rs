//! Decides whose packets are believed: by the address that they come from.

use std::net::IpAddr;

use ipnet::IpNet;

/// The networks in which the other trackers of the cluster are.
#[derive(Debug, Clone, Default)]
pub struct Trust(Vec<IpNet>);

impl Trust {
    /// Makes a trust in whatever comes from one of these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns whether what comes from this address is believed.
    pub fn believes(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_a_named_network_is_believed_and_nobody_else() {
        let trust = Trust::new(["192.0.2.0/24", "2001:db8::/32"].map(|network| network.parse().unwrap()).into());
        for (address, expected) in [
            ("192.0.2.9", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("::1", false),
            ("::ffff:192.0.2.9", false),
        ] {
            assert_eq!(trust.believes(address.parse().unwrap()), expected, "{address}");
        }
        assert!(Trust::default().is_empty() && !Trust::default().believes("192.0.2.9".parse().unwrap()));
    }
}
