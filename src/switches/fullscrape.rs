//! `fullscrape`: pages that name every torrent, made piece by piece while they are sent, and the state file.
//!
//! Torrents are kept in no order. Bencode wants one (BEP 3): such pages are [`sorted`], range by range. The others are
//! made in a single walk and come as the walk does.

mod bounds;
mod range;
mod row;
mod seats;
mod sorted;
mod statefile;
mod unsorted;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::config::Settings;
use crate::http::coding::Codings;
use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{Access, HttpFlavour, Route, RouteTarget, ScrapeLimit as _};
use crate::http::listing::{Listing, TpbsFormat};
use crate::server::{Beginning, Opening, Plug, StartError};
use crate::stats::Counter;
use crate::tracker::{Clock as _, Flavour};

use seats::{LIMITS, Limits, Seats};
use sorted::SortedPage;
#[cfg(any(test, fuzzing))]
pub(super) use statefile::fuzz;
use unsorted::UnsortedPage;

/// The route of these pages, in the codings `C`, and what reads the state file.
#[derive(Debug)]
pub struct Pages<C> {
    seats: Arc<Seats>,
    codings: PhantomData<C>,
}

impl<C: Codings> Default for Pages<C> {
    fn default() -> Self {
        let limits = Limits { pages: C::ALWAYS.unwrap_or(LIMITS.pages), ..LIMITS };
        Self { seats: Arc::new(Seats::new(limits)), codings: PhantomData }
    }
}

impl<C: Codings> Plug for Pages<C> {
    type Opened = ();

    fn open(opening: &mut Opening<'_>) -> Result<(), StartError> {
        if opening.settings.tracker.statefile.is_some() {
            opening.needs.reads(statefile::KEY);
        }
        Ok(())
    }

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::default())
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let Some(path) = &beginning.settings.tracker.statefile else { return Ok(()) };
        statefile::restore(path, beginning.tracker, beginning.clock.now())
    }
}

impl<C: Codings> Route for Pages<C> {
    type Page = Listing;

    /// For `GET /scrape`. Pages that are modes of the statistics are for those who may read these, which is checked
    /// before routes are asked.
    const ACCESS: Access = Access::Everyone;

    fn find(target: RouteTarget<'_>) -> Option<Listing> {
        match target {
            RouteTarget::Listing(listing) => Some(listing),
            RouteTarget::Path(_) => None,
        }
    }

    fn answer<F: HttpFlavour>(&self, listing: Listing, exchange: &mut Exchange<'_, F>) -> Answer<F> {
        let client = exchange.client()?;
        let limit = exchange.flavour().scrape_limit();
        if exchange.wants_header_only() {
            limit.check(client, exchange.now)?;
            return exchange.respond_stream_header();
        }
        let permit = limit.admit(client, exchange.now)?;
        // Where a page has to be coded, nobody is to be cut off for one that cannot be; elsewhere no encoder is made
        // for one that gets no seat.
        let first = F::Codings::ALWAYS.map(|_| exchange.stream_coding()).transpose()?;
        let is_sorted = is_sorted(listing);
        let (seat, lease_end) = self.seats.take(is_sorted, client.into(), exchange.now.uptime)?;
        let coding = first.map_or_else(|| exchange.stream_coding(), Ok)?;
        let (begun, bytes) = (Counter::FullScraped, Counter::FullScrapeBytes);
        Ok(if is_sorted {
            exchange.stream(SortedPage::new(seat, permit), coding, lease_end, begun, bytes)
        } else {
            exchange.stream(UnsortedPage::new(listing, seat, permit), coding, lease_end, begun, bytes)
        })
    }
}

/// Returns whether the torrents of a page have to stand in the order of their info hashes.
fn is_sorted(listing: Listing) -> bool {
    matches!(listing, Listing::Scrape | Listing::Tpbs(TpbsFormat::Ben))
}

#[cfg(test)]
mod tests;
