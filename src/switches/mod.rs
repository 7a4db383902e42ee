//! The switches: one file each, named like its Cargo feature, plugged in here.
//!
//! This is the only file with `cfg(feature)`. For each plug point it picks the switch's type or, where the switch is
//! off, the twin that does nothing and is declared beside the plug point. A new switch is a new file, its row in
//! `Cargo.toml`, its lines here and its row in `FEATURES.md`.

use crate::http::flavour::{AbsentRoute, HttpFlavour};
use crate::server::plugs;
use crate::tracker::Flavour;
use crate::udp::{self, UdpFlavour};

#[cfg(any(feature = "accesslist-black", feature = "accesslist-white"))]
mod access_list;
#[cfg(all(feature = "accesslist-black", not(feature = "accesslist-white")))]
mod accesslist_black;
#[cfg(feature = "accesslist-white")]
mod accesslist_white;
#[cfg(feature = "dual-stack")]
mod dual_stack;
#[cfg(feature = "fullscrape")]
mod fullscrape;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "ip-from-proxy")]
mod ip_from_proxy;
#[cfg(feature = "ip-from-query")]
mod ip_from_query;
#[cfg(feature = "log-networks")]
mod log_networks;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "restrict-stats")]
mod restrict_stats;
#[cfg(feature = "sync-live")]
mod sync_live;
#[cfg(all(feature = "v6", not(feature = "dual-stack")))]
mod v6;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(not(feature = "v6"))]
type Families = crate::tracker::Ipv4Only;
#[cfg(all(feature = "v6", not(feature = "dual-stack")))]
type Families = v6::Ipv6Only;
#[cfg(feature = "dual-stack")]
type Families = dual_stack::BothFamilies;

#[cfg(not(any(feature = "accesslist-black", feature = "accesslist-white")))]
type Admission = crate::tracker::Open;
#[cfg(all(feature = "accesslist-black", not(feature = "accesslist-white")))]
type Admission = accesslist_black::Black;
#[cfg(feature = "accesslist-white")]
type Admission = accesslist_white::White;

#[cfg(feature = "sync-live")]
type Cluster = sync_live::Node;
#[cfg(not(feature = "sync-live"))]
type Cluster = crate::tracker::Standalone;

#[cfg(feature = "log-networks")]
type NetworkLog = log_networks::Networks<Families>;
#[cfg(not(feature = "log-networks"))]
type NetworkLog = crate::tracker::Unlogged;

#[cfg(feature = "ip-from-proxy")]
type ConnectionClient = ip_from_proxy::FromProxy;
#[cfg(not(feature = "ip-from-proxy"))]
type ConnectionClient = crate::http::flavour::Connected;

#[cfg(feature = "ip-from-query")]
type ClientAddress = ip_from_query::FromQuery<ConnectionClient>;
#[cfg(not(feature = "ip-from-query"))]
type ClientAddress = ConnectionClient;

#[cfg(feature = "restrict-stats")]
type StatsAccess = restrict_stats::Blessed;
#[cfg(not(feature = "restrict-stats"))]
type StatsAccess = crate::http::flavour::Everyone;

#[cfg(feature = "fullscrape")]
type FullScrapes = fullscrape::Pages;
#[cfg(not(feature = "fullscrape"))]
type FullScrapes = crate::http::flavour::NoRoute;

#[cfg(feature = "metrics")]
type MetricsPage = metrics::Exporter;
#[cfg(not(feature = "metrics"))]
type MetricsPage = crate::http::flavour::NoRoute;

/// The pages of switches, in the order in which they are looked for.
type Routes = (FullScrapes, MetricsPage);

/// The pages of the switches that are off: whoever asks for one is told so.
const ABSENT: &[AbsentRoute] = &[
    #[cfg(not(feature = "fullscrape"))]
    AbsentRoute {
        is_asked: |asked| matches!(asked, crate::http::flavour::Asked::Listing(_)),
        reason: "this build has no full scrape (feature fullscrape)",
    },
    #[cfg(not(feature = "metrics"))]
    AbsentRoute { is_asked: |asked| asked.is_path("metrics"), reason: "this build does not have the feature metrics" },
];

#[cfg(feature = "zstd")]
type Zstd = zstd::Zstd;
#[cfg(not(feature = "zstd"))]
type Zstd = crate::http::coding::NoCoding;

#[cfg(feature = "gzip")]
type Gzip = gzip::Gzip;
#[cfg(not(feature = "gzip"))]
type Gzip = crate::http::coding::NoCoding;

/// The content codings, the one that the server likes best first.
type Codings = (Zstd, Gzip);

/// No switch limits full scrapes.
type ScrapeLimit = crate::http::flavour::Unlimited;

#[cfg(feature = "metrics")]
type RequestTimes = metrics::Times;
#[cfg(not(feature = "metrics"))]
type RequestTimes = crate::http::flavour::Untimed;

/// No switch wraps connections.
type Wrappers = crate::http::wrapper::NoWrapper;

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
];

plugs! {
    /// What Cargo's features make of the tracker: every plug, listed once. Start, reload and stop walk this list.
    pub struct ThisBuild {
        admission: Admission,
        cluster: Cluster,
        network_log: NetworkLog,
        client_address: ClientAddress,
        stats_access: StatsAccess,
        routes: Routes,
        codings: Codings,
        scrape_limit: ScrapeLimit,
        request_times: RequestTimes,
        wrappers: Wrappers,
    }
}

impl Flavour for ThisBuild {
    type Families = Families;
    type Admission = Admission;
    type Cluster = Cluster;
    type NetworkLog = NetworkLog;

    const FEATURES: &'static [&'static str] = FEATURES;

    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn network_log(&self) -> &NetworkLog {
        &self.network_log
    }
}

impl UdpFlavour for ThisBuild {
    type Driver = udp::Socket;
}

impl HttpFlavour for ThisBuild {
    type ClientAddress = ClientAddress;
    type StatsAccess = StatsAccess;
    type Routes = Routes;
    type Codings = Codings;
    type ScrapeLimit = ScrapeLimit;
    type RequestTimes = RequestTimes;
    type Wrappers = Wrappers;

    const ABSENT: &'static [AbsentRoute] = ABSENT;

    fn client_address(&self) -> &ClientAddress {
        &self.client_address
    }

    fn stats_access(&self) -> &StatsAccess {
        &self.stats_access
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn codings(&self) -> &Codings {
        &self.codings
    }

    fn scrape_limit(&self) -> &ScrapeLimit {
        &self.scrape_limit
    }

    fn request_times(&self) -> &RequestTimes {
        &self.request_times
    }

    fn wrappers(&self) -> &Wrappers {
        &self.wrappers
    }
}
