//! From a request to its reply. No socket, no clock: whatever drives it passes both in.
//!
//! `announce`, `scrape` and `stats` answer for the tracker's own pages, `elsewhere` finds those that switches bring.

mod announce;
mod elsewhere;
mod scrape;
mod stats;

use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;

use crate::stats::{Counter, WorkerCounters};
use crate::tracker::Second;

use super::exchange::{Answer, Exchange, Next, OwnMemory, Shared};
use super::flavour::{ClientAddress as _, HttpFlavour, RequestLog as _, RouteTarget};
use super::method::Method;
use super::query::Query;
use super::reply::{self, Error};
use super::request::{Persistence, Request, RequestTime, Version};

/// One worker's part of the HTTP side.
pub struct Service<F: HttpFlavour> {
    shared: Arc<Shared<F>>,
    counters: Arc<WorkerCounters>,
    rng: Rng,
    own: OwnMemory<F>,
    /// Every reply is the last one over its connection.
    is_stopping: bool,
}

impl<F: HttpFlavour> Service<F> {
    /// Makes the part of a worker. `counters` are that worker's own.
    pub fn new(shared: Arc<Shared<F>>, counters: Arc<WorkerCounters>, rng: Rng) -> Self {
        let own = OwnMemory::of_worker(shared.tracker.flavour());
        Self { shared, counters, rng, own, is_stopping: false }
    }

    /// Returns what all workers share.
    pub fn shared(&self) -> &Arc<Shared<F>> {
        &self.shared
    }

    /// Returns the counters of this worker.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// Has every reply from now on say that it is the last one over its connection.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Appends the reply to a request that came over a connection from `from` to `out`.
    pub fn answer(&mut self, request: &Request<'_>, from: IpAddr, now: RequestTime, out: &mut Vec<u8>) -> Next<F> {
        match request.method() {
            Method::Get => self.answer_whole(request, from, now, out),
            Method::Head => {
                let start = out.len();
                let next = self.answer_whole(request, from, now, out);
                // Whatever else was to follow would be the body.
                reply::cut_body(start, out);
                Next::request(next.keep_alive())
            }
        }
    }

    /// The same, with the body even if only the header is wanted.
    fn answer_whole(&mut self, request: &Request<'_>, from: IpAddr, now: RequestTime, out: &mut Vec<u8>) -> Next<F> {
        let is_proxy = || self.shared.tracker.flavour().client_address().is_proxy(from);
        let mut exchange = Exchange {
            request,
            connection: from,
            now,
            keep_alive: stays_open(request, is_proxy) && !self.is_stopping,
            shared: &self.shared,
            counters: &self.counters,
            rng: &mut self.rng,
            out,
            own: &mut self.own,
        };
        route(&mut exchange).unwrap_or_else(|error| exchange.refuse(error))
    }

    /// Has a request kept whose head is `head`, if it is one of a client whose requests are kept; but not that by which
    /// somebody reads what is kept.
    pub(super) fn log(&self, request: &Request<'_>, head: &[u8], from: IpAddr, now: impl FnOnce() -> Second) {
        let flavour = self.shared.tracker.flavour();
        if !flavour.request_log().is_on() {
            return;
        }
        let client = flavour.client_address().of_page(from, request).unwrap_or(from);
        if flavour.request_log().keeps(client) && !stats::takes_log(request, client, &self.shared) {
            flavour.request_log().keep(client, now(), head);
        }
    }

    /// Appends the reply that says what is wrong with what came from `from`, and counts it. The connection is closed.
    pub fn refuse(&self, error: Error, from: IpAddr, out: &mut Vec<u8>) {
        error.refuse(&self.counters, from, false, out);
    }
}

/// Returns whether a connection is to stay open for another request, as the client says. Where it says nothing, a
/// proxy's stays open in HTTP/1.1 (RFC 9112, section 9.3); others are closed, since a client that announces twice an
/// hour has no use for one that stays.
fn stays_open(request: &Request<'_>, is_proxy: impl FnOnce() -> bool) -> bool {
    let stays = match request.persistence() {
        Some(persistence) => persistence == Persistence::KeepAlive,
        None => request.version() >= Version::Http11 && is_proxy(),
    };
    // A body is not read, so nothing that comes after it can be understood.
    stays && !request.has_body()
}

/// Answers with the page that a request asks for, announces first. They are answered in one place: so the whole path of
/// an announce is inlined, which saves a fortieth of its instructions.
fn route<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    if !exchange.request.path_is("announce") {
        if let Some(answer) = answer_other(exchange) {
            return answer;
        }
    }
    announce::answer(exchange)
}

/// Answers a request whose path is not that of announces. Returns `None` if by its first letters it is that of one.
fn answer_other<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Option<Answer<F>> {
    let (request, shared) = (exchange.request, exchange.shared);
    Some(if request.path_is("scrape") {
        match request.query() {
            Some(query) => scrape::answer(query, exchange),
            None => scrape::answer_full(exchange),
        }
    } else if request.path_is(&shared.stats_path) {
        // Some monitors read to the end of the connection.
        exchange.keep_alive = false;
        stats::answer(exchange)
    } else if request.path_is("") {
        redirect(exchange)
    } else if let Some(answer) = elsewhere::answer(RouteTarget::Path(request), exchange) {
        answer
    // No page has this path. In torrents there are `/announce.php`, `/announce/<word>`, `/ann`, `/scrape.php` and more,
    // and the original goes by the first letters too.
    } else if request.path_begins_with("a") {
        return None;
    } else if request.path_begins_with("sc") {
        scrape::answer(request.query().unwrap_or(Query::EMPTY), exchange)
    } else {
        Err(Error::NotFound)
    })
}

/// Redirects whoever asks for `/` to where the operator wants.
fn redirect<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let url = exchange.shared.redirect_url.as_ref().ok_or(Error::NotFound)?;
    exchange.counters.count_from(Counter::Http302, exchange.connection);
    reply::write_redirect(url, exchange.keep_alive, exchange.out);
    Ok(Next::request(exchange.keep_alive))
}

#[cfg(test)]
mod tests;
