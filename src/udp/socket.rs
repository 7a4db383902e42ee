//! Drives a [`Service`] over a socket: receives a batch with one system call, answers it, sends it with another.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike,
    recvmmsg, sendmmsg, setsockopt, shutdown, sockopt,
};
use tracing::{debug, warn};

use crate::core::{Clock, Flavour};

use super::packet::{HEADER_LEN, SCRAPE_MOST};
use super::service::{Question, REPLY_MOST, Service};

/// Datagrams received and sent at once.
const BATCH: usize = 32;
/// The longest scrape. What is longer is cut: options at the end of an announce (BEP 41) are not looked at anyway.
const DATAGRAM_MOST: usize = HEADER_LEN + SCRAPE_MOST * 20;
/// How long to wait after an error that is not a datagram's own, such as a machine without memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The local address that a datagram was sent to, in the form in which it is given back as the reply's source.
#[derive(Clone, Copy)]
enum Source {
    /// The socket is bound to one address.
    Bound,
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// A datagram that has been received, and from whom.
struct Arrived {
    /// Where it stands.
    buffer: usize,
    len: usize,
    from: SocketAddr,
    source: Source,
}

/// A bound UDP socket of one worker.
pub struct Socket {
    socket: UdpSocket,
    ipv6: bool,
    /// Bound to all addresses: then a reply's source has to be chosen, or clients would not know it for theirs.
    wildcard: bool,
}

impl Socket {
    /// Takes a bound socket over.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt` and `getsockname`.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let wildcard = local.ip().is_unspecified();
        match local.ip() {
            IpAddr::V4(_) if wildcard => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) if wildcard => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        Ok(Self { socket, ipv6: local.is_ipv6(), wildcard })
    }

    /// Ends [`Self::run`] in the thread that is in it, once `stop` is true.
    pub fn wake(&self) {
        // Linux says that the socket is not connected, and wakes the receiver nevertheless.
        let _ = shutdown(self.socket.as_raw_fd(), socket::Shutdown::Read);
    }

    /// Answers datagrams until `stop` is true and [`Self::wake`] is called.
    pub fn run<F: Flavour>(&self, service: Service<F>, clock: impl Clock, stop: &AtomicBool) {
        if self.ipv6 {
            self.run_with::<SockaddrIn6, F>(service, clock, stop);
        } else {
            self.run_with::<SockaddrIn, F>(service, clock, stop);
        }
    }

    fn run_with<A: Address, F: Flavour>(&self, mut service: Service<F>, clock: impl Clock, stop: &AtomicBool) {
        let control = self.wildcard.then(|| nix::cmsg_space!(libc::in6_pktinfo));
        let mut receiving = MultiHeaders::<A>::preallocate(BATCH, control.clone());
        let mut sending = MultiHeaders::<A>::preallocate(BATCH, control);
        let mut datagrams = vec![[0; DATAGRAM_MOST]; BATCH];
        let mut replies: [Vec<u8>; BATCH] = array::from_fn(|_| Vec::with_capacity(REPLY_MOST));
        let mut arrived = Vec::with_capacity(BATCH);
        let mut destinations = Vec::with_capacity(BATCH);
        let mut complained = false;

        while !stop.load(Ordering::Relaxed) {
            arrived.clear();
            destinations.clear();
            let received = self.receive(&mut receiving, &mut datagrams, &mut arrived, &mut destinations);
            let questions = arrived.iter().zip(&mut replies).map(|(arrived, out): (&Arrived, &mut Vec<u8>)| {
                out.clear();
                let datagram = datagrams.get(arrived.buffer).and_then(|bytes| bytes.get(..arrived.len));
                Question { datagram: datagram.unwrap_or_default(), from: arrived.from, out }
            });
            service.answer(questions, clock.now());
            match received {
                Ok(()) => complained = false,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(error) => {
                    if !complained {
                        warn!("cannot receive over UDP: {error}; trying again");
                        complained = true;
                    }
                    thread::sleep(PAUSE);
                }
            }
            let mut answered = 0;
            for at in 0..arrived.len() {
                if replies.get(at).is_some_and(|reply| !reply.is_empty()) {
                    replies.swap(answered, at);
                    arrived.swap(answered, at);
                    destinations.swap(answered, at);
                    answered += 1;
                }
            }
            arrived.truncate(answered);
            self.send(&mut sending, &replies, &destinations, &arrived);
        }
    }

    /// Waits for a datagram and takes all that have come.
    fn receive<A: Address>(
        &self,
        headers: &mut MultiHeaders<A>,
        datagrams: &mut [[u8; DATAGRAM_MOST]],
        arrived: &mut Vec<Arrived>,
        senders: &mut Vec<Option<A>>,
    ) -> nix::Result<()> {
        let mut buffers = datagrams.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |b| b))]);
        let received = recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        for (buffer, message) in received.enumerate() {
            let source = if self.wildcard { source(&message) } else { Some(Source::Bound) };
            if let (Some(from), Some(source)) = (message.address, source) {
                arrived.push(Arrived { buffer, len: message.bytes, from: from.socket_address(), source });
                senders.push(Some(from));
            }
        }
        Ok(())
    }

    fn send<A: Address>(
        &self,
        headers: &mut MultiHeaders<A>,
        replies: &[Vec<u8>; BATCH],
        destinations: &[Option<A>],
        arrived: &[Arrived],
    ) {
        let slices: [_; BATCH] = array::from_fn(|i| [IoSlice::new(replies.get(i).map_or(&[], |reply| reply))]);
        let mut sent = 0;
        while let Some(Arrived { source, .. }) = arrived.get(sent) {
            // One call has one source: most machines have one address, so this is nearly always the whole batch.
            let run = arrived.iter().skip(sent).take_while(|other| same(source, &other.source)).count();
            let (slices, destinations) = (slices.iter().skip(sent).take(run), destinations.get(sent..sent + run));
            let control = source.control_message();
            let socket = self.socket.as_raw_fd();
            let flags = MsgFlags::empty();
            match sendmmsg(socket, headers, slices, destinations.unwrap_or_default(), control.as_slice(), flags) {
                // The kernel stops at the first that it cannot send; the next call says why.
                Ok(results) => sent += results.count().max(1),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    // A client that no route leads to, or that a firewall forbids: the others are answered.
                    debug!("cannot send a reply: {error}");
                    sent += 1;
                }
            }
        }
    }
}

/// As the system writes addresses of one family: a batch of them is copied to and fro, and one that fits all families
/// takes eight times as much as an IPv4 address.
trait Address: SockaddrLike + Copy {
    fn socket_address(self) -> SocketAddr;
}

impl Address for SockaddrIn {
    fn socket_address(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Address for SockaddrIn6 {
    fn socket_address(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}

impl Source {
    fn control_message(&self) -> Option<ControlMessage<'_>> {
        match self {
            Self::Bound => None,
            Self::V4(info) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Self::V6(info) => Some(ControlMessage::Ipv6PacketInfo(info)),
        }
    }
}

fn same(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Bound, Source::Bound) => true,
        (Source::V4(one), Source::V4(other)) => one.ipi_spec_dst.s_addr == other.ipi_spec_dst.s_addr,
        (Source::V6(one), Source::V6(other)) => {
            one.ipi6_addr.s6_addr == other.ipi6_addr.s6_addr && one.ipi6_ifindex == other.ipi6_ifindex
        }
        _ => false,
    }
}

/// Which of our addresses a datagram was sent to.
fn source<A>(message: &RecvMsg<'_, '_, A>) -> Option<Source> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // The route decides on the interface. For a broadcast, `spec_dst` is our own address.
            Some(Source::V4(libc::in_pktinfo { ipi_ifindex: 0, ..info }))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            // Only a link-local address means nothing without its interface.
            let [first, second, ..] = info.ipi6_addr.s6_addr;
            let link_local = first == 0xfe && second & 0xc0 == 0x80;
            Some(Source::V6(libc::in6_pktinfo { ipi6_ifindex: if link_local { info.ipi6_ifindex } else { 0 }, ..info }))
        }
        _ => None,
    })
}
