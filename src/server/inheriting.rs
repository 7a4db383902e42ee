//! Whether a tracker that starts asks the others of its cluster for what it does not know.

use tokio::sync::watch;

use super::readiness::Unready;

/// What a predecessor knows is about to come. Clones hear of the same end.
#[derive(Debug, Clone)]
pub struct Inheriting(watch::Receiver<Option<Came>>);

/// Where it is said what has come.
#[derive(Debug)]
pub(super) struct Fill(watch::Sender<Option<Came>>);

/// What has come from a predecessor.
#[derive(Debug, Clone)]
enum Came {
    Whole,
    /// It was cut off. The tracker is not ready as long as the rest is looked for elsewhere.
    Part(Unready),
}

/// When a snapshot is asked for.
#[derive(Debug)]
pub enum Joining {
    /// At once: nothing is known.
    Now(Unready),
    /// If what comes from a predecessor is not all.
    IfLacking(Inheriting),
}

impl Inheriting {
    /// Waits until what a predecessor knows has come, or until it is known that it will not.
    pub async fn end(mut self) {
        // If nobody says it any more, the tracker has not started.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

impl Fill {
    /// Makes one that nothing has been said to.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Returns what hears of it.
    pub(super) fn inheriting(&self) -> Inheriting {
        Inheriting(self.0.subscribe())
    }

    /// Says that all has come, or not; then with what makes the tracker wait.
    pub(super) fn end(self, is_whole: bool, unready: impl FnOnce() -> Unready) {
        self.0.send_replace(Some(if is_whole { Came::Whole } else { Came::Part(unready()) }));
    }
}

impl Joining {
    /// Waits until it is known whether a snapshot is needed; `None` if not.
    pub async fn begin(self) -> Option<Unready> {
        let Inheriting(mut receiver) = match self {
            Self::Now(unready) => return Some(unready),
            Self::IfLacking(inheriting) => inheriting,
        };
        // If nobody says it any more, the tracker has not started.
        let came = receiver.wait_for(Option::is_some).await.ok()?.clone();
        match came {
            Some(Came::Part(unready)) => Some(unready),
            Some(Came::Whole) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::readiness::Readiness;
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll(joining: &mut (impl Future<Output = Option<Unready>> + Unpin)) -> Poll<Option<Unready>> {
        pin!(joining).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn joining(fill: &Fill) -> impl Future<Output = Option<Unready>> + Unpin + use<> {
        Box::pin(Joining::IfLacking(fill.inheriting()).begin())
    }

    #[test]
    fn who_inherits_everything_asks_for_nothing() {
        let (fill, readiness) = (Fill::new(), Readiness::new());
        let mut joining = joining(&fill);
        assert!(poll(&mut joining).is_pending());
        fill.end(true, || readiness.begin());
        assert!(matches!(poll(&mut joining), Poll::Ready(None)));
        assert!(!readiness.close().is_awaited());
    }

    #[test]
    fn who_inherits_a_part_asks_and_is_not_ready_until_all_have_what_they_asked_for() {
        let (fill, readiness) = (Fill::new(), Readiness::new());
        let mut both = [joining(&fill), joining(&fill)];
        assert!(both.iter_mut().all(|joining| poll(joining).is_pending()));
        fill.end(false, || readiness.begin());
        let unready = both.map(|mut joining| poll(&mut joining));
        assert!(unready.iter().all(|unready| matches!(unready, Poll::Ready(Some(_)))));
        let [one, other] = unready;
        drop(one);
        let mut ready = readiness.close();
        assert!(ready.is_awaited());
        let waits = |ready: &mut _| {
            pin!(super::super::readiness::Ready::wait(ready)).poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(waits(&mut ready).is_pending());
        drop(other);
        assert!(waits(&mut ready).is_ready());
    }

    #[test]
    fn who_knows_nothing_asks_at_once_and_who_does_not_start_never() {
        let mut now = Box::pin(Joining::Now(Readiness::new().begin()).begin());
        assert!(matches!(poll(&mut now), Poll::Ready(Some(_))));
        let fill = Fill::new();
        let mut joining = joining(&fill);
        drop(fill);
        assert!(matches!(poll(&mut joining), Poll::Ready(None)));
    }
}
