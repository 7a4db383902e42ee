//! A tracker whose instructions are counted, and what a request of it may take.

#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::env;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use fastrand::Rng;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig};
use opentracker::http::flavour::Untimed;
use opentracker::stats::Counters;
use opentracker::tracker::{Cluster, Minute, Standalone};
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{self, ConnectionIds, Question};

use crate::asked::{self, client};
use crate::plain::{self, NOW, Plain};

pub(crate) const REQUESTS: u32 = 1000;
/// Names the variable of the environment that says how many instructions more each may take; without it a tenth.
const PERCENT_MORE_ALLOWED: &str = "PERCENT_MORE_ALLOWED";
/// Datagrams that are received, answered and sent together.
pub(crate) const BATCH: usize = 64;
const TORRENT: [u8; 20] = [7; 20];

/// A tracker over UDP, and what it is to be asked.
pub(crate) struct Udp<C: Cluster = Standalone> {
    service: udp::Service<Plain<Untimed, C>>,
    pub(crate) datagrams: Vec<(Vec<u8>, SocketAddr)>,
    replies: Vec<[u8; REPLY_BUFFER_LEN]>,
    /// When it is asked.
    pub(crate) now: Minute,
}

impl<C: Cluster> Udp<C> {
    /// Makes one in a cluster that is asked for nothing yet.
    pub(crate) fn new(cluster: C) -> Self {
        let ids = ConnectionIds::new((1, 2), NonZero::new(60).expect("60"));
        let tracker = Arc::new(plain::tracker_in(cluster));
        let service = udp::Service::new(tracker, ids, Counters::default().for_worker(), Rng::with_seed(2));
        Self { service, datagrams: Vec::new(), replies: vec![[0; REPLY_BUFFER_LEN]; BATCH], now: NOW }
    }

    /// So many peers of one torrent announce themselves, the first being 1.
    pub(crate) fn fill(&mut self, peers: u32) {
        for n in 1..=peers {
            let datagram = self.announce(n);
            self.answer(&[(datagram, client(n))]);
        }
    }

    /// These peers are to announce themselves.
    pub(crate) fn ask(&mut self, peers: impl Iterator<Item = u32>) {
        for n in peers {
            let datagram = self.announce(n);
            self.datagrams.push((datagram, client(n)));
        }
    }

    fn announce(&mut self, n: u32) -> Vec<u8> {
        let connected = self.answer(&[(asked::connect(), client(n))]);
        asked::announce(connected[8..16].try_into().expect("8 bytes"), TORRENT, n)
    }

    /// Answers a batch, and gives the first reply.
    pub(crate) fn answer(&mut self, datagrams: &[(Vec<u8>, SocketAddr)]) -> &[u8] {
        let mut questions: Vec<_> = datagrams
            .iter()
            .zip(&mut self.replies)
            .map(|((datagram, from), reply)| Question::new(datagram, *from, reply))
            .collect();
        self.service.answer(&mut questions, self.now.into());
        &self.replies[0]
    }
}

/// So many instructions for each request, and what is allowed on top.
pub(crate) fn costs(instructions: u64) -> LibraryBenchmarkConfig {
    let percent: u64 = env::var(PERCENT_MORE_ALLOWED).map_or(10, |percent| percent.parse().expect("a whole number"));
    let limit = u64::from(REQUESTS) * instructions * (100 + percent) / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}
