//! The descriptors that the process was started with.
//!
//! Whoever starts it may have left files open in it by mistake. A directory among them leads out of any root directory.
//! A service manager leaves some open on purpose, and names them (`sd_listen_fds`): sockets that it has bound, and what
//! the predecessor has given it to keep.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{close, getpid};
use socket2::{Protocol, SockRef, Type};
use thiserror::Error;

/// The first descriptor behind the standard streams. A service manager hands over its own from here on.
const FIRST: RawFd = 3;

/// Descriptors that are looked at one by one where the system does not say which are open.
const MAX_TRIED: RawFd = 1 << 16;

/// What a descriptor is called that comes without a name, as in systemd.
const UNNAMED: &str = "unknown";

/// What a service manager has handed over, until it is taken.
static HANDED_OVER: Mutex<Vec<HandedOver>> = Mutex::new(Vec::new());

/// A descriptor that a service manager has handed over.
#[derive(Debug)]
pub struct HandedOver {
    /// What the manager calls it (`LISTEN_FDNAMES`).
    pub name: String,
    /// The descriptor, closed on exec.
    pub descriptor: OwnedFd,
}

/// What can be of use to a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bound socket: a listening one of TCP, or one of UDP that is connected to nobody.
    Socket(&'static str, SocketAddr),
    /// Memory that nobody can change any more (`memfd_create`).
    SealedMemory,
}

/// Why a descriptor is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unusable {
    /// A TCP socket that does not listen.
    #[error("a TCP socket that does not listen")]
    NotListening,
    /// A UDP socket without an address, or one that hears a single client.
    #[error("a UDP socket that is not bound, or is connected to somebody")]
    NotOpen,
    /// A socket of something else.
    #[error("a socket, but neither of TCP nor of UDP over IP")]
    OtherProtocol,
    /// Memory that whoever has it can change.
    #[error("memory that is not sealed")]
    Unsealed,
    /// Neither a socket nor memory.
    #[error("neither a socket nor sealed memory")]
    Other,
}

/// Keeps what a service manager hands over (`LISTEN_FDS`, if `LISTEN_PID` is this process), for [`take_handed_over`].
///
/// To be called before anything else, and the first call alone does something: as long as the process has opened
/// nothing itself, whatever is open is whoever's who has started it.
pub fn keep_handed_over() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let read = |name| env::var(name).ok();
    let range = handed_over(read("LISTEN_PID").as_deref(), read("LISTEN_FDS").as_deref(), getpid().as_raw());
    let names = names(read("LISTEN_FDNAMES").as_deref(), range.len());
    let owned = range.zip(names).filter_map(|(number, name)| Some(HandedOver { name, descriptor: own(number)? }));
    HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner).extend(owned);
}

/// Returns what [`keep_handed_over`] has kept, in the manager's order; nothing the next time.
pub fn take_handed_over() -> Vec<HandedOver> {
    std::mem::take(&mut HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Closes every descriptor but the standard streams and what [`keep_handed_over`] has kept.
///
/// To be called when the process has opened none itself that it still needs: nothing else knows whose they are.
pub fn close_inherited() {
    let kept = HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    let is_kept = |number: RawFd| kept.iter().any(|one| one.descriptor.as_raw_fd() == number);
    for descriptor in open().into_iter().filter(|one| *one >= FIRST && !is_kept(*one)) {
        // Some are not open any more: that by which they were listed is one of them.
        let _ = close(descriptor);
    }
}

/// Returns what a descriptor is.
///
/// # Errors
///
/// It is of no use to a tracker.
pub fn kind(descriptor: BorrowedFd<'_>) -> Result<Kind, Unusable> {
    let socket = SockRef::from(&descriptor);
    let Ok(kind) = socket.r#type() else {
        return match fcntl(descriptor, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain) {
            Ok(seals) if seals.contains(sealed()) => Ok(Kind::SealedMemory),
            Ok(_) => Err(Unusable::Unsealed),
            Err(_) => Err(Unusable::Other),
        };
    };
    let protocol = socket.protocol().ok().flatten();
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).ok_or(Unusable::OtherProtocol)?;
    match (kind, protocol) {
        (Type::STREAM, Some(Protocol::TCP)) if socket.is_listener().unwrap_or(false) => {
            Ok(Kind::Socket("tcp", address))
        }
        (Type::STREAM, Some(Protocol::TCP)) => Err(Unusable::NotListening),
        (Type::DGRAM, Some(Protocol::UDP)) if address.port() != 0 && socket.peer_addr().is_err() => {
            Ok(Kind::Socket("udp", address))
        }
        (Type::DGRAM, Some(Protocol::UDP)) => Err(Unusable::NotOpen),
        _ => Err(Unusable::OtherProtocol),
    }
}

/// Returns what memory has to be sealed against, so that nobody can change it, or take the seals off.
pub fn sealed() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL
}

/// Returns what a service manager has handed over to the process with this id.
fn handed_over(listen_pid: Option<&str>, listen_fds: Option<&str>, own: i32) -> Range<RawFd> {
    let is_ours = listen_pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count = listen_fds.filter(|_| is_ours).and_then(|fds| fds.parse::<u16>().ok()).unwrap_or(0);
    FIRST..FIRST + RawFd::from(count)
}

/// Returns the names of so many descriptors.
fn names(listen_fdnames: Option<&str>, count: usize) -> Vec<String> {
    let names = listen_fdnames.map(|names| names.split(':').map(str::to_owned).collect::<Vec<_>>());
    // With another number of them nobody knows which is whose.
    names.filter(|names| names.len() == count).unwrap_or_else(|| vec![UNNAMED.to_owned(); count])
}

/// Makes a descriptor this process's own, which is closed on exec; `None` if it is not open.
#[expect(unsafe_code, reason = "a number becomes an owner")]
fn own(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: It takes any number, and has no effect on memory.
    let is_open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != -1;
    // SAFETY: It is open. Nothing else in this process owns it: it was so when the process was started, for its use
    // (`LISTEN_PID`), and `keep_handed_over` comes here once for each number.
    is_open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Returns at least those that are open.
fn open() -> Vec<RawFd> {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        let number = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        entries.filter_map(number).collect()
    });
    listed.unwrap_or_else(|_| {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        (0..RawFd::try_from(limit).unwrap_or(MAX_TRIED).min(MAX_TRIED)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixDatagram;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use socket2::{Domain, Socket};

    #[test]
    fn what_a_service_manager_hands_over_is_counted_from_3_if_it_is_meant_for_this_process() {
        assert_eq!(handed_over(Some("7"), Some("2"), 7), 3..5);
        for (pid, fds) in [
            (None, None),
            (Some("7"), None),
            (None, Some("2")),
            (Some("8"), Some("2")),
            (Some("7"), Some("0")),
            (Some("7"), Some("-1")),
            (Some("7"), Some("70000")),
            (Some("x"), Some("2")),
        ] {
            assert!(handed_over(pid, fds, 7).is_empty(), "{pid:?} {fds:?}");
        }
    }

    #[test]
    fn descriptors_have_names_where_there_is_one_for_each() {
        assert_eq!(names(Some("a:b c:"), 3), ["a", "b c", ""]);
        assert_eq!(names(Some("swarms"), 1), ["swarms"]);
        for (text, count) in [(None, 2), (Some("a"), 2), (Some("a:b:c"), 2)] {
            assert_eq!(names(text, count), ["unknown", "unknown"], "{text:?}");
        }
        assert_eq!(names(None, 0), [] as [&str; 0]);
    }

    #[test]
    fn an_open_file_is_among_those_that_are_open() {
        let file = File::open("/").unwrap();
        assert!(open().contains(&file.as_raw_fd()));
    }

    #[test]
    fn open_sockets_of_tcp_and_udp_are_of_use() {
        for (address, domain) in [("127.0.0.1:0", Domain::IPV4), ("[::1]:0", Domain::IPV6)] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            assert_eq!(kind(listener.as_fd()), Ok(Kind::Socket("tcp", local)));
            let stream = TcpStream::connect(local).unwrap();
            assert_eq!(kind(stream.as_fd()), Err(Unusable::NotListening));

            let socket = UdpSocket::bind(address).unwrap();
            let local = socket.local_addr().unwrap();
            assert_eq!(kind(socket.as_fd()), Ok(Kind::Socket("udp", local)));
            socket.connect(local).unwrap();
            assert_eq!(kind(socket.as_fd()), Err(Unusable::NotOpen));
            let unbound = Socket::new(domain, Type::DGRAM, None).unwrap();
            assert_eq!(kind(unbound.as_fd()), Err(Unusable::NotOpen));
            let unbound = Socket::new(domain, Type::STREAM, None).unwrap();
            assert_eq!(kind(unbound.as_fd()), Err(Unusable::NotListening));
        }
        let local = UnixDatagram::unbound().unwrap();
        assert_eq!(kind(local.as_fd()), Err(Unusable::OtherProtocol));
    }

    #[test]
    fn memory_is_of_use_if_nobody_can_change_it() {
        let new = || File::from(memfd_create("test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
        let memory = new();
        assert_eq!(kind(memory.as_fd()), Err(Unusable::Unsealed));
        for missing in sealed().iter() {
            let memory = new();
            fcntl(&memory, FcntlArg::F_ADD_SEALS(sealed() - missing)).unwrap();
            assert_eq!(kind(memory.as_fd()), Err(Unusable::Unsealed), "{missing:?}");
        }
        fcntl(&memory, FcntlArg::F_ADD_SEALS(sealed())).unwrap();
        assert_eq!(kind(memory.as_fd()), Ok(Kind::SealedMemory));
        (&memory).write_all(b"x").unwrap_err();
        let file = File::open("/dev/null").unwrap();
        assert_eq!(kind(file.as_fd()), Err(Unusable::Other));
    }

    #[test]
    fn what_is_not_open_is_nobodys() {
        assert!(own(RawFd::MAX).is_none());
        assert!(own(-1).is_none());
    }
}
