//! The steps of an announce, each for itself, and of a sweep: parse, look at the connection id, select, expire, encode.
//!
//! `cargo bench -p opentracker-bench --bench steps`. What they cost together, `announce.rs` and `metrics.rs` say.

mod asked;
mod plain;

use std::hint::black_box;
use std::num::NonZero;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use opentracker::http::request::{Request, RequestTime};
use opentracker::tracker::ScrapeCounts;
use opentracker::tracker::keyed_hash::HashKey;
use opentracker::tracker::peer::{Peer as _, PeerState, PeerV4};
use opentracker::tracker::select::Plan;
use opentracker::tracker::table::Table;
use opentracker::tracker::{AnnounceRequest, Event, InfoHash, Minute, PeerRequest, Tracker};
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{ConnectionIds, packet};
use plain::{NOW, Plain};

const WANTED: usize = 50;

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let datagram = asked::announce([1; 8], [7; 20], 3);
    group.bench_function("udp-announce", |bencher| bencher.iter(|| packet::parse(black_box(&datagram))));
    let scrape = [&datagram[..8], &2_u32.to_be_bytes(), &[0; 4 + 74 * 20]].concat();
    group.bench_function("udp-scrape-of-74", |bencher| {
        bencher.iter(|| match packet::parse(black_box(&scrape)).map(|request| request.action) {
            Some(packet::Action::Scrape(hashes)) => hashes.iter().map(|hash| hash.0[19]).fold(0, u8::wrapping_add),
            other => panic!("{other:?}"),
        });
    });
    let head = asked::head(3);
    group.bench_function("http-head", |bencher| {
        bencher.iter(|| {
            let mut room = Request::slots();
            Request::parse(black_box(head.as_bytes()), &mut room).is_ok_and(|parsed| parsed.is_some())
        });
    });
    group.bench_function("http-query", |bencher| {
        let mut room = Request::slots();
        let parsed = Request::parse(head.as_bytes(), &mut room).expect("well formed").expect("complete");
        let query = parsed.0.query().expect("it has one");
        bencher.iter(|| {
            let values = black_box(query).pairs().map(|(_, value)| value.bytes().filter(Result::is_ok).count());
            values.sum::<usize>()
        });
    });
    group.finish();
}

fn connection_ids(criterion: &mut Criterion) {
    let slot = ConnectionIds::new((1, 2), NonZero::new(2).expect("2")).slot(NOW.into());
    let address = asked::client(1).ip();
    let id = slot.issue(address);
    let mut group = criterion.benchmark_group("connection-id");
    group.bench_function("issue", |bencher| bencher.iter(|| slot.issue(black_box(address))));
    group.bench_function("accept", |bencher| bencher.iter(|| slot.accepts(black_box(id), address)));
    group.finish();
}

fn peer(n: u32, minute: Minute) -> PeerV4 {
    PeerV4::at(asked::client(n)).expect("an IPv4 peer").with_state(PeerState::new(minute, false, false))
}

/// From an array, as small swarms have, and from the blocks of large ones.
fn selection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    let key = HashKey::from_bytes(&std::array::from_fn(|i| (i * 91 + 5) as u8));
    let mut rng = Rng::with_seed(1);
    let mut out = [0; WANTED * 8];
    for peers in [10, 64] {
        let array: Vec<_> = (0..peers).map(|n| peer(n, NOW)).collect();
        group.bench_function(BenchmarkId::new("array", peers), |bencher| {
            bencher.iter(|| {
                let selection = Plan::draw(&mut rng).of_leechers(WANTED, array.len() - 1);
                selection.take(&*array, &array[0], black_box(&mut out))
            });
        });
    }
    for peers in [100, 10_000, 1_000_000] {
        let mut table = Table::with_room_for(0);
        (0..peers).for_each(|n| table.insert(&key, peer(n, NOW)));
        group.bench_function(BenchmarkId::new("table", peers), |bencher| {
            bencher.iter(|| {
                let selection = Plan::draw(&mut rng).of_leechers(WANTED, table.len() - 1);
                selection.take(&table, &peer(0, NOW), black_box(&mut out))
            });
        });
    }
    group.finish();
}

/// A tracker with 100,000 peers.
fn full(torrents: u32) -> Tracker<Plain> {
    let (tracker, mut rng) = (plain::tracker(), Rng::with_seed(1));
    for n in 0..100_000 {
        let mut info_hash = InfoHash::default();
        info_hash.0[..4].copy_from_slice(&(n % torrents).to_be_bytes());
        let announce = AnnounceRequest {
            info_hash,
            endpoint: asked::client(n),
            seeder: n % 4 == 0,
            uploaded: false,
            event: Event::Update,
        };
        tracker.announce(&announce, NOW, &mut rng, &mut PeerRequest::none()).expect("an open tracker");
    }
    tracker
}

/// A whole sweep over 100,000 peers: of whom nobody has expired, and of whom all have.
fn expire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expire-100000");
    group.throughput(Throughput::Elements(100_000)).sample_size(20).measurement_time(Duration::from_secs(8));
    for torrents in [1, 1_000, 100_000] {
        let tracker = full(torrents);
        group
            .bench_function(BenchmarkId::new("nobody", torrents), |bencher| bencher.iter(|| tracker.sweep(NOW, || ())));
        group.bench_function(BenchmarkId::new("everybody", torrents), |bencher| {
            let later = Minute(NOW.0 + 50);
            bencher.iter_batched_ref(|| full(torrents), |tracker| tracker.sweep(later, || ()), BatchSize::PerIteration);
        });
        // That those were the cases that they are called.
        assert_eq!(tracker.store().census().peers.peers(), 100_000);
        tracker.sweep(Minute(NOW.0 + 50), || ());
        assert_eq!(tracker.store().census().peers.peers(), 0);
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let counts = ScrapeCounts { seeders: 12, leechers: 345, downloaded: 6789 };
    let mut reply = [0; REPLY_BUFFER_LEN];
    group.bench_function("udp-announce-without-peers", |bencher| {
        bencher.iter(|| {
            packet::begin_announce(black_box(&mut reply), 1);
            packet::end_announce(black_box(&mut reply), 1800, counts);
        });
    });
    group.bench_function("udp-connect", |bencher| {
        bencher.iter(|| packet::write_connect(black_box(&mut reply), 1, 2));
    });
    group.bench_function("udp-scrape-of-74", |bencher| {
        bencher.iter(|| {
            let len = packet::begin_scrape(&mut reply, 1);
            (0..packet::MAX_SCRAPE).fold(len, |len, _| packet::add_scraped(black_box(&mut reply), len, counts))
        });
    });
    let mut http = plain::http();
    let mut out = Vec::with_capacity(2048);
    let head = asked::head(3);
    // With what lies between the request and the reply, in a swarm of one: its reply has no peers.
    group.bench_function("http-announce-answered", |bencher| {
        let mut room = Request::slots();
        let (request, _) = Request::parse(head.as_bytes(), &mut room).expect("well formed").expect("complete");
        let now = RequestTime { minute: NOW, uptime: Duration::ZERO };
        bencher.iter(|| {
            out.clear();
            black_box(http.answer(&request, asked::client(3).ip(), now, &mut out));
        });
    });
    group.finish();
}

criterion_group!(benches, parse, connection_ids, selection, expire, encode);
criterion_main!(benches);
