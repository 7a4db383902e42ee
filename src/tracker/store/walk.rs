//! Walks over all torrents, or all peers, in portions: each locks one shard, for a bounded time.

use std::net::SocketAddr;

use crate::tracker::InfoHash;
use crate::tracker::clock::{Minute, PEER_LIFETIME};
use crate::tracker::families::{AddressFamilies, TorrentPeers};

use super::{Cursor, ShardState, Store, Torrent, hash_of};

impl<F: AddressFamilies> Store<F> {
    /// Shows `most` torrents or so from `cursor` on, from a single shard, under its lock. Says where to go on; `None`
    /// at the end. A torrent that others move meanwhile can be shown twice.
    pub fn walk(&self, cursor: Cursor, most: usize, mut visit: impl FnMut(&Torrent<F>)) -> Option<Cursor> {
        let state = self.shards.get(cursor.shard)?.lock();
        // From the last to the first, as in `sweep`; 0 stands for a shard that has not been begun.
        let end = if cursor.torrent == 0 { state.torrents.len() } else { cursor.torrent.min(state.torrents.len()) };
        let begin = end.saturating_sub(most);
        (begin..end).rev().filter_map(|at| state.torrents.get(at)).for_each(&mut visit);
        let next = if begin == 0 {
            Cursor { shard: cursor.shard + 1, ..Cursor::default() }
        } else {
            Cursor { torrent: begin, ..cursor }
        };
        (next.shard < self.shards.len()).then_some(next)
    }

    /// Shows the peers among the `budget` torrents and peers or so from `cursor` on, from a single shard, under its
    /// lock, and takes as many off the budget. Says where to go on; `None` at the end. Peers of a swarm that others change
    /// meanwhile can be shown twice, or not at all.
    pub fn walk_peers(&self, cursor: Cursor, budget: &mut usize, mut visit: impl FnMut(SocketAddr)) -> Option<Cursor> {
        let state = self.shards.get(cursor.shard)?.lock();
        // From the last to the first, as in `walk`.
        let end = if cursor.torrent == 0 { state.torrents.len() } else { cursor.torrent.min(state.torrents.len()) };
        let mut from = cursor.peer;
        for (at, torrent) in (0..end).rev().filter_map(|at| Some((at, state.torrents.get(at)?))) {
            if *budget == 0 {
                return Some(Cursor { torrent: at + 1, peer: from, ..cursor });
            }
            let rest = torrent.peers.walk(from, *budget, &mut visit);
            *budget = budget.saturating_sub(1 + torrent.peers.counts().peers());
            if let Some(peer) = rest {
                return Some(Cursor { torrent: at + 1, peer, ..cursor });
            }
            from = 0;
        }
        let shard = cursor.shard + 1;
        (shard < self.shards.len()).then_some(Cursor { shard, ..Cursor::default() })
    }

    /// Forgets who has been silent for too long among the `budget` torrents and peers or so from `cursor` on, and the
    /// torrents for which `keep` says no. Holds one lock. Says where to go on; `None` at the end.
    ///
    /// With `everybody`, every peer has been silent for too long: so it is when the last sweep was so long ago that
    /// the coarse times of peers have wrapped around (a process that was stopped for hours).
    pub fn sweep(
        &self,
        cursor: Cursor,
        now: Minute,
        budget: usize,
        everybody: bool,
        keep: impl Fn(&InfoHash) -> bool,
    ) -> Option<Cursor> {
        let state = &mut *self.shards.get(cursor.shard)?.lock();
        // From the last to the first: where one is taken out, the last one moves in, and that has been seen.
        let mut at = if cursor.torrent == 0 { state.torrents.len() } else { cursor.torrent.min(state.torrents.len()) };
        let mut from = cursor.peer;
        let mut left = budget;
        while at > 0 {
            if left == 0 {
                return Some(Cursor { torrent: at, peer: from, ..cursor });
            }
            let rest = state.change(at - 1, now, self, |torrent| {
                left = left.saturating_sub(1 + torrent.peers.counts().peers());
                if !keep(&torrent.info_hash) {
                    torrent.downloaded = 0;
                    torrent.peers.clear(now);
                } else if everybody {
                    torrent.peers.clear(Minute(now.0.saturating_sub(PEER_LIFETIME + 1)));
                } else {
                    return torrent.peers.expire(&self.key, now, from, budget);
                }
                None
            });
            match rest.flatten() {
                Some(next) => (from, left) = (next, 0),
                None => (from, at) = (0, at - 1),
            }
        }
        let ShardState { index, torrents, .. } = state;
        index.shrink(|at| hash_of(torrents, &self.key, at));
        let shard = cursor.shard + 1;
        (shard < self.shards.len()).then_some(Cursor { shard, ..Cursor::default() })
    }
}
