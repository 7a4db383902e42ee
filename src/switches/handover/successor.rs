//! The successor's side: takes over from the process that runs.

use std::io;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::time::{TimeVal, TimeValLike as _};
use tracing::{info, warn};

use crate::server::{Account, Inheritance, InheritedSocket, MonotonicClock, PlugSocket, Provider, StartError};
use crate::swarms::{Reader, Report};
use crate::tracker::{Clock as _, Flavour, MergeCounts, Tracker};

use super::life::has_ended;
use super::message::{Kind, Message, VERSION, read_identity, receive, send};
use super::path::{self, refused};

/// How long the predecessor may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a process is looked for that closes the connection: one that ends may close this first, and is still found
/// where it listens.
const MAX_TRIES: usize = 3;

/// How long a process that has closed the connection may take to die.
const END_TIME: Duration = Duration::from_secs(1);

/// Maximum number of sockets that are taken over.
const MAX_SOCKETS: usize = 4096;

/// A connection to the predecessor, which has said what it has but for the swarms.
#[derive(Debug)]
pub(super) struct Predecessor {
    socket: OwnedFd,
    path: PathBuf,
    /// Its sign of life, once it has come.
    life: Option<OwnedFd>,
}

/// What the predecessor has given.
pub(super) struct Given {
    pub(super) inheritance: Inheritance,
    /// The socket over which handovers begin.
    pub(super) own_socket: OwnedFd,
}

impl Predecessor {
    /// Finds the predecessor, and asks it for everything that is needed before anything is bound. Returns `None` if
    /// there is none, or it ends before it has given all of that.
    ///
    /// # Errors
    ///
    /// The process refuses, says what makes no sense, or nothing at all; [`path::connect_to`]'s.
    pub(super) fn find(path: &Path, user: Option<&Account>) -> Result<Option<(Self, Given)>, StartError> {
        for _ in 0..MAX_TRIES {
            let Some(socket) = path::connect_to(path, user)? else { return Ok(None) };
            info!("taking over from the process that answers at {}", path.display());
            let mut this = Self { socket, path: path.into(), life: None };
            if let Some(given) = this.greet()? {
                return Ok(Some((this, given)));
            }
        }
        Err(refused(path, CLOSED))
    }

    /// Asks for what is needed; `None` if the process has closed the connection before it has given all of it.
    fn greet(&mut self) -> Result<Option<Given>, StartError> {
        let patience = TimeVal::seconds(PATIENCE.as_secs() as i64);
        let failed = |error: nix::Error| self.failed(error.into());
        setsockopt(&self.socket, ReceiveTimeout, &patience).map_err(failed)?;
        setsockopt(&self.socket, SendTimeout, &patience).map_err(failed)?;
        self.say(Kind::Hello, &VERSION.to_be_bytes())?;

        let mut inheritance = Inheritance::default();
        let mut own_socket = None;
        loop {
            let Some(Message { kind, body, descriptors }) = self.next(Vec::new())? else { return Ok(None) };
            match kind {
                Kind::Identity => {
                    let identity = read_identity(&body).ok_or_else(|| self.refused("it is of another version"))?;
                    inheritance.identity = Some(identity);
                }
                Kind::Sockets => {
                    let inherited = |socket| InheritedSocket {
                        socket,
                        name: "the process before".into(),
                        provider: Provider::Predecessor,
                    };
                    inheritance.sockets.extend(descriptors.into_iter().map(inherited));
                }
                Kind::OwnSocket => {
                    let mut descriptors = descriptors.into_iter();
                    (own_socket, self.life) = (descriptors.next(), descriptors.next());
                    // One that is older sends none of these.
                    let keys = String::from_utf8(body).map_err(|_| self.refused(NONSENSE))?;
                    let of_plugs = keys.lines().map(str::to_owned).zip(descriptors);
                    inheritance.plug_sockets.extend(of_plugs.map(|(key, socket)| PlugSocket {
                        key,
                        socket,
                        is_new: false,
                    }));
                }
                Kind::AllSockets => break,
                Kind::Refused => return Err(self.refused(String::from_utf8_lossy(&body))),
                _ => return Err(self.refused(NONSENSE)),
            }
            if inheritance.sockets.len() > MAX_SOCKETS {
                return Err(self.refused(NONSENSE));
            }
        }
        match own_socket {
            Some(own_socket) if inheritance.identity.is_some() && self.life.is_some() => {
                Ok(Some(Given { inheritance, own_socket }))
            }
            _ => Err(self.refused(NONSENSE)),
        }
    }

    /// Fills the tracker. The predecessor answers until it has sent everything once, and ends when this returns.
    /// Returns whether everything has come.
    ///
    /// # Errors
    ///
    /// The predecessor goes on answering.
    pub(super) fn fill<F: Flavour>(self, tracker: &Arc<Tracker<F>>, clock: MonotonicClock) -> Result<bool, StartError> {
        self.say(Kind::Ready, b"")?;
        let mut reader = Reader::new(Arc::clone(tracker), 0);
        let mut once = None;
        let mut memory = Vec::new();
        loop {
            let Some(Message { kind, body, .. }) = self.next(memory)? else {
                self.wait_for_end()?;
                warn!("the process before has ended in the middle of the handover: going on with what has come");
                break;
            };
            match kind {
                Kind::Swarms => {
                    reader.read(&body, clock.now()).map_err(|error| self.refused(error))?;
                    if reader.is_whole() {
                        self.take()?;
                        break;
                    }
                }
                Kind::AllOnce => {
                    once = Some(*reader.counts());
                    self.say(Kind::Pause, b"")?;
                }
                Kind::Refused | Kind::Keeps => return Err(self.refused(String::from_utf8_lossy(&body))),
                _ => return Err(self.refused(NONSENSE)),
            }
            memory = body;
        }
        let counts = *reader.counts();
        // Most of what is left out has come again with the changes.
        let MergeCounts { left_out, displaced, .. } = once.unwrap_or(counts);
        info!("taken over from the process before: {}", Report(&MergeCounts { left_out, displaced, ..counts }));
        Ok(reader.is_whole())
    }

    /// Waits until the predecessor, which has closed the connection, is no longer there.
    ///
    /// # Errors
    ///
    /// It is there, and has closed nothing but the connection.
    fn wait_for_end(&self) -> Result<(), StartError> {
        // All that a process had open is closed when it dies, but not at once.
        let has_ended = self.life.as_ref().is_some_and(|life| has_ended(life, END_TIME));
        if has_ended { Ok(()) } else { Err(self.refused(CLOSED)) }
    }

    /// Says that everything has come, and waits for the predecessor to let go of it.
    fn take(&self) -> Result<(), StartError> {
        self.say(Kind::Taken, b"")?;
        match self.next(Vec::new())? {
            Some(Message { kind: Kind::Yours, .. }) => Ok(()),
            None => self.wait_for_end(),
            Some(Message { body, .. }) => Err(self.refused(String::from_utf8_lossy(&body))),
        }
    }

    /// Returns the next message; `None` if the predecessor has ended.
    fn next(&self, mut memory: Vec<u8>) -> Result<Option<Message>, StartError> {
        let mut receive = || uninterrupted(|| receive(self.socket.as_fd(), mem::take(&mut memory)));
        let received = match receive() {
            // It has closed its end before it read all: that is told once, and then what it said before is read.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive(),
            received => received,
        };
        received.map_err(|error| self.failed(error))
    }

    fn say(&self, kind: Kind, body: &[u8]) -> Result<(), StartError> {
        match uninterrupted(|| send(self.socket.as_fd(), kind, body, &[])) {
            // That it has ended is seen where its next message is awaited.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            sent => sent.map_err(|error| self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> StartError {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.refused(format_args!("the process that runs has said nothing for {} s", PATIENCE.as_secs()))
            }
            io::ErrorKind::InvalidData => self.refused(NONSENSE),
            _ => self.refused(format_args!("the process that runs cannot be heard: {error}")),
        }
    }

    fn refused(&self, reason: impl ToString) -> StartError {
        refused(&self.path, reason)
    }
}

/// Makes a system call again when a signal has interrupted it: one on a socket that waits for so long, and no longer,
/// ends whenever a signal comes, even one that stops the process and has it go on.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

const CLOSED: &str = "the process that runs closes the connection: see its log";
const NONSENSE: &str = "the process that runs says what makes no sense";
