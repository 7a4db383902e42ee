//! Answers scrapes (BEP 48).

use std::net::IpAddr;

use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::HttpFlavour;
use crate::http::listing::Listing;
use crate::http::query::Query;
use crate::http::reply::{self, Error};
use crate::http::scrape_query::ScrapeQuery;
use crate::http::scrape_reply;
use crate::stats::Counter;
use crate::tracker::NetworkLog;

use super::elsewhere;

/// Replies with the counts of the torrents that are asked for, as over UDP: with zeros for one that is not known, which
/// clients would take for a failure if it were left out, and for one that is not served, of which nothing is told.
pub(super) fn answer<F: HttpFlavour>(query: Query<'_>, exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let client = record(exchange)?;
    let mut scrape_query = ScrapeQuery::read(query)?;
    if exchange.wants_header_only() {
        return Ok(exchange.respond_header(reply::TEXT));
    }
    exchange.shared.tracker.scrape_group(scrape_query.scrapes());
    let next = exchange.respond(reply::TEXT, &scrape_reply::body(scrape_query.scrapes())?);
    exchange.counters.count_from(Counter::TcpScraped, client);
    Ok(next)
}

/// Replies with the counts of all torrents: who has no query asks for none in particular.
pub(super) fn answer_full<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    record(exchange)?;
    elsewhere::answer_listing(Listing::Scrape, exchange)
}

/// Records that a client scraped, unless it wants only the header, and returns its address.
fn record<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Result<IpAddr, Error> {
    let (shared, client) = (exchange.shared, exchange.client()?);
    if !exchange.wants_header_only() {
        shared.tracker.flavour().network_log().record(client, exchange.now.minute, exchange.rng);
    }
    Ok(client)
}
