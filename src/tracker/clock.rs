//! Time as the tracker knows it: a coarse minute that is passed in; and for how long things are remembered.

use std::ops::Add;

/// Minutes since the Unix epoch. Never runs backwards within a process: see [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Minute(pub u32);

impl Minute {
    /// Returns the minutes from `earlier` to `self`; 0 if `earlier` is the later one.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u32> for Minute {
    type Output = Self;
    fn add(self, minutes: u32) -> Self {
        Self(self.0.saturating_add(minutes))
    }
}

/// Seconds since the Unix epoch, on the same clock as [`Minute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Second(pub u64);

impl Second {
    /// Returns the minute that the second is of. There are enough of them until the year 10136; from then on it is the
    /// last one for ever.
    #[inline]
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0 / 60).unwrap_or(u32::MAX))
    }
}

impl From<Minute> for Second {
    /// Returns the first second of the minute.
    fn from(minute: Minute) -> Self {
        Self(u64::from(minute.0) * 60)
    }
}

/// Tells the front ends the time that they pass on.
pub trait Clock: Copy + Send + Sync + 'static {
    /// Returns the present second: never less than one that was returned before, whatever happens to the wall clock.
    fn second(self) -> Second;

    /// Returns the present minute.
    fn now(self) -> Minute {
        self.second().minute()
    }
}

/// Which peers have expired: those that were last heard of more than `peer_lifetime` minutes before `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The present minute.
    pub now: Minute,
    /// Minutes for which a silent peer is kept.
    pub peer_lifetime: u32,
}

impl Expiry {
    /// Returns the last minute in which a peer that has expired can have been heard of.
    pub fn last_heard_of(self) -> Minute {
        Minute(self.now.0.saturating_sub(self.peer_lifetime + 1))
    }
}

/// Minutes after its last announce for which a torrent without peers is kept, if it was ever completed; others are
/// forgotten at once.
pub const TORRENT_LIFETIME: u32 = 24 * 60;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::super::model::config;
    use super::super::testing::TestTracker;
    use super::super::{AnnounceRequest, Event, InfoHash, Intervals, Ipv4Only, PeerRequest};
    use super::*;

    const LAST: Minute = Minute(u32::MAX);

    fn announce(tracker: &TestTracker<Ipv4Only>, peer: u8, event: Event, now: Minute) {
        let endpoint = SocketAddr::from((Ipv4Addr::new(192, 0, 2, peer), 6881));
        let seeder = event == Event::Completed;
        let request = AnnounceRequest { info_hash: InfoHash([7; 20]), endpoint, seeder, uploaded: false, event };
        tracker.announce(&request, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }

    fn peers(tracker: &TestTracker<Ipv4Only>) -> usize {
        tracker.store().census().peers.peers()
    }

    #[test]
    fn seconds_are_of_their_minute_to_the_last_one() {
        const FIRST_OF_LAST: u64 = 60 * u32::MAX as u64;
        for (second, minute) in [
            (0, 0),
            (59, 0),
            (60, 1),
            (60 * 29_000_000 + 30, 29_000_000),
            (FIRST_OF_LAST - 1, u32::MAX - 1),
            (FIRST_OF_LAST, u32::MAX),
            (FIRST_OF_LAST + 60, u32::MAX),
            (u64::MAX, u32::MAX),
        ] {
            assert_eq!(Second(second).minute(), Minute(minute), "{second}");
        }
        assert_eq!((Second::from(Minute(0)), Second::from(LAST)), (Second(0), Second(FIRST_OF_LAST)));
    }

    #[test]
    fn at_the_last_minute_nothing_wraps_or_panics() {
        assert_eq!((LAST + 1, LAST + u32::MAX, Minute(0) + 7), (LAST, LAST, Minute(7)));
        assert_eq!((LAST.since(Minute(0)), Minute(0).since(LAST), LAST.since(LAST)), (u32::MAX, 0, 0));
        let expiry = |now| Expiry { now, peer_lifetime: 45 };
        assert_eq!(expiry(LAST).last_heard_of(), Minute(u32::MAX - 46));
        assert_eq!(expiry(Minute(3)).last_heard_of(), Minute(0), "nobody was heard of before the first minute");
        // Time stands still from then on.
        let tracker = TestTracker::plain(super::super::Capacity::NONE, LAST);
        announce(&tracker, 1, Event::Completed, LAST);
        announce(&tracker, 1, Event::Update, LAST + 1);
        tracker.sweep(LAST, || ());
        assert_eq!(peers(&tracker), 1);
    }

    proptest! {
        #![proptest_config(config())]

        /// The first minutes of the epoch, the last ones, and some between.
        #[test]
        fn whenever_it_is_a_silent_peer_is_kept_for_its_lifetime_and_not_longer(
            start in prop_oneof![0..300_u32, Just(29_000_000), u32::MAX - 1600..=u32::MAX - 1541],
            interval in prop_oneof![Just(300), Just(1800), Just(3600)],
            comes in prop::collection::vec(0..100_u32, 1..5),
        ) {
            let intervals = Intervals::new(interval, None);
            let tracker = TestTracker::with_intervals(intervals, Minute(start));
            let (first, last) = (comes.iter().min().copied().unwrap_or(0), comes.iter().max().copied().unwrap_or(0));
            // Every minute till the last of them is gone, then now and then till the torrent is, of which a download
            // was completed.
            let (gone, forgotten) = (last + intervals.peer_lifetime() + 1, last + TORRENT_LIFETIME + 1);
            for minute in (0..=gone).chain((gone..forgotten).step_by(100)).chain([forgotten - 1, forgotten]) {
                let now = Minute(start) + minute;
                for (peer, _) in (1..).zip(&comes).filter(|(_, came)| **came == minute) {
                    announce(&tracker, peer, Event::Completed, now);
                }
                tracker.sweep(now, || ());
                let known = comes.iter().filter(|came| (**came..=**came + intervals.peer_lifetime()).contains(&minute));
                prop_assert_eq!(peers(&tracker), known.count(), "{} after {}", minute, start);
                let remembered = (first..=last + TORRENT_LIFETIME).contains(&minute);
                prop_assert_eq!(tracker.store().census().torrents, usize::from(remembered), "{} after {}", minute, start);
            }
        }
    }
}
