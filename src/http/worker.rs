//! What the connections of one worker have in common.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{self, MutexGuard, Notify, OwnedSemaphorePermit, Semaphore};

use crate::tracker::Clock;

use super::exchange::Next;
use super::flavour::{HttpFlavour, RequestTimes, WorkerTimes as _};
use super::page_cache::PageCache;
use super::request::{Request, RequestTime};
use super::service::Service;

/// Times without a place less than this apart are told as one.
const EPISODE: Duration = Duration::from_secs(60);

/// Places for connections: as many as all workers may have open together. One of them may walk over all torrents.
#[derive(Debug)]
pub struct ConnectionLimit {
    free: Arc<Semaphore>,
    walking: sync::Mutex<PageCache>,
    most: usize,
    last_full: Mutex<Option<Instant>>,
}

impl ConnectionLimit {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            walking: sync::Mutex::default(),
            most,
            last_full: Mutex::default(),
        })
    }

    /// Waits for a free place. `None` when there will never be one.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        self.complain();
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    fn complain(&self) {
        let last = self.last_full.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        if last.is_none_or(|last| last.elapsed() >= EPISODE) {
            tracing::warn!(
                "all {} TCP connections are in use: others wait until one is closed (limits.connections, ulimit -n)",
                self.most
            );
        }
    }
}

/// One thread's part of the HTTP side, for all its listeners and connections. Nothing in it is locked, because
/// nothing of it leaves the thread.
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
    /// A worker without connections. `started` is when the process was; `connection_limit` bounds how many connections
    /// all workers have open together.
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

    /// Is every place taken? Reads what all workers share and writes nothing to it.
    pub(super) fn is_full(&self) -> bool {
        self.connection_limit.free.available_permits() == 0
    }

    /// Waits until there is a place for one more connection. `None` when there will never be one.
    pub(super) async fn place(self: &Rc<Self>) -> Option<ConnectionPermit<F, C>> {
        let permit = self.connection_limit.take().await?;
        self.open.set(self.open.get() + 1);
        Some(ConnectionPermit { worker: Rc::clone(self), _permit: permit })
    }

    /// Waits until no other connection walks over all torrents. It is this one's turn until what is returned is
    /// dropped.
    pub(super) async fn turn_to_walk(&self) -> MutexGuard<'_, PageCache> {
        self.connection_limit.walking.lock().await
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
