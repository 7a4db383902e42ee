//! Remembers who has stopped, in trackers whose cluster asks for it.

use std::net::SocketAddr;

use super::{AddressFamilies, LockedShard, Store};
use crate::tracker::clock::Minute;
use crate::tracker::stops::{Stop, Stops, peer_hash};

impl<F: AddressFamilies> Store<F> {
    /// Has it remember stops from now on: see [`stops`](crate::tracker::stops).
    pub fn remember_stops(&mut self) {
        self.stops = Some(Stops::new());
    }
}

impl<F: AddressFamilies> LockedShard<'_, F> {
    /// Remembers that a peer of the torrent has stopped.
    pub fn note_stop(&self, endpoint: SocketAddr, stop: Stop, now: Minute) {
        if let Some(stops) = &self.store.stops {
            stops.note(self.peer_hash(endpoint), stop, now);
        }
    }

    /// Returns when a peer of the torrent last stopped, if that is remembered.
    pub fn stop_of(&self, endpoint: SocketAddr, now: Minute) -> Option<Stop> {
        self.store.stops.as_ref()?.find(self.peer_hash(endpoint), now)
    }

    fn peer_hash(&self, endpoint: SocketAddr) -> u64 {
        peer_hash(&self.store.key, self.hash.0, endpoint)
    }
}
