//! A client of the socket by which a list is changed: a command a line, an answer a line.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::wait::{MAX_WAIT, retry_interrupted};

/// Returns whether nobody listens at a path. Waits for nobody, even where many connections wait to be accepted.
pub(crate) fn is_refused(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let connected = connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap());
    matches!(connected, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

/// A connection.
pub(crate) struct Control(BufReader<UnixStream>);

impl Control {
    #[track_caller]
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        stream.set_write_timeout(Some(MAX_WAIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends these bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Returns the next answer; nothing if the connection is closed.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        match retry_interrupted(|| self.0.read_line(&mut line)) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("no answer: {error}"),
            _ => line.trim_end().to_owned(),
        }
    }

    /// Says a command, and returns the answer to it.
    #[track_caller]
    pub(crate) fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\n").as_bytes()).unwrap();
        self.answer()
    }
}
