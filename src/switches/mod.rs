//! The switches: one file each, named like its Cargo feature, plugged in here.
//!
//! This is the only file with `cfg(feature)`, and it is a table in three parts: the files, the plug of each plug point,
//! and the names of the features. Where a switch is off, its off twin stands at the plug point: it does nothing, and is
//! declared beside the plug point. A plug point that takes several has a pair, or a pair of pairs.
//!
//! A new switch is a new file, its row in `Cargo.toml`, its lines in each part of this table, and its row in
//! `FEATURES.md`.

mod this_build;

pub use this_build::ThisBuild;

use std::ffi::OsString;
use std::path::Path;

use crate::http::flavour::AbsentRoute;
use crate::udp;

/// The off twins. A build that has every switch of a kind has no use for the twin.
#[allow(unused_imports, reason = "which ones are used is for the features to say")]
use crate::{
    http::coding::NoCoding,
    http::flavour::{Connected, Everyone, NoRoute, RequestsUnlogged, RouteTarget, Unlimited, Untimed},
    http::wrapper::NoWrapper,
    server::{NoHandover, StandardError, Unfiltered},
    tracker::{AnyClient, Ipv4Only, Open, Standalone, Unlogged, WantedUnlogged},
};

// The files.

#[cfg(any(feature = "accesslist-black", feature = "accesslist-white", feature = "accesslist-dynamic"))]
mod access_list;
#[cfg(all(feature = "accesslist-black", not(feature = "accesslist-white")))]
mod accesslist_black;
#[cfg(feature = "accesslist-dynamic")]
mod accesslist_dynamic;
#[cfg(feature = "accesslist-white")]
mod accesslist_white;
#[cfg(feature = "client-ids")]
mod client_ids;
#[cfg(feature = "dashboard")]
mod dashboard;
#[cfg(feature = "dual-stack")]
mod dual_stack;
#[cfg(feature = "fulllog-networks")]
mod fulllog_networks;
#[cfg(feature = "fullscrape")]
mod fullscrape;
#[cfg(any(test, fuzzing))]
mod fuzz;
#[cfg(all(feature = "gzip", not(feature = "zstd-always")))]
mod gzip;
#[cfg(all(feature = "gzip-always", not(feature = "zstd-always")))]
mod gzip_always;
#[cfg(feature = "handover")]
mod handover;
#[cfg(feature = "ip-from-proxy")]
mod ip_from_proxy;
#[cfg(feature = "ip-from-query")]
mod ip_from_query;
#[cfg(any(feature = "accesslist-black", feature = "accesslist-white", feature = "accesslist-dynamic"))]
mod list_changes;
#[cfg(feature = "log-networks")]
mod log_networks;
#[cfg(feature = "log-numwant")]
mod log_numwant;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "modest-fullscrapes")]
mod modest_fullscrapes;
#[cfg(any(feature = "log-networks", feature = "spot-woodpecker"))]
mod network_counts;
#[cfg(any(
    feature = "accesslist-black",
    feature = "accesslist-white",
    feature = "accesslist-dynamic",
    feature = "client-ids"
))]
mod refusals;
#[cfg(feature = "restrict-stats")]
mod restrict_stats;
#[cfg(feature = "seccomp")]
mod seccomp;
#[cfg(feature = "spot-woodpecker")]
mod spot_woodpecker;
#[cfg(feature = "sync-live")]
mod sync_live;
#[cfg(feature = "sync-nats")]
mod sync_nats;
#[cfg(feature = "syslog")]
mod syslog;
#[cfg(all(feature = "v6", not(feature = "dual-stack")))]
mod v6;
#[cfg(all(feature = "zstd", any(feature = "zstd-always", not(feature = "gzip-always"))))]
mod zstd;
#[cfg(feature = "zstd-always")]
mod zstd_always;

// The plug points.

/// A row of the table: a name, and what it stands for with a feature and without.
macro_rules! choose {
    (type $name:ident = if $feature:literal { $on:ty } else { $off:ty }) => {
        #[cfg(feature = $feature)]
        type $name = $on;
        #[cfg(not(feature = $feature))]
        type $name = $off;
    };
}

// Which address families are kept.
choose! { type Families = if "dual-stack" { dual_stack::BothFamilies } else { OneFamily } }
#[cfg(not(feature = "dual-stack"))]
choose! { type OneFamily = if "v6" { v6::Ipv6Only } else { Ipv4Only } }

// Which torrents are served: those of one list, or all.
choose! { type Admission = if "accesslist-white" { accesslist_white::White<ListChanges> } else { AllButBlack } }
#[cfg(not(feature = "accesslist-white"))]
choose! { type AllButBlack = if "accesslist-black" { accesslist_black::Black<ListChanges> } else { Open } }

// Who changes that list between two readings.
#[cfg(any(feature = "accesslist-black", feature = "accesslist-white"))]
choose! { type ListChanges = if "accesslist-dynamic" { accesslist_dynamic::Dynamic } else { list_changes::Unchanged } }

// Which clients are served.
choose! { type Clients = if "client-ids" { client_ids::ClientIds } else { AnyClient } }

// Who else hears of changes: any number of transports.
type Cluster = (LiveSync, NatsSync);
choose! { type LiveSync = if "sync-live" { sync_live::Node } else { Standalone } }
choose! { type NatsSync = if "sync-nats" { sync_nats::Node } else { Standalone } }

// Who counts the networks that ask, or whose peers come back: any number.
type NetworkLog = (Busy, Woodpeckers);
choose! { type Busy = if "log-networks" { log_networks::Networks<Families> } else { Unlogged } }
choose! { type Woodpeckers = if "spot-woodpecker" { spot_woodpecker::Woodpeckers<Families> } else { Unlogged } }

// Who counts how many peers clients ask for.
choose! { type WantedLog = if "log-numwant" { log_numwant::Numwants } else { WantedUnlogged } }

// Whose announce it is: the query's word goes before the proxy's, and that before the connection's.
choose! { type ClientAddress = if "ip-from-query" { ip_from_query::FromQuery<ConnectionClient> } else { ConnectionClient } }
choose! { type ConnectionClient = if "ip-from-proxy" { ip_from_proxy::FromProxy } else { Connected } }

// Who may read the statistics.
choose! { type StatsAccess = if "restrict-stats" { restrict_stats::Blessed } else { Everyone } }

// The pages of switches, in the order in which they are looked for: any number.
type Routes = (FullScrapes, (MetricsPage, Dashboard));
choose! { type FullScrapes = if "fullscrape" { fullscrape::Pages<Codings> } else { NoRoute } }
choose! { type MetricsPage = if "metrics" { metrics::Exporter } else { NoRoute } }
choose! { type Dashboard = if "dashboard" { dashboard::Dashboard } else { NoRoute } }

/// The pages of the switches that are off: whoever asks for one is told which feature it needs.
const ABSENT: &[AbsentRoute] = &[
    #[cfg(not(feature = "fullscrape"))]
    AbsentRoute {
        covers: |target| matches!(target, RouteTarget::Listing(_)),
        reason: "this build has no full scrape (feature fullscrape)",
    },
    #[cfg(not(feature = "metrics"))]
    AbsentRoute { covers: |target| target.is_path("metrics"), reason: "this build does not have the feature metrics" },
    #[cfg(not(feature = "dashboard"))]
    AbsentRoute {
        covers: |target| target.is_path("dashboard") || target.is_path("dashboard.json"),
        reason: "this build does not have the feature dashboard",
    },
];

// The content codings of full scrapes: one for everybody, or those that clients accept, the one that the server likes
// best first: any number.
choose! { type Codings = if "zstd-always" { zstd_always::ZstdAlways } else { GzipOrAccepted } }
#[cfg(not(feature = "zstd-always"))]
choose! { type GzipOrAccepted = if "gzip-always" { gzip_always::GzipAlways } else { Accepted } }
#[cfg(not(any(feature = "gzip-always", feature = "zstd-always")))]
type Accepted = (Zstd, Gzip);
#[cfg(not(any(feature = "gzip-always", feature = "zstd-always")))]
choose! { type Zstd = if "zstd" { zstd::Zstd } else { NoCoding } }
#[cfg(not(any(feature = "gzip-always", feature = "zstd-always")))]
choose! { type Gzip = if "gzip" { gzip::Gzip } else { NoCoding } }

// Who gets a full scrape, and when.
choose! { type ScrapeLimit = if "modest-fullscrapes" { modest_fullscrapes::Modest } else { Unlimited } }

// Who hears how long requests took.
choose! { type RequestTimes = if "metrics" { metrics::Times } else { Untimed } }

// Who keeps whole requests.
choose! { type RequestLog = if "fulllog-networks" { fulllog_networks::FullLog } else { RequestsUnlogged } }

// What connections pass through before HTTP, the stage next to the socket first: any number.
choose! { type Wrappers = if "ip-from-proxy" { ip_from_proxy::ProxyProtocol } else { NoWrapper } }

// What brings datagrams. No switch has another driver yet.
type Driver = udp::Socket;

// Which system calls the process can make.
choose! { type SystemCallFilter = if "seccomp" { seccomp::Seccomp } else { Unfiltered } }

// Who takes over from the predecessor, and hands over to the successor.
choose! { type Handover = if "handover" { handover::Succession } else { NoHandover } }

// Where the log goes.
choose! { type LogDestination = if "syslog" { syslog::Syslog } else { StandardError } }

// The names.

/// The features of this build, in the order of `FEATURES.md`.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "v6")]
    "v6",
    #[cfg(feature = "dual-stack")]
    "dual-stack",
    #[cfg(feature = "gzip")]
    "gzip",
    #[cfg(feature = "zstd")]
    "zstd",
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
    #[cfg(feature = "metrics")]
    "metrics",
    #[cfg(feature = "seccomp")]
    "seccomp",
    #[cfg(feature = "handover")]
    "handover",
    #[cfg(feature = "sync-nats")]
    "sync-nats",
    #[cfg(feature = "accesslist-dynamic")]
    "accesslist-dynamic",
    #[cfg(feature = "modest-fullscrapes")]
    "modest-fullscrapes",
    #[cfg(feature = "gzip-always")]
    "gzip-always",
    #[cfg(feature = "zstd-always")]
    "zstd-always",
    #[cfg(feature = "spot-woodpecker")]
    "spot-woodpecker",
    #[cfg(feature = "log-numwant")]
    "log-numwant",
    #[cfg(feature = "fulllog-networks")]
    "fulllog-networks",
    #[cfg(feature = "syslog")]
    "syslog",
    #[cfg(feature = "client-ids")]
    "client-ids",
    #[cfg(feature = "dashboard")]
    "dashboard",
];

// The programs beside the tracker.

/// What `--control` does.
pub const CONTROL: Control = SOCKET_CLIENT;
#[cfg(feature = "accesslist-dynamic")]
const SOCKET_CLIENT: Control = Some(accesslist_dynamic::say);
#[cfg(not(feature = "accesslist-dynamic"))]
const SOCKET_CLIENT: Control = None;

/// Says words at a socket, and returns an exit code; `None`: no switch has such a socket.
pub type Control = Option<fn(&Path, &[OsString]) -> u8>;

// What fuzzers run.

/// The targets of the switches of this build: see `fuzz`.
#[cfg(any(test, fuzzing))]
pub(crate) const FUZZ_TARGETS: &[crate::fuzz::Target] = &[
    ("http", fuzz::any_connection),
    #[cfg(any(feature = "accesslist-black", feature = "accesslist-white"))]
    ("access_list", access_list::fuzz::any_list),
    #[cfg(feature = "accesslist-dynamic")]
    ("dynamic_lines", accesslist_dynamic::fuzz::any_lines),
    #[cfg(feature = "client-ids")]
    ("client_ids", client_ids::fuzz::any_file),
    #[cfg(feature = "sync-live")]
    ("sync", sync_live::fuzz::any_packet),
    #[cfg(feature = "sync-nats")]
    ("nats_batch", sync_nats::fuzz::any_message),
    #[cfg(feature = "fullscrape")]
    ("state_file", fullscrape::fuzz::any_state),
    #[cfg(feature = "ip-from-proxy")]
    ("proxy_header", ip_from_proxy::fuzz::any_header),
    #[cfg(feature = "ip-from-proxy")]
    ("proxy_protocol", ip_from_proxy::fuzz::any_greeting),
];
