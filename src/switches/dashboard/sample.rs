//! The numbers of one moment: what there is, and what has been counted since the start.

use crate::stats::errors::{self, KINDS};
use crate::stats::{AddressFamily, Counter, Counters, Protocol};
use crate::tracker::{Flavour, Tracker};

/// The requests that are shown: what they are called, over which protocol they come, and where they are counted.
pub(super) const REQUESTS: [(&str, Protocol, Counter); 5] = [
    ("announces", Protocol::Http, Counter::TcpAnnounced),
    ("announces", Protocol::Udp, Counter::UdpAnnounced),
    ("connects", Protocol::Udp, Counter::UdpConnected),
    ("scrapes", Protocol::Http, Counter::TcpScraped),
    ("scrapes", Protocol::Udp, Counter::UdpScraped),
];

/// The address families, in the order in which counts are kept.
pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::Ipv4, AddressFamily::Ipv6];

/// The numbers of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) levels: Levels,
    pub(super) counts: Counts,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Levels {
    pub(super) torrents: u64,
    pub(super) peers: u64,
    pub(super) seeders: u64,
    /// Bytes of memory; `None` where the system does not say.
    pub(super) memory: Option<u64>,
}

/// What has been counted, since the start or in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// For each of [`REQUESTS`], those of each family.
    pub(super) requests: [[u64; FAMILIES.len()]; REQUESTS.len()],
    /// For each kind, first those of HTTP, in the order of [`errors::of_protocol`].
    pub(super) errors: [u64; KINDS],
}

impl Sample {
    /// Reads the numbers. Each worker goes on counting meanwhile.
    pub(super) fn take<F: Flavour>(tracker: &Tracker<F>, counters: &Counters, memory: Option<u64>) -> Self {
        let census = tracker.store().census();
        let levels = Levels {
            torrents: census.torrents as u64,
            peers: census.peers.peers() as u64,
            seeders: census.peers.seeders as u64,
            memory,
        };
        let requests = REQUESTS.map(|(_, _, counter)| FAMILIES.map(|family| counters.of(counter, family)));
        let mut errors = [0; KINDS];
        let kinds = [Protocol::Http, Protocol::Udp].map(|protocol| errors::of_protocol(protocol, counters));
        for (cell, (_, count)) in errors.iter_mut().zip(kinds.into_iter().flatten()) {
            *cell = count;
        }
        Self { levels, counts: Counts { requests, errors } }
    }
}

impl Counts {
    /// Returns what was counted since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Adds what was counted in another while.
    pub(super) fn add(&mut self, other: &Self) {
        *self = self.with(other, u64::saturating_add);
    }

    fn with(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = *self;
        let cells = result.requests.iter_mut().flatten().chain(&mut result.errors);
        let others = other.requests.iter().flatten().chain(&other.errors);
        cells.zip(others).for_each(|(cell, other)| *cell = combine(*cell, *other));
        result
    }
}
