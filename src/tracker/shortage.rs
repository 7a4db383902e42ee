//! Room runs short: who takes the last of it says so, and the thread that makes room is woken.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;

/// Says that room for torrents or peers has run short. Said where a shard takes a block of room, with the shard locked:
/// so nothing here waits for a lock.
#[derive(Debug, Default)]
pub struct Shortage {
    is_called: AtomicBool,
    /// The thread that makes room.
    maker: OnceLock<Thread>,
}

impl Shortage {
    /// Has calls for room wake this thread, which waits in [`std::thread::park_timeout`]. The first one is woken, if
    /// several ask for it.
    pub fn wake(&self, maker: Thread) {
        let _ = self.maker.set(maker);
        // Whoever calls before this is seen by the thread; whoever calls after it sees the thread.
        self.is_called.fetch_or(false, Ordering::AcqRel);
    }

    /// Calls for room, and wakes the thread that makes it. Only reads if that has been done and not been heard yet.
    pub(super) fn call(&self) {
        // Who finds a call that is just being heard need not call: between the two fences, what he took is seen.
        fence(Ordering::SeqCst);
        if !self.is_called() && !self.is_called.swap(true, Ordering::AcqRel) {
            self.maker.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// Returns whether somebody has called for room since the last call was heard.
    pub fn is_called(&self) -> bool {
        self.is_called.load(Ordering::Relaxed)
    }

    /// Takes the call. Whoever runs short from now on calls anew, or what he has taken is seen after this.
    pub(super) fn hear(&self) {
        self.is_called.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn who_calls_wakes_the_thread_that_makes_room() {
        let shortage = Arc::new(Shortage::default());
        let maker = {
            let shortage = Arc::clone(&shortage);
            thread::spawn(move || {
                shortage.wake(thread::current());
                while !shortage.is_called() {
                    thread::park();
                }
                shortage.hear();
            })
        };
        shortage.call();
        maker.join().unwrap();
        assert!(!shortage.is_called());
    }

    #[test]
    fn a_call_is_kept_until_it_is_heard() {
        let shortage = Shortage::default();
        assert!(!shortage.is_called());
        shortage.call();
        assert!(shortage.is_called() && shortage.is_called());
        shortage.hear();
        assert!(!shortage.is_called());
    }
}
