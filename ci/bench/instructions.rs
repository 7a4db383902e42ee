//! What requests cost in instructions: the figures that CI holds.
//!
//! `ci/bench/instructions`. Unlike times they are the same on a busy machine. They say nothing of caches, which
//! `announce.rs` measures, and nothing of the system.
//!
//! Each benchmark answers [`REQUESTS`] requests. It fails when one of them takes more instructions than the figure
//! beside it and what `PERCENT_MORE_ALLOWED` allows on top. The figure is what it took when that was committed;
//! whoever makes it cheaper commits the new one.
//!
//! All announces are of one torrent: the dearest case, since those of a batch are then carried out one by one.

mod asked;
mod counted;
mod plain;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use asked::{client, head};
use counted::{BATCH, REQUESTS, Udp, costs};
use fastrand::Rng;
use gungraun::{library_benchmark, library_benchmark_group, main};
use opentracker::http;
use opentracker::http::request::{Request, RequestTime};
use opentracker::tracker::Standalone;
use plain::{NOW, Plain};

/// It is asked to connect.
fn connects() -> Udp {
    let mut asked = Udp::new(Standalone);
    asked.datagrams = (0..REQUESTS).map(|n| (asked::connect(), client(n))).collect();
    asked
}

/// Leechers of a swarm of so many come back.
fn leechers(peers: u32) -> Udp {
    announces(peers, some_leechers(peers))
}

/// Seeders of a swarm of so many come back, which have uploaded.
fn seeders(peers: u32) -> Udp {
    announces(peers, some_seeders(peers))
}

/// These peers of a swarm of so many come back.
fn announces(peers: u32, returning: impl Iterator<Item = u32>) -> Udp {
    let mut asked = Udp::new(Standalone);
    asked.fill(peers);
    asked.ask(returning);
    asked
}

/// It is asked of a torrent.
fn scrapes() -> Udp {
    let mut asked = leechers(100);
    for (datagram, _) in &mut asked.datagrams {
        datagram.truncate(36);
        datagram[8..12].copy_from_slice(&2_u32.to_be_bytes());
    }
    asked
}

#[library_benchmark]
#[bench::connect(args = (), setup = connects, config = costs(313))]
#[bench::scrape(args = (), setup = scrapes, config = costs(736))]
#[bench::leecher_of_1(args = (1), setup = leechers, config = costs(1_481))]
#[bench::leecher_of_100(args = (100), setup = leechers, config = costs(2_962))]
#[bench::leecher_of_10_000(args = (10_000), setup = leechers, config = costs(3_454))]
#[bench::seeder_of_100(args = (100), setup = seeders, config = costs(2_812))]
#[bench::seeder_of_10_000(args = (10_000), setup = seeders, config = costs(3_323))]
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

library_benchmark_group!(name = requests, benchmarks = [over_udp, over_http]);
main!(library_benchmark_groups = requests);
