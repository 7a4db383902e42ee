//! What the two processes say to each other: messages over a Unix socket that keeps them apart (`SOCK_SEQPACKET`), each
//! a byte for its kind, its body, and the descriptors that go with it.
//!
//! | the successor says | the predecessor says |
//! | --- | --- |
//! | `Hello`, with the version of all this | `Identity`, `Sockets` (several), `OwnSocket`, `AllSockets`; or `Refused` |
//! | `Ready`: its ports are open, its rights are given up | `Swarms` (many): the [stream](crate::swarms); `AllOnce` |
//! | `Pause`: it has read all of it | `Swarms`: what has changed meanwhile |
//! | `Taken`: the stream is whole | `Yours`; or, if it came too late, `Keeps` |

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::server::{ClockReading, Identity};

/// The version of the messages. Another one is refused.
pub(super) const VERSION: u16 = 1;

/// Maximum number of bytes of a body.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Maximum number of descriptors that go with a message.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// The most descriptors that Linux lets go with a message (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;

const _: () = assert!(MAX_DESCRIPTORS <= MOST_DESCRIPTORS);

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process would like to take over.
    Hello,
    /// By what clients know the tracker.
    Identity,
    /// Some of the sockets on which the tracker answers.
    Sockets,
    /// The socket over which handovers begin, and the sender's sign of [life](super::life); then the sockets at which
    /// plugs answer, of which the body has the keys, one a line.
    OwnSocket,
    /// There are no more sockets.
    AllSockets,
    /// The handover is not possible; the body says why.
    Refused,
    /// The successor is whole, but for the swarms.
    Ready,
    /// A piece of the stream of all swarms.
    Swarms,
    /// Everything that was there has been sent once.
    AllOnce,
    /// The predecessor is not to answer any more.
    Pause,
    /// The successor has everything, and is about to answer.
    Taken,
    /// The predecessor will not answer any more.
    Yours,
    /// The predecessor goes on answering: the successor must not.
    Keeps,
}

impl Kind {
    /// All of them, each at the place of its number.
    const ALL: [Self; 13] = [
        Self::Hello,
        Self::Identity,
        Self::Sockets,
        Self::OwnSocket,
        Self::AllSockets,
        Self::Refused,
        Self::Ready,
        Self::Swarms,
        Self::AllOnce,
        Self::Pause,
        Self::Taken,
        Self::Yours,
        Self::Keeps,
    ];
}

/// A message that has been received. Its body may be a secret, and is never printed.
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Sends a message.
///
/// # Errors
///
/// The system's: `WouldBlock` where the socket does not wait, or not that long.
pub(super) fn send(socket: impl AsFd, kind: Kind, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let kind = [kind as u8];
    let pieces = [IoSlice::new(&kind), IoSlice::new(body)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &pieces, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives a message; `None` if the other process has closed its end. The `memory` of a body that is not used any more
/// is used again.
///
/// # Errors
///
/// The system's: `WouldBlock` where the socket does not wait, or not that long; `EMFILE` where there is no room for the
/// descriptors that came. `InvalidData`: no message that makes sense.
pub(super) fn receive(socket: impl AsFd, memory: Vec<u8>) -> io::Result<Option<Message>> {
    let mut kind = [0];
    let mut body = memory;
    body.resize(MAX_BODY, 0);
    // As many as can come, so that none is left open without a name.
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; MOST_DESCRIPTORS]);
    let mut pieces = [IoSliceMut::new(&mut kind), IoSliceMut::new(&mut body)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    let (len, flags) = (received.bytes, received.flags);
    if flags.contains(MsgFlags::MSG_CTRUNC) {
        // There was room for what came with it, so it is the system that has none.
        return Err(Errno::EMFILE.into());
    }
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            descriptors.extend(raw.into_iter().map(adopt));
        }
    }
    if flags.contains(MsgFlags::MSG_TRUNC) || descriptors.len() > MAX_DESCRIPTORS {
        return Err(ErrorKind::InvalidData.into());
    }
    let Some(body_len) = len.checked_sub(kind.len()) else { return Ok(None) };
    body.truncate(body_len);
    let kind = *Kind::ALL.get(usize::from(kind[0])).ok_or(ErrorKind::InvalidData)?;
    Ok(Some(Message { kind, body, descriptors }))
}

/// Takes a descriptor that has just come with a message.
#[expect(unsafe_code, reason = "a number of the kernel's becomes a descriptor that is closed when it is dropped")]
fn adopt(raw: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has made this descriptor for the message that was received, and told its number to nobody
    // else. It is only called for such numbers, once for each.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Writes the body of [`Kind::Identity`].
pub(super) fn write_identity(identity: &Identity) -> Vec<u8> {
    let ClockReading { since_epoch, since_boot } = identity.clock;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let words = [identity.secret.0, identity.secret.1, nanos(since_epoch), nanos(since_boot)];
    [&VERSION.to_be_bytes()[..], words.map(u64::to_be_bytes).as_flattened()].concat()
}

/// Reads the body of [`Kind::Identity`]; `None` if it is of another version, or none.
pub(super) fn read_identity(body: &[u8]) -> Option<Identity> {
    let (version, words) = body.split_first_chunk()?;
    let mut rest = words;
    let mut next = || {
        let (word, tail) = rest.split_first_chunk()?;
        rest = tail;
        Some(u64::from_be_bytes(*word))
    };
    let [a, b, since_epoch, since_boot] = [next()?, next()?, next()?, next()?];
    let clock =
        ClockReading { since_epoch: Duration::from_nanos(since_epoch), since_boot: Duration::from_nanos(since_boot) };
    (u16::from_be_bytes(*version) == VERSION && rest.is_empty()).then_some(Identity { secret: (a, b), clock })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    use std::io::Write as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn a_message_comes_with_its_body_and_its_descriptors() {
        let (one, other) = pair();
        let (reading, writing) = nix::unistd::pipe().unwrap();
        send(&one, Kind::Sockets, b"body", &[writing.as_fd(), reading.as_fd()]).unwrap();
        send(&one, Kind::Yours, b"", &[]).unwrap();
        let message = receive(&other, Vec::new()).unwrap().unwrap();
        assert_eq!((message.kind, &message.body[..], message.descriptors.len()), (Kind::Sockets, &b"body"[..], 2));
        let mut descriptors = message.descriptors.into_iter();
        File::from(descriptors.next().unwrap()).write_all(b"x").unwrap();
        let mut read = [0];
        File::from(descriptors.next().unwrap()).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"x");
        let message = receive(&other, Vec::new()).unwrap().unwrap();
        assert_eq!((message.kind, message.body.len(), message.descriptors.len()), (Kind::Yours, 0, 0));
        drop(one);
        assert!(receive(&other, Vec::new()).unwrap().is_none());
    }

    #[test]
    fn the_largest_message_fits_and_what_is_none_is_refused() {
        let (one, other) = pair();
        let body = vec![7; MAX_BODY];
        let (reading, _) = nix::unistd::pipe().unwrap();
        send(&one, Kind::Swarms, &body, &[reading.as_fd(); MAX_DESCRIPTORS]).unwrap();
        let message = receive(&other, Vec::new()).unwrap().unwrap();
        assert_eq!((message.body == body, message.descriptors.len()), (true, MAX_DESCRIPTORS));
        send(&one, Kind::Swarms, &vec![7; MAX_BODY + 1], &[]).unwrap();
        assert_eq!(receive(&other, Vec::new()).unwrap_err().kind(), ErrorKind::InvalidData);
        send(&one, Kind::Swarms, b"", &[reading.as_fd(); MAX_DESCRIPTORS + 1]).unwrap();
        assert_eq!(receive(&other, Vec::new()).unwrap_err().kind(), ErrorKind::InvalidData);
        nix::sys::socket::send(one.as_raw_fd(), &[13], MsgFlags::empty()).unwrap();
        assert_eq!(receive(&other, Vec::new()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn every_kind_has_its_number() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn an_identity_is_read_as_it_was_written_and_nothing_else_is() {
        let clock = ClockReading { since_epoch: Duration::from_nanos(5), since_boot: Duration::from_secs(7) };
        let body = write_identity(&Identity { secret: (1, u64::MAX), clock });
        let read = read_identity(&body).unwrap();
        assert_eq!((read.secret, read.clock), ((1, u64::MAX), clock));
        for len in 0..body.len() {
            assert!(read_identity(&body[..len]).is_none());
        }
        assert!(read_identity(&[&body[..], &[0]].concat()).is_none());
        assert!(read_identity(&[&[0, 2], &body[2..]].concat()).is_none());
    }
}
