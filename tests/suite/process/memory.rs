//! What the process keeps of its memory when torrents are gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::udp::{Announce, Client, STOPPED};
use crate::flavour::only_without;
use crate::harness::{skip, tests};
use crate::tracker::{Start, Tracker};

tests![memory_comes_back_when_all_torrents_are_gone];

const TORRENTS: u32 = 60_000;
/// Announces that are under way at a time: fewer than a socket has room for.
const BATCH: u32 = 50;
/// The tracker's clock at its start: some seconds before the minute ends, and with it the time between two sweeps.
const CLOCK: &str = "@2030-01-01 00:00:48";
/// By then it has swept once, if it had not before the last peer left.
const UNTIL_NEXT_SWEEP: Duration = Duration::from_secs(75);

/// It listens to a clock of its own, and is swept early by it.
fn memory_comes_back_when_all_torrents_are_gone() {
    only_without("accesslist-white");
    // The monotonic clock stays the machine's: by it a thread sleeps.
    let real = ["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"];
    let start = Start::loopback().env("LD_PRELOAD", faketime()).env("FAKETIME", CLOCK);
    let tracker = real.into_iter().fold(start, |start, name| start.env(name, "1")).run();
    let client = Client::new(tracker.udp());
    // So that what is made with the first ones is there before.
    announce_all(&client, BATCH, 0);
    announce_all(&client, BATCH, STOPPED);
    let empty = resident(&tracker);
    announce_all(&client, TORRENTS, 0);
    let full = resident(&tracker);
    assert!(full > empty + 3_000_000, "{full} bytes with {TORRENTS} torrents, {empty} without");
    announce_all(&client, TORRENTS, STOPPED);
    let deadline = Instant::now() + UNTIL_NEXT_SWEEP;
    while resident(&tracker) > empty + (full - empty) / 4 {
        assert!(Instant::now() < deadline, "{} bytes of {full} are kept, {empty} before", resident(&tracker));
        thread::sleep(Duration::from_millis(50));
    }
}

fn announce_all(client: &Client, torrents: u32, event: u32) {
    for batch in (0..torrents).step_by(BATCH as usize) {
        for n in batch..batch + BATCH {
            let mut info_hash = [9; 20];
            info_hash[..4].copy_from_slice(&n.to_be_bytes());
            client.send(&Announce::leecher(info_hash, 1).event(event).packet(client.id, n));
        }
        (0..BATCH).for_each(|_| assert_eq!(client.receive()[..4], [0, 0, 0, 1], "an announce's reply"));
    }
}

/// Returns how many bytes of memory the process has.
pub(crate) fn resident(tracker: &Tracker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", tracker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// Returns Debian's library that makes a clock of its own for a process.
fn faketime() -> PathBuf {
    let name = |architecture| format!("/usr/lib/{architecture}-linux-gnu/faketime/libfaketime.so.1");
    let path = ["x86_64", "aarch64"].map(name).into_iter().find(|path| Path::new(path).exists());
    path.map_or_else(|| skip("this needs Debian's package libfaketime"), PathBuf::from)
}
