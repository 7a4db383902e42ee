//! The log, and whoever reads it or does not.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use nix::fcntl::OFlag;
use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use crate::clients::http::{Connection, request};
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{info_hash, loopback, loopbacks, upper_hex};
use crate::harness::tests;
use crate::http::{announce, announce_target, counts};
use crate::switches::access_list::{is_served, list, only_with_an_access_list};
use crate::tracker::{Start, Tracker, unused_port};
use crate::wait::wait_until;

tests![
    a_log_that_nobody_reads_stops_neither_the_workers_nor_the_end,
    a_start_that_fails_does_not_wait_for_whoever_reads,
    what_a_reader_who_stalled_has_missed_is_counted,
    a_log_that_cannot_be_written_is_no_error,
    nothing_that_is_logged_begins_a_line_or_moves_the_cursor,
    completed_downloads_are_logged_one_by_one_where_that_is_asked_for,
    levels_of_targets_hold_for_these_alone,
    the_journal_gets_priorities_and_no_times,
];

/// A tracker whose log goes to a pipe.
struct Piped {
    tracker: Tracker,
    log: BufReader<File>,
    /// What it has said at the start.
    said: Vec<String>,
}

impl Piped {
    /// Starts it, and reads its log as far as it says at the start.
    fn start(start: Start) -> Self {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let tracker = start.logging_to(writer).run();
        let mut piped = Self { tracker, log: BufReader::new(reader.into()), said: Vec::new() };
        while piped.said.last().is_none_or(|line| !line.contains("features: ")) {
            let line = piped.next_line();
            piped.said.push(line);
        }
        piped
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.log.read_line(&mut line).unwrap() > 0, "the log has ended");
        line
    }

    fn listens_on(&self, protocol: &str) -> SocketAddr {
        let mark = format!("listening on {protocol} ");
        let address = self.said.iter().find_map(|line| line.split_once(&mark)).unwrap().1;
        address.trim_end().parse().unwrap()
    }
}

/// Fills a pipe, as if its reader had stalled long ago.
fn fill(reader: &File) {
    // Opened anew, so that the tracker's end still waits for room.
    let end = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut pipe = File::options().write(true).custom_flags(O_NONBLOCK).open(end).unwrap();
    for piece in [&[b'\n'; 4096][..], b"\n"] {
        while match pipe.write(piece) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        } {}
    }
}

fn a_log_that_nobody_reads_stops_neither_the_workers_nor_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let piped = Piped::start(Start::loopback().config("limits.connections 1\nlisten.tcp_workers 1\n"));
        let (client, http) = (Client::new(piped.listens_on("udp")), piped.listens_on("tcp"));
        fill(piped.log.get_ref());
        let mut first = Connection::open(http);
        first.send("G");
        let mut second = Connection::open(http);
        let announce = request(&announce_target(0, "port=1"), "");
        let (one, other) = announce.split_at(20);
        second.send(one);
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 2)).leechers, 1);
        // The worker says that all connections are in use, and the first one has to make room.
        assert_eq!(first.rest(), b"");
        second.send(other);
        assert_eq!(counts(&second.last_reply().bencode()), (0, 0, 2));
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 3)).leechers, 3);
        piped.tracker.stop_by(signal);
    }
}

fn a_start_that_fails_does_not_wait_for_whoever_reads() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let reader = File::from(reader);
    fill(&reader);
    assert_eq!(Start::minimal().args(["-P", "0", "-d", "/nowhere"]).logging_to(writer).finish().code, Some(1));
}

fn what_a_reader_who_stalled_has_missed_is_counted() {
    let key = only_with_an_access_list();
    // A long name makes long lines.
    let name = format!("{0}/{0}/{0}/{0}/list", "d".repeat(200));
    let lists = [list(&[1], &[2]), list(&[2], &[1])].map(|list| format!("{list}no\nno\nno\n"));
    let start = Start::loopback();
    let path = start.path(&name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &lists[0]).unwrap();
    let config = format!("{key} {name}\nlisten.udp_connection_id_minutes 1440\n");
    let mut piped = Piped::start(start.config(&config));
    let of_the_list = |line: &String| line.contains("/list: ");
    let lines_of_each = piped.said.iter().filter(|line| of_the_list(line)).count();
    let client = Client::new(piped.listens_on("udp"));
    fill(piped.log.get_ref());
    let mut expected = 0;
    let mut read_again = |list: &str, served| {
        fs::write(path.with_extension("new"), list).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        piped.tracker.signal(Signal::SIGHUP);
        assert!(wait_until(|| (is_served(&client, info_hash(1)) == served).then_some(())).is_some());
        expected += lines_of_each;
    };
    // 1 KB a line: twice what may wait.
    for _ in 0..512_usize.div_ceil(2 * lines_of_each) {
        read_again(&lists[1], false);
        read_again(&lists[0], true);
    }
    let (mut arrived, mut missing) = (0, 0_usize);
    while missing == 0 {
        let line = piped.next_line();
        arrived += usize::from(of_the_list(&line));
        if let Some((_, said)) = line.trim_end().split_once("  WARN ") {
            missing = said.strip_suffix(" lines of the log were dropped").map_or(0, |many| many.parse().unwrap());
        }
    }
    assert!(arrived > 0);
    // It flows again. The last line of the last list may have been logged only now: a list is in force before it.
    fs::write(&path, "").unwrap();
    piped.tracker.signal(Signal::SIGHUP);
    loop {
        let line = piped.next_line();
        if line.contains("the list in force stays") {
            break;
        }
        arrived += usize::from(of_the_list(&line));
    }
    assert_eq!(arrived + missing, expected, "of each list {lines_of_each}");
    piped.tracker.stop();
}

fn a_log_that_cannot_be_written_is_no_error() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let broken = || -> OwnedFd { pipe2(OFlag::O_CLOEXEC).unwrap().1 };
    let port = unused_port();
    let start = || {
        let (ip, port) = (loopback().to_string(), port.to_string());
        Start::minimal().args(["-i", &ip, "-P", &port, "--log", "debug"])
    };
    let closed = ["sh", "-c", "exec \"$0\" \"$@\" 2>&-"];
    for start in [start().logging_to(full()), start().logging_to(broken()), start().wrapped(&closed)] {
        let tracker = start.run();
        let client = Client::new(SocketAddr::new(loopback(), port));
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 1)).leechers, 1);
        tracker.signal(Signal::SIGHUP);
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 2)).leechers, 2);
        tracker.stop();
    }
    for (args, code) in [(["-d", "/nowhere"], 1), (["-p", "http"], 2)] {
        let refusing = || Start::minimal().args(args).args(["-P", "0"]);
        for start in [refusing().logging_to(full()), refusing().logging_to(broken()), refusing().wrapped(&closed)] {
            assert_eq!(start.finish().code, Some(code));
        }
    }
}

fn nothing_that_is_logged_begins_a_line_or_moves_the_cursor() {
    let name = "/nowhere/\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[2J\u{9b}1m";
    let mut tracker = Start::loopback().env("NOTIFY_SOCKET", name).run_unnotified();
    tracker.wait_for_log("features: ");
    let log = tracker.stop();
    assert!(
        log.contains("NOTIFY_SOCKET=/nowhere/\\n2026-01-01T00:00:00Z  INFO forged\\r\\u{1b}[2J\\u{9b}1m: "),
        "{log}"
    );
    assert!(!log.lines().any(|line| line.contains(char::is_control) || line.starts_with("2026-01-01T00:00:00Z")));
}

/// Has clients complete downloads at each pair of addresses for UDP and HTTP, of which each is counted once. Returns
/// what is said of them.
pub(crate) fn complete_downloads(udps: &[SocketAddr], https: &[SocketAddr]) -> Vec<String> {
    let mut expected = Vec::new();
    for (udp, http) in udps.iter().zip(https) {
        let client = Client::new(*udp);
        let seeder = Announce::seeder(info_hash(1), 81);
        client.announce(&seeder);
        client.announce(&seeder.event(COMPLETED));
        client.announce(&seeder.event(COMPLETED));
        client.announce(&Announce::leecher(info_hash(1), 82).event(COMPLETED));
        for parameters in ["port=83&left=1&event=started", "port=83&left=0&event=completed", "port=84&left=0"] {
            announce(*http, 2, parameters);
        }
        for (n, port) in [(1, 81), (2, 83)] {
            let hash = upper_hex(info_hash(n));
            expected.push(format!("event=completed info_hash={hash} ip={} port={port}", client.ip()));
        }
    }
    expected
}

/// The lines of a log with this text, without their times.
fn lines_with(log: &str, text: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

fn completed_downloads_are_logged_one_by_one_where_that_is_asked_for() {
    let completed = "event=completed";
    let asking = |levels: &str| Start::loopback().args(["--log", levels]);
    for start in [Start::loopback(), asking("trace"), Start::loopback().env("RUST_LOG", "trace")] {
        let tracker = start.run();
        complete_downloads(tracker.udps(), tracker.https());
        assert_eq!(lines_with(&tracker.stop(), completed), [""; 0]);
    }
    for start in
        [asking("completed=info"), asking("debug,completed=trace"), Start::loopback().env("RUST_LOG", "info,completed")]
    {
        let tracker = start.run();
        let expected = complete_downloads(tracker.udps(), tracker.https());
        assert_eq!(expected.len(), 2 * loopbacks().len());
        let expected: Vec<_> = expected.iter().map(|said| format!(" INFO {said}")).collect();
        assert_eq!(lines_with(&tracker.stop(), completed), expected);
    }
}

fn levels_of_targets_hold_for_these_alone() {
    let log = |levels: &str| Start::loopback().args(["--log", levels]).run().stop();
    assert_eq!(log("error,completed=info"), "");
    let confined = log("error,opentracker::server::confined=info");
    assert!(!confined.is_empty() && confined.lines().all(|line| line.contains("confined by Landlock")), "{confined}");
    let others = log("opentracker::server::confined=error");
    assert!(others.contains("features: ") && !others.contains("confined by Landlock"), "{others}");
}

/// Has it write its log to what the variable names, or to something else.
pub(crate) fn with_journal_stream(start: Start, is_named: bool) -> Start {
    let log = start.path("log");
    let file = File::create(&log).unwrap().metadata().unwrap();
    let inode = file.ino() + u64::from(!is_named);
    start.env("JOURNAL_STREAM", format!("{}:{inode}", file.dev()))
}

/// Whether a line begins as the journal wants it.
pub(crate) fn has_priority(line: &str) -> bool {
    ["<3>", "<4>", "<6>"].iter().any(|priority| line.starts_with(priority))
}

fn the_journal_gets_priorities_and_no_times() {
    let tracker = with_journal_stream(Start::loopback(), true).run();
    let address = tracker.http();
    let log = tracker.stop();
    assert!(log.lines().any(|line| line == format!("<6>listening on tcp {address}")), "{log}");
    assert!(log.lines().all(has_priority), "{log}");
    assert!(!log.contains("INFO"), "{log}");
    // What a process ends with, before there is a log and when there is one.
    for (args, code) in [(["-p", "http"], 2), (["-d", "/nowhere/at/all"], 1)] {
        let exit = with_journal_stream(Start::loopback().args(args), true).finish();
        assert_eq!(exit.code, Some(code));
        assert!(exit.stderr.lines().all(has_priority) && exit.stderr.contains("<3>opentracker: "), "{exit:?}");
    }
    // The journal reads something else.
    let log = with_journal_stream(Start::loopback(), false).run().stop();
    assert!(!log.lines().any(has_priority) && log.contains(" INFO listening on"), "{log}");
}
