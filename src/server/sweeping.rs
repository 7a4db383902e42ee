//! The thread that forgets: once a minute who has been silent for too long, and whenever room runs short what
//! [`tracker::room`](crate::tracker::room) says.

use std::fmt::{self, Display};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::log::Complaints;
use crate::stop::StopToken;
use crate::tracker::room::{Network, Taken};
use crate::tracker::{Clock as _, Flavour, NetworkLog, Tracker};

use super::clock::MonotonicClock;
use super::heap;

/// How long to rest, at least, when little could be taken of what was to be: hardly anybody holds too much.
const MIN_REST: Duration = Duration::from_secs(5);
/// And how many times as long as that took, at least: looking at all of a large tracker in vain takes no more than a
/// twentieth of a processor.
const RESTS: u32 = 19;
/// How long to work before others are let go first. On a busy machine that costs a turn of each of them, so it is not
/// done after each of the thousands of steps, most of which are much shorter.
const STINT: Duration = Duration::from_micros(100);

/// Runs until it is told to stop.
pub(super) fn run<F: Flavour>(tracker: &Tracker<F>, clock: MonotonicClock, stop: &StopToken) {
    tracker.store().shortage().wake(thread::current());
    let this = thread::current();
    stop.wake_with(move || this.unpark());

    let mut report = Report::default();
    let mut swept = clock.now();
    let mut rested_at = Instant::now();
    while !stop.is_stopped() {
        let (minute, now) = (clock.now(), Instant::now());
        if minute > swept {
            swept = minute;
            let mut stint = Stint(now);
            tracker.sweep(minute, || stint.give_way());
            heap::return_vacant_pages();
            report.say::<F>();
        } else if !tracker.wants_room() {
            thread::park_timeout(clock.until_next_minute());
        } else if now < rested_at {
            thread::park_timeout(clock.until_next_minute().min(rested_at - now));
        } else {
            let mut stint = Stint(now);
            let taken = tracker.make_room(minute, || {
                stint.give_way();
                !stop.is_stopped()
            });
            let done = Instant::now();
            rested_at = done + rest(done - now, &taken);
            report.taken.add(&taken);
            report.say::<F>();
        }
    }
}

/// Work without a pause, since this time.
struct Stint(Instant);

impl Stint {
    /// Lets others go first if this has been going on for long enough, so that UDP workers do not wait until the system
    /// takes the processor from this thread.
    fn give_way(&mut self) {
        if self.is_over(Instant::now()) {
            thread::yield_now();
            self.0 = Instant::now();
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.0) >= STINT
    }
}

/// Returns how long to rest after room was made, or was to be made, for so long. Where it is of use, half of the time
/// goes into it at most: others may be using it up meanwhile.
fn rest(worked: Duration, taken: &Taken) -> Duration {
    if taken.is_of_use() { worked } else { MIN_REST.max(worked.saturating_mul(RESTS)) }
}

/// Says once in a while what has been taken.
#[derive(Default)]
struct Report {
    taken: Taken,
    complaints: Complaints,
}

impl Report {
    /// Says what has been taken since the last time, unless that was less than a minute ago.
    fn say<F: Flavour>(&mut self) {
        if !self.taken.is_nothing() {
            self.complaints.say(|| {
                let taken = std::mem::take(&mut self.taken);
                let largest = taken.largest().filter(|_| F::NetworkLog::COUNTS);
                warn!("{}", Line { taken: &taken, largest });
            });
        }
    }
}

/// What the log says of it.
struct Line<'a> {
    taken: &'a Taken,
    /// The network that has lost most, if it is to be named.
    largest: Option<Network>,
}

impl Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Taken { torrents, empty_torrents, peers, ref networks, .. } = *self.taken;
        write!(formatter, "room ran short (limits.torrents, limits.peers); forgotten:")?;
        if !networks.is_empty() {
            let s = if networks.len() == 1 { "" } else { "s" };
            write!(formatter, " {torrents} torrents and {peers} other peers of {} network{s}", networks.len())?;
            write!(formatter, " with more than a fair share")?;
            self.largest.iter().try_for_each(|network| write!(formatter, " ({network} had most)"))?;
        }
        let and = if networks.is_empty() { "" } else { ", and" };
        if empty_torrents > 0 { write!(formatter, "{and} {empty_torrents} torrents without peers") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_take_nothing_rests_and_who_has_made_room_is_soon_there_again() {
        let millis = Duration::from_millis;
        let taken = |peers| Taken { lacked_peers: 100, peers, ..Taken::default() };
        for peers in [50, 100] {
            assert_eq!(rest(millis(3), &taken(peers)), millis(3));
        }
        for peers in [0, 49] {
            assert_eq!(rest(millis(3), &taken(peers)), Duration::from_secs(5));
            assert_eq!(rest(Duration::from_secs(1), &taken(peers)), Duration::from_secs(19));
        }
        let one = Taken { lacked_torrents: 1, ..Taken::default() };
        assert_eq!(rest(millis(3), &one), Duration::from_secs(5));
        let torrents_alone = Taken { lacked_torrents: 9, lacked_peers: 1000, empty_torrents: 5, ..Taken::default() };
        assert_eq!(rest(millis(3), &torrents_alone), millis(3), "honest peers keep nobody's torrents out");
        assert_eq!(rest(millis(3), &Taken::default()), millis(3), "shards held what was lacking");
    }

    #[test]
    fn others_go_first_after_a_while_and_not_after_each_step() {
        let now = Instant::now();
        let stint = Stint(now);
        assert!(!stint.is_over(now) && !stint.is_over(now + STINT / 2));
        assert!(stint.is_over(now + STINT) && stint.is_over(now + 2 * STINT));
    }

    #[test]
    fn the_line_says_what_was_taken_and_names_a_network_only_if_it_is_to() {
        let network = Network::of([192, 0, 2, 7].into());
        let said = |taken: &Taken, largest| Line { taken, largest }.to_string();
        let begin = "room ran short (limits.torrents, limits.peers); forgotten: ";
        let mut taken = Taken { empty_torrents: 3, ..Taken::default() };
        assert_eq!(said(&taken, None), format!("{begin}3 torrents without peers"));
        taken.networks.insert(network, 12);
        taken.torrents = 10;
        taken.peers = 2;
        let of_one = "10 torrents and 2 other peers of 1 network with more than a fair share";
        assert_eq!(said(&taken, None), format!("{begin}{of_one}, and 3 torrents without peers"));
        taken.empty_torrents = 0;
        assert_eq!(said(&taken, Some(network)), format!("{begin}{of_one} (192.0.2.0/24 had most)"));
        taken.networks.insert(Network::of([1, 1, 1, 1].into()), 1);
        assert!(said(&taken, None).contains("of 2 networks with"));
    }
}
