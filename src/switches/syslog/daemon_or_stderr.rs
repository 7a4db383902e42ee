//! Lines of the log to a daemon, and to standard error for as long as there is none.

use std::fmt::Debug;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::log::{Delivery, Destination, line, standard_error};

use super::daemon::{AWHILE, Daemon, Wait};
use super::message::Message;

/// Sends lines to a daemon. What it does not take, and what the process ends with, goes to `fallback`.
#[derive(Debug)]
pub(super) struct DaemonOrStderr<W = Box<dyn Destination>> {
    daemon: Daemon,
    fallback: Delivery<W>,
    /// Lines in a row that the daemon has not taken.
    refused: u64,
    /// What is left of the time that a start waits for the daemon, all its lines together. `None`: the log's thread
    /// writes.
    pub(super) spare: Option<Duration>,
}

impl DaemonOrStderr {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self::with_fallback(daemon, standard_error())
    }
}

impl<W: Write> DaemonOrStderr<W> {
    pub(super) fn with_fallback(daemon: Daemon, fallback: W) -> Self {
        Self { daemon, fallback: Delivery::to(fallback), refused: 0, spare: Some(AWHILE) }
    }

    fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let message = Message::of(line.trim_end_matches('\n'));
        if message.is_last_word() {
            self.take_last_word(&message);
        } else if let Err(error) = self.send(&message) {
            self.begin_fallback(&error);
            self.refused += 1;
            self.fall_back(&message);
        }
    }

    /// Takes what the process ends with, which is not waited for for long: so that one of the two has it, whoever of
    /// them does not read.
    fn take_last_word(&mut self, message: &Message<'_>) {
        let sent = self.say_refused().and_then(|()| self.daemon.send(message, Wait::Not));
        self.fall_back(message);
        if sent.is_err() {
            // It is said already.
            let _ = self.send(message);
        }
    }

    fn fall_back(&mut self, message: &Message<'_>) {
        self.fallback.write(format!("{}\n", message.line).as_bytes());
    }

    /// Returns how long the daemon is waited for. One that has not taken a line is away until it takes one.
    pub(super) fn patience(&self) -> Wait {
        match self.spare {
            _ if self.refused > 0 => Wait::Not,
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Not,
            Some(_) => Wait::Awhile,
        }
    }

    /// Sends a message, and before it what the daemon has missed.
    fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.say_refused()?;
        let began = Instant::now();
        let sent = self.daemon.send(message, self.patience());
        self.spare = self.spare.map(|left| left.saturating_sub(began.elapsed()));
        sent
    }

    /// Says to the daemon what it has missed.
    fn say_refused(&mut self) -> io::Result<()> {
        if self.refused > 0 {
            let lines = if self.refused == 1 { "1 line" } else { &format!("{} lines", self.refused) };
            let said = line("WARN", &format!("{lines} of the log went to standard error"));
            self.daemon.send(&Message::of(&said), Wait::Not)?;
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
impl<W: Write> Write for DaemonOrStderr<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        lines.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.take(line));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send + Debug> Destination for DaemonOrStderr<W> {
    fn may_wait(&mut self) {
        self.spare = None;
    }
}
