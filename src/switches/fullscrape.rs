//! `fullscrape`: pages that name every torrent, made piece by piece while they are sent, and the state file.
//!
//! Shards are walked in the order of a keyed hash, so torrents come in no order: the keys of `files` are not sorted,
//! as bencode wants them (BEP 3), nor are they in the original. To sort them, all would have to be kept. One that is
//! moved in its shard between two pieces, because another was forgotten, can be named twice; none is left out.

mod row;
mod statefile;

use crate::config::Settings;
use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{Access, HttpFlavour, Route, RouteTarget, ScrapeLimit as _};
use crate::http::listing::Listing;
use crate::http::stream::Stream;
use crate::server::{Beginning, Plug, StartError, opens_nothing};
use crate::stats::Counter;
use crate::tracker::store::{Cursor, Store};
use crate::tracker::{AddressFamilies, Clock as _, Flavour, Minute};

use row::Row;

/// Torrents in a piece: some 20 KB, copied out under the lock of one shard or several in turn, encoded when none is
/// held. Between two pieces other connections of the worker have their turn, and for a client that stalls one piece
/// is kept.
const TORRENTS_PER_PIECE: usize = 256;

/// The route of these pages, and what reads the state file.
#[derive(Debug)]
pub struct Pages;

impl Plug for Pages {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self)
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let Some(path) = &beginning.settings.tracker.statefile else { return Ok(()) };
        statefile::restore(path, beginning.tracker, beginning.clock.now())
    }
}

impl Route for Pages {
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
        let permit = exchange.flavour().scrape_limit().admit(exchange.client()?, exchange.now)?;
        Ok(exchange.stream(Page::new(listing, permit), Counter::FullScraped, Counter::FullScrapeBytes))
    }
}

/// A page under way.
#[derive(Debug)]
struct Page<P = ()> {
    listing: Listing,
    /// Whether a piece has been made.
    is_begun: bool,
    /// Where to go on; `None` at the end.
    cursor: Option<Cursor>,
    _permit: P,
}

impl<P> Page<P> {
    /// Returns a page of which nothing has been made. It holds `permit` until its end.
    fn new(listing: Listing, permit: P) -> Self {
        Self { listing, is_begun: false, cursor: Some(Cursor::default()), _permit: permit }
    }
}

impl<F: AddressFamilies, P> Stream<F> for Page<P> {
    fn next(&mut self, store: &Store<F>, now: Minute, out: &mut Vec<u8>) -> bool {
        let (before, behind) = row::frame(self.listing);
        if !self.is_begun {
            self.is_begun = true;
            out.extend_from_slice(before);
        }
        let mut rows = Vec::with_capacity(TORRENTS_PER_PIECE);
        // Most shards of a small tracker are empty: a piece goes over several.
        while let Some(from) = self.cursor.filter(|_| rows.len() < TORRENTS_PER_PIECE) {
            let most = TORRENTS_PER_PIECE - rows.len();
            self.cursor = store.walk(from, most, |torrent| rows.push(Row::of(torrent, self.listing, now)));
        }
        rows.iter().for_each(|row| row.write(self.listing, out));
        if self.cursor.is_none() {
            out.extend_from_slice(behind);
        }
        self.cursor.is_some()
    }
}

#[cfg(test)]
mod tests;
