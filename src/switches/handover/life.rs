//! A sign of life: one end of a pipe, whose other end the process holds until it dies.
//!
//! A process that has closed a connection may go on answering all the same. That it has said so may not have come, as
//! there is no room for it while its successor reads nothing.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// This process's own.
#[derive(Debug)]
pub(super) struct Life {
    shown: OwnedFd,
    _held: OwnedFd,
}

impl Life {
    /// Makes the sign.
    ///
    /// # Errors
    ///
    /// The system has no pipe to give.
    pub(super) fn new() -> io::Result<Self> {
        let (shown, held) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { shown, _held: held })
    }

    /// Returns the end that others may have.
    pub(super) fn shown(&self) -> BorrowedFd<'_> {
        self.shown.as_fd()
    }
}

/// Returns whether the process whose sign this is has died, or dies in this time. A signal has it wait anew.
pub(super) fn has_ended(shown: &OwnedFd, within: Duration) -> bool {
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(shown.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            ended => return ended.is_ok_and(|ended| ended > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_its_end_is_closed() {
        let life = Life::new().unwrap();
        let shown = life.shown().try_clone_to_owned().unwrap();
        assert!(!has_ended(&shown, Duration::ZERO));
        drop(life);
        assert!(has_ended(&shown, Duration::ZERO));
    }
}
