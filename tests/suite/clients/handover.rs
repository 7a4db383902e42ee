//! Either process of a handover, as the tracker sees it: it says what it is told, and no more.

use std::cell::OnceCell;
use std::hash::Hasher as _;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, accept4,
    connect, recvmsg, sendmsg, setsockopt, shutdown, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::pipe2;
use siphasher::sip::SipHasher13;

use crate::wait::MAX_WAIT;

pub(crate) const HELLO: u8 = 0;
pub(crate) const IDENTITY: u8 = 1;
pub(crate) const SOCKETS: u8 = 2;
pub(crate) const OWN_SOCKET: u8 = 3;
pub(crate) const ALL_SOCKETS: u8 = 4;
pub(crate) const REFUSED: u8 = 5;
pub(crate) const READY: u8 = 6;
pub(crate) const SWARMS: u8 = 7;
pub(crate) const ALL_ONCE: u8 = 8;
pub(crate) const PAUSE: u8 = 9;
pub(crate) const TAKEN: u8 = 10;
pub(crate) const YOURS: u8 = 11;
pub(crate) const KEEPS: u8 = 12;

/// The version of the messages.
pub(crate) const VERSION: [u8; 2] = [0, 1];

/// The most bytes of the stream in one message.
const PIECE: usize = 64 * 1024;

/// One end of the conversation.
pub(crate) struct Speaker {
    socket: OwnedFd,
    /// Open for as long as a predecessor lives.
    life: OnceCell<OwnedFd>,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What one tracker gives to another.
pub(crate) struct Estate {
    /// The body of its message.
    pub(crate) identity: Vec<u8>,
    /// Those on which it answers.
    pub(crate) sockets: Vec<OwnedFd>,
    /// That over which handovers begin.
    pub(crate) own_socket: OwnedFd,
}

/// All swarms, as a tracker has sent them.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    /// What was sent while it answered.
    pub(crate) once: Vec<u8>,
    /// What was sent when it did not.
    pub(crate) changes: Vec<u8>,
}

impl Estate {
    /// Waits for a process that asks, and gives it all of this.
    #[track_caller]
    pub(crate) fn give(&self) -> Speaker {
        let successor = accept(&self.own_socket);
        successor.expect(HELLO);
        self.give_to(&successor);
        successor
    }

    /// The same for a process that has asked.
    pub(crate) fn give_to(&self, successor: &Speaker) {
        successor.say(IDENTITY, &self.identity);
        for sockets in self.sockets.chunks(64) {
            successor.send(SOCKETS, b"", &sockets.iter().map(AsFd::as_fd).collect::<Vec<_>>());
        }
        let (shown, held) = pipe2(OFlag::O_CLOEXEC).unwrap();
        successor.send(OWN_SOCKET, b"", &[self.own_socket.as_fd(), shown.as_fd()]);
        successor.life.set(held).expect("it is given to once");
        successor.say(ALL_SOCKETS, b"");
    }
}

/// Waits for a process that asks.
#[track_caller]
pub(crate) fn accept(socket: &OwnedFd) -> Speaker {
    let patience = PollTimeout::try_from(MAX_WAIT).unwrap();
    let asked = retry(|| poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], patience)).unwrap();
    assert_eq!(asked, 1, "nobody asks");
    let accepted = retry(|| accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC)).unwrap();
    Speaker::of(adopt(accepted))
}

impl Drop for Speaker {
    /// Closes it for good: a process that another test starts may hold it for a moment.
    fn drop(&mut self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl Speaker {
    /// Connects to the tracker that answers there.
    #[track_caller]
    pub(crate) fn connect(path: &Path) -> Self {
        let socket = new_socket();
        connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Self::of(socket)
    }

    fn of(socket: OwnedFd) -> Self {
        let patience = TimeVal::seconds(i64::try_from(MAX_WAIT.as_secs()).unwrap());
        setsockopt(&socket, ReceiveTimeout, &patience).unwrap();
        Self { socket, life: OnceCell::new() }
    }

    #[track_caller]
    pub(crate) fn say(&self, kind: u8, body: &[u8]) {
        self.send(kind, body, &[]);
    }

    #[track_caller]
    pub(crate) fn send(&self, kind: u8, body: &[u8], descriptors: &[BorrowedFd<'_>]) {
        self.try_send(kind, body, descriptors).unwrap();
    }

    /// Sends a message; the other may have ended.
    pub(crate) fn try_send(&self, kind: u8, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> nix::Result<usize> {
        let raw: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
        let pieces = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(body)];
        retry(|| sendmsg::<()>(self.socket.as_raw_fd(), &pieces, rights, MsgFlags::MSG_NOSIGNAL, None))
    }

    /// Returns the next message; none if the other has closed its end.
    #[track_caller]
    pub(crate) fn hear(&self) -> Option<Message> {
        let mut bytes = vec![0; PIECE + 1];
        let mut control = nix::cmsg_space!([RawFd; 64]);
        let received = retry(|| {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
            let rights = received.cmsgs()?.filter_map(|message| match message {
                ControlMessageOwned::ScmRights(raw) => Some(raw),
                _ => None,
            });
            Ok((received.bytes, rights.flatten().map(adopt).collect()))
        });
        match received {
            Ok((0, _)) | Err(Errno::ECONNRESET) => None,
            Ok((len, descriptors)) => Some(Message { kind: bytes[0], body: bytes[1..len].into(), descriptors }),
            Err(error) => panic!("nothing is said: {error}"),
        }
    }

    /// Returns the next message, which has to be of this kind.
    #[track_caller]
    pub(crate) fn expect(&self, kind: u8) -> Message {
        let message = self.hear().expect("the tracker has closed the connection");
        assert_eq!(message.kind, kind, "{}", String::from_utf8_lossy(&message.body));
        message
    }

    /// Asks to take over, and returns what is given before anything is bound.
    #[track_caller]
    pub(crate) fn ask(&self) -> Estate {
        self.say(HELLO, &VERSION);
        let identity = self.expect(IDENTITY).body;
        let (mut sockets, mut own_socket) = (Vec::new(), None);
        loop {
            let message = self.hear().expect("the tracker has closed the connection");
            match message.kind {
                SOCKETS => sockets.extend(message.descriptors),
                OWN_SOCKET => own_socket = message.descriptors.into_iter().next(),
                ALL_SOCKETS => break,
                kind => panic!("{kind}"),
            }
        }
        Estate { identity, sockets, own_socket: own_socket.expect("its own socket") }
    }

    /// Takes all that is there, until it has been sent once.
    #[track_caller]
    pub(crate) fn take_once(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let message = self.hear().expect("the tracker has closed the connection");
            match message.kind {
                SWARMS => bytes.extend(message.body),
                ALL_ONCE => return bytes,
                kind => panic!("{kind}"),
            }
        }
    }

    /// Takes what has changed since, to the end of the stream.
    #[track_caller]
    pub(crate) fn take_changes(&self, once: &[u8]) -> Vec<u8> {
        let mut bytes = once.to_vec();
        while !is_whole(&bytes) {
            bytes.extend(self.expect(SWARMS).body);
        }
        bytes.split_off(once.len())
    }

    /// Takes over all of it. The tracker that runs ends.
    #[track_caller]
    pub(crate) fn take_over(&self) -> (Estate, Stream) {
        let estate = self.ask();
        self.say(READY, b"");
        let once = self.take_once();
        self.say(PAUSE, b"");
        let changes = self.take_changes(&once);
        self.say(TAKEN, b"");
        self.expect(YOURS);
        (estate, Stream { once, changes })
    }

    /// Says a part of the stream, in messages that are not too long.
    #[track_caller]
    pub(crate) fn say_swarms(&self, bytes: &[u8]) {
        bytes.chunks(PIECE).for_each(|piece| self.say(SWARMS, piece));
    }
}

/// Whether the stream ends with the checksum of what came before.
fn is_whole(stream: &[u8]) -> bool {
    stream.split_last_chunk().is_some_and(|(before, last)| *last == checksum(before))
}

/// The checksum of a stream, or of a part.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish().to_be_bytes()
}

fn new_socket() -> OwnedFd {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// Repeats a call for as long as it is interrupted.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => (),
            result => return result,
        }
    }
}

/// Takes a descriptor that the system has just made.
#[expect(unsafe_code, reason = "a number of the kernel's becomes a descriptor that is closed when it is dropped")]
fn adopt(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has made this descriptor for whoever calls this, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
