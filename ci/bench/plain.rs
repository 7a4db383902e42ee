//! What the micro-benchmarks measure: an IPv4 tracker with every switch off, or with the times of requests measured, or
//! with a cluster that hears of changes.

#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::sync::Arc;

use fastrand::Rng;
use opentracker::http::coding::NoCoding;
use opentracker::http::flavour::{Connected, Everyone, NoRoute, RequestTimes, RequestsUnlogged, Unlimited, Untimed};
use opentracker::http::wrapper::NoWrapper;
use opentracker::http::{self, HttpFlavour};
use opentracker::stats::Counters;
use opentracker::tracker::keyed_hash::HashKey;
use opentracker::tracker::{
    AnyClient, Capacity, Cluster, Flavour, Intervals, Ipv4Only, Minute, Open, Standalone, Tracker, Unlogged,
    WantedUnlogged,
};

pub(crate) const NOW: Minute = Minute(29_000_000);

pub(crate) struct Plain<M = Untimed, C = Standalone> {
    request_times: M,
    cluster: C,
}

impl<M: RequestTimes, C: Cluster> Flavour for Plain<M, C> {
    type Families = Ipv4Only;
    type Admission = Open;
    type Clients = AnyClient;
    type Cluster = C;
    type NetworkLog = Unlogged;
    type WantedLog = WantedUnlogged;

    fn admission(&self) -> &Open {
        &Open
    }

    fn clients(&self) -> &AnyClient {
        &AnyClient
    }

    fn cluster(&self) -> &C {
        &self.cluster
    }

    fn network_log(&self) -> &Unlogged {
        &Unlogged
    }

    fn wanted_log(&self) -> &WantedUnlogged {
        &WantedUnlogged
    }
}

impl<M: RequestTimes, C: Cluster> HttpFlavour for Plain<M, C> {
    type ClientAddress = Connected;
    type StatsAccess = Everyone;
    type Routes = NoRoute;
    type Codings = NoCoding;
    type ScrapeLimit = Unlimited;
    type RequestTimes = M;
    type RequestLog = RequestsUnlogged;
    type Wrappers = NoWrapper;

    fn client_address(&self) -> &Connected {
        &Connected
    }

    fn stats_access(&self) -> &Everyone {
        &Everyone
    }

    fn routes(&self) -> &NoRoute {
        &NoRoute
    }

    fn codings(&self) -> &NoCoding {
        &NoCoding
    }

    fn scrape_limit(&self) -> &Unlimited {
        &Unlimited
    }

    fn request_times(&self) -> &M {
        &self.request_times
    }

    fn request_log(&self) -> &RequestsUnlogged {
        &RequestsUnlogged
    }

    fn wrappers(&self) -> &NoWrapper {
        &NoWrapper
    }
}

pub(crate) fn tracker() -> Tracker<Plain> {
    with(Untimed, Standalone)
}

/// Such a tracker that is in a cluster.
pub(crate) fn tracker_in<C: Cluster>(cluster: C) -> Tracker<Plain<Untimed, C>> {
    with(Untimed, cluster)
}

fn with<M: RequestTimes, C: Cluster>(request_times: M, cluster: C) -> Tracker<Plain<M, C>> {
    let mut rng = Rng::with_seed(1);
    let key = HashKey::from_bytes(&std::array::from_fn(|_| rng.u8(..)));
    // As it is configured by default. Each peer of the benchmarks has an address of its own.
    let capacity = Capacity { peers_per_address: 16, ..Capacity::NONE };
    Tracker::new(key, capacity, Intervals::default(), NOW, Plain { request_times, cluster })
}

/// Such a tracker over HTTP.
pub(crate) fn http() -> http::Service<Plain> {
    http_with(Untimed)
}

pub(crate) fn http_with<M: RequestTimes>(request_times: M) -> http::Service<Plain<M>> {
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let tracker = Arc::new(with(request_times, Standalone));
    let shared = http::Shared { tracker, counters, stats_path: "stats".into(), redirect_url: None };
    http::Service::new(Arc::new(shared), worker_counters, Rng::with_seed(2))
}
