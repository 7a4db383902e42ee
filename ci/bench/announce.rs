//! What an announce costs in swarms of one peer to a million, and what a scrape costs.
//!
//! `cargo bench -p opentracker-bench`. Each announce is that of a peer that is in the swarm already, chosen at
//! random, and asks for 50 peers: what a tracker does most of the time.

mod asked;
mod plain;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use opentracker::tracker::{AnnounceRequest, Event, InfoHash, PeerBuffer, PeerBuffers, PeerRequest, Tracker};
use plain::{NOW, Plain};

const TORRENT: InfoHash = InfoHash([7; 20]);
const WANTED: usize = 50;
const BUFFER: usize = WANTED * 6 + PeerBuffer::SPARE;

/// The n-th peer; one in four is a seeder.
fn announce(n: u32, event: Event) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: TORRENT,
        endpoint: asked::client(n),
        seeder: n.is_multiple_of(4),
        uploaded: false,
        event,
    }
}

fn wanting(out: &mut [u8]) -> PeerRequest<'_> {
    PeerRequest { wanted: WANTED, into: PeerBuffers::Ipv4(PeerBuffer::new(out)) }
}

fn swarm(peers: u32) -> Tracker<Plain> {
    let mut rng = Rng::with_seed(1);
    let tracker = plain::tracker();
    for n in 0..peers {
        tracker
            .announce(&announce(n, Event::Update), NOW, &mut rng, &mut PeerRequest::none())
            .expect("an open tracker");
    }
    tracker
}

fn announces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("announce");
    for peers in [1, 2, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let tracker = swarm(peers);
        let mut rng = Rng::with_seed(2);
        let mut out = [0; BUFFER];
        group.bench_function(BenchmarkId::from_parameter(peers), |bencher| {
            bencher.iter(|| {
                let asked = announce(rng.u32(..peers), Event::Update);
                black_box(tracker.announce(&asked, NOW, &mut rng, &mut wanting(black_box(&mut out))))
            });
        });
    }
    group.finish();
}

/// A peer comes and leaves again.
fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("come-and-go");
    for peers in [1, 100, 10_000, 1_000_000] {
        let tracker = swarm(peers);
        let mut rng = Rng::with_seed(3);
        let mut out = [0; BUFFER];
        group.bench_function(BenchmarkId::from_parameter(peers), |bencher| {
            bencher.iter(|| {
                let newcomer = peers + rng.u32(..1000);
                for event in [Event::Update, Event::Stopped] {
                    let asked = announce(newcomer, event);
                    let _ = black_box(tracker.announce(&asked, NOW, &mut rng, &mut wanting(black_box(&mut out))));
                }
            });
        });
    }
    group.finish();
}

fn scrapes(criterion: &mut Criterion) {
    let tracker = swarm(100);
    criterion.bench_function("scrape", |bencher| bencher.iter(|| tracker.scrape(black_box(&TORRENT))));
}

criterion_group!(benches, announces, come_and_go, scrapes);
criterion_main!(benches);
