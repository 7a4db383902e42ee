//! Lines to where they are read, and what becomes of those that do not arrive.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// How long until a reader who is not to be waited for by the system (`O_NONBLOCK`) is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Writes lines. A reader who is gone, a full disk and the like are no errors: the lines are missing, and as soon as
/// something arrives again a line says how many.
#[derive(Debug)]
pub struct Delivery<W> {
    sink: W,
    /// Lines that nobody has been told are missing.
    missing: u64,
    /// Whether what arrived last is a part of a line.
    cut: bool,
}

impl<W: Write> Delivery<W> {
    /// Writes to `sink`, where no line is missing yet.
    pub fn to(sink: W) -> Self {
        Self { sink, missing: 0, cut: false }
    }

    /// Writes whole lines, and before them what there is to say of missing ones.
    pub fn write(&mut self, lines: &[u8]) {
        self.say_missing();
        self.missing += self.write_counted(lines);
    }

    #[cfg(test)]
    pub(super) fn into_sink(self) -> W {
        self.sink
    }

    /// Says that these many lines are missing here.
    pub(super) fn miss(&mut self, lines: u64) {
        self.missing += lines;
        if lines > 0 {
            self.say_missing();
        }
    }

    fn say_missing(&mut self) {
        if self.missing > 0 && self.write_counted(notice(self.missing).as_bytes()) == 0 {
            self.missing = 0;
        }
    }

    /// Returns how many lines did not arrive whole.
    fn write_counted(&mut self, lines: &[u8]) -> u64 {
        // The rest of a line that was cut is nowhere: what comes now is a line of its own.
        if self.cut && !self.write_some(b"\n").is_empty() {
            return count(lines);
        }
        count(self.write_some(lines))
    }

    /// Returns what did not arrive.
    fn write_some<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(len) => {
                    let (written, after) = rest.split_at(len.min(rest.len()));
                    self.cut = !written.ends_with(b"\n");
                    rest = after;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => break,
            }
        }
        rest
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Returns the line that says how many are missing.
fn notice(missing: u64) -> String {
    let (lines, were) = if missing == 1 { ("line", "was") } else { ("lines", "were") };
    format!("{}\n", line("WARN", &format!("{missing} {lines} of the log {were} dropped")))
}

/// Returns a line of the log, without its end, that says what cannot be logged.
pub fn line(level: &str, said: &str) -> String {
    let mut line = String::new();
    // Neither fails: they write to memory.
    let _ = SystemTime.format_time(&mut Writer::new(&mut line));
    let _ = write!(line, " {level:>5} {said}");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io;

    /// Takes as many bytes at a time as the test says, or fails; then everything.
    struct Fitful {
        takes: VecDeque<Result<usize, ErrorKind>>,
        written: Vec<u8>,
    }

    impl Write for Fitful {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = self.takes.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.written.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is read when these lines are written one after the other, times left out.
    fn written<const N: usize>(takes: [Result<usize, ErrorKind>; N], lines: &[&str]) -> String {
        let mut delivery = Delivery::to(Fitful { takes: takes.into(), written: Vec::new() });
        lines.iter().for_each(|line| delivery.write(line.as_bytes()));
        let text = String::from_utf8(delivery.sink.written).unwrap();
        let without_time = |line: &str| line.split_once("  WARN ").map_or(line.to_owned(), |(_, said)| said.to_owned());
        text.lines().map(without_time).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_reader_who_takes_a_little_at_a_time_gets_everything() {
        let takes = [Ok(1), Err(ErrorKind::Interrupted), Ok(2), Err(ErrorKind::WouldBlock), Ok(1)];
        assert_eq!(written(takes, &["one\n", "two\n"]), "one|two");
    }

    #[test]
    fn what_is_lost_on_a_full_disk_is_said_when_there_is_room_again() {
        let full = Err(ErrorKind::StorageFull);
        assert_eq!(written([full], &["one\n", "two\n"]), "1 line of the log was dropped|two");
        // The line, then the notice before the next, then that.
        assert_eq!(written([full; 3], &["one\ntwo\n", "three\n", "4\n"]), "3 lines of the log were dropped|4");
        assert_eq!(written([Ok(0)], &["one\n", "two\n"]), "1 line of the log was dropped|two");
    }

    #[test]
    fn a_line_that_was_cut_is_not_continued_by_another() {
        let takes = [Ok(6), Err(ErrorKind::StorageFull)];
        assert_eq!(written(takes, &["one\ntwo\nthree\n", "four\n"]), "one|tw|2 lines of the log were dropped|four");
        let takes = [Ok(2), Err(ErrorKind::BrokenPipe), Err(ErrorKind::BrokenPipe), Err(ErrorKind::BrokenPipe)];
        assert_eq!(written(takes, &["one\n", "two\n", "three\n"]), "on|2 lines of the log were dropped|three");
    }
}
