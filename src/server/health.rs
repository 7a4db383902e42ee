//! Asks a tracker whether it answers, as whoever watches a container does. Nothing is announced.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::cli::HealthTarget;
use crate::udp::packet::PROTOCOL_ID;

/// How long a tracker may take for all.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for a reply before the request is sent again: a datagram may be lost where much is going on.
const RESEND: Duration = Duration::from_millis(400);

/// Bytes of a reply to a UDP connect (BEP 15): action, transaction id, connection id.
const CONNECT_REPLY: usize = 16;

/// Returns how a tracker fails to answer within two seconds; nothing if it answers: over UDP a connect with a connection
/// id, over HTTP a request for `/` with any status below 500.
///
/// # Errors
///
/// For the operator: what was asked, and what came instead of an answer.
pub fn check(target: &HealthTarget) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let address = target.address;
    if target.tcp {
        ask_over_http(address, deadline).map_err(|error| format!("{address} does not answer over HTTP: {error}"))?;
    }
    if target.udp {
        ask_over_udp(address, deadline).map_err(|error| format!("{address} does not answer over UDP: {error}"))?;
    }
    Ok(())
}

/// Returns what is left until then, and never zero: to the system that means for ever.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("nothing came within {PATIENCE:?}"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn ask_over_http(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let in_time = |error: io::Error| if is_timeout(&error) { too_late() } else { error };
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?).map_err(in_time)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(in_time)?;
    // "HTTP/1.1 302": what comes behind it does not matter.
    let mut head = [0; 12];
    let mut len = 0;
    while let Some(rest @ [_, ..]) = head.get_mut(len..) {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(in_time(error)),
        }
    }
    match status(&head) {
        Some(status) if status < 500 => Ok(()),
        Some(status) => Err(io::Error::other(format!("it says status {status}"))),
        None if len == 0 => Err(io::Error::other("it closes the connection")),
        None => Err(io::Error::other("what it says is not HTTP")),
    }
}

/// Returns the status in the first bytes of a reply.
fn status(head: &[u8; 12]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok().filter(|status| *status >= 100)
}

fn ask_over_udp(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Whoever else sends something is not heard.
    socket.connect(address)?;
    let mut transaction = [0; 4];
    getrandom::fill(&mut transaction).map_err(io::Error::other)?;
    let mut request = [0; 16];
    for (byte, value) in request.iter_mut().zip(PROTOCOL_ID.to_be_bytes().into_iter().chain([0; 4]).chain(transaction))
    {
        *byte = value;
    }
    let mut reply = [0; 512];
    loop {
        socket.send(&request)?;
        let resend = (Instant::now() + RESEND).min(deadline);
        while let Ok(wait) = left(resend) {
            socket.set_read_timeout(Some(wait))?;
            match socket.recv(&mut reply) {
                Ok(len) => match reply.get(..len) {
                    Some([0, 0, 0, action, rest @ ..]) if rest.starts_with(&transaction) => {
                        if *action == 0 && len >= CONNECT_REPLY {
                            return Ok(());
                        }
                        return Err(io::Error::other("its reply is not the one to a connect"));
                    }
                    // An answer to somebody who had this port before.
                    _ => {}
                },
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        left(deadline)?;
    }
}

#[cfg(test)]
mod tests;
