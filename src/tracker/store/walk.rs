//! Walks over all torrents, or all peers, in portions: each locks one shard, for a bounded time.

use std::net::SocketAddr;

use crate::tracker::InfoHash;
use crate::tracker::clock::Expiry;
use crate::tracker::families::{AddressFamilies, TorrentPeers};
use crate::tracker::peer::PeerState;

use super::super::prefetch::prefetch;
use super::{Cursor, ShardState, Store, Torrent, hash_of};

/// How many torrents ahead of the one that is visited are being fetched.
const PREFETCHED: usize = 16;

impl<F: AddressFamilies> Store<F> {
    /// Visits at most `most` torrents from `cursor` on. Locks one shard. Returns where to go on; `None` at the end.
    ///
    /// A torrent that is there from the first portion to the last is visited: once if it keeps its position, else
    /// perhaps twice.
    pub fn walk(&self, cursor: Cursor, most: usize, mut visit: impl FnMut(&Torrent<F>)) -> Option<Cursor> {
        let state = self.shards.get(cursor.shard)?.lock();
        // From the last to the first: a torrent only ever moves when it is the last, to a lower position. It has been
        // visited already, or is still to come.
        let end = cursor.end(state.torrents.len());
        let begin = end.saturating_sub(most);
        for at in (begin..end).rev() {
            if let Some(ahead) = state.torrents.get(at.wrapping_sub(PREFETCHED)) {
                prefetch(ahead);
            }
            state.torrents.get(at).into_iter().for_each(&mut visit);
        }
        if begin == 0 { self.next_shard(cursor) } else { Some(Cursor { torrent: begin, ..cursor }) }
    }

    /// Visits the peers among about `budget` torrents and peers from `cursor` on, each with its torrent, and takes as
    /// many off the budget. Locks one shard, for as long as it takes to look at the budget and some thousand slots of a
    /// swarm's tables. Returns where to go on; `None` at the end.
    ///
    /// A peer that is in its torrent from the first portion to the last is visited, whatever comes, goes and moves
    /// meanwhile: once if its torrent keeps its position, else perhaps twice.
    pub fn walk_peers(
        &self,
        cursor: Cursor,
        budget: &mut usize,
        mut visit: impl FnMut(&InfoHash, SocketAddr, PeerState),
    ) -> Option<Cursor> {
        self.walk_parts(cursor, budget, |torrent, from, most| {
            torrent.peers.walk(&self.key, from, most, |endpoint, state| visit(&torrent.info_hash, endpoint, state))
        })
    }

    /// Calls `visit` with each torrent among about `budget` torrents and peers from `cursor` on, where to begin in it
    /// (0, if nothing of it has been visited), and how many of its peers to visit at about the most; `visit` returns
    /// where to go on in it, if it has not come to its end. Locks one shard, as [`Self::walk_peers`] does. Returns
    /// where to go on; `None` at the end.
    pub(super) fn walk_parts(
        &self,
        cursor: Cursor,
        budget: &mut usize,
        mut visit: impl FnMut(&Torrent<F>, u64, usize) -> Option<u64>,
    ) -> Option<Cursor> {
        let state = self.shards.get(cursor.shard)?.lock();
        // From the last to the first, as in `walk`.
        let end = cursor.end(state.torrents.len());
        for (at, torrent) in (0..end).rev().filter_map(|at| Some((at, state.torrents.get(at)?))) {
            if *budget == 0 {
                return Some(Cursor { torrent: at + 1, ..cursor });
            }
            if let Some(ahead) = state.torrents.get(at.wrapping_sub(PREFETCHED)) {
                prefetch(ahead);
            }
            let rest = visit(torrent, cursor.resume_at(torrent), *budget);
            *budget = budget.saturating_sub(1 + torrent.peers.counts().peers());
            if let Some(next) = rest {
                return Some(Cursor { torrent: at + 1, partial: Some((torrent.info_hash, next)), ..cursor });
            }
        }
        self.next_shard(cursor)
    }

    /// Removes the expired among about `budget` torrents and peers from `cursor` on, and the torrents for which `keep`
    /// returns false. Locks one shard. Returns where to go on; `None` at the end.
    ///
    /// With `all_expired`, every peer counts as expired: the last sweep was so long ago that the coarse times of peers
    /// have wrapped around (a process that was stopped for hours).
    pub fn sweep(
        &self,
        cursor: Cursor,
        expiry: Expiry,
        budget: usize,
        all_expired: bool,
        keep: impl Fn(&InfoHash) -> bool,
    ) -> Option<Cursor> {
        let state = &mut *self.shards.get(cursor.shard)?.lock();
        // From the last to the first: where one is removed, the last one moves in, and that has been looked at.
        let mut at = cursor.end(state.torrents.len());
        let mut partial = cursor.partial;
        let mut left = budget;
        while at > 0 {
            if left == 0 {
                return Some(Cursor { torrent: at, partial, ..cursor });
            }
            let rest = state.change(at - 1, expiry.now, self, |torrent| {
                left = left.saturating_sub(1 + torrent.peers.counts().peers());
                if !keep(&torrent.info_hash) {
                    torrent.downloaded = 0;
                    torrent.peers.clear(expiry.now);
                } else if all_expired {
                    torrent.peers.clear(expiry.last_heard_of());
                } else {
                    let from = usize::try_from(cursor.resume_at(torrent)).unwrap_or(usize::MAX);
                    let next = torrent.peers.expire(&self.key, expiry, from, budget)?;
                    return Some((torrent.info_hash, next as u64));
                }
                None
            });
            match rest.flatten() {
                Some(next) => (partial, left) = (Some(next), 0),
                None => (partial, at) = (None, at - 1),
            }
        }
        let ShardState { index, torrents, .. } = state;
        index.shrink(|at| hash_of(torrents, &self.key, at));
        torrents.shrink();
        self.next_shard(cursor)
    }

    /// Returns the beginning of the next shard; `None` behind the last.
    pub(super) fn next_shard(&self, cursor: Cursor) -> Option<Cursor> {
        let shard = cursor.shard + 1;
        (shard < self.shards.len()).then_some(Cursor { shard, ..Cursor::default() })
    }
}

impl Cursor {
    /// Returns the position before which a shard of so many torrents is still to be looked at.
    pub(super) fn end(&self, torrents: usize) -> usize {
        if self.torrent == 0 { torrents } else { self.torrent.min(torrents) }
    }
}
