//! What the connections of one worker have in common.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{self, MutexGuard, Notify, OwnedSemaphorePermit, Semaphore};

use crate::log::Complaints;
use crate::tracker::Clock;

use super::exchange::Next;
use super::flavour::{HttpFlavour, RequestTimes, WorkerTimes as _};
use super::page_cache::PageCache;
use super::request::{Request, RequestTime};
use super::service::Service;

/// Bounds how many connections all workers may have open together, and how many may walk over all torrents at a time:
/// one.
#[derive(Debug)]
pub struct ConnectionLimit {
    free: Arc<Semaphore>,
    /// Locked by the connection that walks.
    page_cache: sync::Mutex<PageCache>,
    max: usize,
    full: Complaints,
}

impl ConnectionLimit {
    /// Returns a limit of `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            page_cache: sync::Mutex::default(),
            max,
            full: Complaints::default(),
        })
    }

    /// Waits for a permit. Returns `None` when there will never be one.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        self.full.say(|| {
            tracing::warn!(
                "all {} TCP connections are in use: others wait until one is closed (limits.connections, ulimit -n)",
                self.max
            );
        });
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

/// What the listeners and connections of one thread share. Nothing in it is locked, because nothing of it leaves the
/// thread.
pub struct Worker<F: HttpFlavour, C> {
    /// Borrowed while one request is answered, never across an `await`.
    pub(super) service: RefCell<Service<F>>,
    times: <F::RequestTimes as RequestTimes>::OfWorker,
    clock: C,
    started: Instant,
    connection_limit: Arc<ConnectionLimit>,
    open: Cell<usize>,
    stopping: Cell<bool>,
    /// The worker begins to stop, or its last connection is closed.
    changed: Notify,
}

impl<F: HttpFlavour, C: Clock> Worker<F, C> {
    /// Returns a worker without connections. `started` is when the process was; `connection_limit` is that of all
    /// workers.
    pub fn new(service: Service<F>, clock: C, started: Instant, connection_limit: Arc<ConnectionLimit>) -> Self {
        Self {
            times: service.shared().tracker.flavour().request_times().for_worker(),
            service: RefCell::new(service),
            clock,
            started,
            connection_limit,
            open: Cell::new(0),
            stopping: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> RequestTime {
        RequestTime { minute: self.clock.now(), uptime: self.started.elapsed() }
    }

    /// Appends the reply to a request to `out`.
    pub(super) fn answer(&self, request: &Request<'_>, from: IpAddr, out: &mut Vec<u8>) -> Next<F> {
        let now = self.now();
        let next = self.service.borrow_mut().answer(request, from, now, out);
        if F::RequestTimes::LISTENS {
            self.times.add(self.started.elapsed().saturating_sub(now.uptime));
        }
        next
    }

    /// Returns whether as many connections are open as may be. Reads what all workers share and writes nothing to it.
    pub(super) fn is_full(&self) -> bool {
        self.connection_limit.free.available_permits() == 0
    }

    /// Waits until one more connection may be open. Returns `None` when none ever may.
    pub(super) async fn permit(self: &Rc<Self>) -> Option<ConnectionPermit<F, C>> {
        let permit = self.connection_limit.take().await?;
        self.open.set(self.open.get() + 1);
        Some(ConnectionPermit { worker: Rc::clone(self), _permit: permit })
    }

    /// Locks the page cache. Whoever has it locked may walk over all torrents, and nobody else.
    pub(super) async fn lock_page_cache(&self) -> MutexGuard<'_, PageCache> {
        self.connection_limit.page_cache.lock().await
    }

    /// Has each connection closed as soon as no request is under way on it.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.changed.notify_waiters();
    }

    /// Returns whether the worker is to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Waits until the worker is to stop.
    pub(super) async fn stopping(&self) {
        while !self.stopping.get() {
            self.changed.notified().await;
        }
    }

    /// Waits until no connection is open.
    pub(super) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.changed.notified().await;
        }
    }
}

/// Lets one connection be open, until this is dropped.
pub(super) struct ConnectionPermit<F: HttpFlavour, C> {
    pub(super) worker: Rc<Worker<F, C>>,
    _permit: OwnedSemaphorePermit,
}

impl<F: HttpFlavour, C> Drop for ConnectionPermit<F, C> {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.open.set(worker.open.get().saturating_sub(1));
        if worker.open.get() == 0 {
            worker.changed.notify_waiters();
        }
    }
}
