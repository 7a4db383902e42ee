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
    self, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg,
    setsockopt, shutdown, sockopt,
};
use tracing::{debug, warn};

use crate::core::{Clock, Flavour};

use super::packet::{HEADER_LEN, SCRAPE_MOST};
use super::service::{REPLY_MOST, Service};

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

/// A bound UDP socket of one worker.
pub struct Socket {
    socket: UdpSocket,
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
        Ok(Self { socket, wildcard })
    }

    /// Ends [`Self::run`] in the thread that is in it, once `stop` is true.
    pub fn wake(&self) {
        // Linux says that the socket is not connected, and wakes the receiver nevertheless.
        let _ = shutdown(self.socket.as_raw_fd(), socket::Shutdown::Read);
    }

    /// Answers datagrams until `stop` is true and [`Self::wake`] is called.
    pub fn run<F: Flavour>(&self, mut service: Service<F>, clock: impl Clock, stop: &AtomicBool) {
        let control = self.wildcard.then(|| nix::cmsg_space!(libc::in6_pktinfo));
        let mut receiving = MultiHeaders::preallocate(BATCH, control.clone());
        let mut sending = MultiHeaders::preallocate(BATCH, control);
        let mut datagrams = vec![[0; DATAGRAM_MOST]; BATCH];
        let mut replies: [Vec<u8>; BATCH] = array::from_fn(|_| Vec::with_capacity(REPLY_MOST));
        let mut destinations = Vec::with_capacity(BATCH);
        let mut sources = Vec::with_capacity(BATCH);
        let mut complained = false;

        while !stop.load(Ordering::Relaxed) {
            destinations.clear();
            sources.clear();
            let mut now = None;
            let answered = self.receive(&mut receiving, &mut datagrams, |datagram, from, source| {
                let Some(reply) = replies.get_mut(destinations.len()) else { return };
                reply.clear();
                service.answer(datagram, from, *now.get_or_insert_with(|| clock.now()), reply);
                if !reply.is_empty() {
                    destinations.push(Some(SockaddrStorage::from(from)));
                    sources.push(source);
                }
            });
            match answered {
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
            self.send(&mut sending, &replies, &destinations, &sources);
        }
    }

    /// Waits for a datagram, takes all that have come, and shows each to `answer`.
    fn receive(
        &self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        datagrams: &mut [[u8; DATAGRAM_MOST]],
        mut answer: impl FnMut(&[u8], SocketAddr, Source),
    ) -> nix::Result<()> {
        let mut buffers = datagrams.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |b| b))]);
        let received = recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        for message in received {
            let from = message.address.as_ref().and_then(socket_address);
            let source = if self.wildcard { source(&message) } else { Some(Source::Bound) };
            if let (Some(from), Some(source)) = (from, source) {
                answer(message.iovs().next().unwrap_or_default(), from, source);
            }
        }
        Ok(())
    }

    fn send(
        &self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        replies: &[Vec<u8>; BATCH],
        destinations: &[Option<SockaddrStorage>],
        sources: &[Source],
    ) {
        let slices: [_; BATCH] = array::from_fn(|i| [IoSlice::new(replies.get(i).map_or(&[], |reply| reply))]);
        let mut sent = 0;
        while let Some(source) = sources.get(sent) {
            // One call has one source: most machines have one address, so this is nearly always the whole batch.
            let run = sources.iter().skip(sent).take_while(|other| same(source, other)).count();
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
fn source(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Source> {
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

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}
