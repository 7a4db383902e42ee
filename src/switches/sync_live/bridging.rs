//! Bridges: of the trackers of this network that are on another transport too, one forwards. They tell each other by
//! keep-alives, packets of a type of their own; the original passes them over.
//!
//! A bridge that dies may have told a change of its own client by one transport alone. Another bridge, which forwards
//! or begins to, tells it by the other one: see [`outbox`](crate::cluster::outbox).
//!
//! Packets have no ages: what comes from elsewhere counts here as seen when it is forwarded. It is forwarded however
//! old it is (no older than a peer's lifetime, as the tracker has taken it over): after a cut the network is to know
//! the peers of the others. One that has gone meanwhile without a word is known here for one lifetime longer, for each
//! cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::election::Election;
use crate::cluster::members::Members;

use super::packet::{TrackerId, keep_alive};

/// For how long another tracker of the network is remembered that is not heard any more. Bridges say three times as
/// often that they are there.
const MEMORY: Duration = Duration::from_secs(60);

/// What this tracker knows of the bridges of its network, itself among them.
#[derive(Debug)]
pub(super) struct Bridging {
    own: TrackerId,
    election: Mutex<Election>,
    forwards: AtomicBool,
    /// All trackers of the network, as any of them may be a bridge.
    pub(super) members: Arc<Members>,
    /// A bridge has been heard for the first time, and is to be answered.
    owes_answer: AtomicBool,
}

impl Bridging {
    pub(super) fn new(own: TrackerId, now: Instant) -> Self {
        Self {
            own,
            election: Mutex::new(Election::new(own.number(), now)),
            forwards: AtomicBool::new(false),
            members: Arc::new(Members::new(MEMORY, now)),
            owes_answer: AtomicBool::new(false),
        }
    }

    /// Hears another tracker, and what it says if that is a keep-alive: whether it could forward.
    pub(super) fn hear(&self, sender: TrackerId, is_able: Option<bool>, now: Instant) {
        let is_new = self.members.hear(sender.number(), now);
        if let Some(is_able) = is_able {
            self.election().hear(sender.number(), is_able, now);
            if is_new {
                self.owes_answer.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns the keep-alive that is to be sent at once, as a bridge has been heard for the first time.
    pub(super) fn answer(&self, now: Instant) -> Option<Vec<u8>> {
        if !self.owes_answer.load(Ordering::Relaxed) {
            return None;
        }
        self.owes_answer.store(false, Ordering::Relaxed);
        self.election().answer(now).map(|is_able| keep_alive(self.own, is_able))
    }

    /// Returns the last keep-alive: others need not wait until they take this tracker for dead.
    pub(super) fn end(&self) -> Option<Vec<u8>> {
        self.election().has_promised().then(|| keep_alive(self.own, false))
    }

    /// Returns whether this tracker forwarded when [`Self::decide`] was last called.
    pub(super) fn forwards(&self) -> bool {
        self.forwards.load(Ordering::Relaxed)
    }

    /// Decides anew whether this tracker forwards. Returns whether that has changed, and the keep-alive that is to be
    /// sent now.
    pub(super) fn decide(&self, is_connected: bool, now: Instant) -> (bool, Option<Vec<u8>>) {
        let mut election = self.election();
        let forwards = election.forwards(is_connected, now);
        let before = self.forwards.swap(forwards, Ordering::Relaxed);
        let is_able = election.next_keep_alive(is_connected, now);
        (before != forwards, is_able.map(|is_able| keep_alive(self.own, is_able)))
    }

    /// A panic in another thread is a defect, but each of our changes leaves the election whole: go on.
    fn election(&self) -> MutexGuard<'_, Election> {
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::election::{LONG_LISTENING, MAX_SILENCE};

    const SECOND: Duration = Duration::from_secs(1);
    const OWN: TrackerId = TrackerId([0, 0, 1, 0]);
    const LOWER: TrackerId = TrackerId([0, 0, 0, 255]);

    #[test]
    fn a_bridge_that_is_heard_for_the_first_time_is_answered() {
        let start = Instant::now();
        let bridging = Bridging::new(OWN, start);
        bridging.decide(true, start);
        let now = start + SECOND;
        bridging.hear(TrackerId([0, 0, 0, 1]), None, now);
        assert_eq!(bridging.answer(now), None, "it may be none");
        bridging.hear(LOWER, Some(false), now);
        assert_eq!((bridging.answer(now), bridging.answer(now)), (Some(keep_alive(OWN, false)), None));
        bridging.hear(LOWER, Some(true), now + MAX_SILENCE);
        assert_eq!((bridging.answer(now + MAX_SILENCE), bridging.end()), (None, None));
        bridging.decide(true, start + LONG_LISTENING);
        assert_eq!(bridging.end(), Some(keep_alive(OWN, false)));
    }

    #[test]
    fn the_lower_id_forwards_as_bytes_are_compared() {
        let start = Instant::now();
        let bridging = Bridging::new(OWN, start);
        assert_eq!((bridging.decide(true, start), bridging.forwards()), ((false, Some(keep_alive(OWN, false))), false));
        let now = start + LONG_LISTENING;
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, Some(keep_alive(OWN, true))), true));
        assert_eq!(bridging.decide(true, now), (false, None));
        bridging.hear(LOWER, Some(true), now);
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, None), false));
        bridging.hear(LOWER, Some(false), now);
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, None), true));
        assert_eq!(
            bridging.decide(false, now),
            (true, Some(keep_alive(OWN, false))),
            "at the end, or when it is cut off"
        );
    }
}
