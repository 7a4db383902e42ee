//! What the kernel allows: answers every datagram with a plausible reply of BEP 15, and does nothing else.
//!
//! `udp_floor batch ADDRESS` receives and sends up to 32 datagrams with a system call, `udp_floor single ADDRESS` one.
//! An announce is answered with 30 peers, whatever it asks for.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};

const BATCH: usize = 32;
const MAX_DATAGRAM: usize = 1496;
const MAX_REPLY: usize = 20 + 200 * 6;
const PEERS: usize = 30;
/// So that nothing is lost while it is not scheduled; the system may allow less.
const RECEIVE_BUFFER: usize = 4 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let serve = match words.first().map(String::as_str) {
        Some("batch") => batches,
        Some("single") => singles,
        _ => {
            eprintln!("udp_floor batch|single ADDRESS");
            return ExitCode::FAILURE;
        }
    };
    let address = words.get(1).and_then(|address| address.parse().ok()).unwrap_or(([127, 0, 0, 1], 6969).into());
    match listen(address).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udp_floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    eprintln!("listening on udp {}", socket.local_addr()?);
    Ok(socket)
}

fn singles(socket: UdpSocket) -> io::Result<()> {
    let mut datagram = [0; MAX_DATAGRAM];
    let mut reply = [0; MAX_REPLY];
    loop {
        let (len, from) = socket.recv_from(&mut datagram)?;
        let len = answer(&datagram[..len], &mut reply);
        if len > 0 {
            socket.send_to(&reply[..len], from)?;
        }
    }
}

fn batches(socket: UdpSocket) -> io::Result<()> {
    let mut receiving = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut sending = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut datagrams = vec![[0; MAX_DATAGRAM]; BATCH];
    let mut replies = vec![[0; MAX_REPLY]; BATCH];
    let mut lengths = Vec::with_capacity(BATCH);
    let mut to = Vec::with_capacity(BATCH);
    loop {
        lengths.clear();
        to.clear();
        let mut buffers = datagrams.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |b| b))]);
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut receiving, slices.iter_mut(), flags, None) {
            Ok(received) => {
                for message in received {
                    let datagram = message.iovs().next().unwrap_or_default();
                    let len = answer(datagram, &mut replies[lengths.len()]);
                    if len > 0 {
                        lengths.push(len);
                        to.push(message.address);
                    }
                }
            }
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let slices: Vec<_> = replies.iter().zip(&lengths).map(|(reply, &len)| [IoSlice::new(&reply[..len])]).collect();
        let mut sent = 0;
        while sent < to.len() {
            let rest = &to[sent..];
            match sendmmsg(socket.as_raw_fd(), &mut sending, &slices[sent..], rest, [], MsgFlags::empty()) {
                Ok(results) => sent += results.count().max(1),
                Err(Errno::EINTR) => {}
                Err(_) => sent += 1,
            }
        }
    }
}

/// Writes a reply, and gives its length; 0: no reply.
fn answer(datagram: &[u8], reply: &mut [u8; MAX_REPLY]) -> usize {
    let Some(header) = datagram.first_chunk::<16>() else { return 0 };
    reply[..8].copy_from_slice(&header[8..]);
    match header[11] {
        0 => 16,
        1 => 20 + 6 * PEERS,
        2 => 8 + 12 * ((datagram.len() - 16) / 20).min(74),
        _ => 0,
    }
}
