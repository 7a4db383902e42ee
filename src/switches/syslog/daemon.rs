//! The socket of the journal or of syslog, and how it is reached.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, UnixAddr, send, sendto};

use super::message::{Message, Protocol};

/// What sockets of the journal are called, those of its namespaces included.
const JOURNAL_SOCKET: &str = "socket";

/// How long a daemon that has no room is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Not,
    /// [`AWHILE`].
    Awhile,
    Forever,
}

/// What a start has to spare for a daemon that reads nothing; the last wait may begin when hardly anything of it is left,
/// so a start can be held up for twice as long.
pub(super) const AWHILE: Duration = Duration::from_secs(1);

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
        // Here, as a confined process may not be able to. Who waits for ever does so again and again.
        socket.set_write_timeout(Some(AWHILE))?;
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

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// Nobody listens, neither where it is connected to nor at the path; or whoever does has no room for as long.
    pub(super) fn send(&mut self, message: &Message<'_>, wait: Wait) -> io::Result<()> {
        message.write(self.protocol, std::process::id(), &mut self.datagram);
        let waits = if wait == Wait::Not { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        loop {
            match self.send_once(waits | MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if wait == Wait::Forever => {}
                Err(Errno::EAGAIN) => return Err(io::Error::new(ErrorKind::WouldBlock, "nothing is read there")),
                sent => return Ok(sent.map(|_| ())?),
            }
        }
    }

    fn send_once(&self, flags: MsgFlags) -> nix::Result<usize> {
        let (socket, datagram) = (self.socket.as_raw_fd(), self.datagram.as_bytes());
        if self.is_connected {
            let sent = send(socket, datagram, flags);
            // Then somebody is there.
            if matches!(sent, Ok(_) | Err(Errno::EAGAIN | Errno::EINTR)) {
                return sent;
            }
        }
        sendto(socket, datagram, &UnixAddr::new(&self.path)?, flags)
    }
}
