//! What a datagram costs when batches of them are answered, by the size of the tracker: half connects, half announces
//! that want 30 peers, a hundredth of the torrents with a fifth of the announces.
//!
//! `cargo bench -p opentracker-bench --bench batch`. Between two batches it writes over some memory, as the system does
//! for each datagram, so that little of the tracker stays in the nearest cache. What is printed is the best of some
//! rounds: others on the machine can only make it slower.

mod asked;
mod plain;

use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use opentracker::stats::Counters;
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{ConnectionIds, Question, Service};
use plain::{NOW, Plain};

/// Datagrams that are received, answered and sent together.
const BATCH: usize = 64;
const DATAGRAMS: usize = 200_000;
const ROUNDS: u32 = 8;
/// Bytes written over between two batches, and the size of a cache line.
const OVERWRITTEN: usize = 64 << 10;
const LINE: usize = 64;

/// Torrents, and peers of each.
const SHAPES: [(u32, u32); 4] = [(100, 100), (10_000, 128), (100_000, 10), (1_000_000, 1)];

type Datagram = (Vec<u8>, SocketAddr);

fn main() -> io::Result<()> {
    // Cargo passes `--bench`; its test runs pass nothing, and are to be short.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let mut out = io::stdout().lock();
    writeln!(out, "| torrents | peers of each | ns for each datagram |")?;
    writeln!(out, "| ---: | ---: | ---: |")?;
    for (torrents, peers) in SHAPES {
        let nanoseconds = if is_bench { measure(torrents, peers, DATAGRAMS, ROUNDS) } else { measure(10, 2, 100, 1) };
        writeln!(out, "| {torrents} | {peers} | {nanoseconds:.0} |")?;
    }
    Ok(())
}

fn measure(torrents: u32, peers: u32, datagrams: usize, rounds: u32) -> f64 {
    let tracker = Arc::new(plain::tracker());
    let mut service = Service::new(tracker, ids(), Counters::default().for_worker(), Rng::with_seed(1));
    let mut replies = vec![[0; REPLY_BUFFER_LEN]; BATCH];
    for peer in 0..peers {
        for torrent in 0..torrents {
            answer(&mut service, &[announce(torrent, peer)], &mut replies);
        }
    }
    let mut rng = Rng::with_seed(2);
    let asked: Vec<_> = (0..datagrams)
        .map(|_| {
            let torrent = (rng.f64().powi(3) * f64::from(torrents)) as u32;
            let announce = announce(torrent, rng.u32(..peers));
            if rng.bool() { announce } else { (asked::connect(), announce.1) }
        })
        .collect();
    let mut overwritten = vec![0_u8; OVERWRITTEN];
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let mut took = Duration::ZERO;
        for batch in asked.chunks(BATCH) {
            overwritten.iter_mut().step_by(LINE).for_each(|byte| *byte = byte.wrapping_add(1));
            black_box(&overwritten);
            let begun = Instant::now();
            answer(&mut service, batch, &mut replies);
            took += begun.elapsed();
        }
        best = best.min(took);
    }
    best.as_secs_f64() * 1e9 / asked.len() as f64
}

fn answer(service: &mut Service<Plain>, batch: &[Datagram], replies: &mut [[u8; REPLY_BUFFER_LEN]]) {
    let mut questions: Vec<_> =
        batch.iter().zip(replies).map(|((datagram, from), reply)| Question::new(datagram, *from, reply)).collect();
    service.answer(&mut questions, NOW.into());
    black_box(questions);
}

/// Peers share eight addresses, and their ports tell them apart.
fn announce(torrent: u32, peer: u32) -> Datagram {
    let from = SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + peer % 8), 6881));
    let connected = ids().slot(NOW.into()).issue(from.ip()).to_be_bytes();
    let mut rng = Rng::with_seed(torrent.into());
    let mut datagram = asked::announce(connected, std::array::from_fn(|_| rng.u8(..)), peer);
    datagram[92..96].copy_from_slice(&30_i32.to_be_bytes());
    datagram[96..98].copy_from_slice(&((peer / 8) as u16 + 1).to_be_bytes());
    (datagram, from)
}

fn ids() -> ConnectionIds {
    ConnectionIds::new((1, 2), NonZero::new(2).expect("2"))
}
