//! Answers scrapes (BEP 48).

use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{HttpFlavour, RouteTarget};
use crate::http::listing::Listing;
use crate::http::reply;
use crate::http::scrape_query::ScrapeQuery;
use crate::stats::Counter;
use crate::tracker::NetworkLog;

use super::elsewhere;

/// Replies with the counts of the torrents that are asked for, as over UDP: with zeros for one that is not known, which
/// clients would take for a failure if it were left out, and for one that is not served, of which nothing is told. Who
/// asks for none in particular asks for all of them.
pub(super) fn answer<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let client = exchange.client()?;
    let tracker = &exchange.shared.tracker;
    tracker.flavour().network_log().record(client, exchange.now.minute, exchange.rng);
    let Some(query) = exchange.request.query() else {
        return elsewhere::answer(RouteTarget::Listing(Listing::Scrape), exchange);
    };
    let mut scrape_query = ScrapeQuery::read(query)?;
    tracker.scrape_group(scrape_query.scrapes());
    let next = exchange.respond(reply::TEXT, &reply::scrape_body(scrape_query.scrapes())?);
    exchange.counters.count_from(Counter::TcpScraped, client);
    Ok(next)
}
