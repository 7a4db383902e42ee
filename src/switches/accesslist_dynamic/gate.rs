//! Open while this process is to hear what changes, closed while another one takes over.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long the thread may take to notice that the gate is closed: longer than to fold a long list.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether it is open, and whether the thread knows.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: watch::Sender<bool>,
    keeper: Mutex<Keeper>,
    has_changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// Nobody hears anything.
    #[default]
    Absent,
    /// A thread may hear something.
    Hears,
    /// It hears nothing until the gate is opened.
    Waits,
}

impl Gate {
    /// Says that there is a thread which [keeps](Self::keep) the gate.
    pub(super) fn attend(&self) {
        self.set(Keeper::Hears);
    }

    /// Closes it, and waits until nothing is heard any more, though not for long.
    pub(super) fn pause(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.send_replace(true);
        drop(self.has_changed.wait_timeout_while(keeper, PATIENCE, |keeper| *keeper == Keeper::Hears));
    }

    /// Opens it again.
    pub(super) fn resume(&self) {
        self.closed.send_replace(false);
    }

    /// Returns whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        let _ = self.closed.subscribe().wait_for(|closed| !closed).await;
    }

    /// Says, for ever, that nothing is heard while it is closed. Whoever hears something runs in the same thread as
    /// this, and looks at the gate right before.
    pub(super) async fn keep(&self) {
        let mut closed = self.closed.subscribe();
        loop {
            let _ = closed.wait_for(|closed| *closed).await;
            self.set(Keeper::Waits);
            let _ = closed.wait_for(|closed| !closed).await;
            self.set(Keeper::Hears);
        }
    }

    fn set(&self, now: Keeper) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if *keeper != now {
            *keeper = now;
            self.has_changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    #[test]
    fn who_closes_it_goes_on_when_the_keeper_knows() {
        let gate = Arc::new(Gate::default());
        // Nobody is waited for who is not there.
        gate.pause();
        gate.resume();
        gate.attend();
        let closing = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.pause()
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut keeping = pin!(gate.keep());
        while !closing.is_finished() {
            assert!(keeping.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(*gate.keeper.lock().unwrap(), Keeper::Waits);
        assert!(gate.is_closed() && pin!(gate.opened()).poll(&mut context).is_pending());
        gate.resume();
        assert!(keeping.as_mut().poll(&mut context).is_pending());
        assert_eq!(*gate.keeper.lock().unwrap(), Keeper::Hears);
        assert!(!gate.is_closed() && matches!(pin!(gate.opened()).poll(&mut context), Poll::Ready(())));
    }
}
