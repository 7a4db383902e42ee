//! Answers requests for the statistics.

use crate::http::exchange::{Answer, Exchange, Next};
use crate::http::flavour::{Access, HttpFlavour};
use crate::http::listing::Listing;
use crate::http::query::{MAX_WORD, Query};
use crate::http::reply::{self, Error};
use crate::stats::pages::{Page, Report};

use super::elsewhere;

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
    let (shared, now) = (exchange.shared, exchange.now);
    let report = Report { tracker: &shared.tracker, counters: &shared.counters, now: now.minute, uptime: now.uptime };
    match report.page(mode)? {
        Page::Ready(page) => Ok(exchange.respond(reply::TEXT, page.as_bytes())),
        Page::Walk(_) if exchange.wants_header_only() => Ok(exchange.respond_header(reply::TEXT)),
        Page::Walk(walk) => Ok(Next::Walk(walk)),
    }
}
