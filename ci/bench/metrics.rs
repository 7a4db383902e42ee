//! What `metrics` adds to an announce over HTTP: the same announce, from the bytes of its head to those of its reply,
//! in a worker with the switch and in one without. Over UDP there is nothing to compare: it is the same code.
//!
//! `cargo bench -p opentracker-bench --features metrics --bench metrics`. The network is not part of it: the system
//! spends several times as long on a connection as the tracker spends on what comes over it.

mod asked;
mod plain;

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use opentracker::config::Settings;
use opentracker::http::HttpFlavour;
use opentracker::http::flavour::{RequestTimes, Untimed, WorkerTimes as _};
use opentracker::http::request::{Request, RequestTime};
use opentracker::server::Plug as _;
use opentracker::switches::ThisBuild;

type Times = <ThisBuild as HttpFlavour>::RequestTimes;

const HEAD: &[u8] =
    b"GET /announce?info_hash=%01%23Eg%89%ab%cd%ef%01%23Eg%89%ab%cd%ef%01%23Eg&peer_id=-BE0001-abcdefghijkl\
    &port=6881&uploaded=0&downloaded=0&left=1&compact=1&numwant=50 HTTP/1.1\r\nHost: tracker.example:6969\r\n\
    User-Agent: bench\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
const PEERS: u32 = 1000;

/// Answers as a worker of the tracker does.
fn announces<M: RequestTimes>(criterion: &mut Criterion, name: &str, request_times: M) {
    let times = request_times.for_worker();
    let mut service = plain::http_with(request_times);
    let started = Instant::now();
    let mut rng = Rng::with_seed(2);
    let mut out = Vec::with_capacity(2048);
    let mut answer = |n: u32| {
        let client = asked::client(n).ip();
        out.clear();
        let mut room = Request::slots();
        let Ok(Some((request, _))) = Request::parse(black_box(HEAD), &mut room) else { panic!("no request") };
        let now = RequestTime { minute: plain::NOW, uptime: started.elapsed() };
        let next = service.answer(&request, client, now, &mut out);
        if M::LISTENS {
            times.add(started.elapsed().saturating_sub(now.uptime));
        }
        black_box((next.keep_alive(), out.len()))
    };
    for n in 0..PEERS {
        answer(n);
    }
    criterion.bench_function(name, |bencher| bencher.iter(|| answer(rng.u32(..PEERS))));
}

fn both(criterion: &mut Criterion) {
    announces(criterion, "http-announce/without", Untimed);
    let times = Times::plug((), &Settings::default()).expect("nothing can go wrong");
    announces(criterion, "http-announce/with", times);
}

criterion_group!(benches, both);
criterion_main!(benches);
