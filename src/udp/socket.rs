//! Drives a [`Service`] over a socket: receives a batch with one system call, answers it, sends it with another.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    self, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike,
    recvmmsg, sendmmsg, setsockopt, shutdown, sockopt,
};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use tracing::{debug, warn};

use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour};

use super::packet::{self, HEADER_LEN, MAX_SCRAPE};
use super::service::{Question, REPLY_BUFFER_LEN, Service};

/// Datagrams received and sent at once.
const BATCH: usize = 64;
/// The longest scrape. What is longer is cut: options at the end of an announce (BEP 41) are not looked at anyway.
const MAX_DATAGRAM: usize = HEADER_LEN + MAX_SCRAPE * 20;
/// What is left of a reply, in bytes, where the path to its client is too narrow for all of it. Linux takes no path for
/// narrower than 552 bytes (`net.ipv4.route.min_pmtu`), whatever an ICMP message claims, so it sends this.
const MAX_CUT: usize = 552 - 20 - 8;
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
        if local.is_ipv4() {
            // Else the kernel draws an identification for each reply, so that it can be sent in pieces. A system that
            // does not know the option does without.
            let _ = setsockopt(&socket, MtuDiscover, &libc::IP_PMTUDISC_DO);
        }
        Ok(Self { socket, ipv6: local.is_ipv6(), wildcard })
    }

    /// Ends [`Self::run`] in the thread that is in it, once `stop` has been told.
    pub fn wake(&self) {
        // Linux says that the socket is not connected, and wakes the receiver nevertheless.
        let _ = shutdown(self.socket.as_raw_fd(), socket::Shutdown::Read);
    }

    /// Answers datagrams until `stop` is told and [`Self::wake`] is called.
    pub fn run<F: Flavour>(&self, service: Service<F>, clock: impl Clock, stop: &StopToken) {
        if self.ipv6 {
            self.run_with::<SockaddrIn6, F>(service, clock, stop);
        } else {
            self.run_with::<SockaddrIn, F>(service, clock, stop);
        }
    }

    fn run_with<A: Address, F: Flavour>(&self, mut service: Service<F>, clock: impl Clock, stop: &StopToken) {
        let control = self.wildcard.then(|| nix::cmsg_space!(libc::in6_pktinfo));
        let mut receiving = MultiHeaders::<A>::preallocate(BATCH, control.clone());
        let mut sending = MultiHeaders::<A>::preallocate(BATCH, control);
        let mut datagrams = vec![[0; MAX_DATAGRAM]; BATCH];
        let mut memory = vec![[0; REPLY_BUFFER_LEN]; BATCH];
        let mut arrived: Vec<Arrived> = Vec::with_capacity(BATCH);
        let mut destinations = Vec::with_capacity(BATCH);
        let mut complained = false;

        while !stop.is_stopped() {
            arrived.clear();
            destinations.clear();
            let received = self.receive(&mut receiving, &mut datagrams, &mut arrived, &mut destinations);
            let question = |(arrived, reply): (&Arrived, _)| {
                let datagram = datagrams.get(arrived.buffer).and_then(|bytes| bytes.get(..arrived.len));
                Question::new(datagram.unwrap_or_default(), arrived.from, reply)
            };
            let mut questions: Vec<_> =
                arrived.iter().zip(memory.iter_mut().map(<[u8; _]>::as_mut_slice)).map(question).collect();
            service.answer(&mut questions, clock.now());
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
            // Most often all are answered, and none moves.
            let mut replies: [&[u8]; BATCH] = [&[]; BATCH];
            let mut answered = 0;
            for (at, question) in questions.iter().enumerate() {
                let reply = question.answer();
                if let Some(place) = replies.get_mut(answered).filter(|_| !reply.is_empty()) {
                    *place = reply;
                    if answered < at {
                        arrived.swap(answered, at);
                        destinations.swap(answered, at);
                    }
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
        datagrams: &mut [[u8; MAX_DATAGRAM]],
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
        replies: &[&[u8]; BATCH],
        destinations: &[Option<A>],
        arrived: &[Arrived],
    ) {
        let mut slices = replies.map(|reply| [IoSlice::new(reply)]);
        let mut sent = 0;
        while let Some(Arrived { source, .. }) = arrived.get(sent) {
            // One call has one source: most machines have one address, so this is nearly always the whole batch.
            let run = arrived.iter().skip(sent).take_while(|other| same(source, &other.source)).count();
            let (batch, destinations) = (slices.iter().skip(sent).take(run), destinations.get(sent..sent + run));
            let control = source.control_message();
            let socket = self.socket.as_raw_fd();
            let flags = MsgFlags::empty();
            let results = sendmmsg(socket, headers, batch, destinations.unwrap_or_default(), control.as_slice(), flags);
            match results.map(Iterator::count) {
                // The kernel stops at the first that it cannot send; the next call says why.
                Ok(count) => sent += count.max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EMSGSIZE) if !self.ipv6 && cut(&mut slices, replies, sent) => {}
                Err(error) => {
                    // A client that no route leads to, or that a firewall forbids: the others are answered.
                    debug!("cannot send a reply: {error}");
                    sent += 1;
                }
            }
        }
    }
}

// nix has this macro for options that it does not know itself.
sockopt_impl!(
    /// Whether datagrams that are too long for their path are cut in pieces by the kernel, or refused.
    MtuDiscover,
    Both,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);

/// Whether there is less of a reply to send now.
#[cold]
fn cut<'a>(slices: &mut [[IoSlice<'a>; 1]], replies: &[&'a [u8]], at: usize) -> bool {
    let (Some([slice]), Some(reply)) = (slices.get_mut(at), replies.get(at)) else { return false };
    let rest = packet::cut(reply, MAX_CUT);
    let shorter = rest.len() < slice.len();
    *slice = IoSlice::new(rest);
    shorter
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::tracker::ScrapeCounts;

    fn socket(address: impl Into<IpAddr>) -> Socket {
        Socket::new(UdpSocket::bind((address.into(), 0)).unwrap()).unwrap()
    }

    #[test]
    fn the_kernel_is_not_to_cut_what_it_sends_over_ipv4() {
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            assert_eq!(getsockopt(&socket(address).socket, MtuDiscover), Ok(libc::IP_PMTUDISC_DO));
        }
    }

    #[test]
    fn a_reply_that_its_path_does_not_take_is_cut_and_the_others_are_sent_whole() {
        let [mut connected, mut announced, mut scraped, mut endless, mut refused] =
            [16, 70_000, 72_008, 70_008, 10].map(|len| vec![7; len]);
        packet::write_connect(&mut connected, 1, 1);
        // No IPv4 datagram is as long, so the loopback refuses it.
        packet::begin_announce(&mut announced, 2);
        let len = packet::begin_scrape(&mut scraped, 3);
        (0..6000).fold(len, |len, _| packet::add_scraped(&mut scraped, len, ScrapeCounts::default()));
        packet::write_error(&mut endless, 4, &"no".repeat(35_000));
        packet::write_error(&mut refused, 5, "no");
        let expected = [&connected[..], &announced[..MAX_CUT], &scraped[..8 + 43 * 12], &endless[..MAX_CUT], &refused];

        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(from) = client.local_addr().unwrap() else { panic!("not bound to IPv4") };
        let source = Source::Bound;
        let arrived = [0; 5].map(|buffer| Arrived { buffer, len: 0, from: from.into(), source });
        let mut replies: [&[u8]; BATCH] = [&[]; BATCH];
        replies[..5].copy_from_slice(&[&connected, &announced, &scraped, &endless, &refused]);
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        socket(Ipv4Addr::LOCALHOST).send(&mut headers, &replies, &[Some(SockaddrIn::from(from)); 5], &arrived);

        client.set_nonblocking(true).unwrap();
        let mut received = [0; 1000];
        for expected in expected {
            let len = client.recv(&mut received).unwrap();
            assert_eq!(&received[..len], expected);
        }
        assert!(client.recv(&mut received).is_err(), "nothing is sent twice");
    }
}
