//! What the micro-benchmarks measure: an IPv4 tracker with every switch off.

use fastrand::Rng;
use opentracker::core::keyed_hash::Key;
use opentracker::core::{Flavour, Ipv4Only, Limits, Minute, Open, Standalone, Tracker, Unlogged};

pub(crate) const NOW: Minute = Minute(29_000_000);

pub(crate) struct Plain;

impl Flavour for Plain {
    type Family = Ipv4Only;
    type Admission = Open;
    type Cluster = Standalone;
    type NetworkLog = Unlogged;
}

pub(crate) fn tracker() -> Tracker<Plain> {
    let mut rng = Rng::with_seed(1);
    let key = Key::from_bytes(&std::array::from_fn(|_| rng.u8(..)));
    Tracker::new(key, Limits::NONE, NOW, Open, Standalone, Unlogged)
}
