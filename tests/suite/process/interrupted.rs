//! SIGTERM and SIGINT while the tracker starts: it ends, whatever it reads at that moment.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use nix::sys::signal::Signal;

use super::input::{make_pipe, options};
use crate::flavour::only_with;
use crate::harness::tests;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    a_start_that_reads_a_long_state_file_ends,
    a_start_that_reads_a_long_list_ends,
    a_start_that_waits_for_its_configuration_ends_by_the_signal,
];

const SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Makes a file of so many zero bytes, which takes no room: a single line that is no good.
fn make_long(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// Waits until the tracker has a file of this name open.
fn wait_until_open(tracker: &mut Tracker, name: &str) {
    let descriptors = format!("/proc/{}/fd", tracker.pid());
    let is_open = || {
        let targets = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let mut targets = targets.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        targets.any(|target| target.ends_with(name)).then_some(())
    };
    let opened = wait_until(|| is_open().or(tracker.has_ended().then_some(())));
    assert!(opened.is_some() && !tracker.has_ended(), "it does not read {name}:\n{}", tracker.log());
}

/// Interrupts a start that reads `bytes` zero bytes as the file of this option.
fn interrupt_reading(option: &str, bytes: u64) {
    for signal in SIGNALS {
        let start = Start::loopback();
        make_long(&start.path("long"), bytes);
        let mut tracker = start.args([option, "long"]).run_unnotified();
        wait_until_open(&mut tracker, "long");
        let log = tracker.stop_by(signal);
        assert!(!log.contains("listening on"), "it had started:\n{log}");
    }
}

fn a_start_that_reads_a_long_state_file_ends() {
    only_with("fullscrape");
    // No machine is through with it before the test is.
    interrupt_reading("-l", 1 << 42);
}

fn a_start_that_reads_a_long_list_ends() {
    let list = options().into_iter().find(|(option, _)| *option != "-l");
    let Some((option, _)) = list else { crate::harness::skip("this build has no access list") };
    // There has to be room for as many hashes as it could have. Were it read to its end, it would be refused.
    interrupt_reading(option, 1 << 32);
}

fn a_start_that_waits_for_its_configuration_ends_by_the_signal() {
    for signal in SIGNALS {
        let start = Start::without_options();
        let path = start.path("pipe");
        make_pipe(&path);
        let mut held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        held.write_all(b"tracker.user a\n").unwrap();
        let mut tracker = start.args([OsStr::new("-f"), path.as_os_str()]).run_unnotified();
        wait_until_open(&mut tracker, "pipe");
        tracker.ends_by(signal);
    }
}
