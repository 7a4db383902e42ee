//! The log: lines to standard error, or to another destination, by a thread of its own, so that nobody waits for
//! whoever reads them.
//!
//! What is logged waits in memory for the thread. What does not fit is dropped and counted, and the log says so where
//! the lines are missing. Before the thread is started, and nothing is answered yet, lines are written at once.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

mod complaints;
mod completed;
mod delivery;
mod destination;
mod journal_stream;
mod parsed_line;

pub use complaints::Complaints;
pub use completed::{COMPLETED, completed};
pub use delivery::{Delivery, line};
pub use destination::{Describe, Described, Destination};
pub use journal_stream::standard_error;
pub use parsed_line::{ParsedLine, Severity};

/// Bytes of lines that may wait; as many again may be with the thread, which writes them.
const MAX_WAITING: usize = 256 << 10;

/// How long the ends of the start and of the process wait for whoever reads.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Lines on their way to their destination. `&Log` takes whole lines, and takes them without fail.
#[derive(Debug)]
pub struct Log {
    queue: Mutex<Queue>,
    /// Told of each change that the thread, or who waits for it, may wait for.
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    writer: WriterState,
    lines: Vec<u8>,
    /// Lines that did not fit, behind those that wait: until these are with the thread, all others are dropped too, so
    /// that all that are missing are missing in one place.
    dropped: u64,
    /// Where lines go, until the thread takes it with it. `None`: to standard error.
    destination: Option<Box<dyn Destination>>,
}

/// What the thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriterState {
    /// There is none yet.
    NotStarted,
    /// It waits for lines.
    Idle,
    /// It writes.
    Busy,
}

impl Log {
    /// Returns the log of a process, in which no line waits.
    #[expect(clippy::new_without_default, reason = "a process has one log, which is made as a constant")]
    pub const fn new() -> Self {
        let queue = Queue { writer: WriterState::NotStarted, lines: Vec::new(), dropped: 0, destination: None };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// Has lines go there from now on, and not to standard error. To be called before the thread is started.
    pub fn send_to(&self, destination: Box<dyn Destination>) {
        self.queue().destination = Some(destination);
    }

    /// Has a thread write what comes from now on. Does nothing the second time.
    ///
    /// To be called before anybody is answered: until then a signal ends the process at once, whatever it waits for.
    ///
    /// # Errors
    ///
    /// The system has no thread to give; lines are still written at once.
    pub fn start_thread(&'static self) -> io::Result<()> {
        let mut queue = self.queue();
        if queue.writer == WriterState::NotStarted {
            // It takes the destination when this lock is given back, so that one without a thread keeps it.
            thread::Builder::new().name("log".into()).spawn(|| self.write_all_to(self.take_destination()))?;
            queue.writer = WriterState::Busy;
        }
        Ok(())
    }

    /// Waits until everything is written, but no longer than a second: whoever reads may have stalled.
    pub fn flush(&self) {
        self.flush_within(FLUSH_TIME);
    }

    fn flush_within(&self, time: Duration) {
        let unwritten = |queue: &mut Queue| match queue.writer {
            WriterState::NotStarted => false,
            WriterState::Idle => !queue.is_empty(),
            WriterState::Busy => true,
        };
        let waited = self.changed.wait_timeout_while(self.queue(), time, unwritten);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn take_destination(&self) -> Box<dyn Destination> {
        let chosen = self.queue().destination.take();
        let mut destination = chosen.unwrap_or_else(|| Box::new(io::stderr()));
        destination.may_wait();
        destination
    }

    /// Takes one line, which ends with a line break.
    fn take(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.writer == WriterState::NotStarted {
            // Locked for as long, so that lines are not mixed.
            return match &mut queue.destination {
                Some(destination) => Delivery::to(destination).write(line),
                None => Delivery::to(io::stderr()).write(line),
            };
        }
        if queue.dropped > 0 || queue.lines.len() + line.len() > MAX_WAITING {
            queue.dropped += 1;
        } else {
            queue.lines.extend_from_slice(line);
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes to `destination` what waits and what will come.
    fn write_all_to(&self, destination: impl Write) -> ! {
        let mut delivery = Delivery::to(destination);
        loop {
            let (lines, dropped) = self.next();
            delivery.write(&lines);
            delivery.miss(dropped);
        }
    }

    /// Waits for lines. Returns all that wait, and how many were dropped behind them.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut queue = self.queue();
        queue.writer = WriterState::Idle;
        self.changed.notify_all();
        let waited = self.changed.wait_while(queue, |queue| queue.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.writer = WriterState::Busy;
        (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.dropped))
    }

    /// Locks the queue. It is whole at any time, so a panic in another thread changes nothing.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    /// Does nothing: whoever waits for the thread calls [`Log::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the format of an event's text. Strangers may choose some of it, and so may who names files: whatever would
/// begin another line, or move a terminal's cursor, is escaped here, for every event.
pub fn text_format() -> impl for<'writer> FormatFields<'writer> + Clone + Send + Sync {
    let text = debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let mut escaping = Escaping(writer);
        if field.name() == "message" { write!(escaping, "{value:?}") } else { write!(escaping, "{field}={value:?}") }
    });
    text.delimited(" ")
}

/// Passes text on, with control characters and what else changes how the rest is shown escaped as in Rust.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Runs of the characters that stay, each with the one behind it.
        for run in text.split_inclusive(changes_what_is_shown) {
            let plain = run.trim_end_matches(changes_what_is_shown);
            self.0.write_str(plain)?;
            for character in run.chars().rev().take_while(|character| changes_what_is_shown(*character)) {
                write!(self.0, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Returns whether a character is a control character, breaks a line, or turns the direction of writing.
fn changes_what_is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A reader who takes each piece only when the test does.
    struct Slow {
        pieces: Sender<String>,
        go_on: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.pieces.send(String::from_utf8(bytes.into()).unwrap()).unwrap();
            self.go_on.recv().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns a log with its thread, what that writes, and what has to be sent before it writes on.
    fn log_to_slow_reader() -> (&'static Log, Receiver<String>, Sender<()>) {
        let log: &'static Log = Box::leak(Box::new(Log::new()));
        let (pieces, read) = channel();
        let (reader, go_on) = channel();
        log.queue().writer = WriterState::Busy;
        // Ends with the test's process: it waits for lines.
        thread::spawn(|| log.write_all_to(Slow { pieces, go_on }));
        (log, read, reader)
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_said_where_it_is_missing() {
        let (log, read, reader) = log_to_slow_reader();
        log.take(b"first\n");
        assert_eq!(read.recv().unwrap(), "first\n", "the thread is stuck with this one");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..MAX_WAITING / 1024 + 7 {
            log.take(&line);
        }
        // It would fit, were nothing missing before it.
        log.take(b"");
        reader.send(()).unwrap();
        let kept = read.recv().unwrap();
        assert_eq!(kept.lines().count(), MAX_WAITING / 1024);
        log.take(b"last\n");
        reader.send(()).unwrap();
        let said = read.recv().unwrap();
        assert!(said.ends_with("  WARN 8 lines of the log were dropped\n"), "{said}");
        reader.send(()).unwrap();
        assert_eq!(read.recv().unwrap(), "last\n");
        reader.send(()).unwrap();
        log.flush_within(Duration::from_secs(3600));
        assert_eq!(log.queue().writer, WriterState::Idle, "nothing is left to write");
    }

    #[test]
    fn a_flush_does_not_wait_for_ever() {
        let (log, read, _reader) = log_to_slow_reader();
        log.take(b"nobody takes this\n");
        assert_eq!(read.recv().unwrap(), "nobody takes this\n", "the thread is stuck with it");
        log.flush_within(Duration::from_millis(1));
        assert_eq!(log.queue().writer, WriterState::Busy);
        Log::new().flush_within(Duration::from_secs(3600));
    }

    /// A destination that the test reads.
    #[derive(Debug)]
    struct Elsewhere(Sender<String>);

    impl Write for Elsewhere {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.into()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Destination for Elsewhere {
        fn may_wait(&mut self) {
            self.0.send("it may wait".into()).unwrap();
        }
    }

    #[test]
    fn another_destination_gets_every_line_before_and_after_the_thread_starts() {
        let log: &'static Log = Box::leak(Box::new(Log::new()));
        let (pieces, read) = channel();
        log.send_to(Box::new(Elsewhere(pieces)));
        log.take(b"before\n");
        assert_eq!(read.try_recv().unwrap(), "before\n", "it is written at once");
        log.start_thread().unwrap();
        log.take(b"after\n");
        assert_eq!([read.recv().unwrap(), read.recv().unwrap()], ["it may wait", "after\n"]);
        log.start_thread().unwrap();
        log.flush_within(Duration::from_secs(3600));
        assert_eq!(log.queue().writer, WriterState::Idle);
    }

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        Escaping(&mut out).write_str(text).unwrap();
        out
    }

    #[test]
    fn what_would_begin_a_line_or_move_the_cursor_is_escaped() {
        assert_eq!(escaped("a\r\n2026 WARN b\tc"), "a\\r\\n2026 WARN b\\tc");
        assert_eq!(escaped("\u{1b}[2J\u{9b}\u{2028}\u{202e}\0"), "\\u{1b}[2J\\u{9b}\\u{2028}\\u{202e}\\u{0}");
        assert_eq!(escaped("/srv/größe \"x\" C:\\"), "/srv/größe \"x\" C:\\", "all else stays as it is");
    }

    proptest! {
        #[test]
        fn nothing_gets_past_the_escape_and_nothing_else_is_touched(text in "(\\PC|\\pC|[\n\r\t])*") {
            let naive: String = text
                .chars()
                .map(|c| if changes_what_is_shown(c) { c.escape_default().to_string() } else { c.to_string() })
                .collect();
            let written = escaped(&text);
            prop_assert!(!written.contains(changes_what_is_shown));
            prop_assert_eq!(written, naive);
        }
    }
}
