//! A service manager: hears what trackers tell it, keeps descriptors for them, and hands these over to the next one.

use std::collections::VecDeque;
use std::fs;
use std::io::{Error, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::directory::Directory;
use crate::programs::none_starts;
use crate::tracker::{Exit, Start, Tracker};
use crate::wait::wait_until;

/// A service manager with a store.
pub(crate) struct ServiceManager {
    directory: Directory,
    state: Arc<Mutex<State>>,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// What its trackers are told of its store: a variable of the environment, in shell.
    says: String,
}

#[derive(Default)]
struct State {
    /// What it has heard that does not concern the store.
    heard: VecDeque<String>,
    /// What it keeps, in the order in which it came.
    store: Vec<(String, OwnedFd)>,
    /// How much it keeps.
    max: usize,
}

impl ServiceManager {
    /// Keeps so many descriptors, and says so.
    pub(crate) fn new(max: usize) -> Self {
        Self::saying(max, format!("FDSTORE={max}"))
    }

    /// Keeps so many descriptors, and does not say so, as systemd before version 254.
    pub(crate) fn older(max: usize) -> Self {
        Self::saying(max, "SYSTEMD_EXEC_PID=$$".into())
    }

    fn saying(max: usize, says: String) -> Self {
        let directory = Directory::new();
        let path = directory.0.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        // Some trackers are started without root's rights.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let state = Arc::new(Mutex::new(State { max, ..State::default() }));
        let is_ended = Arc::<AtomicBool>::default();
        let (its_state, ended) = (Arc::clone(&state), Arc::clone(&is_ended));
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Some((message, descriptors)) = receive(&socket) {
                    its_state.lock().unwrap().hear(&message, descriptors);
                }
            }
        });
        Self { directory, state, is_ended, thread: Some(thread), says }
    }

    /// Starts a tracker with what it keeps, and waits until that is ready.
    pub(crate) fn start(&self, start: Start) -> Tracker {
        self.state().heard.clear();
        let mut tracker = self.handing_over(start).run_unnotified();
        tracker.await_ready(|| self.state().heard.iter().any(|one| one == "READY=1"));
        tracker
    }

    /// Starts a tracker with what it keeps, and waits until that ends by itself.
    pub(crate) fn finish(&self, start: Start) -> Exit {
        self.handing_over(start).finish()
    }

    /// Keeps something that no tracker has given it.
    pub(crate) fn keep(&self, name: &str, descriptor: impl Into<OwnedFd>) {
        self.state().store.push((name.into(), descriptor.into()));
    }

    /// Keeps no longer what is called so.
    pub(crate) fn forget(&self, name: &str) {
        let mut state = self.state();
        let _closed_everywhere = none_starts();
        state.store.retain(|(known, _)| known != name);
    }

    /// What it keeps is called so, in alphabetical order.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut names: Vec<_> = self.state().store.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Waits until it keeps what is called so, in alphabetical order.
    #[track_caller]
    pub(crate) fn keeps(&self, names: &[impl ToString]) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let found = wait_until(|| (self.kept() == names).then_some(()));
        assert!(found.is_some(), "{:?} instead of {names:?}", self.kept());
    }

    /// Another copy of what it keeps under this name.
    pub(crate) fn copy(&self, name: &str) -> OwnedFd {
        let state = self.state();
        let (_, descriptor) = state.store.iter().find(|(known, _)| known == name).unwrap();
        descriptor.try_clone().unwrap()
    }

    /// Changes how much it keeps.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.state().max = max;
        self.says = format!("FDSTORE={max}");
    }

    /// Gives a start all that a service has of its manager, and what the store keeps.
    fn handing_over(&self, start: Start) -> Start {
        let copy = |(name, one): &(String, OwnedFd)| (name.clone(), one.try_clone().unwrap());
        let (names, descriptors): (Vec<_>, Vec<_>) = self.state().store.iter().map(copy).unzip();
        start
            .env("NOTIFY_SOCKET", self.directory.0.join("notify"))
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .passing(descriptors, &format!("export LISTEN_PID=$$ {}", self.says))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "it has panicked");
    }
}

impl State {
    fn hear(&mut self, message: &str, descriptors: Vec<OwnedFd>) {
        // No child has what is closed here, because it is removed or there is no room for it.
        let _closed_everywhere = none_starts();
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        match message.lines().next() {
            Some("FDSTORE=1") => {
                assert!(descriptors.len() == 1 && !name.contains(':') && name.len() < 256, "{message}");
                let room = self.max.saturating_sub(self.store.len());
                self.store.extend(descriptors.into_iter().take(room).map(|one| (name.to_owned(), one)));
            }
            Some("FDSTOREREMOVE=1") => self.store.retain(|(known, _)| known != name),
            // It is told that all before has been done by the end of this descriptor.
            Some("BARRIER=1") => assert_eq!((message, descriptors.len()), ("BARRIER=1", 1)),
            _ => self.heard.push_back(message.into()),
        }
    }
}

/// Receives a message, with the descriptors that come with it; `None` if none comes within a moment.
fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let (mut bytes, mut space) = ([0; 4096], cmsg_space!([RawFd; 16]));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let (len, descriptors) = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(received) => {
            let rights = received.cmsgs().unwrap().flat_map(|message| match message {
                ControlMessageOwned::ScmRights(numbers) => numbers,
                _ => Vec::new(),
            });
            (received.bytes, rights.map(adopt).collect())
        }
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Err(error) => panic!("{}", Error::from(error)),
    };
    Some((String::from_utf8_lossy(&bytes[..len]).into_owned(), descriptors))
}

#[expect(unsafe_code, reason = "a number becomes an owner")]
fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel has made this descriptor for the message that was received, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
