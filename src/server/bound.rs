//! The first stage: everything that may need root and is opened by address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::unistd::{Uid, User};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Settings;
use crate::tracker::AddressFamilies as _;

use super::error::StartError;
use super::interruptible::Interruptible;
use super::limits;
use super::memory;
use super::needs::Needs;
use super::notify::ServiceManager;
use super::plug::{Build, Opening};
use super::wildcards;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams that may wait in a UDP socket until a worker gets to them.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How often a port is looked for that is free for both families.
const MAX_TRIES: usize = 16;

/// Files that an event loop holds open: two of epoll, one that wakes it, and one by which it hears of signals.
const EVENT_LOOP_FILES: usize = 4;

/// A tracker whose sockets are bound and whose plugs are opened; the process still has all its rights.
pub struct Bound<B: Build> {
    pub(super) settings: Settings,
    /// Until the tracker answers.
    pub(super) interruptible: Interruptible,
    pub(super) tcp: Vec<Listener<TcpListener>>,
    pub(super) udp: Vec<Listener<B::Driver>>,
    /// Whom to become; looked up before the jail hides the list of users. `None`: not root, stays who it is.
    pub(super) user: Option<User>,
    pub(super) manager: ServiceManager,
    /// What the plugs have made so far.
    pub(super) opened: B::Opened,
    /// What they will still do once the process is confined.
    pub(super) needs: Needs,
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
    /// Opens every address and every plug, finds the user to become, and connects to the service manager. From here
    /// until the tracker answers, SIGTERM and SIGINT end the process at once, with exit code 0.
    ///
    /// # Errors
    ///
    /// An address or a plug that cannot be opened; a user that does not exist.
    pub fn open(mut settings: Settings, interruptible: Interruptible) -> Result<Self, StartError> {
        interruptible.start();
        if B::Families::IPV4 && B::Families::IPV6 {
            wildcards::add_ipv4("tcp", &mut settings.listen.tcp);
            wildcards::add_ipv4("udp", &mut settings.listen.udp);
        }
        let user = if Uid::effective().is_root() { Some(find_user(&settings.tracker.user)?) } else { None };
        let tcp_workers = workers(settings.listen.tcp_workers);
        let udp_workers = workers(settings.listen.udp_workers);
        // An HTTP worker accepts one connection before it waits for a permit.
        let http_files = tcp_workers * (EVENT_LOOP_FILES + 2 * settings.listen.tcp.len());
        let files = EVENT_LOOP_FILES + http_files + udp_workers * settings.listen.udp.len();
        let memory = memory::usable();
        let connections = limits::connections(&settings.limits, files, memory);
        let tcp = open_all("tcp", &settings.listen.tcp, tcp_workers, Type::STREAM, |socket| Ok(socket.into()))?;
        let drive = |socket| UdpSocket::from(socket).try_into();
        let udp = open_all("udp", &settings.listen.udp, udp_workers, Type::DGRAM, drive)?;
        let mut needs = Needs::default();
        let opened = B::open(&mut Opening { settings: &settings, needs: &mut needs })?;
        let manager = ServiceManager::connect();
        Ok(Self { settings, interruptible, tcp, udp, user, manager, opened, needs, connections, memory })
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
    let failed = |address| move |error| StartError::Listen { protocol, address, error };
    let open = |address| open_for_workers(address, workers, kind).map_err(failed(address));
    let mut opened = Vec::with_capacity(addresses.len());
    let mut rest = addresses;
    loop {
        match *rest {
            [one, other, ref tail @ ..] if wildcards::share_a_free_port(one, other) => {
                opened.extend(open_on_one_port(one, other, open)?);
                rest = tail;
            }
            [address, ref tail @ ..] => {
                opened.push(open(address)?);
                rest = tail;
            }
            [] => break,
        }
    }
    let finish = |Listener { address, sockets }: Listener<Socket>| {
        let sockets: Result<_, _> = sockets.into_iter().map(&make).collect();
        Ok(Listener { address, sockets: sockets.map_err(failed(address))? })
    };
    opened.into_iter().map(finish).collect()
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
                Ok(Listener { address: SocketAddr::new(address.ip(), port), sockets: Vec::new() })
            };
            let opened = open_on_one_port(one, other, open).unwrap().map(|listener| listener.address.to_string());
            (opened, asked.into_inner().len())
        };
        assert_eq!(run(|_| false), (["[::]:1", "0.0.0.0:1"].map(str::to_owned), 2));
        assert_eq!(run(|asked| asked < 5), (["[::]:5", "0.0.0.0:5"].map(str::to_owned), 6));
        assert_eq!(run(|_| true), (["[::]:33", "0.0.0.0:34"].map(str::to_owned), 34), "one for each");
    }
}
