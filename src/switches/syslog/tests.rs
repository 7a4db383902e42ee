use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tracing::info;
use tracing_subscriber::prelude::*;

use super::daemon::Wait;
use super::*;
use crate::log::{Described, Destination as _, text_format};

/// A directory for sockets.
struct Room(PathBuf);

impl Room {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ot-syslog-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Has somebody listen.
    fn listen(&self, name: &str) -> UnixDatagram {
        let _ = fs::remove_file(self.path(name));
        let socket = UnixDatagram::bind(self.path(name)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Has others send until who listens has no room. Returns how many datagrams that took.
    fn fill(&self, name: &str) -> usize {
        let send = || {
            // A new one each time: it is the daemon's queue that is to be full, and not that of who sends.
            let other = UnixDatagram::unbound().unwrap();
            other.set_nonblocking(true).unwrap();
            other.send_to(b"other", self.path(name)).map_err(|error| assert_eq!(error.kind(), ErrorKind::WouldBlock))
        };
        std::iter::from_fn(|| send().ok()).count()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns all that has come.
fn received(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| String::from_utf8_lossy(&buffer[..len]).into()))
        .collect()
}

#[derive(Debug, Clone, Default)]
struct Fallback(Arc<Mutex<Vec<u8>>>);

impl Fallback {
    /// Returns what came since it was last looked at, times left out.
    fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest).to_owned()).collect()
    }
}

impl Write for Fallback {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What logs to who listens as `log`, and what does not get there.
fn to_daemon(room: &Room) -> (DaemonOrStderr<Fallback>, Fallback) {
    let fallback = Fallback::default();
    let daemon = Daemon::open(&room.path("log")).unwrap();
    (DaemonOrStderr::with_fallback(daemon, fallback.clone()), fallback)
}

/// Logs a line.
fn log(sink: &mut DaemonOrStderr<Fallback>, text: &str) {
    sink.write_all(format!("2026-11-27T07:00:00Z  INFO {text}\n").as_bytes()).unwrap();
}

fn said(text: &str) -> String {
    format!("<30>opentracker[{}]: {text}", std::process::id())
}

fn warned(text: &str) -> String {
    format!("<28>opentracker[{}]: {text}", std::process::id())
}

#[test]
fn what_nobody_takes_goes_to_standard_error_and_both_are_told() {
    let room = Room::new();
    let (mut sink, fallback) = to_daemon(&room);
    log(&mut sink, "one\n2026-11-27T07:00:00Z  INFO two");
    let [why, one, two] = &fallback.take()[..] else { panic!() };
    assert!(why.starts_with(" WARN the log goes to standard error: ") && why.contains("/log: No such file"), "{why}");
    assert_eq!((one.as_str(), two.as_str()), (" INFO one", " INFO two"));

    // Somebody comes, goes, and comes again with another socket.
    let first = room.listen("log");
    log(&mut sink, "three");
    log(&mut sink, "four");
    assert_eq!(received(&first), [warned("2 lines of the log went to standard error"), said("three"), said("four")]);
    assert_eq!(fallback.take(), [""; 0]);
    drop(first);
    log(&mut sink, "five");
    assert_eq!(fallback.take().len(), 2);
    let second = room.listen("log");
    log(&mut sink, "six");
    assert_eq!(received(&second), [warned("1 line of the log went to standard error"), said("six")]);
    assert_eq!(fallback.take(), [""; 0]);
}

#[test]
fn a_connection_lasts_for_as_long_as_somebody_holds_its_other_end() {
    let room = Room::new();
    let daemon = room.listen("log");
    let (mut sink, fallback) = to_daemon(&room);
    // As it is seen from inside a root directory.
    fs::remove_file(room.path("log")).unwrap();
    log(&mut sink, "one");
    assert_eq!(received(&daemon), [said("one")]);
    drop(daemon);
    log(&mut sink, "two");
    assert_eq!(fallback.take().len(), 2);
}

#[test]
fn what_the_process_ends_with_goes_both_ways() {
    let room = Room::new();
    let daemon = room.listen("log");
    let (mut sink, fallback) = to_daemon(&room);
    sink.write_all(b"opentracker: no\n").unwrap();
    assert_eq!(received(&daemon), [format!("<27>opentracker[{}]: opentracker: no", std::process::id())]);
    assert_eq!(fallback.take(), ["opentracker: no"]);
}

#[test]
fn a_start_does_not_wait_for_a_daemon_that_reads_nothing() {
    let room = Room::new();
    let daemon = room.listen("log");
    let others = room.fill("log");
    let (mut sink, fallback) = to_daemon(&room);
    log(&mut sink, "one");
    let why = format!(" WARN the log goes to standard error: {}: nothing is read there", room.path("log").display());
    assert_eq!(fallback.take(), [why.as_str(), " INFO one"]);
    // It would take minutes if each of them waited.
    (0..300).for_each(|_| log(&mut sink, "more"));
    assert_eq!(fallback.take(), [" INFO more"; 300]);
    // Nor does it begin to wait with the log's thread.
    sink.may_wait();
    log(&mut sink, "two");
    assert_eq!(fallback.take(), [" INFO two"]);
    assert_eq!(received(&daemon).len(), others);
    log(&mut sink, "three");
    assert_eq!(received(&daemon), [warned("302 lines of the log went to standard error"), said("three")]);
    assert_eq!(fallback.take(), [""; 0]);
}

#[test]
fn all_lines_of_a_start_share_the_time_to_wait() {
    let room = Room::new();
    let _daemon = room.listen("log");
    let (mut sink, _) = to_daemon(&room);
    assert_eq!(sink.patience(), Wait::Awhile);
    sink.spare = Some(Duration::from_nanos(1));
    log(&mut sink, "one");
    assert_eq!(sink.patience(), Wait::Not, "it took longer than that to send it");
    sink.may_wait();
    assert_eq!(sink.patience(), Wait::Forever);
}

#[test]
fn the_thread_of_the_log_waits_for_a_daemon_that_reads_slowly() {
    let room = Room::new();
    let daemon = room.listen("log");
    let others = room.fill("log");
    let (mut sink, fallback) = to_daemon(&room);
    sink.may_wait();
    let lines = 3 * others;
    let writer = thread::spawn(move || {
        (0..lines).for_each(|n| log(&mut sink, &n.to_string()));
    });
    daemon.set_nonblocking(false).unwrap();
    let mut buffer = [0; 4096];
    let mut next = || {
        let len = daemon.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].into()).unwrap()
    };
    (0..others).for_each(|_| assert_eq!(next(), "other"));
    (0..lines).for_each(|n| assert_eq!(next(), said(&n.to_string())));
    writer.join().unwrap();
    assert_eq!(fallback.take(), [""; 0]);
}

#[test]
fn what_the_process_ends_with_does_not_wait_for_a_daemon_that_reads_nothing() {
    let room = Room::new();
    let daemon = room.listen("log");
    let others = room.fill("log");
    let (mut sink, fallback) = to_daemon(&room);
    sink.may_wait();
    let writer = thread::spawn(move || sink.write_all(b"opentracker: no\n").unwrap());
    while fallback.0.lock().unwrap().is_empty() {
        assert!(!writer.is_finished());
        thread::yield_now();
    }
    // It is for the daemon as well, if that reads before the process ends.
    assert_eq!(received(&daemon)[..others], vec!["other"; others]);
    writer.join().unwrap();
    assert_eq!(fallback.take(), ["opentracker: no"]);
}

#[test]
fn the_first_that_somebody_listens_at_is_chosen() {
    let room = Room::new();
    let [journal, log] = [room.path("socket"), room.path("log")];
    let chosen = || find(&journal, &log).unwrap().path().to_owned();
    assert_eq!(chosen(), log, "somebody may come there");
    let _log = room.listen("log");
    assert_eq!(chosen(), log);
    let _journal = room.listen("socket");
    assert_eq!(chosen(), journal);
}

#[test]
fn an_event_arrives_with_its_fields_and_no_value_makes_another() {
    let room = Room::new();
    let journal = room.listen("socket");
    let sink = DaemonOrStderr::new(Daemon::open(&room.path("socket")).unwrap());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::sync::Mutex::new(sink))
        .with_ansi(false)
        .fmt_fields(text_format())
        .with_target(false)
        .map_event_format(|line| Described::new(line, Some(describe)));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        info!(target: "completed", event = %"completed", port = 7, _odd.name = "a\nPRIORITY=0\u{1f}b", "it is\nso");
    });
    let [datagram] = &received(&journal)[..] else { panic!() };
    assert_eq!(
        datagram,
        "MESSAGE=it is\\nso event=completed port=7 _odd.name=\"a\\nPRIORITY=0\\u{1f}b\"\nPRIORITY=6\n\
         SYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=opentracker\nTARGET=completed\nEVENT=completed\nPORT=7\n\
         ODD_NAME=a\\nPRIORITY=0\\u{1f}b\n"
    );
}
