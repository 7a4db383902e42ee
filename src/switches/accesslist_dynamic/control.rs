//! The socket for commands: how it comes into the file system, and who answers there.
//!
//! The file's mode says who can connect, and the kernel sees to it. Connections are few, each holds one command at
//! most, and whoever does not go on with a command that has begun is cut off.

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net as std_unix;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{SockType, UnixAddr, connect, getsockopt};
use nix::unistd::{Gid, Uid};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::server::{Opening, StartError};
use crate::sockets::unix::{self, name_of, new_socket, too_long, unfinished};

use super::command::{Command, MAX_COMMAND};
use super::desk::Desk;
use super::gate::Gate;

/// The key of its path.
pub(super) const KEY: &str = "access.control";

/// Connections that may be open; the one that has been idle for longest makes room.
const MAX_CONNECTIONS: usize = 16;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// How long a client may take for the rest of a command that has begun, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait after an error that is no connection's own.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// The socket.
#[derive(Debug)]
pub(super) struct Door {
    socket: OwnedFd,
    /// Whether members of a group can connect, as the file's mode says.
    is_for_group: bool,
}

impl Door {
    /// Takes over the socket from the process before, or opens it.
    ///
    /// # Errors
    ///
    /// Another process answers at the path, or it is no socket; the system's.
    pub(super) fn open(path: &Path, group: Option<Gid>, opening: &mut Opening<'_>) -> Result<Self, StartError> {
        let unusable = |reason: String| StartError::Unusable { key: KEY, path: path.into(), reason };
        let gid = group.or(opening.user.map(|user| user.gid));
        let file =
            unix::SocketFile { owner: opening.user.map(|user| user.uid), group: gid, is_for_group: group.is_some() };
        let inherited = opening.sockets.take(KEY).filter(|socket| is_bound_to(socket, path));
        // Not if a successor that failed has put its own there: nobody would reach this one.
        let inherited = inherited.filter(|socket| is_reached_by(socket, path));
        let is_inherited = inherited.is_some();
        let socket = match inherited.filter(|_| is_as_wanted(path, &file)) {
            Some(socket) => {
                info!("{}: {} goes on from the process before", KEY, path.display());
                opening.sockets.keep(KEY, &socket, false).map_err(|error| unusable(error.to_string()))?;
                socket
            }
            None => {
                // What was the predecessor's can be replaced.
                if !is_inherited {
                    refuse_others(path).map_err(unusable)?;
                }
                let socket = file.listen_at(path, SockType::Stream, BACKLOG).map_err(unusable)?;
                opening.sockets.keep(KEY, &socket, true).map_err(|error| unusable(error.to_string()))?;
                socket
            }
        };
        Ok(Self { socket, is_for_group: group.is_some() })
    }
}

/// Returns whether a socket listens that was opened for this path.
fn is_bound_to(socket: &OwnedFd, path: &Path) -> bool {
    let socket = SockRef::from(socket);
    let address = socket.local_addr().ok();
    let listens =
        socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM) && socket.is_listener().unwrap_or(false);
    listens && address.as_ref().and_then(|address| address.as_pathname()) == Some(&unfinished(path))
}

/// Returns whether who connects to a path comes to this socket, which listens. Whoever connects is told which process
/// called `listen` (SO_PEERCRED, unix(7)), and a listening socket says the same of itself. A process listens once at a
/// path, so the same process is the same socket.
fn is_reached_by(socket: &OwnedFd, path: &Path) -> bool {
    let Ok((connection, connected)) = try_connect(path) else { return false };
    match connected {
        Ok(()) => {
            let listener = |socket: &OwnedFd| getsockopt(socket, PeerCredentials).map(|peer| peer.pid());
            listener(socket).is_ok_and(|pid| listener(&connection) == Ok(pid))
        }
        // Many wait already. Nobody waits at one that no process has.
        Err(error) => is_busy(error),
    }
}

/// Connects to a path, and does not wait where many wait already. Returns what comes of it.
fn try_connect(path: &Path) -> Result<(OwnedFd, nix::Result<()>), String> {
    let socket = new_socket(SockType::Stream).map_err(|error| error.to_string())?;
    let address = UnixAddr::new(path).map_err(|_| too_long())?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| error.to_string())?;
    let connected = connect(socket.as_raw_fd(), &address);
    Ok((socket, connected))
}

fn is_busy(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::EINPROGRESS)
}

/// Returns whether the file at a path is a socket's, as it would be made.
fn is_as_wanted(path: &Path, wanted: &unix::SocketFile) -> bool {
    let is = |wanted: Option<u32>, found| wanted.is_none_or(|wanted| wanted == found);
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.file_type().is_socket()
            && found.mode() & 0o777 == wanted.mode()
            && is(wanted.owner.map(Uid::as_raw), found.uid())
            && is(wanted.group.map(Gid::as_raw), found.gid())
    })
}

/// Returns an error if there is something at a path that is not to be replaced.
fn refuse_others(path: &Path) -> Result<(), String> {
    match try_connect(path)?.1 {
        Ok(()) => Err("another process answers there".into()),
        Err(error) if is_busy(error) => Err("another process answers there".into()),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ECONNREFUSED) => {
            let found = fs::metadata(path).map_err(|error| error.to_string())?.file_type();
            // Whoever opened it has ended.
            if found.is_socket() { Ok(()) } else { Err(format!("it is {}, and no socket", name_of(found))) }
        }
        Err(Errno::EPROTOTYPE) => Err("it is another program's socket".into()),
        Err(error) => Err(format!("cannot connect: {}", io::Error::from(error))),
    }
}

/// A connection.
struct Place {
    /// When its client last said something.
    last: Rc<Cell<Instant>>,
    task: AbortHandle,
}

/// Answers whoever connects, for ever.
pub(super) async fn answer(door: Door, desk: Rc<Desk>, gate: Arc<Gate>) {
    let listener = std_unix::UnixListener::from(door.socket);
    let listener = match listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener)) {
        Ok(listener) => listener,
        Err(error) => return warn!("{}: nobody is answered: {error}", KEY),
    };
    let mut places: Vec<Place> = Vec::new();
    loop {
        gate.opened().await;
        let accept = |context: &mut std::task::Context<'_>| {
            if gate.is_closed() { Poll::Ready(None) } else { listener.poll_accept(context).map(Some) }
        };
        match poll_fn(accept).await {
            None => {}
            Some(Ok((stream, _))) => {
                if let Err(reason) = admit(&stream, door.is_for_group) {
                    desk.complain(|| warn!("{}: a connection is closed: {reason}", KEY));
                    continue;
                }
                places.retain(|place| !place.task.is_finished());
                if places.len() >= MAX_CONNECTIONS {
                    let idlest = (0..places.len()).min_by_key(|at| places.get(*at).map(|place| place.last.get()));
                    idlest.into_iter().for_each(|at| places.swap_remove(at).task.abort());
                }
                let last = Rc::new(Cell::new(Instant::now()));
                let connection = Connection { stream, begun: Vec::new(), last: Rc::clone(&last) };
                let (desk, gate) = (Rc::clone(&desk), Arc::clone(&gate));
                // Whatever goes wrong with it is its client's to know.
                let task = spawn_local(async move { _ = connection.serve(&desk, &gate).await }).abort_handle();
                places.push(Place { last, task });
            }
            Some(Err(error)) => {
                desk.complain(|| warn!("{}: nobody can connect for now: {error}", KEY));
                sleep(PAUSE).await;
            }
        }
    }
}

/// Returns why a client is not to be heard. Of a group's members the kernel has seen to it that they alone connect.
fn admit(stream: &UnixStream, is_for_group: bool) -> Result<(), String> {
    let uid = Uid::from_raw(stream.peer_cred().map_err(|error| error.to_string())?.uid());
    if uid.is_root() || uid == Uid::effective() || is_for_group { Ok(()) } else { Err(format!("user {uid} may not")) }
}

struct Connection {
    stream: UnixStream,
    /// What has been read and is not done.
    begun: Vec<u8>,
    last: Rc<Cell<Instant>>,
}

impl Connection {
    /// Answers commands until the client goes.
    async fn serve(mut self, desk: &Rc<Desk>, gate: &Gate) -> io::Result<()> {
        loop {
            let command = match self.next_line(gate).await? {
                Some(line) => Command::parse(&line),
                None if self.begun.len() > MAX_COMMAND => {
                    let error = format!("a command has {MAX_COMMAND} bytes at most");
                    return self.say(&Err(error)).await;
                }
                None => return Ok(()),
            };
            let answer = match command {
                Ok(command) => command.run(desk).await,
                Err(error) => Err(error),
            };
            self.last.set(Instant::now());
            self.say(&answer).await?;
            // Others have their turn.
            yield_now().await;
        }
    }

    /// Returns the next line; `None` at the end, or when it is too long.
    async fn next_line(&mut self, gate: &Gate) -> io::Result<Option<Vec<u8>>> {
        let mut piece = [0; PIECE];
        let mut looked_at = 0;
        let mut deadline = None;
        loop {
            let new = self.begun.get(looked_at..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n').map(|end| looked_at + end) {
                gate.opened().await;
                let line = self.begun.drain(..=end).take(end).collect::<Vec<_>>();
                if line.len() <= MAX_COMMAND {
                    return Ok(Some(line));
                }
                self.begun = line;
            }
            if self.begun.len() > MAX_COMMAND {
                return Ok(None);
            }
            looked_at = self.begun.len();
            if self.begun.is_empty() {
                self.stream.readable().await?;
            } else {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                tokio::time::timeout_at(deadline, self.stream.readable()).await??;
            }
            // What comes now is not taken while another process takes over.
            gate.opened().await;
            match self.stream.try_read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    self.begun.extend_from_slice(piece.get(..read).unwrap_or_default());
                    self.last.set(Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn say(&mut self, answer: &Result<String, String>) -> io::Result<()> {
        let line = match answer {
            Ok(value) => format!("ok {value}\n"),
            Err(error) => format!("error {error}\n"),
        };
        timeout(PATIENCE, self.stream.write_all(line.as_bytes())).await?
    }
}
