//! What the connections of one worker have in common.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::core::Clock;

use super::flavour::HttpFlavour;
use super::service::{Moment, Service};

/// One thread's part of the HTTP side, for all its listeners and connections. Nothing in it is locked, because
/// nothing of it leaves the thread.
pub struct Worker<F: HttpFlavour, C> {
    /// Borrowed while one request is answered, never across an `await`.
    pub(super) service: RefCell<Service<F>>,
    clock: C,
    started: Instant,
    places: Arc<Semaphore>,
    open: Cell<usize>,
    stopping: Cell<bool>,
    /// The worker begins to stop, or its last connection is closed.
    changed: Notify,
}

impl<F: HttpFlavour, C: Clock> Worker<F, C> {
    /// A worker without connections. `started` is when the process was; `places` bounds the number of connections
    /// that all workers have open together.
    pub fn new(service: Service<F>, clock: C, started: Instant, places: Arc<Semaphore>) -> Self {
        Self {
            service: RefCell::new(service),
            clock,
            started,
            places,
            open: Cell::new(0),
            stopping: Cell::new(false),
            changed: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment { minute: self.clock.now(), uptime: self.started.elapsed() }
    }

    /// Waits until there is a place for one more connection. `None` when there will never be one.
    pub(super) async fn place(self: &Rc<Self>) -> Option<Place<F, C>> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        self.open.set(self.open.get() + 1);
        Some(Place { worker: Rc::clone(self), _permit: permit })
    }

    /// From now on, connections are closed as soon as nothing is under way.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.changed.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Returns when the worker is to stop.
    pub(super) async fn stopping(&self) {
        while !self.stopping.get() {
            self.changed.notified().await;
        }
    }

    /// Returns when no connection is open.
    pub(super) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.changed.notified().await;
        }
    }
}

/// A connection's place among those that may be open.
pub(super) struct Place<F: HttpFlavour, C> {
    pub(super) worker: Rc<Worker<F, C>>,
    _permit: OwnedSemaphorePermit,
}

impl<F: HttpFlavour, C> Drop for Place<F, C> {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.open.set(worker.open.get().saturating_sub(1));
        if worker.open.get() == 0 {
            worker.changed.notify_waiters();
        }
    }
}
