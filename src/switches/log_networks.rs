//! `log-networks` (`WANT_LOG_NETWORKS`): counts requests for each network, for `/stats?mode=busy`.
//!
//! [`network_counts`](super::network_counts) says how they are counted, and in how much memory.

use std::net::IpAddr;

use fastrand::Rng;

use crate::config::Settings;
use crate::server::{Plug, StartError, opens_nothing};
use crate::tracker::{AddressFamilies, Minute, NetworkLog};

use super::network_counts::NetworkCounts;

/// The networks that ask a tracker which serves the families `F`.
pub struct Networks<F>(NetworkCounts<F>);

impl<F: AddressFamilies> NetworkLog for Networks<F> {
    const COUNTS: bool = true;

    fn record(&self, address: IpAddr, now: Minute, rng: &mut Rng) {
        self.0.count(address, now, rng);
    }

    fn busy(&self, now: Minute) -> Option<String> {
        Some(self.0.page(now))
    }
}

impl<F: AddressFamilies> Plug for Networks<F> {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        NetworkCounts::new().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Ipv4Only;

    #[test]
    fn each_request_counts_for_its_network() {
        let networks: Networks<Ipv4Only> = Networks::plug((), &Settings::default()).unwrap();
        let (now, mut rng) = (Minute(29_000_000), Rng::with_seed(1));
        (0..3).for_each(|n| networks.record([192, 0, 2, n].into(), now, &mut rng));
        let page = "Networks, limit /24:\n00000003: 192.0.2.0\n\nNetworks, limit /16:\n00000003: 192.0.0.0\n\n";
        assert_eq!(networks.busy(now).as_deref(), Some(page));
    }
}
