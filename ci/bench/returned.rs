//! What memory stays when peers go: resident megabytes of a tracker that is new, full, and swept afterwards.
//!
//! `cargo bench -p opentracker-bench --bench returned`. Two million peers, in torrents of their own and in large
//! swarms, announced by two workers, stop or time out, all of them or nine in ten. Each case is a process of its own.
//! Minutes are passed in. The server's sweeper is followed step by step: it sweeps, then returns what is vacant. How
//! long the longest of these returns took bounds what a worker waits for that needs memory meanwhile.

mod asked;
mod plain;

use std::io::{self, Write as _};
use std::num::NonZero;
use std::process::Command;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use fastrand::Rng;
use opentracker::server::heap;
use opentracker::stats::Counters;
use opentracker::tracker::{Minute, Tracker};
use opentracker::udp::service::REPLY_BUFFER_LEN;
use opentracker::udp::{ConnectionIds, Question, Service};
use plain::{NOW, Plain};

/// Datagrams that are received, answered and sent together.
const BATCH: usize = 64;
const WORKERS: u32 = 2;
const PEERS: u32 = 2_000_000;
/// Sweeps after which memory has come back.
const SWEEPS: u32 = 10;
const NO_EVENT: u32 = 0;
const STOPPED: u32 = 3;

/// A case, as it stands on the command line of its process.
struct Case {
    torrents: u32,
    peers: u32,
    /// They stop; else they time out.
    stop: bool,
    /// Of a hundred peers, those that stay.
    stay: u32,
}

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some(case) = Case::parse(&arguments) {
        return case.measure();
    }
    // Cargo passes `--bench`; its test runs pass nothing, and are to be short.
    let peers = if arguments.iter().any(|argument| argument == "--bench") { PEERS } else { PEERS / 1000 };
    let mut out = io::stdout().lock();
    writeln!(out, "| torrents | peers | go | stay | new, MB | full, MB | swept, MB | longest return, ms |")?;
    writeln!(out, "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
    for torrents in [peers, peers / 2000, 1] {
        for (stop, stay) in [(true, 0), (true, 10), (false, 0), (false, 10)] {
            let [torrents, peers, stay] = [torrents, peers, stay].map(|number| number.to_string());
            let case = ["case", &torrents, &peers, if stop { "stop" } else { "expire" }, &stay];
            let status = Command::new(env::current_exe()?).args(case).status()?;
            assert!(status.success(), "{case:?} ended with {status}");
        }
    }
    Ok(())
}

impl Case {
    fn parse(words: &[String]) -> Option<Self> {
        let [case, torrents, peers, go, stay] = words else { return None };
        let number = |word: &String| u32::from_str(word).ok();
        (case == "case").then_some(())?;
        Some(Self { torrents: number(torrents)?, peers: number(peers)?, stop: go == "stop", stay: number(stay)? })
    }

    fn measure(&self) -> io::Result<()> {
        heap::return_large_pieces();
        let tracker = Arc::new(plain::tracker());
        let new = resident()?;
        self.announce(&tracker, 0..100, NOW, NO_EVENT);
        let full = resident()?;
        assert_eq!(tracker.store().census().peers.peers(), self.peers as usize);
        let mut last = NOW;
        if self.stop {
            self.announce(&tracker, self.stay..100, NOW, STOPPED);
        } else {
            let later = NOW + 30;
            tracker.sweep(later, || {});
            self.announce(&tracker, 0..self.stay, later, NO_EVENT);
            // The last minute in which nobody has timed out yet.
            last = NOW + 45;
        }
        let longest = (1..=SWEEPS).map(|n| sweep(&tracker, last + n)).max().unwrap_or_default();
        let stayed = tracker.store().census().peers.peers();
        assert_eq!(stayed > 0, self.stay > 0, "{stayed} peers are left");
        let (torrents, peers, go) = (self.torrents, self.peers, if self.stop { "stop" } else { "time out" });
        let (swept, longest) = (resident()?, longest.as_secs_f64() * 1e3);
        writeln!(
            io::stdout(),
            "| {torrents} | {peers} | {go} | {stayed} | {new:.1} | {full:.1} | {swept:.1} | {longest:.1} |"
        )
    }

    /// Has those peers announced whose place in a hundred is one of these, by all workers at the same time.
    fn announce(&self, tracker: &Arc<Tracker<Plain>>, places: std::ops::Range<u32>, now: Minute, event: u32) {
        let counters = Counters::default();
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let service =
                    Service::new(tracker.clone(), ids(), counters.for_worker(), Rng::with_seed(u64::from(worker)));
                let peers = (worker..self.peers).step_by(WORKERS as usize);
                // Places are spread over workers, torrents and shards.
                let peers = peers.filter(|n| places.contains(&(n.wrapping_mul(0x9e37_79b1) / 7 % 100)));
                let peers: Vec<_> = peers.collect();
                scope.spawn(move || answer(service, &peers, self.torrents, now, event));
            }
        });
    }
}

fn answer(mut service: Service<Plain>, peers: &[u32], torrents: u32, now: Minute, event: u32) {
    let slot = ids().slot(now.into());
    let mut replies = vec![[0; REPLY_BUFFER_LEN]; BATCH];
    for batch in peers.chunks(BATCH) {
        let datagrams: Vec<_> = batch
            .iter()
            .map(|n| {
                let mut torrent = [7; 20];
                torrent[..4].copy_from_slice(&(n % torrents).to_be_bytes());
                let connection_id = slot.issue(asked::client(*n).ip()).to_be_bytes();
                let mut datagram = asked::announce(connection_id, torrent, *n);
                datagram[80..84].copy_from_slice(&event.to_be_bytes());
                datagram
            })
            .collect();
        let asked = batch.iter().zip(&datagrams).zip(&mut replies);
        let mut questions: Vec<_> =
            asked.map(|((n, datagram), reply)| Question::new(datagram, asked::client(*n), reply)).collect();
        service.answer(&mut questions, now.into());
        let answered = |question: &Question<'_>| question.answer().starts_with(&[0, 0, 0, 1]);
        assert!(questions.iter().all(answered), "announces are answered");
    }
}

/// In a thread of its own, as the server does. Returns how long it took to return what is vacant.
fn sweep(tracker: &Tracker<Plain>, now: Minute) -> Duration {
    let work = || {
        tracker.sweep(now, thread::yield_now);
        let begun = Instant::now();
        heap::return_vacant_pages();
        begun.elapsed()
    };
    thread::scope(|scope| scope.spawn(work).join().expect("a sweep"))
}

fn ids() -> ConnectionIds {
    ConnectionIds::new((1, 2), NonZero::new(2).expect("2"))
}

/// Megabytes in memory.
fn resident() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next());
    let kilobytes: f64 = kilobytes.and_then(|number| number.parse().ok()).expect("Linux tells it");
    Ok(kilobytes * 1024.0 / 1e6)
}
