//! Answers requests for the statistics.

use std::net::IpAddr;
use std::sync::Arc;

use crate::http::exchange::{Answer, Exchange, Next, Shared};
use crate::http::flavour::{Access, HttpFlavour, RequestLog, StatsAccess as _};
use crate::http::listing::Listing;
use crate::http::query::{MAX_WORD, Query};
use crate::http::reply::{self, Error};
use crate::http::request::{Request, RequestTime};
use crate::http::stream::{Lease, Stream};
use crate::stats::pages::{NoPage, Page, Report};
use crate::tracker::store::Store;

use super::elsewhere;

/// The mode of the page of whole requests.
const FULL_LOG: &str = "fulllog";

/// Replies with a page of the statistics, or begins one that takes longer. Two modes are full scrapes. Who names a
/// torrent wants to announce or to scrape, and is told that this is not the place.
pub(super) fn answer<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let mut buffer = [0; MAX_WORD];
    let query = exchange.request.query().unwrap_or(Query::EMPTY);
    if query.last("info_hash").is_some() {
        return Err(Error::Parameter);
    }
    exchange.check(Access::Statistics)?;
    let mode = query.word("mode", "peer", &mut buffer).ok_or(Error::Parameter)?;
    if let Some(listing) = Listing::of_mode(mode, query)? {
        return elsewhere::answer_listing(listing, exchange);
    }
    if mode == FULL_LOG {
        return answer_log(exchange);
    }
    let (shared, now) = (exchange.shared, exchange.now);
    let report = Report { tracker: &shared.tracker, counters: &shared.counters, now: now.minute, uptime: now.uptime };
    match report.page(mode)? {
        Page::Ready(page) => Ok(exchange.respond(reply::TEXT, page.as_bytes())),
        Page::Walk(_) if exchange.wants_header_only() => Ok(exchange.respond_header(reply::TEXT)),
        Page::Walk(walk) => Ok(Next::Walk(walk)),
    }
}

/// Replies with the requests that have been kept, which are not kept any longer once they are sent. Who wants only the
/// header has not read them, and a page of another site does not make a browser read them.
fn answer_log<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    if !F::RequestLog::LISTENS {
        return Err(NoPage::Needs("fulllog-networks").into());
    }
    if is_of_another_site(exchange.request) {
        return Err(Error::StatsDenied);
    }
    if exchange.wants_header_only() {
        return Ok(exchange.respond_header(reply::TEXT));
    }
    let (lease, lease_end) = Lease::new();
    let end = exchange.flavour().request_log().end();
    let page = LogPage { shared: Arc::clone(exchange.shared), end, _lease: lease };
    Ok(exchange.stream_text(page, lease_end))
}

/// Returns whether a browser says that a page of another site has it send the request.
fn is_of_another_site(request: &Request<'_>) -> bool {
    let others: [&[u8]; 2] = [b"cross-site", b"same-site"];
    request.header("sec-fetch-site").any(|site| others.iter().any(|other| site.eq_ignore_ascii_case(other)))
}

/// The requests that had been kept when somebody began to read them. They are taken as they are sent: those that a
/// reader who is gone has not come to stay.
struct LogPage<F: HttpFlavour> {
    shared: Arc<Shared<F>>,
    end: u64,
    /// Nobody ends it before the page.
    _lease: Lease,
}

impl<F: HttpFlavour> Stream<F::Families> for LogPage<F> {
    fn next(&mut self, _: &Store<F::Families>, _: RequestTime, out: &mut Vec<u8>) -> bool {
        self.shared.tracker.flavour().request_log().take(self.end, out)
    }
}

/// Returns whether a request is one by which `client` reads the requests that have been kept.
pub(super) fn takes_log<F: HttpFlavour>(request: &Request<'_>, client: IpAddr, shared: &Shared<F>) -> bool {
    let query = request.query().unwrap_or(Query::EMPTY);
    request.path_is(&shared.stats_path)
        && query.word("mode", "", &mut [0; MAX_WORD]) == Some(FULL_LOG)
        && query.last("info_hash").is_none()
        && !is_of_another_site(request)
        && shared.tracker.flavour().stats_access().allows(client)
}
