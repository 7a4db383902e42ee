//! What all transports of a tracker share: one pace, the seats of those who are given something, and who takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::tracker::{Flavour, Tracker};

use super::limits::{Limits, MAX_GIVEN, MAX_PIECE};
use super::offer::Offer;
use super::pace::Pace;

/// The snapshots of one tracker, whatever transports bring and take them.
#[derive(Debug)]
pub struct Snapshots {
    limits: Limits,
    /// Since when the process has been up.
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// How many are being given.
    given: usize,
    /// How many transports look for one.
    seekers: usize,
    taking: Taken,
}

/// How far this tracker is with taking one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    NotYet,
    UnderWay,
    Whole,
}

/// Whether a snapshot may be taken now.
#[derive(Debug)]
pub enum Turn {
    /// It may.
    Yours(Taking),
    /// One is taken over another transport at present.
    Wait,
    /// One has been taken over another transport.
    Over,
}

/// As long as it is there, no other transport takes a snapshot.
#[derive(Debug)]
pub struct Taking(Arc<Snapshots>);

/// As long as it is there, a transport looks for a snapshot.
#[derive(Debug)]
pub(super) struct Seeking(Arc<Snapshots>);

/// As long as it is there, it is one of the [`MAX_GIVEN`] that are given.
#[derive(Debug)]
pub(super) struct Seat(Arc<Snapshots>);

impl Snapshots {
    /// Makes those of a tracker whose process has been up since `started`.
    pub fn new(limits: Limits, started: Instant) -> Arc<Self> {
        let state = State { pace: Pace::new(limits.rate, started), given: 0, seekers: 0, taking: Taken::NotYet };
        Arc::new(Self { limits, started, state: Mutex::new(state) })
    }

    /// Returns what the configuration says.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns whether any are given at all.
    pub fn gives(&self) -> bool {
        self.limits.rate > 0
    }

    /// Returns whether one is asked for where nothing is known yet.
    pub fn asks(&self) -> bool {
        !self.limits.wait.is_zero() && self.limits.max > 0
    }

    /// Returns what can be given by a tracker that has this id on a transport; `None` if nothing can be at present: it
    /// is not meant to, as many are being given as may be, or it waits for a snapshot itself. Counts what is there:
    /// locks all shards, one after the other.
    pub fn offer<F: Flavour>(&self, id: u64, tracker: &Tracker<F>, now: Instant) -> Option<Offer> {
        if !self.can_give(now) {
            return None;
        }
        let census = tracker.store().census();
        let uptime_seconds = self.uptime_seconds(now);
        Some(Offer { id, uptime_seconds, torrents: census.torrents as u64, peers: census.peers.peers() as u64 })
    }

    /// Returns for how long the process has been up.
    pub(super) fn uptime_seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.started).as_secs()).unwrap_or(u32::MAX)
    }

    fn can_give(&self, now: Instant) -> bool {
        !self.waits(now) && self.gives() && self.state().given < MAX_GIVEN
    }

    /// Returns whether this tracker waits for a snapshot itself, and so knows less than others.
    pub fn waits(&self, now: Instant) -> bool {
        let state = self.state();
        state.seekers > 0
            && state.taking != Taken::Whole
            && now.saturating_duration_since(self.started) < self.limits.wait
    }

    /// Returns whether one has been taken, over whatever transport.
    pub(super) fn is_taken(&self) -> bool {
        self.state().taking == Taken::Whole
    }

    /// Takes a seat, if one is free and any are given.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.state();
        let is_free = self.gives() && state.given < MAX_GIVEN;
        is_free.then(|| {
            state.given += 1;
            Seat(Arc::clone(self))
        })
    }

    /// Begins to look for a snapshot: none is offered until the wait is over or one has come.
    pub(super) fn seek(self: &Arc<Self>) -> Seeking {
        self.state().seekers += 1;
        Seeking(Arc::clone(self))
    }

    /// Asks whether one may be taken now.
    pub(super) fn begin_taking(self: &Arc<Self>) -> Turn {
        let mut state = self.state();
        match state.taking {
            Taken::NotYet => {
                state.taking = Taken::UnderWay;
                Turn::Yours(Taking(Arc::clone(self)))
            }
            Taken::UnderWay => Turn::Wait,
            Taken::Whole => Turn::Over,
        }
    }

    /// A panic in another thread is a defect, but each of our changes leaves the state whole: go on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taking {
    /// Notes that a whole snapshot has been taken, or as much as is taken at all: no other transport needs one.
    pub(super) fn finish(&self) {
        self.0.state().taking = Taken::Whole;
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.taking == Taken::UnderWay {
            state.taking = Taken::NotYet;
        }
    }
}

impl Drop for Seeking {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.seekers = state.seekers.saturating_sub(1);
    }
}

impl Seat {
    /// Returns how long pieces are: no more than a second's worth, so that a joiner hears something every second.
    pub(super) fn piece_len(&self) -> usize {
        usize::try_from(self.0.limits.rate).map_or(MAX_PIECE, |rate| rate.clamp(1, MAX_PIECE))
    }

    /// Returns when a piece of this length may be sent.
    pub(super) fn reserve(&self, len: usize, now: Instant) -> Instant {
        self.0.state().pace.reserve(len, now)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.given = state.given.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, Ipv4Only, Minute};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn offer(snapshots: &Snapshots, now: Instant) -> Option<Offer> {
        snapshots.offer(7, &TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(1)), now)
    }

    fn snapshots(limits: Limits) -> (Arc<Snapshots>, Instant) {
        let start = Instant::now();
        (Snapshots::new(limits, start), start)
    }

    const LIMITS: Limits = Limits { wait: Duration::from_secs(10), rate: 1, max: 1 };

    #[test]
    fn no_more_are_given_than_there_are_seats_and_nothing_is_offered_then() {
        let (snapshots, start) = snapshots(LIMITS);
        let expected = Offer { id: 7, uptime_seconds: 90, torrents: 0, peers: 0 };
        assert_eq!(offer(&snapshots, start + 90 * SECOND), Some(expected));
        let (one, two) = (snapshots.sit(), snapshots.sit());
        assert!(one.is_some() && two.is_some() && snapshots.sit().is_none());
        assert_eq!(offer(&snapshots, start), None);
        drop(one);
        assert!(offer(&snapshots, start).is_some() && snapshots.sit().is_some());
    }

    #[test]
    fn without_a_rate_none_is_given_and_without_a_wait_or_a_maximum_none_is_asked_for() {
        for (limits, gives, asks) in [
            (LIMITS, true, true),
            (Limits { rate: 0, ..LIMITS }, false, true),
            (Limits { wait: Duration::ZERO, ..LIMITS }, true, false),
            (Limits { max: 0, ..LIMITS }, true, false),
        ] {
            let (snapshots, start) = snapshots(limits);
            assert_eq!((snapshots.gives(), snapshots.asks()), (gives, asks), "{limits:?}");
            assert_eq!((offer(&snapshots, start).is_some(), snapshots.sit().is_some()), (gives, gives), "{limits:?}");
        }
    }

    #[test]
    fn who_looks_for_one_himself_offers_none_until_the_wait_is_over_or_one_is_in() {
        let (snapshots, start) = snapshots(LIMITS);
        let (one, other) = (snapshots.seek(), snapshots.seek());
        assert_eq!(offer(&snapshots, start + 9 * SECOND), None);
        assert!(offer(&snapshots, start + 10 * SECOND).is_some());
        drop(one);
        assert_eq!(offer(&snapshots, start + 9 * SECOND), None);
        let Turn::Yours(taking) = snapshots.begin_taking() else { panic!("nobody takes one") };
        taking.finish();
        assert!(offer(&snapshots, start).is_some());
        drop(other);
        assert!(offer(&snapshots, start).is_some());
    }

    #[test]
    fn one_transport_takes_one_at_a_time_and_then_no_other_does() {
        let (snapshots, _) = snapshots(LIMITS);
        let Turn::Yours(first) = snapshots.begin_taking() else { panic!("nobody takes one") };
        assert!(matches!(snapshots.begin_taking(), Turn::Wait));
        drop(first);
        let Turn::Yours(second) = snapshots.begin_taking() else { panic!("the first came to nothing") };
        second.finish();
        drop(second);
        assert!(matches!(snapshots.begin_taking(), Turn::Over));
    }

    #[test]
    fn a_piece_is_no_more_than_what_goes_out_in_a_second() {
        for (rate, expected) in [(1, 1), (1000, 1000), (4_000_000, MAX_PIECE), (u64::MAX, MAX_PIECE)] {
            let (snapshots, _) = snapshots(Limits { rate, ..LIMITS });
            assert_eq!(snapshots.sit().unwrap().piece_len(), expected);
        }
    }
}
