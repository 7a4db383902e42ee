//! What the micro-benchmarks measure: an IPv4 tracker with every switch off.

#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::sync::Arc;

use fastrand::Rng;
use opentracker::http::flavour::{Connected, Everyone, NoFullScrape, NoMetrics};
use opentracker::http::{self, HttpFlavour};
use opentracker::stats::Counters;
use opentracker::tracker::keyed_hash::HashKey;
use opentracker::tracker::{Capacity, Flavour, Ipv4Only, Minute, Open, Standalone, Tracker, Unlogged};

pub(crate) const NOW: Minute = Minute(29_000_000);

pub(crate) struct Plain;

impl Flavour for Plain {
    type Families = Ipv4Only;
    type Admission = Open;
    type Cluster = Standalone;
    type NetworkLog = Unlogged;
}

impl HttpFlavour for Plain {
    type ClientAddress = Connected;
    type StatsAccess = Everyone;
    type FullScrape = NoFullScrape;
    type Metrics = NoMetrics;
}

pub(crate) fn tracker() -> Tracker<Plain> {
    let mut rng = Rng::with_seed(1);
    let key = HashKey::from_bytes(&std::array::from_fn(|_| rng.u8(..)));
    Tracker::new(key, Capacity::NONE, NOW, Open, Standalone, Unlogged)
}

/// Such a tracker over HTTP.
pub(crate) fn http() -> http::Service<Plain> {
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let shared = http::Shared {
        tracker: Arc::new(tracker()),
        counters,
        client_address: Connected,
        stats_access: Everyone,
        full_scrape: NoFullScrape,
        metrics: NoMetrics,
        stats_path: "stats".into(),
        redirect_url: None,
    };
    http::Service::new(Arc::new(shared), worker_counters, Rng::with_seed(2))
}
