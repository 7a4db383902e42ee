//! Copies of all torrents, made while announces go on: walks that yield torrents with their peers, and a note of those
//! who leave meanwhile. Each portion locks one shard, for a bounded time.

use std::net::SocketAddr;

use crate::tracker::InfoHash;
use crate::tracker::clock::Minute;
use crate::tracker::departures::Departure;
use crate::tracker::families::{AddressFamilies, TorrentPeers};
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::peer::PeerState;

use super::{Cursor, Full, LockedShard, Store, Torrent};

/// How far somebody has got who reads the departures of all shards.
#[derive(Debug, Clone, Copy, Default)]
pub struct DepartureCursor {
    shard: usize,
    at: usize,
}

/// Torrents that have been copied, with their peers. It keeps its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Portion {
    torrents: Vec<CopiedTorrent>,
    peers: Vec<(SocketAddr, PeerState)>,
}

/// A torrent as it was when it was copied; of a large one, a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTorrent {
    /// Its name.
    pub info_hash: InfoHash,
    /// Completed downloads.
    pub downloaded: u32,
    /// Since when it has been without peers; `None` if it has some.
    pub empty_since: Option<Minute>,
    /// How many peers have been copied with it.
    peers: usize,
}

impl Portion {
    /// Returns the torrents, each with the peers that have been copied with it.
    pub fn torrents(&self) -> impl Iterator<Item = (&CopiedTorrent, &[(SocketAddr, PeerState)])> {
        let mut rest = self.peers.as_slice();
        self.torrents.iter().map(move |torrent| {
            let (peers, behind) = rest.split_at_checked(torrent.peers).unwrap_or_default();
            rest = behind;
            (torrent, peers)
        })
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.torrents.clear();
        self.peers.clear();
    }
}

impl<F: AddressFamilies> Store<F> {
    /// Has every shard note who leaves, until [`Self::end_copy`] has been called as often as this. Locks all 1,024 of
    /// them, one after the other.
    pub fn begin_copy(&self) {
        for shard in &self.shards {
            shard.lock().departures.get_or_insert_default().begin();
        }
    }

    /// Ends what [`Self::begin_copy`] has begun. The last one to end forgets the departures. Locks all 1,024 shards,
    /// one after the other.
    pub fn end_copy(&self) {
        for shard in &self.shards {
            let departures = &mut shard.lock().departures;
            if departures.as_mut().is_some_and(|noted| noted.end(&self.departures)) {
                *departures = None;
            }
        }
    }

    /// Returns how many departures have not been noted since the start of the process, because there were too many.
    pub fn missed_departures(&self) -> u64 {
        self.departures.missed()
    }

    /// Copies about `budget` torrents and peers from `cursor` on, and takes as many off the budget. Locks one shard,
    /// for as long as [`Self::walk_peers`] does. Returns where to go on; `None` at the end.
    ///
    /// Torrents and peers that are there from the first portion to the last are copied: once if they keep their
    /// position, else perhaps twice. A torrent without peers is copied as well. A large one comes in several parts.
    pub fn copy(&self, cursor: Cursor, budget: &mut usize, into: &mut Portion) -> Option<Cursor> {
        self.copy_those(cursor, budget, into, |_| true, |_| true)
    }

    /// As [`Self::copy`], but copies only peers that have been seen since the minute `since`, and their torrents; and
    /// torrents that have lost their last peer since, for one that has expired or been taken may have completed its
    /// download.
    pub fn copy_changed(
        &self,
        cursor: Cursor,
        budget: &mut usize,
        since: Minute,
        now: Minute,
        into: &mut Portion,
    ) -> Option<Cursor> {
        let most = now.since(since);
        self.copy_those(cursor, budget, into, |empty_since| empty_since >= since, |state| state.age(now) <= most)
    }

    fn copy_those(
        &self,
        cursor: Cursor,
        budget: &mut usize,
        into: &mut Portion,
        takes_empty: impl Fn(Minute) -> bool,
        takes: impl Fn(PeerState) -> bool,
    ) -> Option<Cursor> {
        let next = self.walk_parts(cursor, budget, |torrent, from, most| {
            let first = into.peers.len();
            let rest = torrent.peers.walk(&self.key, from, most, |endpoint, state| {
                if takes(state) {
                    into.peers.push((endpoint, state));
                }
            });
            let (peers, empty_since) = (into.peers.len() - first, torrent.peers.empty_since());
            let Torrent { info_hash, downloaded, .. } = *torrent;
            if peers > 0 || empty_since.is_some_and(&takes_empty) {
                into.torrents.push(CopiedTorrent { info_hash, downloaded, empty_since, peers });
            }
            rest
        });
        // A shard counts too, even one without torrents.
        *budget = budget.saturating_sub(1);
        next
    }

    /// Appends about `budget` departures from `cursor` on, those before the minute `since` left out, and takes as many
    /// off the budget. They come in the order in which the peers of a torrent left. Locks one shard. Returns where to
    /// go on; `None` at the end.
    pub fn copy_departures(
        &self,
        cursor: DepartureCursor,
        budget: &mut usize,
        since: Minute,
        into: &mut Vec<Departure>,
    ) -> Option<DepartureCursor> {
        let state = self.shards.get(cursor.shard)?.lock();
        let list = state.departures.as_ref().map_or(&[][..], |departures| departures.list());
        let rest = list.get(cursor.at..).unwrap_or_default();
        let (now, later) = rest.split_at(rest.len().min(*budget));
        into.extend(now.iter().filter(|departure| departure.left >= since));
        *budget = budget.saturating_sub(1 + now.len());
        if !later.is_empty() {
            return Some(DepartureCursor { at: cursor.at + now.len(), ..cursor });
        }
        let shard = cursor.shard + 1;
        (shard < self.shards.len()).then_some(DepartureCursor { shard, at: 0 })
    }
}

impl<F: AddressFamilies> LockedShard<'_, F> {
    /// Notes that a peer of the torrent has left, if a copy is being made.
    #[inline]
    pub fn note_departure(&mut self, departure: Departure) {
        if let Some(departures) = &mut self.state.departures {
            departures.note(departure, &self.store.departures);
        }
    }

    /// As [`Self::upsert`], for one of several changes to the torrent under the same lock: what went before may have
    /// added the torrent, or forgotten it.
    ///
    /// # Errors
    ///
    /// There is no room for one more torrent.
    pub fn upsert_next<R>(
        &mut self,
        info_hash: &InfoHash,
        now: Minute,
        change: impl FnOnce(&mut Torrent<F>, &HashKey, bool) -> R,
    ) -> Result<R, Full> {
        self.look_up(info_hash);
        self.upsert(info_hash, now, change)
    }

    /// Returns whether the torrent is in the store after such changes.
    pub fn is_there(&mut self, info_hash: &InfoHash) -> bool {
        self.look_up(info_hash);
        self.torrent().is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::tracker::Ipv4Only;
    use crate::tracker::store::Shard;

    #[test]
    fn a_shard_still_takes_two_cache_lines() {
        assert_eq!(size_of::<Shard<Ipv4Only>>(), 128);
    }
}
