//! What the connections of one worker have in common.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{MutexGuard, Notify};
use tokio::task::yield_now;
use tokio::time;

use crate::tracker::{Clock, Holder};

use super::connection_limit::{ConnectionLimit, Newcomer, Place};
use super::exchange::Next;
use super::flavour::{ClientAddress as _, HttpFlavour, RequestLog as _, RequestTimes, WorkerTimes as _};
use super::page_cache::PageCache;
use super::places::{NoRoom, Turn};
use super::request::{Request, RequestTime};
use super::service::Service;
use super::stream::LeaseEnd;

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

    /// Tells who keeps whole requests of one whose head is `head`.
    #[inline]
    pub(super) fn log(&self, request: &Request<'_>, head: &[u8], from: IpAddr) {
        if F::RequestLog::LISTENS {
            self.service.borrow().log(request, head, from, || self.clock.second());
        }
    }

    /// Gives a connection from `from` a place, on which it is the turn of `turn` and `said` bytes of a request have
    /// come. If there is none, another connection makes room. The connection is to be cut off when its lease ends.
    ///
    /// # Errors
    ///
    /// All others have more right to a place.
    pub(super) async fn permit(
        self: &Rc<Self>,
        from: IpAddr,
        turn: Turn,
        said: usize,
    ) -> Result<(ConnectionPermit<F, C>, LeaseEnd), NoRoom> {
        let holder = self.holder(from);
        let newcomer = Newcomer { holder, turn, said, now: self.uptime(time::Instant::now()) };
        let (place, lease_end) = self.connection_limit.place(newcomer).await?;
        self.open.set(self.open.get() + 1);
        let is_proxy = Cell::new(holder.is_none());
        Ok((ConnectionPermit { worker: Rc::clone(self), place, is_proxy }, lease_end))
    }

    /// Returns for whom the places of connections with an address are counted; `None` if it is a proxy.
    fn holder(&self, connection: IpAddr) -> Option<Holder> {
        let service = self.service.borrow();
        let is_proxy = service.shared().tracker.flavour().client_address().is_proxy(connection);
        (!is_proxy).then(|| connection.into())
    }

    /// Returns the time since the process started, by the clock of connections.
    fn uptime(&self, now: time::Instant) -> Duration {
        now.saturating_duration_since(time::Instant::from_std(self.started))
    }

    /// Locks the page cache. Whoever has it locked may walk over all torrents, and nobody else.
    pub(super) async fn lock_page_cache(&self) -> MutexGuard<'_, PageCache> {
        self.connection_limit.lock_page_cache().await
    }

    /// Has each connection closed as soon as no request is under way on it. Whoever is still answered is told.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.service.borrow_mut().stop();
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

/// Gives way between two steps of a long reply: to other threads, so that UDP workers do not wait until the system
/// takes the processor from this one, and then to the worker's other connections.
pub(super) async fn give_way() {
    thread::yield_now();
    yield_now().await;
}

/// Lets one connection be open, until this is dropped; says what goes on over it.
pub(super) struct ConnectionPermit<F: HttpFlavour, C> {
    pub(super) worker: Rc<Worker<F, C>>,
    place: Place,
    /// Each request may be that of another client.
    is_proxy: Cell<bool>,
}

impl<F: HttpFlavour, C: Clock> ConnectionPermit<F, C> {
    /// Says that from `now` on a request is waited for, of which `said` bytes have come.
    pub(super) fn awaits_request(&self, now: time::Instant, said: usize) {
        self.place.activity().set(Turn::Ask, self.worker.uptime(now), said);
    }

    /// Says that more of the request has come that is waited for.
    pub(super) fn has_come(&self, said: usize) {
        self.place.activity().set_said(said);
    }

    /// Says that the client does not take what is sent to it.
    pub(super) fn awaits_reader(&self) {
        self.place.activity().set(Turn::Read, self.worker.uptime(time::Instant::now()), 0);
    }

    /// Says that the client waits for us.
    pub(super) fn works(&self) {
        self.place.activity().set(Turn::Ours, self.worker.uptime(time::Instant::now()), 0);
    }

    /// Counts the place for the client that a wrapper has found at the end of the connection.
    pub(super) fn settle(&self, client: IpAddr) {
        let holder = self.worker.holder(client);
        self.is_proxy.set(holder.is_none());
        self.place.hand_over(holder, self.worker.uptime(time::Instant::now()));
    }

    /// Counts the place of a proxy's connection for the client whose long reply it is to bring, and with `None` for
    /// nobody again. That of any other connection stays whose it is.
    pub(super) fn lend(&self, client: Option<IpAddr>) {
        if self.is_proxy.get() {
            self.place.hand_over(client.map(Holder::from), self.worker.uptime(time::Instant::now()));
        }
    }
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
