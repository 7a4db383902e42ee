//! The socket of the journal or of syslog, and how it is reached.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::message::{Message, Protocol};

/// What sockets of the journal are called, those of its namespaces included.
const JOURNAL_SOCKET: &str = "socket";

/// Somebody who listens at a path, or may do so one day.
///
/// The socket is made once. What it is connected to is beyond the reach of a confined process, and it stays connected
/// while a daemon is started anew if somebody else holds the daemon's socket, as systemd does. If nobody does, the path
/// leads to the daemon's new socket, unless that is outside the root directory.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: UnixDatagram,
    path: PathBuf,
    protocol: Protocol,
    is_connected: bool,
    /// Kept for its memory.
    datagram: String,
}

impl Daemon {
    /// Makes a socket, and connects it if somebody listens at this path.
    ///
    /// # Errors
    ///
    /// There is no socket to be had.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        let is_connected = socket.connect(path).is_ok();
        let is_journal = path.file_name() == Some(OsStr::new(JOURNAL_SOCKET));
        let protocol = if is_journal { Protocol::Journal } else { Protocol::Syslog };
        Ok(Self { socket, path: path.into(), protocol, is_connected, datagram: String::new() })
    }

    /// Returns whether somebody listened when it was opened.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends a message. Waits for as long as the daemon has no room.
    ///
    /// # Errors
    ///
    /// Nobody listens, neither where it is connected to nor at the path.
    pub(super) fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        message.write(self.protocol, std::process::id(), &mut self.datagram);
        let datagram = self.datagram.as_bytes();
        if self.is_connected && uninterrupted(|| self.socket.send(datagram)).is_ok() {
            return Ok(());
        }
        uninterrupted(|| self.socket.send_to(datagram, &self.path))
    }
}

/// Calls until no signal comes in between.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map(|_| ()),
        }
    }
}
