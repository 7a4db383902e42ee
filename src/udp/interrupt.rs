//! Ends the system call that a thread waits in, by a signal to that thread.
//!
//! A socket may be held by another process as well: what is done to the socket itself, such as to shut it down or to
//! have it block no more, is done to all who hold it. A signal concerns one thread alone.

use std::ffi::{c_int, c_ulong};
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::stop::StopToken;

/// By default it does nothing, so a stray one harms nobody. The system sends it for urgent data over TCP, to those who
/// have asked for that, and nobody has.
const SIGNAL: Signal = Signal::SIGURG;

/// How long a thread has to come to its end before it is interrupted again: the last time may have been just before it
/// began to wait.
const PAUSE: Duration = Duration::from_millis(1);

/// How often a thread is interrupted: for about a second.
const MAX_TRIES: usize = 1000;

/// Has [`StopToken::stop`] interrupt the calling thread until the value returned is dropped: whatever system call it
/// waits in then fails with `Interrupted`, if that call can be interrupted at all. A thread that ends within a second
/// has dropped it when `stop` returns.
///
/// # Errors
///
/// The system's; then nothing is interrupted.
pub(super) fn on_stop(stop: &StopToken) -> io::Result<Interruptible> {
    handle()?;
    // Whoever has started the process may have blocked any signal.
    SigSet::from(SIGNAL).thread_unblock()?;
    let target = Arc::new(Target { thread: Mutex::new(Some(this_thread())), has_left: Condvar::new() });
    let thread = Arc::clone(&target);
    stop.wake_with(move || thread.interrupt());
    Ok(Interruptible { target, _stays_in_its_thread: PhantomData })
}

/// While it is there, the thread that it was made in can be interrupted.
pub(super) struct Interruptible {
    target: Arc<Target>,
    _stays_in_its_thread: PhantomData<*const ()>,
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        *self.target.lock() = None;
        self.target.has_left.notify_all();
    }
}

/// What whoever interrupts shares with the thread that is interrupted.
struct Target {
    /// `None` once it has left. Locked while it is sent a signal: one that is gone must not be named.
    thread: Mutex<Option<c_ulong>>,
    has_left: Condvar,
}

impl Target {
    /// Interrupts the thread until it has left, but not without end.
    fn interrupt(&self) {
        let mut thread = self.lock();
        for _ in 0..MAX_TRIES {
            // A thread that stops itself waits for nothing.
            let Some(id) = thread.filter(|id| *id != this_thread()) else { return };
            let _ = pthread_kill(id as Pthread, SIGNAL);
            let waited = self.has_left.wait_timeout_while(thread, PAUSE, |thread| thread.is_some());
            thread = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Locks the name of the thread. It is whole at any time, so a panic in another thread changes nothing.
    fn lock(&self) -> MutexGuard<'_, Option<c_ulong>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of the calling thread, which some C libraries call a pointer.
fn this_thread() -> c_ulong {
    pthread_self() as c_ulong
}

/// Has the signal interrupt what a thread waits in. Without a handler it would be ignored, and with the flag by which
/// the standard handlers of others are installed (`SA_RESTART`), the system would go on waiting.
#[expect(unsafe_code, reason = "a handler may do nearly nothing, which Rust does not check")]
fn handle() -> nix::Result<()> {
    extern "C" fn do_nothing(_: c_int) {}
    let action = SigAction::new(SigHandler::Handler(do_nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, so it may run between any two instructions of any thread.
    unsafe { sigaction(SIGNAL, &action) }.map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Starts a thread that waits for bytes that never come, and returns what ended that.
    fn wait_for_ever(stop: StopToken, prepare: impl FnOnce() + Send + 'static) -> mpsc::Receiver<(usize, ErrorKind)> {
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            let (mut one, _other) = UnixStream::pair().unwrap();
            prepare();
            let _interruptible = on_stop(&stop).unwrap();
            sender.send((0, ErrorKind::Other)).unwrap();
            let mut times = 0;
            while !stop.is_stopped() {
                let error = one.read(&mut [0]).unwrap_err();
                times += 1;
                sender.send((times, error.kind())).unwrap();
            }
        });
        ended.recv().unwrap();
        ended
    }

    #[test]
    fn a_thread_that_waits_is_interrupted_and_has_left_when_the_stop_returns() {
        // Stopped at any moment: before it waits, while it begins to, and while it waits.
        for _ in 0..200 {
            let stop = StopToken::default();
            let ended = wait_for_ever(stop.clone(), || ());
            stop.stop();
            let interrupted: Vec<_> = ended.try_iter().collect();
            assert!(matches!(interrupted[..], [] | [(1, ErrorKind::Interrupted)]), "{interrupted:?}");
        }
    }

    #[test]
    fn one_that_inherited_the_signal_blocked_is_interrupted_too() {
        let stop = StopToken::default();
        let ended = wait_for_ever(stop.clone(), || SigSet::from(SIGNAL).thread_block().unwrap());
        stop.stop();
        assert!(ended.into_iter().all(|end| end == (1, ErrorKind::Interrupted)));
    }

    #[test]
    fn nobody_waits_for_one_that_has_left_or_that_stops_itself() {
        let stop = StopToken::default();
        let interruptible = on_stop(&stop).unwrap();
        let left = stop.clone();
        thread::spawn(move || drop(on_stop(&left).unwrap())).join().unwrap();
        stop.stop();
        drop(on_stop(&stop).unwrap());
        drop(interruptible);
    }
}
