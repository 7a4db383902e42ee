//! Loads a UDP tracker on this machine (BEP 15), counts what comes back, and prints that as one line of JSON.
//!
//! ```sh
//! udp_load mix --to 127.0.0.1:6969 --seconds 5              # as fast as it answers: 8 sockets, 32 in flight each
//! udp_load mix --to 127.0.0.1:6969 --seconds 5 --rate 50000 # at a fixed rate, with latencies
//! udp_load fill --to 127.0.0.1:6969 --torrents 1000 --peers 10
//! udp_load leave --to 127.0.0.1:6969 --torrents 1000 --peers 10  # those peers stop
//! udp_load hashes --torrents 1000                           # what it will ask for: a list for trackers that need one
//! ```
//!
//! With `--rate`, each request has the time at which it is due. Latencies count from there, whether or not the loader
//! was on time, so that a tracker that stalls is not asked less meanwhile.
//!
//! With `--phases`, each line of the standard input ends a phase, and so does the end of it, which ends all. What came
//! back in each is printed on a line of its own, when all is over: that takes time in which nobody would be asked.

mod client;
mod latency;
mod phases;
mod request;
mod tally;

use std::io::{self, BufWriter, Write as _};
use std::mem;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::Client;
use opentracker_bench::arguments::{Arguments, Task};
use opentracker_bench::hashes::{aquatic_hashes, info_hash};
use opentracker_bench::population::Population;
use phases::Phases;
use tally::Tally;

/// How long the last answers may take, and how long none at all may come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often overdue requests are looked for.
const SWEEP: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let done = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| match arguments.task {
        Task::Hashes => print_hashes(&arguments).map_err(|error| error.to_string()),
        Task::Fill | Task::Leave | Task::Mix => load(&arguments).map_err(|error| error.to_string()),
        Task::Close | Task::KeepAlive => Err("that is http_load's".into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udp_load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_hashes(arguments: &Arguments) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |hash: [u8; 20]| {
        hash.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        writeln!(out)
    };
    if arguments.aquatic {
        aquatic_hashes().take(usize::try_from(arguments.torrents).unwrap_or(usize::MAX)).try_for_each(print)
    } else {
        (0..arguments.torrents).try_for_each(|torrent| print(info_hash(torrent)))
    }
}

fn load(arguments: &Arguments) -> io::Result<()> {
    if !arguments.to.ip().is_loopback() {
        return Err(io::Error::other("loads trackers on this machine only: give a loopback address"));
    }
    let population = Population {
        torrents: arguments.torrents,
        peers: arguments.peers,
        skew: arguments.skew,
        sockets: arguments.sockets,
    };
    let mut tally = Tally::default();
    let mut ended = Vec::new();
    let phases = arguments.phases.then(Phases::listen);
    let mut clients =
        (0..arguments.sockets).map(|n| Client::connect(n, population, arguments)).collect::<io::Result<Vec<_>>>()?;

    let mut pace = Pace::new(arguments);
    let mut swept = pace.begun;
    let mut heard = pace.begun;
    let mut phase_begun = pace.begun;
    loop {
        let now = Instant::now();
        let (past, is_last) = phases.as_ref().map_or((0, false), |phases| phases.past());
        if ended.len() < past {
            ended.push((mem::take(&mut tally), now - phase_begun));
            phase_begun = now;
        }
        if is_last {
            pace.end(now);
        }
        let mut received = 0;
        for client in &mut clients {
            received += client.receive(&mut tally)?;
            client.issue(&mut pace, &mut tally, now);
            client.send()?;
        }
        if received > 0 {
            heard = now;
        }
        if now - swept >= SWEEP {
            swept = now;
            clients.iter_mut().for_each(|client| client.sweep(&mut tally, now));
        }
        let in_flight: usize = clients.iter().map(Client::in_flight).sum();
        if in_flight == 0 && (pace.is_over(now) || clients.iter().all(Client::is_done)) {
            break;
        }
        if now - heard > PATIENCE && (in_flight > 0 || arguments.rate.is_none()) {
            return Err(io::Error::other("the tracker does not answer any more"));
        }
        // At a fixed rate it is always busy: waking up would take longer than most answers.
        if received == 0 && arguments.rate.is_none() && !arguments.spins {
            client::wait_for_any(&clients)?;
        }
    }
    ended.push((tally, heard - phase_begun));
    ended.iter_mut().for_each(|(tally, elapsed)| tally.print(*elapsed, arguments));
    Ok(())
}

/// When requests are due.
pub(crate) struct Pace {
    begun: Instant,
    until: Option<Instant>,
    interval: Option<Duration>,
    issued: u64,
    most: u64,
}

impl Pace {
    fn new(arguments: &Arguments) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            until: arguments.seconds.map(|seconds| begun + seconds),
            interval: arguments.rate.map(|rate| Duration::from_secs(1) / rate),
            issued: 0,
            most: arguments.count,
        }
    }

    /// From now on none are due.
    fn end(&mut self, now: Instant) {
        self.until = Some(self.until.map_or(now, |until| until.min(now)));
    }

    fn is_over(&self, now: Instant) -> bool {
        self.issued >= self.most || self.until.is_some_and(|until| now >= until)
    }

    /// The time at which the next request is due, if that has come.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.is_over(now) {
            return None;
        }
        let due = match self.interval {
            None => now,
            // Multiplied as a float: a product of intervals of whole nanoseconds would drift by a percent.
            Some(interval) => self.begun + interval.mul_f64(self.issued as f64),
        };
        (due <= now).then(|| self.issued += 1).map(|()| due)
    }
}
