//! What requests cost in instructions: the figures that CI holds.
//!
//! `ci/bench/instructions`. Unlike times they are the same on a busy machine. They say nothing of caches, which
//! `announce.rs` measures, and nothing of the system.
//!
//! Each benchmark answers [`REQUESTS`] requests. It fails when one of them takes more instructions than the figure
//! beside it and what [`PERCENT_MORE_ALLOWED`] allows on top. The figure is what it took when that was committed;
//! whoever makes it cheaper commits the new one.
//!
//! All announces are of one torrent: the dearest case, since those of a batch are then carried out one by one.

mod asked;
mod plain;

use std::env;
use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use asked::{client, head};
use fastrand::Rng;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use opentracker::http;
use opentracker::http::request::{Request, RequestTime};
use opentracker::stats::Counters;
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{self, ConnectionIds, Question};
use plain::{NOW, Plain};

const REQUESTS: u32 = 1000;
/// Names the variable of the environment that says how many instructions more each may take; without it a tenth.
const PERCENT_MORE_ALLOWED: &str = "PERCENT_MORE_ALLOWED";
/// Datagrams that are received, answered and sent together.
const BATCH: usize = 64;
const TORRENT: [u8; 20] = [7; 20];

/// A tracker over UDP, and what it is to be asked.
struct Udp {
    service: udp::Service<Plain>,
    datagrams: Vec<(Vec<u8>, SocketAddr)>,
    replies: Vec<[u8; REPLY_BUFFER_LEN]>,
}

impl Udp {
    fn new() -> Self {
        let ids = ConnectionIds::new((1, 2), NonZero::new(2).expect("2"));
        let service =
            udp::Service::new(Arc::new(plain::tracker()), ids, Counters::default().for_worker(), Rng::with_seed(2));
        Self { service, datagrams: Vec::new(), replies: vec![[0; REPLY_BUFFER_LEN]; BATCH] }
    }

    /// It is asked to connect.
    fn connects() -> Self {
        Self { datagrams: (0..REQUESTS).map(|n| (asked::connect(), client(n))).collect(), ..Self::new() }
    }

    /// Leechers of a swarm of so many come back.
    fn leechers(peers: u32) -> Self {
        Self::announces(peers, some_leechers(peers))
    }

    /// Seeders of a swarm of so many come back, which have uploaded.
    fn seeders(peers: u32) -> Self {
        Self::announces(peers, some_seeders(peers))
    }

    /// These peers of a swarm of so many come back.
    fn announces(peers: u32, returning: impl Iterator<Item = u32>) -> Self {
        let mut asked = Self::new();
        for n in 1..=peers {
            let datagram = asked.announce(n);
            asked.answer(&[(datagram, client(n))]);
        }
        for n in returning {
            let datagram = asked.announce(n);
            asked.datagrams.push((datagram, client(n)));
        }
        asked
    }

    /// It is asked of a torrent.
    fn scrapes() -> Self {
        let mut asked = Self::leechers(100);
        for (datagram, _) in &mut asked.datagrams {
            datagram.truncate(36);
            datagram[8..12].copy_from_slice(&2_u32.to_be_bytes());
        }
        asked
    }

    fn announce(&mut self, n: u32) -> Vec<u8> {
        let connected = self.answer(&[(asked::connect(), client(n))]);
        asked::announce(connected[8..16].try_into().expect("8 bytes"), TORRENT, n)
    }

    /// Answers a batch, and gives the first reply.
    fn answer(&mut self, datagrams: &[(Vec<u8>, SocketAddr)]) -> &[u8] {
        let mut questions: Vec<_> = datagrams
            .iter()
            .zip(&mut self.replies)
            .map(|((datagram, from), reply)| Question::new(datagram, *from, reply))
            .collect();
        self.service.answer(&mut questions, NOW.into());
        &self.replies[0]
    }
}

#[library_benchmark]
#[bench::connect(args = (), setup = Udp::connects, config = costs(313))]
#[bench::scrape(args = (), setup = Udp::scrapes, config = costs(736))]
#[bench::leecher_of_1(args = (1), setup = Udp::leechers, config = costs(1_481))]
#[bench::leecher_of_100(args = (100), setup = Udp::leechers, config = costs(2_962))]
#[bench::leecher_of_10_000(args = (10_000), setup = Udp::leechers, config = costs(3_454))]
#[bench::seeder_of_100(args = (100), setup = Udp::seeders, config = costs(2_812))]
#[bench::seeder_of_10_000(args = (10_000), setup = Udp::seeders, config = costs(3_323))]
fn over_udp(mut asked: Udp) -> Udp {
    for batch in std::mem::take(&mut asked.datagrams).chunks(BATCH) {
        black_box(asked.answer(batch));
    }
    asked
}

/// A tracker over HTTP, and what it is to be asked.
struct Http {
    service: http::Service<Plain>,
    heads: Vec<(String, SocketAddr)>,
    out: Vec<u8>,
}

impl Http {
    /// Leechers of a swarm of so many come back.
    fn leechers(peers: u32) -> Self {
        Self::announces(peers, some_leechers(peers))
    }

    /// Seeders of a swarm of so many come back, which have uploaded.
    fn seeders(peers: u32) -> Self {
        Self::announces(peers, some_seeders(peers))
    }

    /// These peers of a swarm of so many come back.
    fn announces(peers: u32, returning: impl Iterator<Item = u32>) -> Self {
        let mut asked = Self { service: plain::http(), heads: Vec::new(), out: Vec::with_capacity(2048) };
        (1..=peers).for_each(|n| asked.answer(&head(n), client(n)));
        asked.heads = returning.map(|n| (head(n), client(n))).collect();
        asked
    }

    fn answer(&mut self, head: &str, from: SocketAddr) {
        self.out.clear();
        let mut room = Request::slots();
        let (request, _) = Request::parse(head.as_bytes(), &mut room).expect("well formed").expect("complete");
        let now = RequestTime { minute: NOW, uptime: Duration::ZERO };
        self.service.answer(&request, from.ip(), now, &mut self.out);
    }
}

#[library_benchmark]
#[bench::leecher_of_1(args = (1), setup = Http::leechers, config = costs(6_409))]
#[bench::leecher_of_100(args = (100), setup = Http::leechers, config = costs(8_027))]
#[bench::seeder_of_100(args = (100), setup = Http::seeders, config = costs(7_904))]
fn over_http(mut asked: Http) -> Http {
    for (head, from) in std::mem::take(&mut asked.heads) {
        asked.answer(&head, from);
        black_box(&asked.out);
    }
    asked
}

/// Draws as many leechers of a swarm of so many as there are requests. In every swarm each fourth peer is a seeder.
fn some_leechers(peers: u32) -> impl Iterator<Item = u32> {
    let mut rng = Rng::with_seed(3);
    let drawn = std::iter::repeat_with(move || rng.u32(1..=peers));
    drawn.filter(|n| !n.is_multiple_of(4)).take(REQUESTS as usize)
}

/// Draws as many seeders of a swarm of so many (4 or more).
fn some_seeders(peers: u32) -> impl Iterator<Item = u32> {
    let mut rng = Rng::with_seed(3);
    (0..REQUESTS).map(move |_| 4 * rng.u32(1..=peers / 4))
}

/// So many instructions for each request, and what is allowed on top.
fn costs(instructions: u64) -> LibraryBenchmarkConfig {
    let percent: u64 = env::var(PERCENT_MORE_ALLOWED).map_or(10, |percent| percent.parse().expect("a whole number"));
    let limit = u64::from(REQUESTS) * instructions * (100 + percent) / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

library_benchmark_group!(name = requests, benchmarks = [over_udp, over_http]);
main!(library_benchmark_groups = requests);
