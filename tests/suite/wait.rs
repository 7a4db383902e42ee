//! Waiting: for a condition, and for a socket.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take, on a machine that is busy with something else. No test waits that long unless something
/// is wrong. Less than the 30 s after which the tracker cuts clients off who do nothing.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(25);

/// Asks again and again until there is an answer. Returns none if there is no answer within [`MAX_WAIT`].
pub(crate) fn wait_until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        match ask() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            answer => return answer,
        }
    }
}

/// Repeats a call for as long as it is interrupted, which happens when the machine is suspended and woken up.
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            result => return result,
        }
    }
}
