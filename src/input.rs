//! Opens the files that an operator names.
//!
//! A path may lead to something that is no file: a pipe into which nobody writes, a terminal, a device that never ends.
//! Nothing here waits for whoever is at the other end, or only for a bounded time. A file that holds a secret may be
//! everybody's to read by mistake: it is refused then.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

mod secret;

pub use secret::read_secret;

/// Why a file is not read. For the operator.
#[derive(Debug, Error)]
pub enum InputError {
    /// The system's reason.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is something else, in words.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// It is a pipe without writers, in which there was nothing.
    #[error("it is {0} that is empty and that nobody writes to")]
    Nothing(&'static str),
    /// It is a pipe or a terminal that somebody keeps open.
    #[error("it is {0} whose end did not come within {1:?}")]
    NoEnd(&'static str, Duration),
    /// It holds a secret, and has this mode.
    #[error("every user of this machine can use it (mode {0:04o}): chmod o= takes that away")]
    Exposed(u32),
    /// It has more bytes than this.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
}

/// Opens a regular file. Anything else is refused, and not waited for.
///
/// # Errors
///
/// There is no such file, it may not be read, or it is something else.
pub fn open_regular(path: &Path) -> Result<File, InputError> {
    Ok(open(path, FileType::is_file)?.0)
}

/// Reads a whole file, but no more than one byte beyond `max`: then it is too large. The file may be regular, or one
/// whose bytes come from elsewhere: a pipe, such as `/dev/stdin` or a process substitution, or a character device, such
/// as `/dev/null`. For such bytes the call waits, all in all no longer than `patience`.
///
/// # Errors
///
/// As [`open_regular`]; and a pipe that stays open, or that gives nothing.
pub fn read_whole(path: &Path, max: usize, patience: Duration) -> Result<Vec<u8>, InputError> {
    let deadline = Instant::now() + patience;
    let (file, kind) = open(path, |kind| kind.is_file() || kind.is_fifo() || kind.is_char_device())?;
    let mut input = (&file).take(max as u64 + 1);
    let mut bytes = Vec::new();
    loop {
        match input.read_to_end(&mut bytes) {
            // Who begins to write only now would be too late.
            Ok(_) if bytes.is_empty() && kind.is_fifo() => return Err(InputError::Nothing(in_words(kind))),
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(InputError::NoEnd(in_words(kind), patience));
        }
        wait(&file, left)?;
    }
}

/// Opens what `accepts` takes. Returns it with what it is.
fn open(path: &Path, accepts: impl Fn(&FileType) -> bool) -> Result<(File, FileType), InputError> {
    let accepted = |kind: FileType| if accepts(&kind) { Ok(kind) } else { Err(InputError::NotAFile(in_words(kind))) };
    // Looked at first: a socket cannot be opened, and to open some devices is to start them.
    accepted(fs::metadata(path)?.file_type())?;
    // Whatever takes its place meanwhile is not waited for, and does not become the terminal of the process.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let kind = accepted(file.metadata()?.file_type())?;
    Ok((file, kind))
}

/// Returns what there is at a path, with its article.
fn in_words(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a file"
    }
}

/// Waits until there are bytes to read, or the end, but no longer than `time`.
fn wait(file: &File, time: Duration) -> Result<(), InputError> {
    // Not rounded down to no time at all, which would make the caller spin.
    let time = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], time) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(InputError::System(error.into())),
    }
}

#[cfg(test)]
mod tests;
