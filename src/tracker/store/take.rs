//! Walks that take torrents or peers out of the store, or look who would have to go, in portions: each locks one shard,
//! for a bounded time.

use std::net::SocketAddr;

use crate::tracker::clock::Minute;
use crate::tracker::families::{AddressFamilies, TorrentPeers};
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::peer::PeerState;

use super::{Cursor, Store, Torrent};

/// Where a torrent stands in its shard. What came later stands behind what came before, unless it has moved to where
/// one was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// How many torrents stand before it.
    pub at: usize,
    /// How many there were in the shard when the walk came there.
    pub of: usize,
}

/// What a walk does with a torrent or a peer that it comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It goes.
    Goes,
}

impl Fate {
    /// Returns that it goes, if it does.
    pub fn goes_if(goes: bool) -> Self {
        if goes { Self::Goes } else { Self::Stays }
    }
}

impl<F: AddressFamilies> Store<F> {
    /// Asks of each torrent from `cursor` on whether it goes. Goes over about `budget` torrents and peers, of which it
    /// takes no more than `most_peers` into account for each torrent. Locks one shard. Returns where to go on; `None`
    /// at the end.
    ///
    /// What goes is forgotten whole, with its peers and its downloads. Room that a shard has not used goes back to the
    /// pool.
    pub fn take_torrents(
        &self,
        cursor: Cursor,
        budget: usize,
        most_peers: usize,
        mut fate: impl FnMut(Position, &Torrent<F>, &HashKey) -> Fate,
    ) -> Option<Cursor> {
        let state = &mut *self.shards.get(cursor.shard)?.lock();
        let of = if cursor.torrent == 0 { state.torrents.len() } else { cursor.began_with };
        let mut left = budget;
        // From the last to the first: where one goes, the last one moves in, and that has been looked at.
        for at in (0..cursor.end(state.torrents.len())).rev() {
            if left == 0 {
                return Some(Cursor { torrent: at + 1, began_with: of, ..cursor });
            }
            let Some(torrent) = state.torrents.get(at) else { continue };
            left = left.saturating_sub(1 + torrent.peers.counts().peers().min(most_peers));
            if fate(Position { at, of }, torrent, &self.key) == Fate::Goes {
                // The minute does not matter: nothing of it is left.
                let now = Minute::default();
                state.change(at, now, self, |torrent| {
                    torrent.downloaded = 0;
                    torrent.peers.clear(now);
                });
            }
        }
        state.torrent_allowance.give_back(&self.torrent_allowance);
        state.peer_allowance.give_back(&self.peer_allowance);
        self.next_shard(cursor)
    }

    /// Asks of each peer among about `budget` torrents and peers from `cursor` on whether it goes. Locks one shard, for
    /// as long as [`Self::walk_peers`] does and it takes to remove those that go. Returns where to go on; `None` at the
    /// end.
    ///
    /// A torrent keeps its downloads. If nobody is left in it, it has been without peers since the last of those who
    /// went was heard of. Room that a shard has not used goes back to the pool.
    pub fn take_peers(
        &self,
        cursor: Cursor,
        budget: usize,
        now: Minute,
        mut fate: impl FnMut(SocketAddr, PeerState) -> Fate,
    ) -> Option<Cursor> {
        let state = &mut *self.shards.get(cursor.shard)?.lock();
        let mut at = cursor.end(state.torrents.len());
        let mut partial = cursor.partial;
        let mut left = budget;
        let mut going = Vec::new();
        while let Some(torrent) = at.checked_sub(1).and_then(|at| state.torrents.get(at)) {
            if left == 0 {
                return Some(Cursor { torrent: at, partial, ..cursor });
            }
            let (info_hash, from) = (torrent.info_hash, cursor.resume_at(torrent));
            let rest = torrent.peers.walk(&self.key, from, left, |endpoint, state| {
                if fate(endpoint, state) == Fate::Goes {
                    going.push((endpoint, state.seen(now)));
                }
            });
            left = left.saturating_sub(1 + torrent.peers.counts().peers());
            if let Some(last_seen) = going.iter().map(|(_, seen)| *seen).max() {
                state.change(at - 1, now, self, |torrent| {
                    for (endpoint, _) in going.drain(..) {
                        torrent.peers.remove(&self.key, endpoint);
                    }
                    torrent.peers.set_empty_since(last_seen);
                });
            }
            match rest {
                // If it was the last one and is forgotten already, those before it are still to come.
                Some(next) => (partial, left, at) = (Some((info_hash, next)), 0, at.min(state.torrents.len())),
                None => (partial, at) = (None, at - 1),
            }
        }
        state.torrent_allowance.give_back(&self.torrent_allowance);
        state.peer_allowance.give_back(&self.peer_allowance);
        self.next_shard(cursor)
    }

    /// Has every shard give the pools back what it has taken and not used. Locks all 1,024 of them, one after the
    /// other.
    pub fn gather_unused_room(&self) {
        for shard in &self.shards {
            let state = &mut *shard.lock();
            state.torrent_allowance.give_back(&self.torrent_allowance);
            state.peer_allowance.give_back(&self.peer_allowance);
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::tracker::store::Census;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, PeerRequest};

    const NOW: Minute = Minute(29_000_000);

    #[test]
    fn a_walk_in_the_smallest_portions_takes_all_peers_that_go() {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW);
        for n in 1..8192_u16 {
            let mut info_hash = InfoHash::default();
            info_hash.0[..2].copy_from_slice(&n.to_be_bytes());
            for host in [1, 2] {
                let endpoint = SocketAddr::from(([10, 0, 0, host], n));
                let event = Event::Update;
                let announce = AnnounceRequest { info_hash, endpoint, seeder: false, uploaded: false, event };
                tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
            }
        }
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = tracker.store().take_peers(from, 1, NOW, |_, _| Fate::Goes);
        }
        assert_eq!(tracker.store().census(), Census::default());
    }
}
