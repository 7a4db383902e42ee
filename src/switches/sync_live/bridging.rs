//! Bridges: of the trackers of this network that are on another transport too, one forwards. They tell each other by
//! keep-alives, packets of a type of their own; the original passes them over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cluster::election::Election;

use super::packet::{TrackerId, keep_alive};

/// What this tracker knows of the bridges of its network, itself among them.
#[derive(Debug)]
pub(super) struct Bridging {
    own: TrackerId,
    election: Mutex<Election>,
    forwards: AtomicBool,
}

impl Bridging {
    pub(super) fn new(own: TrackerId, now: Instant) -> Self {
        Self { own, election: Mutex::new(Election::new(own.number(), now)), forwards: AtomicBool::new(false) }
    }

    /// Hears a keep-alive of another bridge.
    pub(super) fn hear(&self, sender: TrackerId, is_able: bool, now: Instant) {
        self.election().hear(sender.number(), is_able, now);
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
    use crate::cluster::election::MAX_SILENCE;

    const OWN: TrackerId = TrackerId([0, 0, 1, 0]);
    const LOWER: TrackerId = TrackerId([0, 0, 0, 255]);

    #[test]
    fn the_lower_id_forwards_as_bytes_are_compared() {
        let start = Instant::now();
        let bridging = Bridging::new(OWN, start);
        assert_eq!((bridging.decide(true, start), bridging.forwards()), ((false, None), false));
        let now = start + MAX_SILENCE;
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, Some(keep_alive(OWN, true))), true));
        assert_eq!(bridging.decide(true, now), (false, None));
        bridging.hear(LOWER, true, now);
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, None), false));
        bridging.hear(LOWER, false, now);
        assert_eq!((bridging.decide(true, now), bridging.forwards()), ((true, None), true));
        assert_eq!(
            bridging.decide(false, now),
            (true, Some(keep_alive(OWN, false))),
            "at the end, or when it is cut off"
        );
    }
}
