//! What the micro-benchmarks measure: an IPv4 tracker with every switch off.

#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::sync::Arc;

use fastrand::Rng;
use opentracker::core::keyed_hash::Key;
use opentracker::core::{Flavour, Ipv4Only, Limits, Minute, Open, Standalone, Tracker, Unlogged};
use opentracker::http::flavour::{Connected, Everyone, NoFullScrape, NoMetrics};
use opentracker::http::{self, HttpFlavour};
use opentracker::stats::Board;

pub(crate) const NOW: Minute = Minute(29_000_000);

pub(crate) struct Plain;

impl Flavour for Plain {
    type Family = Ipv4Only;
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
    let key = Key::from_bytes(&std::array::from_fn(|_| rng.u8(..)));
    Tracker::new(key, Limits::NONE, NOW, Open, Standalone, Unlogged)
}

/// Such a tracker over HTTP.
pub(crate) fn http() -> http::Service<Plain> {
    let board = Arc::<Board>::default();
    let tally = board.tally();
    let shared = http::Shared {
        tracker: Arc::new(tracker()),
        board,
        client_address: Connected,
        stats_access: Everyone,
        full_scrape: NoFullScrape,
        metrics: NoMetrics,
        stats_path: "stats".into(),
        redirect_url: None,
    };
    http::Service::new(Arc::new(shared), tally, Rng::with_seed(2))
}
