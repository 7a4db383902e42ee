//! What the tracker under test needs to start, and whom it serves.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use crate::documents::cargo_features;
use crate::harness::{skip, tests};
use crate::programs::output;

tests![the_version_names_the_features_of_the_build];

/// This environment variable names the program to test, if it is not the one that Cargo has built. Then
/// [`WITH_FEATURES`] lists the features that it has to have, with commas; `-` is none. So `ci/matrix` builds these
/// tests once for hundreds of trackers.
const UNDER_TEST: &str = "OPENTRACKER_UNDER_TEST";
const WITH_FEATURES: &str = "OPENTRACKER_WITH_FEATURES";

/// The program under test.
pub(crate) static BINARY: LazyLock<String> =
    LazyLock::new(|| env::var(UNDER_TEST).unwrap_or_else(|_| env!("CARGO_BIN_EXE_opentracker").into()));

/// The features that the program under test says it has.
pub(crate) static FEATURES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let version = output(Command::new(&*BINARY).arg("--version")).expect("--version").stdout;
    let version = String::from_utf8(version).unwrap();
    let features = version.lines().find_map(|line| line.strip_prefix("features: ")).expect("features: ...");
    features.split(' ').filter(|feature| *feature != "none").map(Into::into).collect()
});

fn the_version_names_the_features_of_the_build() {
    let asked_for = env::var(WITH_FEATURES).unwrap_or_else(|_| opentracker::switches::FEATURES.join(","));
    let asked_for: BTreeSet<_> = asked_for.split(',').filter(|name| !["", "-"].contains(name)).collect();
    assert_eq!(FEATURES.iter().map(String::as_str).collect::<BTreeSet<_>>(), asked_for);
}

/// The IPv4 loopback address.
pub(crate) const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The IPv6 loopback address.
pub(crate) const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Whether this build has the feature.
pub(crate) fn has(feature: &str) -> bool {
    static ALL: LazyLock<BTreeSet<String>> = LazyLock::new(|| cargo_features().into_keys().collect());
    assert!(ALL.contains(feature), "no build has the feature {feature}: its tests would never run");
    FEATURES.iter().any(|one| one == feature)
}

/// The test is for builds with this feature.
pub(crate) fn only_with(feature: &str) {
    if !has(feature) {
        skip(&format!("this build does not have the feature {feature}"));
    }
}

/// The test is for builds without this feature.
pub(crate) fn only_without(feature: &str) {
    if has(feature) {
        skip(&format!("this build has the feature {feature}"));
    }
}

/// The content coding of every full scrape, in builds where clients have no say.
pub(crate) fn coding_for_all() -> Option<&'static str> {
    ["gzip", "zstd"].into_iter().find(|coding| has(&format!("{coding}-always")))
}

/// The test is for builds in which clients say how full scrapes are coded.
pub(crate) fn only_where_clients_choose() {
    if let Some(coding) = coding_for_all() {
        skip(&format!("this build has the feature {coding}-always"));
    }
}

/// The features as the tracker's messages name them.
pub(crate) fn in_words() -> String {
    if FEATURES.is_empty() { "none".into() } else { FEATURES.join(", ") }
}

/// One loopback address for each family that this build serves.
pub(crate) fn loopbacks() -> &'static [IpAddr] {
    match (has("v6"), has("dual-stack")) {
        (_, true) => &[IPV4, IPV6],
        (true, false) => &[IPV6],
        (false, false) => &[IPV4],
    }
}

/// The first of [`loopbacks`].
pub(crate) fn loopback() -> IpAddr {
    loopbacks()[0]
}

/// Whether this build serves the family of this address.
pub(crate) fn serves(ip: IpAddr) -> bool {
    loopbacks().iter().any(|loopback| loopback.is_ipv4() == ip.is_ipv4())
}

/// The address of the family that stands for every address.
pub(crate) fn wildcard(family: IpAddr) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// A loopback address for client `n`. There are 254 of them for IPv4, and only one for IPv6.
pub(crate) fn client(family: IpAddr, n: u8) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::new(127, 0, 0, n).into() } else { IPV6 }
}

/// An address and a port as the configuration writes them.
pub(crate) fn endpoint(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The info hash of torrent `n`. Every build serves these torrents: where there is a white list, they are on it. Most
/// of their bytes have to be escaped in URLs.
pub(crate) fn info_hash(n: u8) -> [u8; 20] {
    let mut hash = *b"\x00%&=?#+ /\\\"<\x7f\x80\xff\r\n\x1b{}";
    hash[0] = n;
    hash
}

/// An info hash in hexadecimal digits, as access lists have it.
pub(crate) fn hex(info_hash: [u8; 20]) -> String {
    info_hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same in capitals, as pages have it.
pub(crate) fn upper_hex(info_hash: [u8; 20]) -> String {
    hex(info_hash).to_uppercase()
}

/// The configuration that this build does not start without. `root` is the tracker's root directory, where the files go
/// that the configuration names.
pub(crate) fn needed_config(root: &Path) -> String {
    let mut config = String::from("# what this build does not start without\n");
    if has("accesslist-white") {
        fs::write(root.join("whitelist"), whitelist()).unwrap();
        config += "access.whitelist whitelist\n";
    }
    config
}

/// [`needed_config`], and what opens `/stats` to the tests, makes the tracker one of a cluster, and lets the many peers
/// and full scrapes of a test come from one address.
pub(crate) fn minimal_config(root: &Path) -> String {
    let mut config = needed_config(root) + "limits.peers_per_address 0\n";
    if has("sync-live") {
        config += "livesync.cluster.listen 127.0.0.1:0\n";
    }
    if has("modest-fullscrapes") {
        config += "limits.full_scrape_interval 0\n";
    }
    if has("restrict-stats") {
        config += "access.stats 127.0.0.0/8\naccess.stats ::1\n";
    }
    config
}

fn whitelist() -> String {
    (0..=u8::MAX).map(|n| hex(info_hash(n)) + "\n").collect()
}
