//! The switches: one file each, named like its Cargo feature, plugged in here.
//!
//! This is the only file with `cfg(feature)`. For each plug point it picks the switch's type or, where the switch is
//! off, the twin that does nothing and is declared beside the plug point. A new switch is a new file, its row in
//! `Cargo.toml`, its lines here and its row in `FEATURES.md`.

use crate::core::{self, Flavour};
use crate::http;
use crate::http::flavour::HttpFlavour;

#[cfg(feature = "dual-stack")]
mod dual_stack;
#[cfg(all(feature = "v6", not(feature = "dual-stack")))]
mod v6;

#[cfg(not(feature = "v6"))]
type Family = core::Ipv4Only;
#[cfg(all(feature = "v6", not(feature = "dual-stack")))]
type Family = v6::Ipv6Only;
#[cfg(feature = "dual-stack")]
type Family = dual_stack::BothFamilies;

/// The features of this build, in the order of `FEATURES.md`.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "v6")]
    "v6",
    #[cfg(feature = "dual-stack")]
    "dual-stack",
    #[cfg(feature = "gzip")]
    "gzip",
    #[cfg(feature = "accesslist-black")]
    "accesslist-black",
    #[cfg(feature = "accesslist-white")]
    "accesslist-white",
    #[cfg(feature = "sync-live")]
    "sync-live",
    #[cfg(feature = "restrict-stats")]
    "restrict-stats",
    #[cfg(feature = "fullscrape")]
    "fullscrape",
    #[cfg(feature = "ip-from-query")]
    "ip-from-query",
    #[cfg(feature = "log-networks")]
    "log-networks",
    #[cfg(feature = "ip-from-proxy")]
    "ip-from-proxy",
];

/// What Cargo's features make of the tracker.
#[derive(Debug)]
pub struct ThisBuild;

impl Flavour for ThisBuild {
    type Family = Family;
    type Admission = core::Open;
    type Cluster = core::Standalone;
    type NetworkLog = core::Unlogged;
}

impl HttpFlavour for ThisBuild {
    type ClientAddress = http::flavour::Connected;
    type StatsAccess = http::flavour::Everyone;
    type FullScrape = http::flavour::NoFullScrape;
}
