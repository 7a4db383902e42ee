//! `/stats`, byte for byte and as existing monitors read it.

pub(crate) mod history;
pub(crate) mod monitors;
pub(crate) mod pages;

use std::net::SocketAddr;

use crate::clients::http::get;
use crate::flavour::loopbacks;

/// Every mode that is in every build.
const MODES: &[&str] = &[
    "peer",
    "conn",
    "scrp",
    "udp4",
    "tcp4",
    "torr",
    "fscr",
    "s24s",
    "herr",
    "completed",
    "top10",
    "top100",
    "renew",
    "syncs",
    "version",
    "everything",
];

/// A page about networks: of each family that this build serves, the lengths of its prefixes and the rows of each.
pub(crate) fn networks_page(ipv4: [(u8, &str); 2], ipv6: [(u8, &str); 2]) -> String {
    let parts = loopbacks().iter().flat_map(|loopback| if loopback.is_ipv4() { ipv4 } else { ipv6 });
    parts.map(|(prefix, rows)| format!("Networks, limit /{prefix}:\n{rows}\n")).collect()
}

/// Fetches the page of a mode.
#[track_caller]
fn page(server: SocketAddr, mode: &str) -> String {
    let reply = get(server, &format!("/stats?mode={mode}"));
    assert_eq!(reply.status, 200, "{mode}");
    reply.text()
}
