//! What workers cost each other: announces over UDP by one worker, by as many as there are cores, and by many more.
//!
//! `cargo bench -p opentracker-bench --bench scale`. Each worker answers datagrams of its own, of one tracker that all
//! share, as fast as it can; no network is part of it, so that workers meet many times more often than they do when
//! nine tenths of their time are the system's. What is counted:
//!
//! - announces for each second of processor time, all workers together, beside those of as many workers that have a
//!   tracker each: what differs is what workers of one tracker cost each other. (Two that share nothing cost each other
//!   something too, on cores that share a cache, its memory or, unknown to a virtual machine, their arithmetic.)
//! - waits: how often a worker was put to sleep because another held the lock, for each million announces. With more
//!   workers than cores, one that holds a lock can lose its core.

mod asked;
mod plain;

use std::io::{self, Write as _};
use std::num::NonZero;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use opentracker::stats::Counters;
use opentracker::tracker::Tracker;
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{ConnectionIds, Question, Service};
use plain::{NOW, Plain};

/// Datagrams that a worker has ready, and goes through again and again.
const READY: usize = 20_000;
/// Datagrams that are received, answered and sent together.
const BATCH: usize = 64;
const PEERS: u32 = 200_000;
const SECONDS: u64 = 2;

/// Which torrents are announced.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    torrents: u32,
    /// The n-th of N torrents is the one at `N * u^skew` for a uniform `u`.
    skew: f64,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "10,000 torrents, all alike", torrents: 10_000, skew: 1.0 },
    Shape { name: "10,000 torrents, a hundredth has a fifth", torrents: 10_000, skew: 3.0 },
    Shape { name: "one torrent", torrents: 1, skew: 1.0 },
];

fn main() -> io::Result<()> {
    // Cargo passes `--bench`; its test runs pass nothing, and are to be short.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let seconds = Duration::from_secs(if is_bench { SECONDS } else { 0 });
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut out = io::stdout().lock();
    writeln!(out, "{cores} cores\n")?;
    writeln!(
        out,
        "| torrents | workers | announces per CPU second | with a tracker each | ratio | waits per million |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
    for shape in SHAPES {
        for workers in [1, cores, 4 * cores, 32 * cores] {
            let (one, waits) = measure(shape, workers, seconds, true);
            let (each, _) = measure(shape, workers, seconds, false);
            let ratio = one / each;
            writeln!(out, "| {} | {workers} | {one:.0} | {each:.0} | {ratio:.2} | {waits:.1} |", shape.name)?;
        }
    }
    Ok(())
}

/// Announces for each second of processor time, and waits for each million.
fn measure(shape: Shape, workers: usize, seconds: Duration, shared: bool) -> (f64, f64) {
    let tracker = full(shape);
    let counters = Counters::default();
    let begin = Arc::new(Barrier::new(workers));
    let workers: Vec<_> = (0..workers)
        .map(|n| {
            let tracker = if shared { tracker.clone() } else { full(shape) };
            let service = Service::new(tracker, ids(), counters.for_worker(), Rng::with_seed(n as u64));
            let datagrams = datagrams(shape, n as u64);
            let begin = begin.clone();
            thread::spawn(move || work(service, &datagrams, &begin, seconds))
        })
        .collect();
    let done: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("a worker")).collect();
    let announces: f64 = done.iter().map(|done| done.announces).sum();
    let cpu: f64 = done.iter().map(|done| done.cpu).sum();
    (announces / cpu, done.iter().map(|done| done.waits).sum::<f64>() / announces * 1e6)
}

struct Done {
    announces: f64,
    cpu: f64,
    waits: f64,
}

type Datagrams = Vec<(Vec<u8>, u32)>;

fn work(mut service: Service<Plain>, datagrams: &Datagrams, begin: &Barrier, seconds: Duration) -> Done {
    let mut replies = vec![[0; REPLY_BUFFER_LEN]; BATCH];
    let mut announces = 0.0;
    begin.wait();
    let before = usage();
    let started = Instant::now();
    loop {
        for batch in datagrams.chunks(BATCH) {
            let mut questions: Vec<_> = batch
                .iter()
                .zip(&mut replies)
                .map(|((datagram, n), reply)| Question::new(datagram, asked::client(*n), reply))
                .collect();
            service.answer(&mut questions, NOW.into());
            let answered = |question: &Question<'_>| question.answer().starts_with(&[0, 0, 0, 1]);
            assert!(questions.iter().all(answered), "announces are answered");
        }
        announces += datagrams.len() as f64;
        if started.elapsed() >= seconds {
            break;
        }
    }
    let after = usage();
    let waits = after.voluntary_context_switches() - before.voluntary_context_switches();
    Done { announces, cpu: seconds_of(&after) - seconds_of(&before), waits: waits as f64 }
}

/// Of this thread.
fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_THREAD).expect("Linux tells it")
}

fn seconds_of(usage: &Usage) -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn ids() -> ConnectionIds {
    ConnectionIds::new((1, 2), NonZero::new(2).expect("2"))
}

/// Of peers that are in the tracker already.
fn datagrams(shape: Shape, seed: u64) -> Datagrams {
    let mut rng = Rng::with_seed(seed);
    (0..READY)
        .map(|_| {
            let torrent = (rng.f64().powf(shape.skew) * f64::from(shape.torrents)) as u32;
            let n = rng.u32(..PEERS / shape.torrents) * shape.torrents + torrent;
            (announce(shape, n), n)
        })
        .collect()
}

fn full(shape: Shape) -> Arc<Tracker<Plain>> {
    let tracker = Arc::new(plain::tracker());
    let mut service = Service::new(tracker.clone(), ids(), Counters::default().for_worker(), Rng::with_seed(1));
    let mut reply = [0; REPLY_BUFFER_LEN];
    for n in 0..PEERS {
        let datagram = announce(shape, n);
        service.answer(&mut [Question::new(&datagram, asked::client(n), &mut reply)], NOW.into());
    }
    assert_eq!(tracker.store().census().peers.peers(), PEERS as usize);
    tracker
}

fn announce(shape: Shape, n: u32) -> Vec<u8> {
    let mut torrent = [7; 20];
    torrent[..4].copy_from_slice(&(n % shape.torrents).to_be_bytes());
    asked::announce(ids().slot(NOW.into()).issue(asked::client(n).ip()).to_be_bytes(), torrent, n)
}
