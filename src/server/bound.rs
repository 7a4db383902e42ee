//! The first stage: everything that may need root and is opened by address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::unistd::{Uid, User};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Settings;

use super::error::StartError;
use super::limits;
use super::notify::Notifier;
use super::plug::{Build, Opening};

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams that may wait in a UDP socket until a worker gets to them.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Files that an event loop holds open: two of epoll, one that wakes it, and one by which it hears of signals.
const EVENT_LOOP_FILES: usize = 4;

/// A tracker whose sockets are bound and whose plugs are opened; the process still has all its rights.
pub struct Bound<B: Build> {
    pub(super) settings: Settings,
    pub(super) tcp: Vec<Listener<TcpListener>>,
    pub(super) udp: Vec<Listener<B::Driver>>,
    /// Whom to become; looked up before the jail hides the list of users. `None`: not root, stays who it is.
    pub(super) user: Option<User>,
    pub(super) notifier: Notifier,
    /// What the plugs have made so far.
    pub(super) opened: B::Opened,
    /// How many TCP connections may be open at a time.
    pub(super) connections: usize,
    /// The memory that this process may use, in bytes. Default limits follow from it.
    pub(super) memory: u64,
}

/// One address, opened once for each worker.
#[derive(Debug)]
pub(super) struct Listener<S> {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<S>,
}

impl<B: Build> Bound<B> {
    /// Opens every address and every plug, finds the user to become, and connects to the service manager.
    ///
    /// # Errors
    ///
    /// An address or a plug that cannot be opened; a user that does not exist.
    pub fn open(settings: Settings) -> Result<Self, StartError> {
        let user = if Uid::effective().is_root() { Some(find_user(&settings.tracker.user)?) } else { None };
        let tcp_workers = workers(settings.listen.tcp_workers);
        let udp_workers = workers(settings.listen.udp_workers);
        // An HTTP worker accepts one connection before it waits for a permit.
        let http_files = tcp_workers * (EVENT_LOOP_FILES + 2 * settings.listen.tcp.len());
        let files = EVENT_LOOP_FILES + http_files + udp_workers * settings.listen.udp.len();
        let memory = limits::memory();
        let connections = limits::connections(&settings.limits, files, memory);
        let tcp = open_all("tcp", &settings.listen.tcp, tcp_workers, Type::STREAM, |socket| Ok(socket.into()))?;
        let drive = |socket| UdpSocket::from(socket).try_into();
        let udp = open_all("udp", &settings.listen.udp, udp_workers, Type::DGRAM, drive)?;
        let opened = B::open(&Opening { settings: &settings })?;
        Ok(Self { settings, tcp, udp, user, notifier: Notifier::connect(), opened, connections, memory })
    }
}

/// Returns how many workers there are to be: 0 stands for one for each CPU.
fn workers(chosen: u16) -> usize {
    match chosen {
        0 => thread::available_parallelism().map_or(1, usize::from),
        chosen => chosen.into(),
    }
}

/// Returns the user of this name, who must not be root.
fn find_user(name: &str) -> Result<User, StartError> {
    let user = User::from_name(name).map_err(StartError::system("look up tracker.user"))?;
    let user = user.ok_or_else(|| StartError::NoSuchUser(name.into()))?;
    if user.uid.is_root() { Err(StartError::UserIsRoot(name.into())) } else { Ok(user) }
}

/// Opens each address once for each worker, and has `make` turn every socket into what answers there.
fn open_all<S>(
    protocol: &'static str,
    addresses: &[SocketAddr],
    workers: usize,
    kind: Type,
    make: impl Fn(Socket) -> io::Result<S>,
) -> Result<Vec<Listener<S>>, StartError> {
    let open = |&address: &SocketAddr| {
        let opened = open_for_workers(address, workers, kind).and_then(|Listener { address, sockets }| {
            Ok(Listener { address, sockets: sockets.into_iter().map(&make).collect::<Result<_, _>>()? })
        });
        opened.map_err(|error| StartError::Listen { protocol, address, error })
    };
    addresses.iter().map(open).collect()
}

/// Opens one socket for each worker on the same address: the system shares clients out among them.
fn open_for_workers(address: SocketAddr, workers: usize, kind: Type) -> io::Result<Listener<Socket>> {
    let first = open(address, kind, false)?;
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
    Ok(Listener { address, sockets })
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
        // Runtimes want it so. UDP workers wait in the system call.
        socket.set_nonblocking(true)?;
    } else {
        // Only root may go beyond the system's maximum (net.core.rmem_max); others silently get no more than that.
        let forced = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER);
        let _ = forced.map_err(io::Error::from).or_else(|_| socket.set_recv_buffer_size(RECEIVE_BUFFER));
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_nobody_else_does() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        for kind in [Type::STREAM, Type::DGRAM] {
            let listener = open_for_workers(loopback, 3, kind).unwrap();
            assert_eq!(listener.sockets.len(), 3);
            for socket in &listener.sockets {
                assert_eq!(socket.local_addr().unwrap().as_socket(), Some(listener.address));
            }
            let error = open_for_workers(listener.address, 3, kind).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
