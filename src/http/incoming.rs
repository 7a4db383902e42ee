//! Connections that were just accepted, before the event loop knows of them.
//!
//! Nearly all have sent their request by then, as the listener leaves them to the system until they do; most want one
//! reply, and the system has room for it. Such a connection takes four system calls, and to have it wait in the event
//! loop would take four more.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sockets;

use super::byte_stream::ByteStream;

/// A socket that listens, known to the event loop until this is dropped. It listens for as long as anybody holds it:
/// who comes meanwhile waits until another event loop knows of it.
pub struct Listener {
    socket: AsyncFd<Arc<TcpListener>>,
    /// IPv4 clients come under IPv6 addresses ([`sockets`]).
    serves_both_families: bool,
}

impl Listener {
    /// Makes a socket known to the event loop in whose context this is called, whatever it was set to before.
    ///
    /// # Errors
    ///
    /// The system has no room for it.
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for types whose descriptor may change: that of a listener stays"
    )]
    pub fn new(listener: Arc<TcpListener>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let serves_both_families = sockets::serves_both_families(&listener)?;
        Ok(Self { socket: AsyncFd::with_interest(listener, Interest::READABLE)?, serves_both_families })
    }

    /// Returns the socket itself.
    pub(super) fn socket(&self) -> &TcpListener {
        self.socket.get_ref()
    }

    /// Waits for the next connection. Other tasks have their turn even when there is always one more.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.socket.async_io(Interest::READABLE, |listener| listener.accept()).await;
        accepted.map(|(stream, from)| (stream, if self.serves_both_families { sockets::unmapped(from) } else { from }))
    }
}

/// A connection that can be used at once, without waiting, or become one that can wait.
pub(super) trait Incoming {
    /// The same connection, known to the event loop.
    type Stream: ByteStream + 'static;

    /// Takes what has come, up to the size of `buffer`. Returns how many bytes that is.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends as much as the system has room for. Returns how many bytes that is.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the connection known to the event loop.
    fn into_stream(self) -> io::Result<Self::Stream>;
}

impl Incoming for TcpStream {
    type Stream = tokio::net::TcpStream;

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?)
    }

    fn into_stream(self) -> io::Result<Self::Stream> {
        self.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(self)
    }
}
