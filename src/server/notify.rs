//! Tells a service manager how the tracker is, and has it keep descriptors (the protocol of `sd_notify`).
//!
//! Ours because the socket is outside the jail and readiness comes after it: it has to be connected before and used
//! afterwards, which the libraries at hand do not offer.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tracing::warn;

/// How long a service manager that is busy may take to take a descriptor, or to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long something may still be open that a service manager has closed: a program that it has just started has a
/// copy until the kernel gets to close that.
const MOMENT: Duration = Duration::from_millis(50);

/// The name of what is given to the store to see whether it is kept. Nothing stays there under it.
pub const PROBE: &str = "probe";

/// A connection to the service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager(Option<Connection>);

#[derive(Debug)]
struct Connection {
    socket: UnixDatagram,
    store: StoreSize,
}

/// How many descriptors a service manager keeps for this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSize {
    /// So many.
    Known(u32),
    /// It does not say, and may keep none.
    Untold,
}

impl ServiceManager {
    /// Connects to the socket that `NOTIFY_SOCKET` names. A tracker runs without as well.
    pub(super) fn connect() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self(None) };
        let read = |name| env::var(name).ok();
        let store = StoreSize::of(read("FDSTORE").as_deref(), read("SYSTEMD_EXEC_PID").as_deref(), process::id());
        match address(&name).and_then(|address| Connection::new(&address, store)) {
            Ok(connection) => Self(Some(connection)),
            Err(error) => {
                warn!("cannot tell the service manager at NOTIFY_SOCKET={}: {error}", Path::new(&name).display());
                Self(None)
            }
        }
    }

    /// Says that the tracker answers requests.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Says that the tracker is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Asks for this much time from now on, where the manager would allow less for what is going on.
    pub fn extend_timeout(&self, time: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    /// Returns whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Returns how many descriptors the manager keeps for this service, for the process that comes after. One that does
    /// not say is given something to keep, which takes a moment: it keeps some if it is then still [`Untold`].
    ///
    /// [`Untold`]: StoreSize::Untold
    pub fn store_size(&self) -> StoreSize {
        match &self.0 {
            Some(connection) if connection.store == StoreSize::Untold => connection.try_store(),
            Some(connection) => connection.store,
            None => StoreSize::Known(0),
        }
    }

    /// Has the manager keep a copy of a descriptor under this name: printable ASCII without a colon, no more than 255
    /// bytes. Waits where the manager has much to do, but no longer than a bounded time.
    ///
    /// # Errors
    ///
    /// There is no manager; it does not take it. One that has no room does not say so.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        // What the manager hears of a descriptor (FDPOLL) would have it dropped as soon as something is wrong with it.
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        self.connection()?.send(&message, Some(descriptor), Instant::now() + PATIENCE)
    }

    /// Has the manager forget what it keeps under this name.
    ///
    /// # Errors
    ///
    /// There is no manager; it does not take the message.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.connection()?.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None, Instant::now() + PATIENCE)
    }

    /// Waits until the manager has done all that it was told.
    ///
    /// # Errors
    ///
    /// There is no manager; it has not by the `deadline`.
    pub fn barrier(&self, deadline: Instant) -> io::Result<()> {
        self.connection()?.barrier(deadline)
    }

    fn connection(&self) -> io::Result<&Connection> {
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends a state, if the manager takes it at once.
    fn tell(&self, state: &str) {
        if let Some(connection) = &self.0 {
            if let Err(error) = connection.socket.send(state.as_bytes()) {
                warn!("cannot tell the service manager {state}: {error}");
            }
        }
    }
}

impl StoreSize {
    /// What the environment says. systemd names the size since version 254, and itself, by the id of the process that
    /// it starts, since 248; its store is older. No other manager is known to have one without saying so.
    fn of(fdstore: Option<&str>, systemd_exec_pid: Option<&str>, own: u32) -> Self {
        let is_by_systemd = systemd_exec_pid.and_then(|pid| pid.parse().ok()) == Some(own);
        match fdstore {
            Some(size) => Self::Known(size.parse().unwrap_or(0)),
            None if is_by_systemd => Self::Untold,
            None => Self::Known(0),
        }
    }
}

impl Connection {
    fn new(address: &SocketAddr, store: StoreSize) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, store })
    }

    /// Sends a message and a descriptor with it. The manager may have so many others to read that it waits.
    fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<()> {
        let rights: Vec<_> = descriptor.iter().map(|one| one.as_raw_fd()).collect();
        let control: &[_] = if rights.is_empty() { &[] } else { &[ControlMessage::ScmRights(&rights)] };
        let message = [IoSlice::new(message.as_bytes())];
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &message, control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(left) = PollTimeout::try_from(left).ok().filter(|left| *left > PollTimeout::ZERO) else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)], left) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends one end of a pair after all else: the manager closes it when it gets there.
    fn barrier(&self, deadline: Instant) -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        self.send("BARRIER=1", Some(theirs.as_fd()), deadline)?;
        drop(theirs);
        await_hang_up(&mut ours, deadline)
    }

    /// Gives the manager something to keep, and looks whether it does.
    fn try_store(&self) -> StoreSize {
        let deadline = Instant::now() + PATIENCE;
        let try_it = || {
            let (mut ours, theirs) = UnixStream::pair()?;
            self.send(&format!("FDSTORE=1\nFDNAME={PROBE}"), Some(theirs.as_fd()), deadline)?;
            drop(theirs);
            self.barrier(deadline)?;
            let is_kept = await_hang_up(&mut ours, Instant::now() + MOMENT).is_err();
            if is_kept {
                self.send(&format!("FDSTOREREMOVE=1\nFDNAME={PROBE}"), None, deadline)?;
            }
            Ok::<_, io::Error>(is_kept)
        };
        match try_it() {
            Ok(false) => StoreSize::Known(0),
            Ok(true) | Err(_) => StoreSize::Untold,
        }
    }
}

/// Waits until the other end is closed everywhere.
fn await_hang_up(end: &mut UnixStream, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        end.set_read_timeout(Some(left))?;
        match end.read(&mut [0]) {
            Ok(0) => return Ok(()),
            // It says something, or is interrupted, or it is time.
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the name of a socket: a path, or after an `@` an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSliceMut;
    use std::os::fd::RawFd;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use nix::unistd::close;

    const PATIENT: Duration = Duration::from_secs(60);

    /// The manager's end, and a connection to it.
    fn connected(store: StoreSize) -> (UnixDatagram, ServiceManager) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("opentracker-notify-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let address = address(format!("@{name}").as_ref()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_read_timeout(Some(PATIENT)).unwrap();
        (manager, ServiceManager(Some(Connection::new(&address, store).unwrap())))
    }

    /// Receives a message and the descriptors with it.
    fn receive(manager: &UnixDatagram) -> (String, Vec<RawFd>) {
        let (mut bytes, mut space) = ([0; 512], cmsg_space!([RawFd; 4]));
        let (length, descriptors) = {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(manager.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
            let descriptors = received.cmsgs().unwrap().flat_map(|message| match message {
                ControlMessageOwned::ScmRights(descriptors) => descriptors,
                _ => Vec::new(),
            });
            (received.bytes, descriptors.collect())
        };
        (String::from_utf8_lossy(&bytes[..length]).into_owned(), descriptors)
    }

    #[test]
    fn descriptors_are_stored_and_removed_by_name() {
        let (manager, notify) = connected(StoreSize::Known(3));
        assert_eq!(notify.store_size(), StoreSize::Known(3));
        let (_ours, theirs) = UnixStream::pair().unwrap();
        notify.store("udp/x", theirs.as_fd()).unwrap();
        notify.remove("udp/x").unwrap();
        notify.extend_timeout(Duration::from_millis(1500));
        let (message, descriptors) = receive(&manager);
        assert_eq!(message, "FDSTORE=1\nFDPOLL=0\nFDNAME=udp/x");
        assert_eq!(descriptors.len(), 1);
        descriptors.into_iter().for_each(|one| close(one).unwrap());
        assert_eq!(receive(&manager), ("FDSTOREREMOVE=1\nFDNAME=udp/x".into(), Vec::new()));
        assert_eq!(receive(&manager), ("EXTEND_TIMEOUT_USEC=1500000".into(), Vec::new()));
    }

    #[test]
    fn a_barrier_is_passed_when_the_manager_gets_to_it() {
        let (manager, notify) = connected(StoreSize::Known(3));
        notify.barrier(Instant::now() + Duration::from_millis(1)).unwrap_err();
        assert_eq!(receive(&manager).0, "BARRIER=1");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| notify.barrier(Instant::now() + PATIENT));
            let (message, descriptors) = receive(&manager);
            assert_eq!((message.as_str(), descriptors.len()), ("BARRIER=1", 1));
            assert!(!waiting.is_finished());
            descriptors.into_iter().for_each(|one| close(one).unwrap());
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_manager_that_does_not_say_what_it_keeps_is_tried() {
        for keeps in [true, false] {
            let (manager, notify) = connected(StoreSize::Untold);
            thread::scope(|scope| {
                let size = scope.spawn(|| notify.store_size());
                let (message, mut kept) = receive(&manager);
                assert_eq!(message, "FDSTORE=1\nFDNAME=probe");
                if !keeps {
                    kept.drain(..).for_each(|one| close(one).unwrap());
                }
                let (message, barrier) = receive(&manager);
                assert_eq!(message, "BARRIER=1");
                barrier.into_iter().for_each(|one| close(one).unwrap());
                assert_eq!(size.join().unwrap(), if keeps { StoreSize::Untold } else { StoreSize::Known(0) });
                if keeps {
                    assert_eq!(receive(&manager).0, "FDSTOREREMOVE=1\nFDNAME=probe");
                }
                kept.into_iter().for_each(|one| close(one).unwrap());
            });
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_for_ever() {
        let (_manager, notify) = connected(StoreSize::Known(3));
        let Some(connection) = &notify.0 else { panic!("no connection") };
        while connection.socket.send(b"X_TEST=1").is_ok() {}
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = connection.send("X_TEST=2", None, deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(notify.barrier(deadline).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn without_a_manager_nothing_is_kept() {
        let notify = ServiceManager(None);
        assert_eq!(notify.store_size(), StoreSize::Known(0));
        let (_ours, theirs) = UnixStream::pair().unwrap();
        notify.store("x", theirs.as_fd()).unwrap_err();
        notify.remove("x").unwrap_err();
        notify.barrier(Instant::now() + PATIENT).unwrap_err();
    }

    #[test]
    fn what_is_kept_is_what_the_environment_says_or_unknown_under_systemd() {
        for (fdstore, systemd, size) in [
            (Some("512"), Some("7"), StoreSize::Known(512)),
            (Some("512"), None, StoreSize::Known(512)),
            (Some("0"), Some("7"), StoreSize::Known(0)),
            (Some("some"), Some("7"), StoreSize::Known(0)),
            (None, Some("7"), StoreSize::Untold),
            (None, Some("8"), StoreSize::Known(0)),
            (None, None, StoreSize::Known(0)),
        ] {
            assert_eq!(StoreSize::of(fdstore, systemd, 7), size, "{fdstore:?} {systemd:?}");
        }
    }
}
