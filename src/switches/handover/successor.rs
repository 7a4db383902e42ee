//! The new process: takes over from the one that runs.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::time::{TimeVal, TimeValLike as _};
use tracing::{info, warn};

use crate::server::{Inheritance, InheritedSocket, MonotonicClock, StartError};
use crate::swarms::Reader;
use crate::tracker::{Clock as _, Flavour, Tracker};

use super::message::{Kind, Message, VERSION, read_identity, receive, send};
use super::path::refused;
use super::report::Report;

/// How long the process before may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Maximum number of sockets that are taken over.
const MAX_SOCKETS: usize = 4096;

/// A connection to the process that runs, which has said what it has but for the swarms.
#[derive(Debug)]
pub(super) struct Predecessor {
    socket: OwnedFd,
    path: PathBuf,
}

/// What the process that runs has given.
pub(super) struct Given {
    pub(super) inheritance: Inheritance,
    /// The socket over which handovers begin.
    pub(super) own_socket: OwnedFd,
}

impl Predecessor {
    /// Asks for everything that is needed before anything is bound.
    ///
    /// # Errors
    ///
    /// The process refuses, says what makes no sense, or nothing at all.
    pub(super) fn greet(socket: OwnedFd, path: &Path) -> Result<(Self, Given), StartError> {
        let this = Self { socket, path: path.into() };
        let patience = TimeVal::seconds(PATIENCE.as_secs() as i64);
        let failed = |error: nix::Error| this.failed(error.into());
        setsockopt(&this.socket, ReceiveTimeout, &patience).map_err(failed)?;
        setsockopt(&this.socket, SendTimeout, &patience).map_err(failed)?;
        this.say(Kind::Hello, &VERSION.to_be_bytes())?;

        let mut inheritance = Inheritance::default();
        let mut own_socket = None;
        loop {
            let Message { kind, body, descriptors } = this.next()?.ok_or_else(|| this.refused(CLOSED))?;
            match kind {
                Kind::Identity => {
                    let identity = read_identity(&body).ok_or_else(|| this.refused("it is of another version"))?;
                    inheritance.identity = Some(identity);
                }
                Kind::Sockets => {
                    let named =
                        |socket| InheritedSocket { socket, name: "the process before".into(), is_foreign: false };
                    inheritance.sockets.extend(descriptors.into_iter().map(named));
                }
                Kind::OwnSocket => own_socket = descriptors.into_iter().next(),
                Kind::AllSockets => break,
                Kind::Refused => return Err(this.refused(String::from_utf8_lossy(&body))),
                _ => return Err(this.refused(NONSENSE)),
            }
            if inheritance.sockets.len() > MAX_SOCKETS {
                return Err(this.refused(NONSENSE));
            }
        }
        match own_socket {
            Some(own_socket) if inheritance.identity.is_some() => Ok((this, Given { inheritance, own_socket })),
            _ => Err(this.refused(NONSENSE)),
        }
    }

    /// Fills the tracker. The process before answers until it has sent everything once, and ends when this returns.
    ///
    /// # Errors
    ///
    /// The process before goes on answering.
    pub(super) fn fill<F: Flavour>(self, tracker: &Arc<Tracker<F>>, clock: MonotonicClock) -> Result<(), StartError> {
        self.say(Kind::Ready, b"")?;
        let mut reader = Reader::new(Arc::clone(tracker), 0);
        loop {
            let Some(Message { kind, body, .. }) = self.next()? else {
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
                Kind::AllOnce => self.say(Kind::Pause, b"")?,
                Kind::Refused | Kind::Keeps => return Err(self.refused(String::from_utf8_lossy(&body))),
                _ => return Err(self.refused(NONSENSE)),
            }
        }
        info!("taken over from the process before: {}", Report(reader.counts()));
        Ok(())
    }

    /// Says that everything has come, and waits for the process before to let go of it.
    fn take(&self) -> Result<(), StartError> {
        self.say(Kind::Taken, b"")?;
        match self.next()? {
            Some(Message { kind: Kind::Yours, .. }) | None => Ok(()),
            Some(Message { body, .. }) => Err(self.refused(String::from_utf8_lossy(&body))),
        }
    }

    /// Returns the next message; `None` if the process before has ended.
    fn next(&self) -> Result<Option<Message>, StartError> {
        match receive(self.socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            received => received.map_err(|error| self.failed(error)),
        }
    }

    fn say(&self, kind: Kind, body: &[u8]) -> Result<(), StartError> {
        match send(self.socket.as_fd(), kind, body, &[]) {
            // That it has ended is seen where its next message is awaited.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
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

const CLOSED: &str = "the process that runs has closed the connection: see its log";
const NONSENSE: &str = "the process that runs says what makes no sense";
