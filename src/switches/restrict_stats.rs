//! `restrict-stats` (`WANT_RESTRICT_STATS`): the statistics, those that are full scrapes included, are for the networks
//! in `access.stats` alone. `GET /scrape` is not one of them: `fullscrape` decides whether it is there, for everybody.

use std::net::IpAddr;

use ipnet::IpNet;
use tracing::warn;

use crate::config::Settings;
use crate::http::flavour::StatsAccess;
use crate::server::{Plug, StartError, opens_nothing};

/// The networks that may read the statistics. If there are none, nobody may.
#[derive(Debug)]
pub struct Blessed(Vec<IpNet>);

impl StatsAccess for Blessed {
    fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.0.iter().any(|network| network.contains(&client))
    }
}

impl Plug for Blessed {
    opens_nothing!();

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let networks = settings.access.stats.clone();
        if networks.is_empty() {
            warn!("nobody may read the statistics: there is no access.stats (-A) to say who may");
        }
        Ok(Self(networks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &[&str], client: &str) -> bool {
        let mut settings = Settings::default();
        settings.access.stats = networks.iter().map(|network| network.parse().unwrap()).collect();
        Blessed::plug((), &settings).unwrap().allows(client.parse().unwrap())
    }

    #[test]
    fn who_is_not_named_is_denied() {
        for client in ["127.0.0.1", "::1", "0.0.0.0", "::", "192.0.2.1"] {
            assert!(!allows(&[], client), "{client}");
        }
    }

    #[test]
    fn networks_of_both_families_are_told_apart() {
        let networks = ["192.0.2.0/25", "198.51.100.7/32", "2001:db8:1::/48"];
        for client in ["192.0.2.0", "192.0.2.127", "198.51.100.7", "2001:db8:1::", "2001:db8:1:ffff::9"] {
            assert!(allows(&networks, client), "{client}");
        }
        for client in ["192.0.2.128", "198.51.100.6", "2001:db8::1", "2001:db8:2::", "::192.0.2.1", "::1"] {
            assert!(!allows(&networks, client), "{client}");
        }
        assert!(allows(&["0.0.0.0/0"], "192.0.2.1") && !allows(&["0.0.0.0/0"], "::1"));
        assert!(allows(&["::/0"], "::1") && !allows(&["::/0"], "192.0.2.1"));
    }

    #[test]
    fn an_ipv4_address_may_come_in_ipv6_form() {
        assert!(allows(&["192.0.2.0/24"], "::ffff:192.0.2.1"));
        assert!(!allows(&["::/0"], "::ffff:192.0.2.1"), "it is an IPv4 address all the same");
    }
}
