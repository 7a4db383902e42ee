//! What this build needs to start, and whom it serves.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use opentracker::switches::FEATURES;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Does this build have the feature?
pub(crate) fn has(feature: &str) -> bool {
    FEATURES.contains(&feature)
}

/// The features as the tracker's messages name them.
pub(crate) fn in_words() -> String {
    if FEATURES.is_empty() { "none".into() } else { FEATURES.join(", ") }
}

/// One loopback address for each family that this build serves.
pub(crate) fn loopbacks() -> &'static [IpAddr] {
    match (has("v6"), has("dual-stack")) {
        (_, true) => &[V4, V6],
        (true, false) => &[V6],
        (false, false) => &[V4],
    }
}

/// The first of [`loopbacks`].
pub(crate) fn loopback() -> IpAddr {
    loopbacks()[0]
}

/// "Every address" of the family.
pub(crate) fn wildcard(family: IpAddr) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// A loopback address for a client. There are 254 of them for IPv4, and only one for IPv6.
pub(crate) fn client(family: IpAddr, n: u8) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::new(127, 0, 0, n).into() } else { V6 }
}

/// An address and a port as the configuration writes them.
pub(crate) fn endpoint(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The torrents that tests may use: all of them are on the list where a list decides. Their bytes are awkward in URLs.
pub(crate) fn info_hash(n: u8) -> [u8; 20] {
    let mut hash = *b"\x00%&=?#+ /\\\"<\x7f\x80\xff\r\n\x1b{}";
    hash[0] = n;
    hash
}

/// A configuration with what this build does not start without, and with `/stats` open to the tests. `root` is the
/// directory that the tracker will see as its own.
pub(crate) fn needs(root: &Path) -> String {
    let mut config = String::from("# what this build needs\n");
    if has("accesslist-white") {
        fs::write(root.join("whitelist"), whitelist()).unwrap();
        config += "access.whitelist whitelist\n";
    }
    if has("sync-live") {
        config += "livesync.cluster.listen 127.0.0.1:0\n";
    }
    if has("restrict-stats") {
        config += "access.stats 127.0.0.0/8\naccess.stats ::1\n";
    }
    config
}

fn whitelist() -> String {
    let mut list = String::new();
    for n in 0..=u8::MAX {
        for byte in info_hash(n) {
            write!(list, "{byte:02x}").unwrap();
        }
        list.push('\n');
    }
    list
}
