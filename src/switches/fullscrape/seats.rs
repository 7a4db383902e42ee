//! What all full scrapes under way share: how many there may be, and the memory of those that are sorted.
//!
//! Strangers decide how many there are, and how slowly they read. So there are seats: whoever comes when all are taken
//! gets that of another, who is cut off: of one who keeps us waiting, or whose address would still have as many as the
//! newcomer's. First goes the address that has most. If there is none, the newcomer is told to come again. And whoever
//! sorts has an equal share of the memory: those who hold more when one more comes lose what they have gathered, as
//! those do who keep us waiting while others gather. They gather it anew.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::http::reply::Refusal;
use crate::http::stream::{Lease, LeaseEnd};
use crate::tracker::Holder;

use super::range::{Range, Room, Run};

/// How much there may be at a time, in torrents of a [`Range`], which take 32 bytes each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Full scrapes, in whatever format.
    pub(super) pages: usize,
    /// Those of them that are sorted. The more there are, the less of the memory each has and the more walks it takes:
    /// the work of all together grows with the square of their number.
    pub(super) sorted_pages: usize,
    /// What all full scrapes may take together.
    pub(super) torrents: usize,
    /// What is set aside of that for each page under way: it keeps one piece or two, and memory to compress them.
    pub(super) torrents_per_page: usize,
    /// What is left to sort with in any case: shared out among all that are sorted, enough for a run each.
    pub(super) min_torrents: usize,
}

/// 7.3 MB, and 460 KB of that for each page. Of the pages 32 at most are compressed; others take less than a tenth of
/// that. All together, with what the heap does not give back, take 13 MB, measured with 16 pages in each coding. Where
/// every page is compressed there are fewer, but 32 may be compressed in one coding for a moment, when all are cut off
/// for others: 15 MB with gzip (calculated). See [`Codings::ALWAYS`](crate::http::coding::Codings::ALWAYS).
pub(super) const LIMITS: Limits =
    Limits { pages: 64, sorted_pages: 8, torrents: 224 << 10, torrents_per_page: 14 << 10, min_torrents: 64 << 10 };

/// A client that has not taken its last piece for so long keeps us waiting.
const STALL_TIME: Duration = Duration::from_secs(1);

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    state: Mutex<State>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<TakenSeat>,
    next_id: u64,
    /// Torrents that each who sorts may gather.
    share: usize,
    /// Runs of ranges that are done with, for those that come. To free them would be of no use: each worker takes
    /// memory from a heap of its own, which seldom gives back what it had.
    spare: Vec<Run>,
}

/// What is known of a full scrape under way.
#[derive(Debug)]
struct TakenSeat {
    id: u64,
    /// Whose it is.
    holder: Holder,
    /// When its last step was begun, since the process started.
    last_step: Duration,
    /// What it has gathered, between two steps.
    range: Option<Range>,
    is_sorted: bool,
    /// Dropped with it: then the client is cut off.
    _lease: Lease,
}

impl TakenSeat {
    /// Returns whether the client keeps it waiting.
    fn is_stalled(&self, now: Duration) -> bool {
        // One that gathers does not wait for its client, but for its turn.
        now.saturating_sub(self.last_step) >= STALL_TIME && self.range.as_ref().is_none_or(Range::is_gathered)
    }
}

#[cfg(test)]
impl Default for Seats {
    fn default() -> Self {
        Self::new(LIMITS)
    }
}

impl Seats {
    /// Returns vacant seats.
    pub(super) fn new(limits: Limits) -> Self {
        Self { state: Mutex::default(), limits }
    }

    /// Takes a seat for a page that is sorted or not. If all such are taken, somebody is cut off.
    ///
    /// # Errors
    ///
    /// All are taken, nobody stalls, and no other address has more.
    pub(super) fn take(
        self: &Arc<Self>,
        is_sorted: bool,
        holder: Holder,
        now: Duration,
    ) -> Result<(Seat, LeaseEnd), Refusal> {
        let (lease, lease_end) = Lease::new();
        let mut state = self.lock();
        let sorted = state.taken.iter().filter(|seat| seat.is_sorted).count();
        let too_many_sorted = is_sorted && sorted >= self.limits.sorted_pages;
        if too_many_sorted || state.taken.len() >= self.limits.pages {
            let lost = state.worst(too_many_sorted, holder, now).ok_or(Refusal::NO_SEAT)?;
            let lost = state.taken.swap_remove(lost);
            state.take_back(lost.range);
        }
        let id = state.next_id;
        state.next_id += 1;
        state.taken.push(TakenSeat { id, holder, last_step: now, range: None, is_sorted, _lease: lease });
        state.share_out(now, &self.limits);
        drop(state);
        Ok((Seat { seats: Arc::clone(self), id }, lease_end))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat that is taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
}

impl Seat {
    /// Begins a step of the page. Returns what it has gathered; `None` if it has to be gathered, for the first time or
    /// anew.
    pub(super) fn step(&self, now: Duration) -> Option<Range> {
        let mut state = self.seats.lock();
        let seat = state.find(self.id)?;
        seat.last_step = now;
        let mut range = seat.range.take()?;
        range.take_spare(&mut state.spare);
        Some(range)
    }

    /// Ends a step: keeps what the page has gathered, unless that is more than its share by now.
    pub(super) fn keep(&self, mut range: Range) {
        let mut state = self.seats.lock();
        let is_kept = range.limit(state.share);
        match state.find(self.id) {
            Some(seat) if is_kept => seat.range = Some(range),
            _ => state.take_back([range]),
        }
    }

    /// Ends a step after which all of the range is named.
    pub(super) fn give_back(&self, range: Range) {
        self.seats.lock().take_back([range]);
    }

    /// Returns how many torrents the page may gather in a range that it is about to begin. Others who have more lose
    /// theirs.
    pub(super) fn share(&self, now: Duration) -> usize {
        let mut state = self.seats.lock();
        state.share_out(now, &self.seats.limits);
        state.share
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.seats.lock();
        let at = state.taken.iter().position(|seat| seat.id == self.id);
        if let Some(seat) = at.map(|at| state.taken.swap_remove(at)) {
            state.take_back(seat.range);
        }
    }
}

impl State {
    /// Returns the place in the list of the seat that a newcomer gets, of all or of those that are sorted: that of a
    /// client who stalls, or of an address that would still have as many as the newcomer's. An address that has most
    /// goes first; of one, who stalls for longest, and at last who came last.
    fn worst(&self, only_sorted: bool, newcomer: Holder, now: Duration) -> Option<usize> {
        let seats = || self.taken.iter().enumerate().filter(|(_, seat)| seat.is_sorted || !only_sorted);
        let held = |holder| seats().filter(|(_, seat)| seat.holder == holder).count();
        let after = held(newcomer) + 1;
        let candidates = seats().filter_map(|(at, seat)| {
            let (held, is_stalled) = (held(seat.holder), seat.is_stalled(now));
            let stalled_since = is_stalled.then_some(Reverse(seat.last_step));
            (is_stalled || held > after).then_some(((held, stalled_since, seat.id), at))
        });
        candidates.max().map(|(_, at)| at)
    }

    /// Shares the memory out among those who sort and do not stall. Those who have more, or stall, lose their ranges.
    fn share_out(&mut self, now: Duration, limits: &Limits) {
        let sorting = self.taken.iter().filter(|seat| seat.is_sorted && !seat.is_stalled(now)).count();
        let left = limits.torrents.saturating_sub(self.taken.len() * limits.torrents_per_page);
        let whole = left.max(limits.min_torrents);
        let share = whole / sorting.max(1);
        self.share = share;
        let lost = self.taken.iter_mut().filter_map(|seat| {
            let is_stalled = seat.is_stalled(now);
            seat.range.take_if(|range| is_stalled || !range.limit(share))
        });
        let lost: Vec<_> = lost.collect();
        self.take_back(lost);
        let kept: usize = self.taken.iter().filter_map(|seat| seat.range.as_ref()).map(Range::taken_runs).sum();
        self.spare.truncate((Room::new(whole).runs()).saturating_sub(kept));
    }

    /// Keeps the memory of ranges for those that come.
    fn take_back(&mut self, ranges: impl IntoIterator<Item = Range>) {
        self.spare.extend(ranges.into_iter().flat_map(Range::into_spare));
    }

    fn find(&mut self, id: u64) -> Option<&mut TakenSeat> {
        self.taken.iter_mut().find(|seat| seat.id == id)
    }
}

#[cfg(test)]
mod tests;
