//! The driver over a socket: receives a batch with one system call and sends its replies with another.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike,
    recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use tracing::debug;

use crate::log::Complaints;
use crate::sockets;

use super::driver::Driver;
use super::packet::{self, HEADER_LEN, MAX_SCRAPE};
use super::service::{Question, REPLY_BUFFER_LEN};

/// Most datagrams that one system call receives or sends.
const MAX_BATCH: usize = 64;
/// Most bytes that are read of a datagram: those of the longest scrape. Longer ones are cut: the options at the end of
/// an announce (BEP 41) are not read anyway.
const MAX_DATAGRAM: usize = HEADER_LEN + MAX_SCRAPE * 20;
/// Most bytes that are left of a reply for which the path to its client is too narrow. Linux takes no path to be
/// narrower than 552 bytes (`net.ipv4.route.min_pmtu`), whatever an ICMP message claims, so it sends this.
const MAX_CUT_LEN: usize = 552 - 20 - 8;

/// Whose datagrams come to a socket, and in which form their addresses do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    Ipv4,
    Ipv6,
    /// Both, IPv4 as IPv6 ([`sockets`]).
    Both,
}

/// The local address that a datagram was sent to, in the form that makes it the source of the reply.
#[derive(Clone, Copy)]
enum Source {
    /// The socket is bound to one address.
    Bound,
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// A bound UDP socket of one worker.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    families: Families,
    /// Bound to all addresses: then a reply's source has to be chosen, or clients would not know it for theirs.
    wildcard: bool,
    unsent: Complaints,
}

/// Memory for the datagrams that a socket receives and sends at once.
pub struct Batch(FamilyBatch);

enum FamilyBatch {
    V4(BatchOf<SockaddrIn>),
    V6(BatchOf<SockaddrIn6>),
    /// Of clients of both families, whose addresses are IPv6 addresses to the system.
    Both(BatchOf<SockaddrIn6>),
}

/// A batch whose addresses have all the same of the system's forms. They are copied to and fro, and a form that fits
/// all families is eight times as long as an IPv4 address.
struct BatchOf<A> {
    receiving: MultiHeaders<A>,
    sending: MultiHeaders<A>,
    datagrams: Box<[[u8; MAX_DATAGRAM]]>,
    /// The n-th is the reply to the n-th datagram in `arrivals`.
    replies: Box<[[u8; REPLY_BUFFER_LEN]]>,
    arrivals: Vec<Arrival<A>>,
    /// The destination of each reply that is sent.
    destinations: Vec<Option<A>>,
    /// The source of each reply that is sent.
    sources: Vec<Source>,
}

/// A datagram that has been received, and who sent it.
struct Arrival<A> {
    /// Position in `datagrams`.
    buffer: usize,
    len: usize,
    from: A,
    source: Source,
    /// Length of the reply; 0 if there is none.
    reply_len: usize,
}

impl TryFrom<UdpSocket> for Socket {
    type Error = io::Error;

    /// Takes over a bound socket, and sets its options: whoever had it before may have had others.
    ///
    /// # Errors
    ///
    /// The system refused an option, or could not say where the socket is bound.
    fn try_from(socket: UdpSocket) -> io::Result<Self> {
        // The worker waits in the system call, until a datagram or a signal comes.
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)?;
        let local = socket.local_addr()?;
        let wildcard = local.ip().to_canonical().is_unspecified();
        match local.ip() {
            IpAddr::V4(_) if wildcard => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) if wildcard => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        let families = match local.ip() {
            IpAddr::V4(_) => Families::Ipv4,
            IpAddr::V6(_) if sockets::serves_both_families(&socket)? => Families::Both,
            IpAddr::V6(_) => Families::Ipv6,
        };
        if families != Families::Ipv6 {
            // Else the kernel draws an identification for each reply, so that it can be sent in pieces. A system that
            // does not know the option does without.
            let _ = setsockopt(&socket, MtuDiscover, &libc::IP_PMTUDISC_DO);
        }
        Ok(Self { socket, families, wildcard, unsent: Complaints::default() })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Driver for Socket {
    type Batch = Batch;

    fn batch(&self) -> Batch {
        // Each has the size of what it carries to the byte: what is left over after a message, a kernel of 64 bits
        // takes for another one if the program is one of 32 bits.
        let ipv4 = || self.wildcard.then(|| nix::cmsg_space!(libc::in_pktinfo));
        let ipv6 = || self.wildcard.then(|| nix::cmsg_space!(libc::in6_pktinfo));
        Batch(match self.families {
            Families::Ipv4 => FamilyBatch::V4(BatchOf::new(ipv4())),
            Families::Ipv6 => FamilyBatch::V6(BatchOf::new(ipv6())),
            Families::Both => FamilyBatch::Both(BatchOf::new(ipv6())),
        })
    }

    fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        match &mut batch.0 {
            FamilyBatch::V4(batch) => self.receive_into(batch)?,
            FamilyBatch::V6(batch) | FamilyBatch::Both(batch) => self.receive_into(batch)?,
        }
        Ok(())
    }

    fn answer(&self, batch: &mut Batch, answer: impl FnOnce(&mut [Question<'_>])) {
        match &mut batch.0 {
            FamilyBatch::V4(batch) => batch.answer(|from| SocketAddr::V4(from.into()), answer),
            FamilyBatch::V6(batch) => batch.answer(|from| SocketAddr::V6(from.into()), answer),
            FamilyBatch::Both(batch) => {
                batch.answer(|from| sockets::unmapped(SocketAddr::V6(from.into())), answer);
            }
        }
    }

    fn send(&self, batch: &mut Batch) {
        match &mut batch.0 {
            FamilyBatch::V4(batch) => self.send_replies(batch),
            FamilyBatch::V6(batch) | FamilyBatch::Both(batch) => self.send_replies(batch),
        }
    }
}

impl<A: SockaddrLike + Copy> BatchOf<A> {
    /// Makes the memory. `control` is as long as the message that says where a datagram was sent to, if one does.
    fn new(control: Option<Vec<u8>>) -> Self {
        Self {
            receiving: MultiHeaders::preallocate(MAX_BATCH, control.clone()),
            sending: MultiHeaders::preallocate(MAX_BATCH, control),
            datagrams: vec![[0; MAX_DATAGRAM]; MAX_BATCH].into_boxed_slice(),
            replies: vec![[0; REPLY_BUFFER_LEN]; MAX_BATCH].into_boxed_slice(),
            arrivals: Vec::with_capacity(MAX_BATCH),
            destinations: Vec::with_capacity(MAX_BATCH),
            sources: Vec::with_capacity(MAX_BATCH),
        }
    }

    /// Has the batch answered. `client` reads an address as that of a client.
    fn answer(&mut self, client: impl Fn(A) -> SocketAddr, answer: impl FnOnce(&mut [Question<'_>])) {
        let Self { datagrams, replies, arrivals, .. } = self;
        let question = |(arrived, reply): (&Arrival<A>, _)| {
            let datagram = datagrams.get(arrived.buffer).and_then(|bytes| bytes.get(..arrived.len));
            Question::new(datagram.unwrap_or_default(), client(arrived.from), reply)
        };
        let replies = replies.iter_mut().map(|reply| &mut reply[..]);
        let mut questions: ArrayVec<_, MAX_BATCH> =
            arrivals.iter().zip(replies).map(question).take(MAX_BATCH).collect();
        answer(&mut questions);
        let lens = questions.iter().map(|question| question.reply_len);
        arrivals.iter_mut().zip(lens).for_each(|(arrived, len)| arrived.reply_len = len);
    }
}

impl Socket {
    /// Waits for datagrams and receives those that have come.
    fn receive_into<A: SockaddrLike + Copy>(&self, batch: &mut BatchOf<A>) -> nix::Result<()> {
        let BatchOf { receiving, datagrams, arrivals, .. } = batch;
        arrivals.clear();
        let mut buffers = datagrams.iter_mut();
        let mut slices: [_; MAX_BATCH] = array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |b| b))]);
        let received = recvmmsg(self.socket.as_raw_fd(), receiving, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        for (buffer, message) in received.enumerate() {
            let source = if self.wildcard { source(&message) } else { Some(Source::Bound) };
            if let (Some(from), Some(source)) = (message.address, source) {
                arrivals.push(Arrival { buffer, len: message.bytes, from, source, reply_len: 0 });
            }
        }
        Ok(())
    }

    /// Sends the replies of a batch that are not empty.
    fn send_replies<A: SockaddrLike + Copy>(&self, batch: &mut BatchOf<A>) {
        let BatchOf { sending, replies, arrivals, destinations, sources, .. } = batch;
        destinations.clear();
        sources.clear();
        let mut outgoing: [&[u8]; MAX_BATCH] = [&[]; MAX_BATCH];
        let mut places = outgoing.iter_mut();
        for (arrived, reply) in arrivals.iter().zip(&*replies).filter(|(arrived, _)| arrived.reply_len > 0) {
            if let (Some(place), Some(reply)) = (places.next(), reply.get(..arrived.reply_len)) {
                *place = reply;
                destinations.push(Some(arrived.from));
                sources.push(arrived.source);
            }
        }
        self.send_all(sending, &outgoing, destinations, sources);
    }

    /// Sends as many replies as there are destinations.
    fn send_all<A: SockaddrLike + Copy>(
        &self,
        headers: &mut MultiHeaders<A>,
        replies: &[&[u8]; MAX_BATCH],
        destinations: &[Option<A>],
        sources: &[Source],
    ) {
        let mut slices = replies.map(|reply| [IoSlice::new(reply)]);
        let mut sent = 0;
        while let Some(source) = sources.get(sent) {
            // One call has one source: most machines have one address, so this is nearly always the whole batch.
            let run = sources.iter().skip(sent).take_while(|other| same_source(source, other)).count();
            let (batch, destinations) = (slices.iter().skip(sent).take(run), destinations.get(sent..sent + run));
            let control = source.control_message();
            let socket = self.socket.as_raw_fd();
            let flags = MsgFlags::empty();
            let results = sendmmsg(socket, headers, batch, destinations.unwrap_or_default(), control.as_slice(), flags);
            match results.map(Iterator::count) {
                // The kernel stops at the first that it cannot send; the next call says why.
                Ok(count) => sent += count.max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EMSGSIZE) if self.families != Families::Ipv6 && cut(&mut slices, replies, sent) => {}
                Err(error) => {
                    // A client that no route leads to, or that a firewall forbids: the others are answered.
                    self.unsent.say(|| debug!("cannot send a reply: {error}"));
                    sent += 1;
                }
            }
        }
    }
}

// nix has this macro for options that it does not know itself.
sockopt_impl!(
    /// Whether the kernel fragments datagrams that are too long for their path, or refuses them.
    MtuDiscover,
    Both,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);

/// Cuts the reply `at` a position, which does not fit its path. Returns whether it is shorter now.
#[cold]
fn cut<'a>(slices: &mut [[IoSlice<'a>; 1]], replies: &[&'a [u8]], at: usize) -> bool {
    let (Some([slice]), Some(reply)) = (slices.get_mut(at), replies.get(at)) else { return false };
    let rest = packet::cut(reply, MAX_CUT_LEN);
    let shorter = rest.len() < slice.len();
    *slice = IoSlice::new(rest);
    shorter
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

/// Returns whether replies from both can be sent with one system call.
fn same_source(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Bound, Source::Bound) => true,
        (Source::V4(one), Source::V4(other)) => one.ipi_spec_dst.s_addr == other.ipi_spec_dst.s_addr,
        (Source::V6(one), Source::V6(other)) => {
            one.ipi6_addr.s6_addr == other.ipi6_addr.s6_addr && one.ipi6_ifindex == other.ipi6_ifindex
        }
        _ => false,
    }
}

/// Returns the local address that a datagram was sent to.
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
mod tests;
