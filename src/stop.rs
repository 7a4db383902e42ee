//! Stops every thread of the process, however it waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Tells all who hold a clone of it, once and for all, that they are to end.
///
/// A thread that works asks [`is_stopped`](Self::is_stopped) now and then; one that waits for time to pass waits in
/// [`sleep`](Self::sleep), one that runs an event loop in [`stopped`](Self::stopped); and for one that waits in a
/// system call, [`wake_with`](Self::wake_with) registers how to wake it.
#[derive(Clone, Default)]
pub struct StopToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    /// To be called by [`StopToken::stop`].
    wakers: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// Waited for with `wakers` locked, so that no stop is missed.
    sleepers: Condvar,
    tasks: Notify,
}

impl StopToken {
    /// Tells all to end, and wakes those who wait. Does nothing the second time.
    pub fn stop(&self) {
        let wakers = {
            let mut wakers = self.0.wakers();
            self.0.stopped.store(true, Ordering::Release);
            std::mem::take(&mut *wakers)
        };
        self.0.sleepers.notify_all();
        self.0.tasks.notify_waiters();
        wakers.into_iter().for_each(|wake| wake());
    }

    /// Returns whether [`stop`](Self::stop) has been called. One load: cheap enough for a loop that receives.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Waits until [`stop`](Self::stop) is called, but no longer than `time`. Returns whether it has been called.
    pub fn sleep(&self, time: Duration) -> bool {
        let wakers = self.0.wakers();
        let waited = self.0.sleepers.wait_timeout_while(wakers, time, |_| !self.is_stopped());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.is_stopped()
    }

    /// Waits until [`stop`](Self::stop) is called. Works in any event loop.
    pub async fn stopped(&self) {
        loop {
            // Registered before the check, so that a stop between the two is not missed.
            let stopped = self.0.tasks.notified();
            if self.is_stopped() {
                return;
            }
            stopped.await;
        }
    }

    /// Has [`stop`](Self::stop) call `wake`, in its own thread; calls it at once if it has been called already.
    pub fn wake_with(&self, wake: impl FnOnce() + Send + 'static) {
        let mut wakers = self.0.wakers();
        if self.is_stopped() {
            drop(wakers);
            return wake();
        }
        wakers.push(Box::new(wake));
    }
}

impl Shared {
    /// Locks the wakers. They are whole at any time, so a panic in another thread changes nothing.
    fn wakers(&self) -> MutexGuard<'_, Vec<Box<dyn FnOnce() + Send>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use tokio::runtime::Builder;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn everybody_is_stopped_however_he_waits() {
        let stop = StopToken::default();
        let (sender, woken) = mpsc::channel();
        let waker = sender.clone();
        stop.wake_with(move || waker.send("a system call").unwrap());
        thread::scope(|scope| {
            let (token, heard) = (stop.clone(), sender.clone());
            scope.spawn(move || {
                assert!(token.sleep(LONG));
                heard.send("a sleeper").unwrap();
            });
            let (token, heard) = (stop.clone(), sender);
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().build().unwrap();
                runtime.block_on(token.stopped());
                heard.send("an event loop").unwrap();
            });
            assert!(!stop.is_stopped() && woken.try_recv().is_err(), "nobody is woken before");
            stop.stop();
        });
        let mut heard: Vec<_> = woken.iter().collect();
        heard.sort_unstable();
        assert_eq!(heard, ["a sleeper", "a system call", "an event loop"]);
    }

    #[test]
    fn who_comes_late_is_stopped_at_once() {
        let stop = StopToken::default();
        assert!(!stop.sleep(Duration::ZERO));
        stop.stop();
        stop.stop();
        assert!(stop.is_stopped() && stop.sleep(LONG));
        Builder::new_current_thread().build().unwrap().block_on(stop.stopped());
        let (sender, woken) = mpsc::channel();
        stop.wake_with(move || sender.send(()).unwrap());
        assert_eq!(woken.try_recv(), Ok(()));
    }
}
