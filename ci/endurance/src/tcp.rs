//! TCP connections from an address of one's own.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::requests::get;

/// Opens a connection, which takes this time at most.
pub fn connect(ip: Ipv4Addr, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = bound(ip)?;
    socket.connect_timeout(&to.into(), timeout)?;
    Ok(socket.into())
}

/// Begins to open a connection that nobody waits for, of which the system buffers so few bytes for its reader if that
/// is given.
pub fn begin(ip: Ipv4Addr, to: SocketAddr, buffer: Option<usize>) -> io::Result<TcpStream> {
    let socket = bound(ip)?;
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer)?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        // EINPROGRESS.
        Err(error) if error.raw_os_error() != Some(115) && error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(socket.into()),
    }
}

fn bound(ip: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Else a port that waits for late packets is not used again.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    Ok(socket)
}

/// Sends a request, and returns what comes until the other end closes. No single step takes longer than `timeout`.
pub fn ask(ip: Ipv4Addr, to: SocketAddr, request: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = connect(ip, to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

/// Gets a page that is closed at its end.
pub fn page(ip: Ipv4Addr, to: SocketAddr, target: &str) -> io::Result<Vec<u8>> {
    ask(ip, to, get(target).as_bytes(), Duration::from_secs(60))
}

/// What follows the head of a reply.
pub fn body(reply: &[u8]) -> &[u8] {
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(reply.len(), |at| at + 4);
    reply.get(end..).unwrap_or_default()
}
