//! The sealed memory in which swarms wait for the next process: an envelope, then their stream.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use thiserror::Error;

use crate::sandbox::descriptors::sealed;
use crate::server::Identity;

use super::super::message::{read_identity, write_identity};

/// What the envelope begins with.
const MAGIC: [u8; 8] = *b"otenvlp1";

/// Bytes of an identity.
const IDENTITY_LEN: usize = 2 + 4 * 8;

/// Why memory holds no swarms for this process. For the operator.
#[derive(Debug, Error)]
pub(super) enum EnvelopeError {
    /// It does not begin as an envelope does.
    #[error("it is not what a tracker leaves")]
    NoEnvelope,
    /// What follows is of another version.
    #[error("a tracker of another version has left it")]
    OtherVersion,
    /// The system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes memory that holds the envelope, and is to be written on.
///
/// # Errors
///
/// The system's reason.
pub(super) fn create(identity: &Identity) -> io::Result<File> {
    let new = |flags| memfd_create("swarms", MFdFlags::from_bits_retain(flags));
    // Older kernels do not know that it is never a program, and some of the newer ones insist on it.
    let memory = match new(FLAGS | libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => new(FLAGS),
        other => other,
    };
    let mut memory = File::from(memory?);
    memory.write_all(&MAGIC)?;
    memory.write_all(&write_identity(identity))?;
    Ok(memory)
}

const FLAGS: u32 = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;

/// Takes from everybody, this process included, what could change it.
///
/// # Errors
///
/// The system's reason.
pub(super) fn seal(memory: &File) -> io::Result<()> {
    fcntl(memory, FcntlArg::F_ADD_SEALS(sealed()))?;
    Ok(())
}

/// Reads the envelope. The stream is what is read next.
///
/// # Errors
///
/// It is none, or of another version.
pub(super) fn open(memory: OwnedFd) -> Result<(Identity, File), EnvelopeError> {
    let mut memory = File::from(memory);
    // It stands where the predecessor has stopped writing.
    memory.rewind()?;
    let mut envelope = [0; MAGIC.len() + IDENTITY_LEN];
    memory.read_exact(&mut envelope).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => EnvelopeError::NoEnvelope,
        _ => EnvelopeError::Io(error),
    })?;
    Ok((parse(&envelope)?, memory))
}

fn parse(envelope: &[u8]) -> Result<Identity, EnvelopeError> {
    let body = envelope.strip_prefix(&MAGIC).ok_or(EnvelopeError::NoEnvelope)?;
    read_identity(body).ok_or(EnvelopeError::OtherVersion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::sandbox::descriptors::{Kind, kind};
    use crate::server::ClockReading;

    fn identity() -> Identity {
        let clock = ClockReading { since_epoch: Duration::from_secs(5), since_boot: Duration::from_nanos(7) };
        Identity { secret: (1, u64::MAX), clock }
    }

    fn written(bytes: &[u8]) -> OwnedFd {
        let mut memory = File::from(memfd_create("test", MFdFlags::MFD_CLOEXEC).unwrap());
        memory.write_all(bytes).unwrap();
        memory.into()
    }

    #[test]
    fn what_is_left_is_found_and_nobody_can_change_it() {
        let mut memory = create(&identity()).unwrap();
        memory.write_all(b"the stream").unwrap();
        seal(&memory).unwrap();
        assert_eq!(kind(memory.as_fd()), Ok(Kind::SealedMemory));
        memory.write_all(b"more").unwrap_err();
        let (found, mut rest) = open(memory.into()).unwrap();
        assert_eq!((found.secret, found.clock), (identity().secret, identity().clock));
        let mut stream = String::new();
        rest.read_to_string(&mut stream).unwrap();
        assert_eq!(stream, "the stream");
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let mut bytes = [&MAGIC[..], &write_identity(&identity())].concat();
        assert_eq!(bytes.len(), MAGIC.len() + IDENTITY_LEN);
        for len in 0..bytes.len() {
            assert!(matches!(open(written(&bytes[..len])), Err(EnvelopeError::NoEnvelope)), "{len}");
        }
        bytes[8] ^= 1;
        assert!(matches!(open(written(&bytes)), Err(EnvelopeError::OtherVersion)));
        bytes[0] ^= 1;
        assert!(matches!(open(written(&bytes)), Err(EnvelopeError::NoEnvelope)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_as_they_would_be_written(bytes: Vec<u8>, tail: [u8; IDENTITY_LEN]) {
            for bytes in [bytes, [&MAGIC[..], &tail].concat(), [&MAGIC[..], &[0, 1], &tail[2..]].concat()] {
                if let Ok(identity) = parse(&bytes) {
                    prop_assert_eq!([&MAGIC[..], &write_identity(&identity)].concat(), bytes);
                }
            }
        }
    }
}
