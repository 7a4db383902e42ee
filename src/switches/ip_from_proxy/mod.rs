//! `ip-from-proxy` (`WANT_IP_FROM_PROXY`): the client's address is the one that a proxy names, if the proxy is in
//! `access.proxy`.
//!
//! - [`forwarded`]: the header in which proxies that speak HTTP name it.
//! - [`proxy_protocol`]: what proxies that do not speak HTTP say before all else; [`greeting`] reads it.

mod forwarded;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod greeting;
mod proxy_protocol;

use std::net::IpAddr;

use ipnet::IpNet;

pub(super) use forwarded::FromProxy;
pub(super) use proxy_protocol::ProxyProtocol;

/// The proxies that are believed: the networks of `access.proxy`.
#[derive(Debug, Default)]
struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Returns whether this is the address of one of them.
    fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}
