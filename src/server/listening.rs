//! The sockets on which the tracker answers: bound anew, or taken over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::info;

use super::error::StartError;
use super::handover::ListeningSocket;
use super::inherited::{Inherited, Taken};
use super::wildcards;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams that may wait in a UDP socket until a worker gets to them.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How often a port is looked for that is free for both families.
const MAX_TRIES: usize = 16;

/// One address, opened once for each worker.
#[derive(Debug)]
pub(super) struct Listener<S> {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<S>,
    /// How many of these, the first ones, a service manager has handed over.
    kept: usize,
    /// How many of these, the last ones, are copies of others, which workers share.
    copies: usize,
}

/// Every socket on which the tracker answers.
pub(super) struct Sockets<D> {
    pub(super) tcp: Vec<Listener<Arc<TcpListener>>>,
    pub(super) udp: Vec<Listener<Arc<D>>>,
    /// Among how many threads those of TCP are shared out.
    pub(super) tcp_workers: usize,
}

impl<D: AsFd> Sockets<D> {
    /// Returns all of them, each once.
    pub(super) fn list(&self) -> Vec<ListeningSocket<'_>> {
        self.list_from(|_| 0)
    }

    /// Returns those that no service manager has handed over.
    pub(super) fn list_new(&self) -> Vec<ListeningSocket<'_>> {
        self.list_from(|kept| kept)
    }

    fn list_from(&self, first: impl Fn(usize) -> usize) -> Vec<ListeningSocket<'_>> {
        let tcp = self.tcp.iter().flat_map(|listener| listener.list("tcp", first(listener.kept)));
        let udp = self.udp.iter().flat_map(|listener| listener.list("udp", first(listener.kept)));
        tcp.chain(udp).collect()
    }
}

impl<S> Listener<S> {
    /// Sockets that have been bound by this process.
    pub(super) fn new(address: SocketAddr, sockets: Vec<S>) -> Self {
        Self { address, sockets, kept: 0, copies: 0 }
    }
}

impl<S: AsFd> Listener<Arc<S>> {
    fn list(&self, protocol: &'static str, first: usize) -> impl Iterator<Item = ListeningSocket<'_>> {
        let own = self.sockets.len().saturating_sub(self.copies);
        self.sockets.iter().take(own).skip(first).map(move |socket| ListeningSocket {
            protocol,
            address: self.address,
            socket: socket.as_fd(),
        })
    }
}

/// Opens each address once for each worker, and has `make` turn every socket into what answers there. Those that are
/// `inherited` need not be opened; more of them than there are workers are used as well.
pub(super) fn open_all<S>(
    protocol: &'static str,
    addresses: &[SocketAddr],
    workers: usize,
    kind: Type,
    inherited: &mut Inherited,
    make: impl Fn(Socket) -> io::Result<S>,
) -> Result<Vec<Listener<S>>, StartError> {
    let failed = |address| move |error| StartError::Listen { protocol, address, error };
    let open =
        |address, is_overlapped| open_for_workers(address, workers, kind, is_overlapped).map_err(failed(address));
    let mut opened = Vec::with_capacity(addresses.len());
    let mut rest = addresses;
    while let [address, ref tail @ ..] = *rest {
        if let Some(taken) = inherited.take(kind, address, addresses) {
            opened.push(take_over(taken, workers, kind).map_err(failed(address))?);
            rest = tail;
            continue;
        }
        match *tail {
            [other, ref tail @ ..] if wildcards::share_a_free_port(address, other) => {
                opened.extend(open_on_one_port(address, other, |address| open(address, false))?);
                rest = tail;
            }
            _ => {
                opened.push(open(address, inherited.is_overlapped(kind, address))?);
                rest = tail;
            }
        }
    }
    let finish = |Listener { address, sockets, kept, copies }: Listener<Socket>| {
        let sockets: Result<_, _> = sockets.into_iter().map(&make).collect();
        Ok(Listener { address, sockets: sockets.map_err(failed(address))?, kept, copies })
    };
    opened.into_iter().map(finish).collect()
}

/// Completes inherited sockets until there is one for each worker. Workers share one where the system does not let
/// another join them, as they may be those of another user or of a port that only root can open; and where the
/// predecessor still answers: another would get some of its clients at once, who would have to wait until this process
/// answers, or for ever if it never does.
fn take_over(taken: Taken, workers: usize, kind: Type) -> io::Result<Listener<Socket>> {
    let Taken { address, kept: mut sockets, answered } = taken;
    let kept = sockets.len();
    let is_answered = !answered.is_empty();
    sockets.extend(answered);
    if kind == Type::DGRAM {
        sockets.iter().for_each(widen);
    }
    while !is_answered && sockets.len() < workers {
        match open(address, kind, true) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                info!("no more sockets can be opened on {address} ({error}): workers share those that there are");
                break;
            }
        }
    }
    if kind == Type::STREAM {
        // The connections that wait may have been fewer elsewhere.
        sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
    }
    let copies = workers.saturating_sub(sockets.len());
    let shared = sockets.iter().cycle().take(copies).map(Socket::try_clone).collect::<io::Result<Vec<_>>>()?;
    sockets.extend(shared);
    Ok(Listener { address, sockets, kept, copies })
}

/// Opens the wildcards of both families on the same free port, or if none is found on a port for each.
fn open_on_one_port(
    one: SocketAddr,
    other: SocketAddr,
    open: impl Fn(SocketAddr) -> Result<Listener<Socket>, StartError>,
) -> Result<[Listener<Socket>; 2], StartError> {
    for _ in 0..MAX_TRIES {
        let first = open(one)?;
        match open(SocketAddr::new(other.ip(), first.address.port())) {
            Ok(second) => return Ok([first, second]),
            Err(StartError::Listen { error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Ok([open(one)?, open(other)?])
}

/// Opens one socket for each worker on the same address: the system shares clients out among them.
///
/// An address `is_overlapped` if the process before may have another one open that keeps it from being opened alone.
/// Where the clients of both can come, they wait at one of the two from then on until the handover is over.
fn open_for_workers(
    address: SocketAddr,
    workers: usize,
    kind: Type,
    is_overlapped: bool,
) -> io::Result<Listener<Socket>> {
    let first = match open(address, kind, false) {
        Err(error) if is_overlapped && error.kind() == io::ErrorKind::AddrInUse => open(address, kind, true)?,
        opened => opened?,
    };
    // Only now may others share the port: had the first one asked for that itself, it would have joined another
    // tracker that runs already, and taken half of its clients without anybody noticing.
    first.set_reuse_port(true)?;
    // Port 0 has become a port by now.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(open(address, kind, true)?);
    }
    if kind == Type::STREAM {
        sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
    }
    Ok(Listener::new(address, sockets))
}

/// Opens a socket, which joins those that share the port already if it is to be `shared`.
fn open(address: SocketAddr, kind: Type, shared: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // IPv4 clients would appear under IPv4-mapped addresses, which are no peers' addresses.
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of a tracker that has just ended do not keep the port from the next one.
        socket.set_reuse_address(true)?;
    } else {
        widen(&socket);
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes room for the datagrams that wait in a socket.
fn widen(socket: &Socket) {
    // Only root may go beyond the system's maximum (net.core.rmem_max); others silently get no more than that, and do
    // not take from a socket what root has given it.
    let forced = setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER);
    if forced.is_err() && socket.recv_buffer_size().is_ok_and(|size| size < RECEIVE_BUFFER) {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_nobody_else_does() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        for kind in [Type::STREAM, Type::DGRAM] {
            let listener = open_for_workers(loopback, 3, kind, false).unwrap();
            assert_eq!(listener.sockets.len(), 3);
            for socket in &listener.sockets {
                assert_eq!(socket.local_addr().unwrap().as_socket(), Some(listener.address));
            }
            let error = open_for_workers(listener.address, 3, kind, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn an_address_can_be_opened_beside_one_that_overlaps_it_and_not_beside_a_strangers() {
        let [wildcard, one] = ["0.0.0.0:0", "127.0.0.1:0"].map(|address| address.parse::<SocketAddr>().unwrap());
        for (before, after) in [(wildcard, one), (one, wildcard)] {
            for kind in [Type::STREAM, Type::DGRAM] {
                let held = open_for_workers(before, 2, kind, false).unwrap();
                let address = SocketAddr::new(after.ip(), held.address.port());
                let error = open_for_workers(address, 2, kind, false).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                assert_eq!(open_for_workers(address, 2, kind, true).unwrap().address, address);
                // Another program lets nobody join.
                let stranger = open(before, kind, false).unwrap();
                if kind == Type::STREAM {
                    stranger.listen(1).unwrap();
                }
                let port = stranger.local_addr().unwrap().as_socket().unwrap().port();
                let error = open_for_workers(SocketAddr::new(after.ip(), port), 2, kind, true).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
        }
    }

    #[test]
    fn a_port_that_is_not_free_for_both_families_is_tried_anew() {
        let [one, other] = ["[::]:0", "0.0.0.0:0"].map(|address| address.parse::<SocketAddr>().unwrap());
        // What each port was asked for on, and which of them the other family takes.
        let run = |taken: fn(usize) -> bool| {
            let asked = std::cell::RefCell::new(Vec::new());
            let open = |address: SocketAddr| {
                let mut asked = asked.borrow_mut();
                asked.push(address);
                let port = if address.port() == 0 { u16::try_from(asked.len()).unwrap() } else { address.port() };
                if address.port() != 0 && taken(asked.len()) {
                    let error = io::ErrorKind::AddrInUse.into();
                    return Err(StartError::Listen { protocol: "udp", address, error });
                }
                Ok(Listener::new(SocketAddr::new(address.ip(), port), Vec::new()))
            };
            let opened = open_on_one_port(one, other, open).unwrap().map(|listener| listener.address.to_string());
            (opened, asked.into_inner().len())
        };
        assert_eq!(run(|_| false), (["[::]:1", "0.0.0.0:1"].map(str::to_owned), 2));
        assert_eq!(run(|asked| asked < 5), (["[::]:5", "0.0.0.0:5"].map(str::to_owned), 6));
        assert_eq!(run(|_| true), (["[::]:33", "0.0.0.0:34"].map(str::to_owned), 34), "one for each");
    }
}
