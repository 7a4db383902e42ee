//! When the tracker says that it is ready.

use std::future;

use tokio::sync::watch;

/// Who is waited for before the tracker says that it is ready: whoever has [begun](Self::begin) and holds an
/// [`Unready`]. It answers meanwhile.
#[derive(Debug)]
pub struct Readiness(watch::Sender<()>);

/// As long as it is there, the tracker is not ready.
#[derive(Debug, Clone)]
pub struct Unready(#[expect(dead_code, reason = "it only has to be there")] watch::Sender<()>);

/// Waits until the tracker is ready.
#[derive(Debug)]
pub(super) struct Ready(Option<watch::Receiver<()>>);

impl Readiness {
    /// Makes one that nobody is waited for.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Puts off that the tracker is ready, until what it returns is dropped.
    pub fn begin(&self) -> Unready {
        Unready(self.0.clone())
    }

    /// Ends the time in which more can be waited for.
    pub(super) fn close(self) -> Ready {
        let is_waited_for = self.0.sender_count() > 1;
        Ready(is_waited_for.then(|| self.0.subscribe()))
    }
}

impl Ready {
    /// Returns whether it has not been told yet that the tracker is ready.
    pub(super) fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until nobody is waited for any more; for ever once it has returned. Whoever calls it may drop what it
    /// returns and call it again.
    pub(super) async fn wait(&mut self) {
        let Some(receiver) = &mut self.0 else { return future::pending().await };
        while receiver.changed().await.is_ok() {}
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    fn is_ready(ready: &mut Ready) -> bool {
        let waited = std::pin::pin!(ready.wait());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(waited.poll(&mut context), Poll::Ready(()))
    }

    #[test]
    fn who_waits_for_nobody_is_ready_from_the_beginning() {
        let mut ready = Readiness::new().close();
        assert!(!ready.is_awaited());
        assert!(!is_ready(&mut ready), "it is not said twice");
    }

    #[test]
    fn it_is_ready_once_when_the_last_one_is_no_longer_there() {
        let readiness = Readiness::new();
        let (one, other) = (readiness.begin(), readiness.begin());
        let mut ready = readiness.close();
        assert!(ready.is_awaited() && !is_ready(&mut ready));
        drop(other);
        assert!(!is_ready(&mut ready));
        drop(one);
        assert!(is_ready(&mut ready));
        assert!(!ready.is_awaited() && !is_ready(&mut ready));
    }
}
