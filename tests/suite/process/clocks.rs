//! Clocks that jump, machines that sleep, and the first and the last minute that the tracker knows.
//!
//! The clocks of the machine are left alone: a library that is preloaded ([`LIBRARY`]) moves those of one tracker.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::clients::http;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{BINARY, info_hash};
use crate::harness::{skip, tests};
use crate::programs::output;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    when_the_wall_clock_jumps_nothing_happens,
    who_is_silent_while_the_machine_sleeps_is_forgotten,
    a_tracker_runs_from_the_first_minute_of_the_epoch_to_the_last,
];

const LIBRARY: &str = include_str!("clocks.c");
const DAY: i64 = 24 * 60 * 60;

/// The clocks of one tracker.
pub(crate) struct Clocks(File);

impl Clocks {
    /// Begins with clocks that are right, in a tracker that is about to be started.
    pub(crate) fn of(start: Start) -> (Self, Start) {
        if !fs::read(&*BINARY).unwrap().windows(4).take(4096).any(|bytes| bytes == b"/ld-") {
            skip("this program is linked statically: nothing can be preloaded");
        }
        let [source, library, offsets] = ["clocks.c", "clocks.so", "offsets"].map(|name| start.path(name));
        fs::write(&source, LIBRARY).unwrap();
        let flags = ["-shared", "-fPIC", "-O1", "-o"];
        match output(Command::new("cc").args(flags).args([&library, &source])) {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => skip(&format!("there is no C compiler: {error}")),
        }
        let clocks = Self(File::create(&offsets).unwrap());
        clocks.set_wall_clock(0);
        clocks.sleep(0);
        clocks.pass(0);
        (clocks, start.env("LD_PRELOAD", library).env("CLOCK_OFFSETS", offsets))
    }

    /// Sets the wall clock ahead of the right time, or behind it.
    pub(crate) fn set_wall_clock(&self, seconds: i64) {
        self.0.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Lets the clock that counts sleep be ahead of the right time.
    pub(crate) fn sleep(&self, seconds: i64) {
        self.0.write_all_at(&seconds.to_ne_bytes(), 8).unwrap();
    }

    /// Lets the clock that does not count sleep be ahead of the right time: that by which the tracker is patient. It
    /// looks at it when something wakes it.
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.write_all_at(&seconds.to_ne_bytes(), 16).unwrap();
    }
}

/// Begins with a clock that has just begun a minute: what a test does at first, it does within one.
pub(crate) fn at_the_beginning_of_a_minute(start: Start) -> (Clocks, Start) {
    let (clocks, start) = Clocks::of(start);
    clocks.set_wall_clock(-(wall_clock() % 60));
    (clocks, start)
}

/// The right time, in seconds since the Unix epoch.
fn wall_clock() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

/// The seconds for which the tracker says that it has been running.
fn uptime(tracker: &Tracker) -> u64 {
    let page = http::get(tracker.http(), "/stats?mode=everything").text();
    let (_, rest) = page.split_once("<uptime>").unwrap_or_else(|| panic!("{page}"));
    rest.split('<').next().unwrap().parse().unwrap()
}

fn when_the_wall_clock_jumps_nothing_happens() {
    let (clocks, start) = Clocks::of(Start::loopback());
    let tracker = start.run();
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(0), 1));
    let check = |seconds: i64, n: u16| {
        clocks.set_wall_clock(seconds);
        // Eight peers, over and over again.
        let reply = client.announce(&Announce::leecher(info_hash(1), n % 8 + 1));
        assert_eq!(reply.leechers, u32::from(n.min(8)), "nobody is gone, and the id is good, at {seconds}");
        assert_eq!(client.counts(info_hash(0)), (0, 0, 1), "at {seconds}");
        assert!(n % 50 > 5 || uptime(&tracker) < 600, "at {seconds}");
    };
    let jumps = [DAY, -DAY, 0, 400 * DAY, -wall_clock() - DAY];
    let backwards = (1..=1000).map(|minutes| -60 * minutes);
    jumps.into_iter().chain(backwards).zip(1..).for_each(|(seconds, n)| check(seconds, n));
    assert_eq!(client.connect(), client.id, "it would be given the same id again, but for the turn of an hour");
    tracker.stop();
}

fn who_is_silent_while_the_machine_sleeps_is_forgotten() {
    /// For how long the first minute of the tracker lasts, at the end of which it sweeps.
    const FIRST_MINUTE: i64 = 6;
    for sleep in [3 * 60 * 60, 10 * DAY] {
        // On a machine that is too slow the sweep is over before the sleep begins: then once more.
        let forgotten = (0..10).find_map(|_| {
            let (clocks, start) = Clocks::of(Start::loopback());
            clocks.set_wall_clock(60 - FIRST_MINUTE - wall_clock() % 60);
            let before = Instant::now();
            let tracker = start.run();
            let mut client = Client::new(tracker.udp());
            client.announce(&Announce::leecher(info_hash(0), 1));
            clocks.sleep(sleep);
            if before.elapsed() > Duration::from_secs(FIRST_MINUTE as u64 - 2) {
                return None;
            }
            assert_eq!(client.refusal(&Announce::leecher(info_hash(0), 2)), "Connection ID missmatch.\0");
            client.id = client.connect();
            wait_until(|| (client.counts(info_hash(0)) == (0, 0, 0)).then_some(()))?;
            client.announce(&Announce::leecher(info_hash(0), 3));
            assert_eq!(client.counts(info_hash(0)), (0, 0, 1), "the tracker serves on");
            tracker.stop();
            Some(())
        });
        assert!(forgotten.is_some(), "a sleep of {sleep} s");
    }
}

fn a_tracker_runs_from_the_first_minute_of_the_epoch_to_the_last() {
    let last = 60 * i64::from(u32::MAX);
    for begin in [-DAY, 0, 59, last - 60 * 60, last - 1, last, last + DAY] {
        let (clocks, start) = Clocks::of(Start::loopback());
        clocks.set_wall_clock(begin - wall_clock());
        let tracker = start.run();
        let client = Client::new(tracker.udp());
        for port in 1..=3 {
            client.announce(&Announce::leecher(info_hash(0), port));
            assert_eq!(client.counts(info_hash(0)), (0, 0, port.into()), "{begin}");
        }
        clocks.sleep(60);
        let client = Client::new(tracker.udp());
        client.announce(&Announce::leecher(info_hash(0), 1));
        assert_eq!(client.counts(info_hash(0)), (0, 0, 3), "{begin}, a minute later");
        tracker.stop();
    }
}
