//! Lines of the log to a daemon, and to standard error for as long as there is none.

use std::io::{self, Stderr, Write};

use crate::log::{Delivery, line};

use super::daemon::Daemon;
use super::message::Message;

/// Sends lines to a daemon. What it does not take, and what the process ends with, goes to `fallback`.
#[derive(Debug)]
pub(super) struct Reader<W = Stderr> {
    daemon: Daemon,
    fallback: Delivery<W>,
    /// Lines in a row that the daemon has not taken.
    refused: u64,
}

impl Reader {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self::with_fallback(daemon, io::stderr())
    }
}

impl<W: Write> Reader<W> {
    pub(super) fn with_fallback(daemon: Daemon, fallback: W) -> Self {
        Self { daemon, fallback: Delivery::to(fallback), refused: 0 }
    }

    fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let message = Message::of(line.trim_end_matches('\n'));
        let sent = self.say_refused().and_then(|()| self.daemon.send(&message));
        if let Err(error) = &sent {
            self.begin_fallback(error);
            self.refused += 1;
        }
        if sent.is_err() || message.is_last_word {
            self.fallback.write(format!("{}\n", message.line).as_bytes());
        }
    }

    /// Says to the daemon what it has missed.
    fn say_refused(&mut self) -> io::Result<()> {
        if self.refused > 0 {
            let lines = if self.refused == 1 { "1 line" } else { &format!("{} lines", self.refused) };
            self.daemon.send(&Message::of(&line("WARN", &format!("{lines} of the log went to standard error"))))?;
            self.refused = 0;
        }
        Ok(())
    }

    /// Says where the lines are missing, in front of the first.
    fn begin_fallback(&mut self, error: &io::Error) {
        if self.refused == 0 {
            let path = self.daemon.path().display();
            let said = format!("{}\n", line("WARN", &format!("the log goes to standard error: {path}: {error}")));
            self.fallback.write(said.as_bytes());
        }
    }
}

/// Takes everything: what becomes of it is no error of the log's.
impl<W: Write> Write for Reader<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        lines.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.take(line));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
