//! SIGTERM and SIGINT while the tracker starts: it ends, whatever it reads at that moment.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::input::{make_pipe, options};
use crate::flavour::{has, only_with};
use crate::harness::{skip, tests};
use crate::tracker::{Start, Tracker, only_as_root};
use crate::wait::wait_until;

tests![
    a_start_that_reads_a_long_state_file_ends,
    a_start_that_reads_a_long_list_ends,
    a_start_that_waits_for_its_configuration_ends_with_a_code_of_its_own,
    process_1_of_a_container_ends_too,
];

const SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Bytes that no machine has read before its test is over.
const LONGEST: u64 = 1 << 42;

/// Makes a file of so many zero bytes, which takes no room: a single line that is no good.
fn make_long(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// Waits until a process has a file of this name open to be read. For a moment it has all that its test has open, which
/// is open to be written, too.
fn wait_until_open(process: Pid, name: &str) {
    let directory = format!("/proc/{process}");
    let is_read = |descriptor: &DirEntry| {
        let info = Path::new(&directory).join("fdinfo").join(descriptor.file_name());
        let info = fs::read_to_string(info).unwrap_or_default();
        let flags = info.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        let is_read_only =
            flags.is_some_and(|flags| OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY);
        is_read_only && fs::read_link(descriptor.path()).is_ok_and(|target| target.ends_with(name))
    };
    let is_open = || {
        let mut descriptors = fs::read_dir(format!("{directory}/fd")).into_iter().flatten().flatten();
        descriptors.any(|descriptor| is_read(&descriptor)).then_some(())
    };
    wait_until(is_open).unwrap_or_else(|| panic!("process {process} does not read {name}"));
}

/// Interrupts a start that reads `bytes` zero bytes as the file of this option.
fn interrupt_reading(option: &str, bytes: u64) {
    for signal in SIGNALS {
        let start = Start::loopback();
        make_long(&start.path("long"), bytes);
        let tracker = start.args([option, "long"]).run_unnotified();
        wait_until_open(tracker.pid(), "long");
        let log = tracker.stop_by(signal);
        assert!(!log.contains("listening on"), "it had started:\n{log}");
    }
}

/// A start whose configuration comes through a pipe of this name. What is returned holds the pipe open.
fn configured_by_pipe(start: Start, name: &str) -> (Start, File) {
    let path = start.path(name);
    make_pipe(&path);
    let mut held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    held.write_all(b"tracker.user a\n").unwrap();
    (start.args([OsStr::new("-f"), path.as_os_str()]), held)
}

/// Returns the process that `unshare` has made, as process 1 of a container.
fn process_1(tracker: &Tracker) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", tracker.pid());
    let first = wait_until(|| fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok());
    Pid::from_raw(first.expect("a child"))
}

fn a_start_that_reads_a_long_state_file_ends() {
    only_with("fullscrape");
    interrupt_reading("-l", LONGEST);
}

fn a_start_that_reads_a_long_list_ends() {
    let list = options().into_iter().find(|(option, _)| *option != "-l");
    let Some((option, _)) = list else { skip("this build has no access list") };
    // There has to be room for as many hashes as it could have. Were it read to its end, it would be refused.
    interrupt_reading(option, 1 << 32);
}

fn a_start_that_waits_for_its_configuration_ends_with_a_code_of_its_own() {
    for (signal, code) in SIGNALS.into_iter().zip([143, 130]) {
        for args in [&[][..], &["--check-config"]] {
            let (start, _held) = configured_by_pipe(Start::without_options().args(args), "pipe");
            let tracker = start.run_unnotified();
            wait_until_open(tracker.pid(), "pipe");
            let process = tracker.pid();
            let exit = tracker.interrupt(process, signal);
            assert_eq!((exit.code, &*exit.stdout, &*exit.stderr), (Some(code), "", ""), "{signal}");
        }
    }
}

fn process_1_of_a_container_ends_too() {
    only_as_root();
    // The system spares it what signals do by default.
    let contained = |start: Start| start.wrapped(&["unshare", "--pid", "--fork", "--kill-child"]);
    for (signal, code) in SIGNALS.into_iter().zip([143, 130]) {
        let (start, _held) = configured_by_pipe(Start::without_options(), "pipe");
        let tracker = contained(start).run_unnotified();
        let process = process_1(&tracker);
        wait_until_open(process, "pipe");
        assert_eq!(tracker.interrupt(process, signal).code, Some(code), "{signal}");
        if has("fullscrape") {
            let start = Start::loopback().args(["-l", "long"]);
            make_long(&start.path("long"), LONGEST);
            let tracker = contained(start).run_unnotified();
            let process = process_1(&tracker);
            wait_until_open(process, "long");
            assert_eq!(tracker.interrupt(process, signal).code, Some(0), "{signal}");
        }
    }
}
