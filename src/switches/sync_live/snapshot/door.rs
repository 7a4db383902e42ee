//! The TCP socket of a donor.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

/// Joiners that wait to be let in.
const BACKLOG: i32 = 16;
/// How often a port is tried again that somebody else has.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A socket on the interface's address and the group's port, which listens or is going to: the port may still be a
/// predecessor's, or another tracker's of the same machine.
#[derive(Debug)]
pub struct Door {
    socket: Socket,
    address: SocketAddrV4,
    is_open: bool,
}

impl Door {
    /// Listens on this address, if nobody else does. `None` if there can be no such socket at all: the log says why.
    pub(in super::super) fn new(address: SocketAddrV4) -> Option<Self> {
        let socket = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            // What a predecessor has left of its connections is not in the way.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let opened = socket().and_then(|socket| {
            let mut door = Self { socket, address, is_open: false };
            let taken = door.try_open().err();
            taken.filter(|error| error.kind() != io::ErrorKind::AddrInUse).map_or(Ok(door), Err)
        });
        opened.inspect_err(|error| warn!("gives no snapshots: cannot listen on tcp {address}: {error}")).ok()
    }

    /// Returns whether the port is somebody else's.
    pub(in super::super) fn is_taken(&self) -> bool {
        !self.is_open
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Logs whether snapshots are given.
    pub(in super::super) fn log(&self) {
        let address = self.address;
        if self.is_open {
            info!("gives snapshots on tcp {address}");
        } else {
            warn!("gives no snapshots until another program lets go of tcp {address}");
        }
    }

    /// Listens, if nobody else does any more.
    pub(super) fn try_open(&mut self) -> io::Result<()> {
        if !self.is_open {
            // Also who listens may be in the way, which is found out behind this. A socket is bound once.
            if !self.is_bound()? {
                self.socket.bind(&SocketAddr::from(self.address).into())?;
            }
            self.socket.listen(BACKLOG)?;
            self.is_open = true;
        }
        Ok(())
    }

    fn is_bound(&self) -> io::Result<bool> {
        let bound = self.socket.local_addr()?.as_socket();
        Ok(bound.is_some_and(|address| address.port() != 0))
    }

    /// Returns what accepts connections. To be called when it is open.
    pub(super) fn listener(self) -> TcpListener {
        self.socket.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_that_is_bound_opens_when_nobody_else_listens_any_more() {
        let socket = |address: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket
        };
        let other = socket(([127, 0, 0, 1], 0).into());
        let address = other.local_addr().unwrap().as_socket_ipv4().unwrap();
        // Both are bound before one listens: that is what is shared with who reuses the address.
        let mut door = Door { socket: socket(address.into()), address, is_open: false };
        other.listen(1).unwrap();
        for _ in 0..2 {
            assert_eq!(door.try_open().map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
            assert!(door.is_taken());
        }
        drop(other);
        door.try_open().unwrap();
        assert!(!door.is_taken());
        std::net::TcpStream::connect(address).unwrap();
    }
}
