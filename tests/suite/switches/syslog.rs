//! `syslog`: the log goes to the journal, with the fields of each event, or to syslog.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::handover_socket::{Post, ended};
use super::refuses_key;
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{info_hash, only_with, only_without, upper_hex};
use crate::harness::tests;
use crate::process::log::{complete_downloads, has_priority, with_journal_stream};
use crate::programs::close_everywhere;
use crate::tracker::{Start, Tracker, is_root};
use crate::wait::{MAX_WAIT, retry_interrupted};

tests![
    without_it_its_key_is_refused,
    standard_error_has_the_log_unless_the_configuration_says_otherwise,
    the_journal_gets_every_line_with_the_fields_of_its_event,
    syslog_gets_every_line,
    what_ends_a_start_is_said_both_ways,
    without_a_daemon_the_log_goes_to_standard_error,
    what_goes_to_standard_error_has_priorities_where_the_journal_reads_that,
    a_daemon_that_is_gone_is_found_again_where_it_can_be_seen,
    a_daemon_that_reads_nothing_stops_neither_the_workers_nor_the_end,
    a_daemon_that_reads_nothing_holds_up_no_start,
    a_daemon_that_reads_nothing_holds_up_no_successor,
    what_ends_a_start_is_said_on_standard_error_where_a_daemon_reads_nothing,
];

fn without_it_its_key_is_refused() {
    only_without("syslog");
    refuses_key("syslog", "tracker.syslog", "true");
}

fn standard_error_has_the_log_unless_the_configuration_says_otherwise() {
    only_with("syslog");
    for config in ["", "tracker.syslog false\n", "tracker.syslog = false\n"] {
        assert!(Start::loopback().config(config).run().stop().contains(" INFO listening on udp "));
    }
}

/// A daemon that everybody may send to.
struct Daemon {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Daemon {
    fn listen(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
        Self { socket, path }
    }

    fn config(&self) -> String {
        format!("tracker.syslog {}\n", self.path.display())
    }

    /// Has others send until there is no more room, and nothing is read.
    fn fill(&self) {
        let full = loop {
            // A new one each time: it is the daemon's queue that is to be full, and not that of who sends.
            let other = UnixDatagram::unbound().unwrap();
            other.set_nonblocking(true).unwrap();
            if let Err(error) = other.send_to(b"other", &self.path) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }

    fn next(&self) -> String {
        let mut datagram = [0; 4096];
        let len = retry_interrupted(|| self.socket.recv(&mut datagram)).expect("a line of the log");
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    }

    /// Takes what comes, up to what has this text.
    fn until(&self, text: &str) -> Vec<String> {
        let mut taken = vec![self.next()];
        while !taken.last().unwrap().contains(text) {
            taken.push(self.next());
        }
        taken
    }
}

/// The addresses of a protocol, as the lines of the start say.
fn listening(said: &[String], protocol: &str) -> Vec<SocketAddr> {
    let mark = format!("listening on {protocol} ");
    let addresses = said.iter().filter_map(|line| line.split_once(&mark));
    addresses.map(|(_, rest)| rest.lines().next().unwrap().parse().unwrap()).collect()
}

/// Starts a tracker that logs completed downloads, and returns what it says at the start.
fn started(start: Start, daemon: &Daemon) -> (Tracker, Vec<String>) {
    let tracker = start.config(&daemon.config()).args(["--log", "info,completed=info"]).run();
    (tracker, daemon.until("features: "))
}

fn the_journal_gets_every_line_with_the_fields_of_its_event() {
    only_with("syslog");
    let start = Start::loopback();
    let journal = Daemon::listen(start.path("socket"));
    let (tracker, said) = started(start, &journal);
    for datagram in &said {
        let fields: Vec<_> = datagram.lines().map(|line| line.split_once('=').unwrap()).collect();
        let value = |key: &str| fields.iter().find(|(one, _)| *one == key).unwrap_or_else(|| panic!("{datagram}")).1;
        assert!(!value("MESSAGE").is_empty() && value("TARGET").starts_with("opentracker"), "{datagram}");
        assert_eq!((value("SYSLOG_IDENTIFIER"), value("SYSLOG_FACILITY")), ("opentracker", "3"));
        assert!(["4", "6"].contains(&value("PRIORITY")), "{datagram}");
    }
    for completed in complete_downloads(&listening(&said, "udp"), &listening(&said, "tcp")) {
        let fields: Vec<_> = completed.split(' ').map(|field| field.split_once('=').unwrap()).collect();
        let fields: String = fields.iter().map(|(key, value)| format!("{}={value}\n", key.to_uppercase())).collect();
        let expected = format!(
            "MESSAGE={completed}\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=opentracker\nTARGET=completed\n{fields}"
        );
        assert_eq!(journal.next(), expected);
    }
    assert_eq!(tracker.stop(), "");
}

fn syslog_gets_every_line() {
    only_with("syslog");
    let start = Start::loopback();
    let syslog = Daemon::listen(start.path("syslog"));
    let (tracker, said) = started(start, &syslog);
    let mark = format!("opentracker[{}]: ", tracker.pid());
    for line in &said {
        let (severity, text) = line.split_once(&mark).unwrap();
        assert!(["<28>", "<30>"].contains(&severity) && !text.contains(char::is_control), "{line}");
    }
    for completed in complete_downloads(&listening(&said, "udp"), &listening(&said, "tcp")) {
        assert_eq!(syslog.next(), format!("<30>{mark}{completed}"));
    }
    assert_eq!(tracker.stop(), "");
}

fn what_ends_a_start_is_said_both_ways() {
    only_with("syslog");
    let start = Start::minimal();
    let syslog = Daemon::listen(start.path("syslog"));
    let finished = start.config(&syslog.config()).args(["-d", "/nowhere"]).finish();
    finished.refuses(1, &["opentracker: ", "/nowhere"]);
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    let said = syslog.until("/nowhere").pop().unwrap();
    assert!(said.starts_with("<27>") && said.ends_with(finished.stderr.trim_end()), "{said}");
}

fn without_a_daemon_the_log_goes_to_standard_error() {
    only_with("syslog");
    let start = Start::loopback();
    let path = start.path("syslog");
    let tracker = start.config(&format!("tracker.syslog {}\n", path.display())).run();
    Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(0), 1));
    let log = tracker.stop();
    let why = format!(" WARN the log goes to standard error: {}: No such file or directory", path.display());
    assert_eq!(log.matches("the log goes to").count(), 1, "{log}");
    assert!(log.lines().next().unwrap().contains(&why) && log.contains(" INFO listening on udp "), "{log}");
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log}");
}

fn what_goes_to_standard_error_has_priorities_where_the_journal_reads_that() {
    only_with("syslog");
    let start = Start::loopback();
    let config = format!("tracker.syslog {}\n", start.path("syslog").display());
    let log = with_journal_stream(start.config(&config), true).run().stop();
    assert!(log.lines().all(has_priority) && log.starts_with("<4>the log goes to standard error: "), "{log}");
    assert!(log.contains("\n<6>listening on udp "), "{log}");
}

fn a_daemon_that_is_gone_is_found_again_where_it_can_be_seen() {
    only_with("syslog");
    // From inside a root directory the path leads nowhere.
    for (start, is_seen) in [(Start::loopback(), !is_root()), (Start::loopback().started_by("nobody"), true)] {
        let path = start.path("syslog");
        let syslog = Daemon::listen(path.clone());
        let (mut tracker, said) = started(start, &syslog);
        let client = Client::new(listening(&said, "udp")[0]);
        let complete = |port| {
            client.announce(&Announce::seeder(info_hash(1), port).event(COMPLETED));
            format!("event=completed info_hash={} ip={} port={port}", upper_hex(info_hash(1)), client.ip())
        };
        let one = complete(1);
        assert!(syslog.next().ends_with(&one));
        close_everywhere(syslog);
        fs::remove_file(&path).unwrap();
        let two = complete(2);
        tracker.wait_for_log(&two);
        let again = Daemon::listen(path);
        let three = complete(3);
        if is_seen {
            assert!(again.next().ends_with("1 line of the log went to standard error"));
            assert!(again.next().ends_with(&three));
        } else {
            tracker.wait_for_log(&three);
        }
        let log = tracker.stop();
        assert_eq!(
            (log.matches("the log goes to standard error").count(), log.contains(&three)),
            (1, !is_seen),
            "{log}"
        );
    }
}

fn a_daemon_that_reads_nothing_stops_neither_the_workers_nor_the_end() {
    only_with("syslog");
    let start = Start::loopback();
    let syslog = Daemon::listen(start.path("syslog"));
    let (tracker, said) = started(start, &syslog);
    syslog.fill();
    for (n, address) in (0..).zip(listening(&said, "udp")) {
        let client = Client::new(address);
        for port in 1..=100 {
            let reply = client.announce(&Announce::seeder(info_hash(n), port).event(COMPLETED));
            assert_eq!(reply.seeders, u32::from(port));
        }
    }
    assert_eq!(tracker.stop(), "");
}

/// Asserts that a log on standard error says once where it goes, and has all lines of the start behind that.
#[track_caller]
fn assert_away(log: &str, syslog: &Daemon) {
    let why = format!(" WARN the log goes to standard error: {}: nothing is read there\n", syslog.path.display());
    assert_eq!(log.matches("the log goes to").count(), 1, "{log}");
    let (before, after) = log.split_once(&why).unwrap_or_else(|| panic!("{log}"));
    assert!(!before.contains('\n') && after.contains(" INFO listening on udp "), "{log}");
    assert!(after.contains(" INFO features: "), "{log}");
}

fn a_daemon_that_reads_nothing_holds_up_no_start() {
    only_with("syslog");
    let start = Start::loopback();
    let syslog = Daemon::listen(start.path("syslog"));
    syslog.fill();
    let mut tracker = start.config(&syslog.config()).run();
    tracker.wait_for_log(" INFO features: ");
    let log = tracker.log();
    assert_away(&log, &syslog);
    let lines = log.lines().count() - 1;
    while syslog.socket.set_nonblocking(true).is_ok() && syslog.socket.recv(&mut []).is_ok() {}
    syslog.socket.set_nonblocking(false).unwrap();
    assert_eq!(tracker.stop(), log);
    // It reads again.
    assert!(syslog.next().ends_with(&format!(": {lines} lines of the log went to standard error")));
    assert!(syslog.next().contains("stopping"));
}

fn a_daemon_that_reads_nothing_holds_up_no_successor() {
    only_with("syslog");
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let client = Client::new(old.udp());
    client.announce(&Announce::seeder(info_hash(0), 1));
    let start = post.start();
    let syslog = Daemon::listen(start.path("syslog"));
    syslog.fill();
    let new = start.config(&syslog.config()).run();
    ended(old);
    assert_eq!(client.announce(&Announce::leecher(info_hash(0), 2)).seeders, 1);
    assert_away(&new.stop(), &syslog);
}

fn what_ends_a_start_is_said_on_standard_error_where_a_daemon_reads_nothing() {
    only_with("syslog");
    let start = Start::minimal();
    let syslog = Daemon::listen(start.path("syslog"));
    syslog.fill();
    let finished = start.config(&syslog.config()).args(["-d", "/nowhere"]).finish();
    finished.refuses(1, &["opentracker: ", "/nowhere"]);
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
}
