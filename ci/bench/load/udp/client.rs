//! One socket with its requests in flight.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use crate::Pace;
use crate::request::{self, NO_EVENT, Reply, Request, STOPPED};
use crate::tally::Tally;
use opentracker_bench::arguments::{Arguments, Task};
use opentracker_bench::population::{Peer, Population};

/// Requests in flight at a fixed rate: a bound on memory, not on the rate.
const IN_FLIGHT_AT_A_RATE: usize = 8192;
/// Datagrams received or sent at once.
const BATCH: usize = 32;
/// The longest reply that is read: an announce with 200 peers is shorter.
const MAX_REPLY: usize = 1500;
/// A request that is not answered by then is sent again, so often; at a fixed rate it is given up after `LOST`.
const RESEND: Duration = Duration::from_millis(100);
const RESENDS: u8 = 20;
const LOST: Duration = Duration::from_secs(1);
/// A connection id is used for so long; the shortest-lived ones hold for a minute or two.
const RENEW: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    n: u64,
    socket: UdpSocket,
    connection_id: u64,
    connected: Instant,
    slots: Vec<Slot>,
    free: Vec<u16>,
    ready: Vec<u16>,
    source: Source,
    rng: Rng,
    resends: bool,
    records: bool,
    receiving: MultiHeaders<SockaddrIn>,
    sending: MultiHeaders<SockaddrIn>,
    replies: Vec<[u8; MAX_REPLY]>,
}

/// A request in flight. The transaction id is the slot's number with its generation before it, so that an answer that
/// comes late is not taken for the next one's.
struct Slot {
    request: Request,
    generation: u16,
    busy: bool,
    sent: Instant,
    due: Instant,
    tries: u8,
}

/// Where requests come from.
enum Source {
    All { peers: Box<dyn Iterator<Item = Peer>>, event: u32, wanted: i32, exhausted: bool },
    Mix { population: Population, connects: f64, scrapes: f64, wanted: i32 },
}

impl Client {
    /// Binds the n-th socket to an address of its own, and fetches a connection id.
    pub(crate) fn connect(n: u64, population: Population, arguments: &Arguments) -> io::Result<Self> {
        let address = Ipv4Addr::new(127, 1, 0, u8::try_from(n + 1).unwrap_or(u8::MAX));
        let socket = UdpSocket::bind((address, 0))?;
        socket.connect(arguments.to)?;
        let connection_id = connect(&socket)?;
        socket.set_nonblocking(true)?;
        let wanted = arguments.wanted;
        let all = |event| Source::All { peers: Box::new(population.all(n)), event, wanted, exhausted: false };
        let source = match arguments.task {
            Task::Fill => all(NO_EVENT),
            Task::Leave => all(STOPPED),
            _ => Source::Mix { population, connects: arguments.connects, scrapes: arguments.scrapes, wanted },
        };
        let now = Instant::now();
        let in_flight = if arguments.rate.is_some() { IN_FLIGHT_AT_A_RATE } else { arguments.in_flight };
        let slot = || Slot { request: Request::EMPTY, generation: 0, busy: false, sent: now, due: now, tries: 0 };
        Ok(Self {
            n,
            socket,
            connection_id,
            connected: now,
            slots: (0..in_flight).map(|_| slot()).collect(),
            free: (0..in_flight).rev().filter_map(|slot| u16::try_from(slot).ok()).collect(),
            ready: Vec::with_capacity(in_flight),
            source,
            rng: Rng::with_seed(arguments.seed * 1000 + n),
            resends: arguments.rate.is_none(),
            records: arguments.rate.is_some(),
            receiving: MultiHeaders::preallocate(BATCH, None),
            sending: MultiHeaders::preallocate(BATCH, None),
            replies: vec![[0; MAX_REPLY]; BATCH],
        })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// There is nothing more to ask.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.source, Source::All { exhausted: true, .. })
    }

    /// Takes what has come, at most a batch of it. Gives how many answers that were.
    pub(crate) fn receive(&mut self, tally: &mut Tally) -> io::Result<usize> {
        let mut buffers = self.replies.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |b| b))]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut read = [const { None }; BATCH];
        match recvmmsg(self.socket.as_raw_fd(), &mut self.receiving, slices.iter_mut(), flags, None) {
            Ok(received) => {
                for (place, message) in read.iter_mut().zip(received) {
                    *place = message.iovs().next().and_then(request::read);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        let mut answered = 0;
        for (transaction_id, reply) in read.into_iter().flatten() {
            answered += usize::from(self.take(transaction_id, &reply, tally, now));
        }
        tally.batches += u64::from(answered > 0);
        Ok(answered)
    }

    /// Takes one answer, unless it is one to nothing that is in flight.
    fn take(&mut self, transaction_id: u32, reply: &Reply, tally: &mut Tally, now: Instant) -> bool {
        let [g, h, s, t] = transaction_id.to_be_bytes();
        let n = u16::from_be_bytes([s, t]);
        let Some(slot) = self.slots.get_mut(usize::from(n)) else { return false };
        if !slot.busy || slot.generation != u16::from_be_bytes([g, h]) {
            return false;
        }
        slot.busy = false;
        self.free.push(n);
        if self.records {
            tally.latencies.push(now - slot.due);
        }
        match reply {
            Reply::Connect(id) => {
                (self.connection_id, self.connected) = (*id, now);
                tally.connects += 1;
            }
            Reply::Announce { peers } => {
                tally.announces += 1;
                tally.peers += *peers as u64;
            }
            Reply::Scrape => tally.scrapes += 1,
            Reply::Error => tally.errors += 1,
        }
        true
    }

    /// Writes requests that are due into free slots.
    pub(crate) fn issue(&mut self, pace: &mut Pace, tally: &mut Tally, now: Instant) {
        // At a fixed rate a batch is as much as one client may take: the others have their turn.
        for _ in 0..BATCH {
            if self.is_done() || (self.resends && self.free.is_empty()) {
                return;
            }
            let Some(due) = pace.next(now) else { return };
            let Some(n) = self.free.pop() else {
                tally.lost += 1;
                continue;
            };
            let slot = &mut self.slots[usize::from(n)];
            slot.generation = slot.generation.wrapping_add(1);
            let transaction_id = u32::from(slot.generation) << 16 | u32::from(n);
            let stale = now - self.connected > RENEW;
            if stale {
                self.connected = now;
                slot.request.connect(transaction_id);
            } else if !self.source.write(&mut slot.request, (self.connection_id, transaction_id), self.n, &mut self.rng)
            {
                self.free.push(n);
                return;
            }
            (slot.busy, slot.sent, slot.due, slot.tries) = (true, now, due, 0);
            self.ready.push(n);
        }
    }

    /// Sends what is ready.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while !self.ready.is_empty() {
            let batch = &self.ready[..self.ready.len().min(BATCH)];
            let bytes = |n: &u16| [IoSlice::new(self.slots[usize::from(*n)].request.bytes())];
            let mut ready = batch.iter();
            let slices: [_; BATCH] = array::from_fn(|_| ready.next().map_or([IoSlice::new(&[])], bytes));
            let socket = self.socket.as_raw_fd();
            let connected = [None; BATCH];
            let to = &connected[..batch.len()];
            match sendmmsg(socket, &mut self.sending, slices.iter(), to, [], MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => {
                    let sent = sent.count();
                    self.ready.drain(..sent);
                }
                Err(Errno::EINTR) => {}
                // There is no room right now: the next turn.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends again what is not answered, or gives it up.
    pub(crate) fn sweep(&mut self, tally: &mut Tally, now: Instant) {
        for (n, slot) in (0..).zip(&mut self.slots) {
            if !slot.busy || now.saturating_duration_since(slot.sent) < if self.resends { RESEND } else { LOST } {
                continue;
            }
            if self.resends && slot.tries < RESENDS {
                (slot.tries, slot.sent) = (slot.tries + 1, now);
                tally.resent += 1;
                self.ready.push(n);
            } else {
                slot.busy = false;
                tally.lost += 1;
                self.free.push(n);
            }
        }
    }
}

impl Source {
    /// Writes the next request; says no when there is none. `ids` are the connection's and the transaction's.
    fn write(&mut self, request: &mut Request, ids: (u64, u32), socket: u64, rng: &mut Rng) -> bool {
        let (connection_id, transaction_id) = ids;
        match self {
            Self::All { peers, event, wanted, exhausted } => match peers.next() {
                Some(peer) => request.announce(connection_id, transaction_id, peer, *event, *wanted),
                None => *exhausted = true,
            },
            Self::Mix { population, connects, scrapes, wanted } => {
                let drawn = rng.f64() * 100.0;
                if drawn < *connects {
                    request.connect(transaction_id);
                } else if drawn < *connects + *scrapes {
                    let torrents = std::iter::repeat_with(|| population.torrent(rng));
                    request.scrape(connection_id, transaction_id, torrents);
                } else {
                    let Some(peer) = population.peer(socket, rng) else { return false };
                    request.announce(connection_id, transaction_id, peer, NO_EVENT, *wanted);
                }
            }
        }
        !matches!(self, Self::All { exhausted: true, .. })
    }
}

/// Waits until a socket has something, or overdue requests are to be looked for.
pub(crate) fn wait_for_any(clients: &[Client]) -> io::Result<()> {
    let mut sockets: Vec<_> =
        clients.iter().map(|client| PollFd::new(client.socket.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut sockets, PollTimeout::from(10_u8)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The first connection id of a socket.
fn connect(socket: &UdpSocket) -> io::Result<u64> {
    let mut request = Request::EMPTY;
    request.connect(u32::MAX);
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..20 {
        socket.send(request.bytes())?;
        let mut reply = [0; MAX_REPLY];
        let answer = socket.recv(&mut reply).ok().and_then(|len| request::read(reply.get(..len)?));
        if let Some((_, Reply::Connect(id))) = answer {
            return Ok(id);
        }
    }
    Err(io::Error::other("the tracker gives no connection id"))
}
