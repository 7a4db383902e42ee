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
pub(super) fn on_stop(stop: &StopToken) -> io::Result<Registration> {
    handle()?;
    // Whoever has started the process may have blocked any signal.
    SigSet::from(SIGNAL).thread_unblock()?;
    let target = Arc::new(Target { thread: Mutex::new(Some(this_thread())), has_left: Condvar::new() });
    let thread = Arc::clone(&target);
    stop.wake_with(move || thread.interrupt());
    Ok(Registration { target, _stays_in_its_thread: PhantomData })
}

/// While it is there, the thread that it was made in is interrupted when it is to stop.
pub(super) struct Registration {
    target: Arc<Target>,
    _stays_in_its_thread: PhantomData<*const ()>,
}

impl Drop for Registration {
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
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;

    use super::*;

    /// Stops a thread that waits for bytes that never come. Returns what has ended each of its waits.
    fn stop_one_that_waits(prepare: impl FnOnce() + Send + 'static) -> Vec<ErrorKind> {
        let (stop, (sender, ends), (begins, begun)) = (StopToken::default(), mpsc::channel(), mpsc::channel());
        let heard = stop.clone();
        thread::spawn(move || {
            let (mut one, _other) = UnixStream::pair().unwrap();
            prepare();
            let _registration = on_stop(&heard).unwrap();
            begins.send(()).unwrap();
            while !heard.is_stopped() {
                sender.send(one.read(&mut [0]).unwrap_err().kind()).unwrap();
            }
        });
        begun.recv().unwrap();
        stop.stop();
        let mut interrupted = Vec::new();
        loop {
            match ends.recv_timeout(Duration::from_secs(60)) {
                Ok(end) => interrupted.push(end),
                Err(error) => {
                    assert_eq!(error, RecvTimeoutError::Disconnected, "it waits for ever");
                    return interrupted;
                }
            }
        }
    }

    #[test]
    fn a_thread_that_waits_is_interrupted_whenever_it_is_stopped() {
        // Before it waits, while it begins to, and while it waits.
        for _ in 0..200 {
            let interrupted = stop_one_that_waits(|| ());
            assert!(matches!(interrupted[..], [] | [ErrorKind::Interrupted]), "{interrupted:?}");
        }
    }

    #[test]
    fn one_that_inherited_the_signal_blocked_is_interrupted_too() {
        // Until one has begun to wait before it was stopped.
        while stop_one_that_waits(|| SigSet::from(SIGNAL).thread_block().unwrap()).is_empty() {}
    }

    #[test]
    fn nobody_waits_for_one_that_has_left_or_that_stops_itself() {
        let stop = StopToken::default();
        let registration = on_stop(&stop).unwrap();
        let left = stop.clone();
        thread::spawn(move || drop(on_stop(&left).unwrap())).join().unwrap();
        stop.stop();
        drop(on_stop(&stop).unwrap());
        drop(registration);
    }
}
