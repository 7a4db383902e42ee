//! Pages whose torrents stand in the order of their info hashes, as bencode wants the keys of a dictionary (BEP 3).
//!
//! The store keeps torrents in no order. So a page is made range by range, each gathered in a walk of its own over all
//! torrents, as large as there is room for. The ranges meet: a torrent that is there from the first piece to the last
//! is named once. Its numbers are those of the moment in which the walk passed it.

use crate::http::flavour::ScrapePermit;
use crate::http::request::RequestTime;
use crate::http::stream::Stream;
use crate::tracker::store::Store;
use crate::tracker::{AddressFamilies, InfoHash};

use super::bounds::{LAST, estimated_end, is_behind};
use super::range::{Range, Room};
use super::row::{self, TORRENTS_PER_PIECE};
use super::seats::Seat;

/// How much of the room is to be filled, in percent: what is left is for torrents that come, and for chance.
const WANTED: usize = 95;
/// A range that fills less of its room than this, in percent, was badly estimated.
const BADLY_ESTIMATED: usize = 20;

/// A page under way.
#[derive(Debug)]
pub(super) struct SortedPage<P = ()> {
    seat: Seat,
    /// The last torrent that is done with; `None` before the first one.
    after: Option<InfoHash>,
    is_begun: bool,
    /// About how many torrents lie behind `after`; `None` before they are counted.
    left: Option<usize>,
    /// False once info hashes were found to be so chosen that ranges cannot be estimated.
    estimates: bool,
    /// Most torrents of the next range: fewer each time that a range is lost before anything of it was named, so that
    /// others cannot keep the page from its end.
    max_torrents: usize,
    permit: P,
}

impl<P> SortedPage<P> {
    /// Returns a page of which nothing has been made. It keeps `seat` and `permit` until its end.
    pub(super) fn new(seat: Seat, permit: P) -> Self {
        Self { seat, after: None, is_begun: false, left: None, estimates: true, max_torrents: usize::MAX, permit }
    }

    /// Begins the range behind what is done.
    fn begin<F: AddressFamilies>(&mut self, store: &Store<F>, now: RequestTime) -> Range {
        let torrents = self.seat.share(now.uptime).min(self.max_torrents);
        self.max_torrents = torrents / 2;
        let room = Room::new(torrents);
        let left = *self.left.get_or_insert_with(|| store.census().torrents);
        let wanted = room.torrents() * WANTED / 100;
        let until = if self.estimates { estimated_end(self.after, wanted, left) } else { LAST };
        Range::new(self.after, until, room)
    }

    /// Names the next torrents of the range. Returns whether there are more in it.
    fn name(&mut self, range: &mut Range, out: &mut Vec<u8>) -> bool {
        for _ in 0..TORRENTS_PER_PIECE {
            let Some(entry) = range.pop() else { return false };
            if self.after.is_none_or(|after| is_behind(&entry.info_hash, &after)) {
                row::bencode(&entry.info_hash, entry.counts, out);
                self.after = Some(entry.info_hash);
            }
        }
        self.max_torrents = usize::MAX;
        true
    }

    /// Goes on behind a range all of which is named. Returns whether there is more.
    fn end(&mut self, range: &Range) -> bool {
        self.after = Some(range.until());
        self.left = Some(range.beyond());
        self.estimates &= range.filled() >= BADLY_ESTIMATED;
        self.max_torrents = usize::MAX;
        range.until() < LAST
    }
}

impl<F: AddressFamilies, P: ScrapePermit> Stream<F> for SortedPage<P> {
    fn next(&mut self, store: &Store<F>, now: RequestTime, out: &mut Vec<u8>) -> bool {
        self.permit.begin();
        let mut range = self.seat.step(now.uptime).unwrap_or_else(|| self.begin(store, now));
        if !range.is_gathered() {
            range.gather(store);
        }
        if !range.is_gathered() {
            self.seat.keep(range);
            return true;
        }
        if !self.is_begun {
            self.is_begun = true;
            out.extend_from_slice(row::BENCODE_FRAME.0);
        }
        if self.name(&mut range, out) {
            self.seat.keep(range);
            return true;
        }
        let more = self.end(&range);
        self.seat.give_back(range);
        if !more {
            out.extend_from_slice(row::BENCODE_FRAME.1);
        }
        more
    }
}

#[cfg(test)]
mod tests;
