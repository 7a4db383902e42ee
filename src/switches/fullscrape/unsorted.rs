//! Pages whose torrents stand in no order.
//!
//! One that is moved in its shard between two pieces, because another was forgotten, can be named twice; none that is
//! there from the first piece to the last is left out.

use crate::http::flavour::ScrapePermit;
use crate::http::listing::Listing;
use crate::http::request::RequestTime;
use crate::http::stream::Stream;
use crate::tracker::AddressFamilies;
use crate::tracker::store::{Cursor, Store};

use super::row::{Row, TORRENTS_PER_PIECE};
use super::seats::Seat;

/// A page under way.
#[derive(Debug)]
pub(super) struct UnsortedPage<P = ()> {
    listing: Listing,
    /// Where to go on; `None` at the end.
    cursor: Option<Cursor>,
    seat: Seat,
    permit: P,
}

impl<P> UnsortedPage<P> {
    /// Returns a page of which nothing has been made. It keeps `seat` and `permit` until its end.
    pub(super) fn new(listing: Listing, seat: Seat, permit: P) -> Self {
        Self { listing, cursor: Some(Cursor::default()), seat, permit }
    }
}

impl<F: AddressFamilies, P: ScrapePermit> Stream<F> for UnsortedPage<P> {
    fn next(&mut self, store: &Store<F>, now: RequestTime, out: &mut Vec<u8>) -> bool {
        self.permit.begin();
        self.seat.step(now.uptime);
        let mut rows = Vec::with_capacity(TORRENTS_PER_PIECE);
        // Most shards of a small tracker are empty: a piece goes over several. They are locked one by one.
        while let Some(from) = self.cursor.filter(|_| rows.len() < TORRENTS_PER_PIECE) {
            let most = TORRENTS_PER_PIECE - rows.len();
            self.cursor = store.walk(from, most, |torrent| rows.push(Row::of(torrent, self.listing, now.minute)));
        }
        rows.iter().for_each(|row| row.write(self.listing, out));
        self.cursor.is_some()
    }
}
