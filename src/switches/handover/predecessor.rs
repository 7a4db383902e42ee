//! The predecessor's side: hands over to a new process that asks for it.
//!
//! All of it happens in the first thread, piece by piece, between two signals; workers answer meanwhile.

use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net as std_unix;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::server::{Handing, ListeningSocket, StartError, Step};
use crate::swarms::{Progress, Writer};
use crate::tracker::{Clock as _, Flavour, Minute};

use super::life::Life;
use super::message::{self, Kind, MAX_BODY, MAX_DESCRIPTORS, VERSION, write_identity};
use super::path::refused;

/// How long a successor may say or take nothing while this process answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// And while nobody answers.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// Most pieces of the stream that are written in one go: some milliseconds' worth.
const MAX_PIECES: usize = 64;
/// How long to wait after an error that is no connection's own, such as a machine without memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket over which a successor asks, and how far a handover has got.
pub(super) struct Post {
    socket: Socket,
    life: Life,
    handover: Option<InProgress>,
}

/// The socket, known to the event loop from the first time that it is waited for.
enum Socket {
    New(OwnedFd),
    Known(UnixListener),
}

/// A handover that has begun. Whatever is waited for may be given up and waited for again.
struct InProgress {
    stream: UnixStream,
    stage: Stage,
    /// A part of the stream that has been written and not sent.
    unsent: Vec<u8>,
    /// What is to be said next.
    unsaid: Option<Kind>,
    /// Bytes of the stream that have been sent.
    sent: usize,
    began: Instant,
    /// Since when nobody is answered.
    paused: Option<Instant>,
}

/// How far it has got.
enum Stage {
    /// The successor has connected.
    Connected,
    /// It is given what it needs before it binds anything: so many messages have been sent.
    Giving(usize),
    /// It has all of that, binds what is missing, and gives up its rights.
    Starting,
    /// It is sent everything that is there.
    Sending(Box<dyn Source>),
    /// It is still reading that.
    Reading(Box<dyn Source>),
    /// Nobody is answered, and what has changed is sent.
    Changing(Box<dyn Source>),
    /// It has been sent all there is.
    Ending,
    /// It has it all, and the tracker is its own once that has been said.
    Ended,
}

/// Why a handover came to nothing.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Io(io::Error),
    #[error("it has ended")]
    Gone,
    #[error("it says nothing")]
    Silent,
    #[error("it speaks another version of the handover than this one, {VERSION}")]
    OtherVersion,
    #[error("user {0} may not")]
    NotAllowed(Uid),
    #[error("it says what makes no sense")]
    Nonsense,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Self::Gone,
            ErrorKind::InvalidData => Self::Nonsense,
            _ => Self::Io(error),
        }
    }
}

/// What writes the stream, whatever the tracker's flavour.
trait Source: Send {
    /// Appends the next piece of all that is there. Returns whether there is more.
    fn write(&mut self, now: Minute, out: &mut Vec<u8>) -> bool;
    /// Appends the next piece of what has changed. Returns whether there is more.
    fn write_changes(&mut self, now: Minute, out: &mut Vec<u8>) -> bool;
    /// Returns how many have left whom there was no room to note.
    fn missed_departures(&self) -> u64;
}

impl<F: Flavour> Source for Writer<F> {
    fn write(&mut self, now: Minute, out: &mut Vec<u8>) -> bool {
        Writer::write(self, now, out) == Progress::More
    }

    fn write_changes(&mut self, now: Minute, out: &mut Vec<u8>) -> bool {
        Writer::write_changes(self, now, out) == Progress::More
    }

    fn missed_departures(&self) -> u64 {
        Writer::missed_departures(self)
    }
}

impl Post {
    /// Takes over a socket that listens.
    ///
    /// # Errors
    ///
    /// The system has nothing that shows that this process lives.
    pub(super) fn new(socket: OwnedFd, path: &Path) -> Result<Self, StartError> {
        let life = Life::new().map_err(|error| refused(path, format_args!("cannot make a pipe: {error}")))?;
        Ok(Self { socket: Socket::New(socket), life, handover: None })
    }

    /// Waits until something is asked of the process.
    pub(super) async fn next<F: Flavour>(&mut self, handing: &Handing<'_, F>) -> Step {
        loop {
            let Some(handover) = &mut self.handover else {
                self.accept().await;
                continue;
            };
            let patience = if handover.stage.is_paused() { SHORT_PATIENCE } else { PATIENCE };
            let own_socket = match &self.socket {
                Socket::Known(socket) => socket.as_fd(),
                Socket::New(socket) => socket.as_fd(),
            };
            let own = [own_socket, self.life.shown()];
            let result = match timeout(patience, handover.go_on(handing, own)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Silent),
            };
            match result {
                Ok(None) => {}
                Ok(Some(step)) => return step,
                Err(failure) => {
                    warn!("a process that was to take over does not: {failure}; going on");
                    let paused = handover.stage.is_paused();
                    handover.give_up(&failure);
                    self.handover = None;
                    if paused {
                        return Step::Resume;
                    }
                }
            }
        }
    }

    /// Waits for a process that asks.
    async fn accept(&mut self) {
        let accepted = match &mut self.socket {
            Socket::New(_) => self.make_known(),
            Socket::Known(listener) => listener.accept().await.map(|(stream, _)| Some(stream)),
        };
        match accepted {
            Ok(None) => {}
            Ok(Some(stream)) => {
                self.handover = Some(InProgress::new(stream));
            }
            Err(error) => {
                warn!("no process can take over for now, trying again: {error}");
                sleep(PAUSE).await;
            }
        }
    }

    fn make_known(&mut self) -> io::Result<Option<UnixStream>> {
        if let Socket::New(socket) = &self.socket {
            // The types say stream, and do with it what they would do with any socket.
            let listener = std_unix::UnixListener::from(socket.try_clone()?);
            listener.set_nonblocking(true)?;
            self.socket = Socket::Known(UnixListener::from_std(listener)?);
        }
        Ok(None)
    }
}

/// Has pieces appended until there is as much as a message takes, as many are short, but not for long. Returns whether
/// there is more.
fn fill(out: &mut Vec<u8>, mut write: impl FnMut(&mut Vec<u8>) -> bool) -> bool {
    (0..MAX_PIECES).all(|_| out.len() >= MAX_BODY || write(out))
}

impl Stage {
    /// Returns whether nobody is answered.
    fn is_paused(&self) -> bool {
        matches!(self, Self::Changing(_) | Self::Ending | Self::Ended)
    }
}

impl InProgress {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            stage: Stage::Connected,
            unsent: Vec::new(),
            unsaid: None,
            sent: 0,
            began: Instant::now(),
            paused: None,
        }
    }

    /// Goes on by one message.
    async fn go_on<F: Flavour>(
        &mut self,
        handing: &Handing<'_, F>,
        own: [BorrowedFd<'_>; 2],
    ) -> Result<Option<Step>, Failure> {
        let more = matches!(self.stage, Stage::Sending(_) | Stage::Changing(_));
        if self.unsent.len() >= MAX_BODY || !more && !self.unsent.is_empty() {
            let piece = self.unsent.len().min(MAX_BODY);
            self.say(Kind::Swarms, self.unsent.get(..piece).unwrap_or_default(), &[]).await?;
            self.unsent.drain(..piece);
            self.sent += piece;
            return Ok(None);
        }
        if let Some(kind) = self.unsaid {
            self.say(kind, b"", &[]).await?;
            self.unsaid = None;
            return Ok(None);
        }
        let now = handing.clock.now();
        self.stage = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Sending(mut source) => {
                if fill(&mut self.unsent, |out| source.write(now, out)) {
                    self.stage = Stage::Sending(source);
                    // Signals have their turn.
                    yield_now().await;
                    return Ok(None);
                }
                self.unsaid = Some(Kind::AllOnce);
                Stage::Reading(source)
            }
            Stage::Changing(mut source) => {
                self.paused.get_or_insert_with(Instant::now);
                if fill(&mut self.unsent, |out| source.write_changes(now, out)) {
                    Stage::Changing(source)
                } else {
                    let missed = source.missed_departures();
                    if missed > 0 {
                        warn!("{missed} of the peers handed over have left: too many did so meanwhile to be noted");
                    }
                    Stage::Ending
                }
            }
            Stage::Ended => return Ok(Some(Step::End)),
            other => {
                // Whoever gives up waiting finds the stage as it was.
                self.stage = other;
                return self.converse(handing, own, now).await;
            }
        };
        Ok(None)
    }

    /// Says or hears what a stage begins with that is no part of the stream.
    async fn converse<F: Flavour>(
        &mut self,
        handing: &Handing<'_, F>,
        own: [BorrowedFd<'_>; 2],
        now: Minute,
    ) -> Result<Option<Step>, Failure> {
        match self.stage {
            Stage::Connected => {
                let uid = Uid::from_raw(self.stream.peer_cred()?.uid());
                if !uid.is_root() && uid != Uid::effective() {
                    return Err(Failure::NotAllowed(uid));
                }
                if self.hear(Kind::Hello).await? != VERSION.to_be_bytes() {
                    return Err(Failure::OtherVersion);
                }
                info!("another process asks to take over");
                self.stage = Stage::Giving(0);
            }
            Stage::Giving(sent) => {
                let more = self.give(sent, handing, own).await?;
                self.stage = if more { Stage::Giving(sent + 1) } else { Stage::Starting };
            }
            Stage::Starting => {
                self.hear(Kind::Ready).await?;
                let generation = u64::try_from(handing.clock.reading().since_boot.as_nanos()).unwrap_or(u64::MAX);
                self.stage = Stage::Sending(Box::new(Writer::new(Arc::clone(handing.tracker), generation, now)));
            }
            Stage::Reading(_) => {
                self.hear(Kind::Pause).await?;
                self.stage = match mem::replace(&mut self.stage, Stage::Ended) {
                    Stage::Reading(source) => Stage::Changing(source),
                    other => other,
                };
                return Ok(Some(Step::Pause));
            }
            Stage::Ending => {
                self.hear(Kind::Taken).await?;
                let [all, paused] =
                    [Some(self.began), self.paused].map(|since| since.map_or(0, |since| since.elapsed().as_millis()));
                info!("handed over {} bytes in {all} ms; nobody was answered for {paused} ms", self.sent);
                self.unsaid = Some(Kind::Yours);
                self.stage = Stage::Ended;
            }
            Stage::Sending(_) | Stage::Changing(_) | Stage::Ended => {}
        }
        Ok(None)
    }

    /// Gives the successor one of the things that it needs before it binds anything. Returns whether there are more.
    async fn give<F: Flavour>(
        &self,
        sent: usize,
        handing: &Handing<'_, F>,
        own: [BorrowedFd<'_>; 2],
    ) -> Result<bool, Failure> {
        let chunks = handing.sockets.chunks(MAX_DESCRIPTORS);
        match sent.checked_sub(1) {
            None => {
                self.say(Kind::Identity, &write_identity(&handing.identity()), &[]).await?;
            }
            Some(chunk) if chunk < chunks.len() => {
                let sockets = chunks.skip(chunk).flatten().take(MAX_DESCRIPTORS);
                let descriptors: Vec<_> = sockets.map(|ListeningSocket { socket, .. }| *socket).collect();
                self.say(Kind::Sockets, b"", &descriptors).await?;
            }
            Some(chunk) if chunk == chunks.len() => {
                let of_plugs = handing.plug_sockets.iter().take(MAX_DESCRIPTORS - own.len());
                let keys: Vec<_> = of_plugs.clone().map(|one| one.key.as_str()).collect();
                let descriptors: Vec<_> = own.into_iter().chain(of_plugs.map(|one| one.socket.as_fd())).collect();
                self.say(Kind::OwnSocket, keys.join("\n").as_bytes(), &descriptors).await?;
            }
            Some(_) => {
                self.say(Kind::AllSockets, b"", &[]).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn say(&self, kind: Kind, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let send = || message::send(&self.stream, kind, body, descriptors);
        Ok(self.stream.async_io(Interest::WRITABLE, send).await?)
    }

    /// Waits for a message of this kind, and returns its body.
    async fn hear(&self, kind: Kind) -> Result<Vec<u8>, Failure> {
        match self.stream.async_io(Interest::READABLE, || message::receive(&self.stream, Vec::new())).await? {
            None => Err(Failure::Gone),
            Some(message) if message.kind == kind => Ok(message.body),
            Some(_) => Err(Failure::Nonsense),
        }
    }

    /// Tells the successor that it must not answer.
    fn give_up(&self, failure: &Failure) {
        let kind = if self.stage.is_paused() { Kind::Keeps } else { Kind::Refused };
        let reason = format!("the process that runs goes on: {failure}");
        let _ = message::send(&self.stream, kind, reason.as_bytes(), &[]);
    }
}
