//! `syslog`: the log goes to the journal, with the fields of each event, or to syslog.
//!
//! - [`message`]: a line of the log becomes a datagram.
//! - [`daemon`]: the socket that it is sent to.
//! - [`daemon_or_stderr`]: what cannot be sent goes to standard error.
//!
//! The log's thread sends, one line after the other. Whoever logs waits for nobody: a daemon that does not read keeps
//! that thread waiting alone, until lines no longer fit into the log's queue and are dropped. Before there is that
//! thread, all lines together wait for two seconds at most; then they go to standard error, as if nobody listened.
//!
//! The crates that speak to the journal or to syslog send where something is logged, so that a worker would wait for
//! the daemon, and make new sockets, which a confined process cannot.

mod daemon;
mod daemon_or_stderr;
mod message;

use std::fmt::{self, Debug, Write as _};
use std::path::Path;

use tracing::Event;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;

use crate::config::{Settings, SyslogSocket};
use crate::log::{Escaping, line, standard_error};
use crate::server::{LogDestination, OpenedLog};

use daemon::Daemon;
use daemon_or_stderr::DaemonOrStderr;
use message::MARK;

/// Where systemd's journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where syslog listens; systemd's journal does as well.
const SYSLOG: &str = "/dev/log";

/// The journal, or syslog.
#[derive(Debug)]
pub struct Syslog;

impl LogDestination for Syslog {
    fn open(settings: &Settings) -> Option<OpenedLog> {
        let daemon = match &settings.tracker.syslog {
            SyslogSocket::Unused => return None,
            SyslogSocket::Found => find(JOURNAL.as_ref(), SYSLOG.as_ref()),
            SyslogSocket::At(path) => Daemon::open(path),
        };
        match daemon {
            Ok(daemon) => Some(OpenedLog { destination: Box::new(DaemonOrStderr::new(daemon)), describe }),
            Err(error) => {
                // Said by hand: there is no log yet.
                let said = line("WARN", &format!("the log goes to standard error: no socket can be made: {error}"));
                let _ = standard_error().write_all(format!("{said}\n").as_bytes());
                None
            }
        }
    }
}

/// Opens the first of two that somebody listens at; the second if nobody does yet.
fn find(first: &Path, second: &Path) -> std::io::Result<Daemon> {
    let daemon = Daemon::open(first)?;
    if daemon.is_connected() { Ok(daemon) } else { Daemon::open(second) }
}

/// Writes the module that an event is of, and its fields, each as the journal has it and between marks.
fn describe(event: &Event<'_>, writer: &mut Writer<'_>) -> fmt::Result {
    write!(writer, "{MARK}TARGET={}{MARK}", event.metadata().target())?;
    let mut fields = Fields { writer, result: Ok(()) };
    event.record(&mut fields);
    fields.result
}

/// Writes fields, but for the message, which is in the line.
struct Fields<'a, 'writer> {
    writer: &'a mut Writer<'writer>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" || self.result.is_err() {
            return;
        }
        self.result = write_key(self.writer, field.name())
            .and_then(|()| Escaping(&mut *self.writer).write_fmt(value))
            .and_then(|()| self.writer.write_char(MARK));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, format_args!("{value:?}"));
    }
}

/// Writes the name of a field as the journal wants it: capitals, digits and underscores, and no underscore first.
fn write_key(writer: &mut impl fmt::Write, name: &str) -> fmt::Result {
    for character in name.trim_start_matches('_').chars() {
        let fits = character.is_ascii_alphanumeric();
        writer.write_char(if fits { character.to_ascii_uppercase() } else { '_' })?;
    }
    writer.write_char('=')
}

#[cfg(test)]
mod tests;
