//! Takes over what another tracker knows of its torrents: see [`swarms`](crate::swarms).
//!
//! It is no announce: no download is counted that has been counted there, and nothing is published to the cluster.

use std::net::SocketAddr;

use super::absorb::DOUBT;
use super::address_limit::{AddressLimit, Before};
use super::clock::{Minute, TORRENT_LIFETIME};
use super::families::{AddressFamilies, TorrentPeers};
use super::flavour::{Admission as _, Cluster as _, Flavour};
use super::hosts::is_host;
use super::keyed_hash::HashKey;
use super::peer::PeerState;
use super::stops::Stop;
use super::store::{Full, Torrent};
use super::{InfoHash, Tracker};

/// Most peers that are merged under one lock. Those of a large torrent come in the order of the writer's hashes. That
/// is no order here, as each process has a key of its own; a table that is filled in the order of its hashes is filled
/// slowly.
pub const MAX_MERGED: usize = 256;

/// A peer that another tracker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its address and port.
    pub endpoint: SocketAddr,
    /// It has nothing left to download.
    pub seeder: bool,
    /// Its completed download has been counted.
    pub completed: bool,
    /// Minutes since it was last heard of.
    pub age: u32,
}

/// A torrent that another tracker knows, with all or some of its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownTorrent<'a> {
    /// Its name.
    pub info_hash: InfoHash,
    /// Completed downloads.
    pub downloaded: u32,
    /// Minutes for which it has been without peers. Means nothing if it has some.
    pub empty_for: u32,
    /// Its peers.
    pub peers: &'a [KnownPeer],
}

/// A peer that another tracker knows to have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDeparture {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's address and port.
    pub endpoint: SocketAddr,
    /// The torrent's completed downloads when it left.
    pub downloaded: u32,
    /// Minutes since it left.
    pub age: u32,
}

/// What has come of all that was merged. Each peer is counted once: in [`Self::peers`], [`Self::refreshed`],
/// [`Self::outdated`] or [`Self::left_out`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeCounts {
    /// Torrents that were not known here before.
    pub torrents: u64,
    /// Peers that were not known here before.
    pub peers: u64,
    /// Peers that were known here, and last heard of no later.
    pub refreshed: u64,
    /// Peers of whom something younger was known here, be it that they have stopped.
    pub outdated: u64,
    /// Peers that were known here and have left.
    pub departed: u64,
    /// By how much the downloads of all torrents together have become more.
    pub downloads: u64,
    /// Peers that had to make place for others of their address.
    pub displaced: u64,
    /// What has not been taken over.
    pub left_out: LeftOut,
}

/// What is not taken over, by reason: peers, those who left, and torrents that have no peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Of torrents that are not served here.
    pub not_admitted: u64,
    /// Of an address family that is not served here.
    pub family_not_served: u64,
    /// Without a port, so that nobody could connect.
    pub no_port: u64,
    /// At an address that no host has: see [`is_host`].
    pub no_host: u64,
    /// Not heard of for longer than peers, or torrents, are kept here.
    pub expired: u64,
    /// There was no room for one more torrent or peer.
    pub no_room: u64,
}

impl LeftOut {
    /// Returns how much is left out, for whatever reason.
    pub fn total(&self) -> u64 {
        let Self { not_admitted, family_not_served, no_port, no_host, expired, no_room } = *self;
        not_admitted + family_not_served + no_port + no_host + expired + no_room
    }
}

impl<F: Flavour> Tracker<F> {
    /// Takes over a torrent that another tracker knows, and counts what has come of it.
    ///
    /// Of a peer and what is known of it here, the younger one counts; of two of the same minute, the other tracker's.
    /// But whoever has completed the download here some minutes before at most, of which the other tracker does not
    /// know, still has everything. Of two numbers of downloads, the larger. A peer's download stays counted. It counts
    /// as published when it was last heard of, and nothing is published. What would be refused to clients is left out;
    /// a peer of an address that has as many as it may displaces the oldest of them. A torrent of whose peers none is
    /// taken over keeps its downloads, for as long as it would if they had just expired.
    ///
    /// Locks one shard, for at most [`MAX_MERGED`] peers at a time.
    pub fn merge(&self, torrent: &KnownTorrent<'_>, now: Minute, counts: &mut MergeCounts) {
        if !self.flavour().admission().admits(&torrent.info_hash) {
            counts.left_out.not_admitted += torrent.peers.len().max(1) as u64;
        } else if torrent.peers.is_empty() {
            self.merge_empty(torrent, now, counts);
        } else {
            torrent.peers.chunks(MAX_MERGED).for_each(|peers| {
                self.merge_peers(&KnownTorrent { peers, ..*torrent }, now, counts);
            });
        }
    }

    /// Takes over a torrent that has no peers.
    fn merge_empty(&self, torrent: &KnownTorrent<'_>, now: Minute, counts: &mut MergeCounts) {
        if torrent.empty_for > TORRENT_LIFETIME {
            counts.left_out.expired += 1;
        } else if self.merge_downloads(torrent, torrent.empty_for, now, counts).is_err() {
            counts.left_out.no_room += 1;
        }
    }

    /// Takes over the downloads of a torrent that has been heard of `age` minutes ago.
    fn merge_downloads(
        &self,
        torrent: &KnownTorrent<'_>,
        age: u32,
        now: Minute,
        counts: &mut MergeCounts,
    ) -> Result<(), Full> {
        let mut locked = self.store().lock(&torrent.info_hash);
        if torrent.downloaded == 0 {
            // Without downloads and peers it is not added.
            locked.modify(now, |known, _| heard_of(known, minute_of(age, now)));
            return Ok(());
        }
        counts.torrents += u64::from(locked.torrent().is_none());
        locked
            .upsert(&torrent.info_hash, now, |known, _, _| {
                counts.downloads += raise(known, torrent.downloaded);
                heard_of(known, minute_of(age, now));
            })
            .inspect_err(|Full| counts.torrents -= 1)
    }

    /// Takes over some peers of a torrent under one lock.
    fn merge_peers(&self, torrent: &KnownTorrent<'_>, now: Minute, counts: &mut MergeCounts) {
        let KnownTorrent { info_hash, downloaded, peers, .. } = *torrent;
        let lifetime = self.intervals().peer_lifetime();
        let age = peers.iter().map(|peer| peer.age).min().unwrap_or(0);
        let mut locked = self.store().lock(&info_hash);
        let was_there = locked.torrent().is_some();
        let limit = locked.address_limit(now);
        let mut some = false;
        for peer in peers {
            if let Some(reason) = refusal::<F>(peer, lifetime, &mut counts.left_out) {
                *reason += 1;
                continue;
            }
            some = true;
            let stop = if F::Cluster::REMEMBERS_STOPS { locked.stop_of(peer.endpoint, now) } else { None };
            let is_late = stop.is_some_and(|stop| stop.precedes(minute_of(peer.age, now), None, false));
            let merged = locked.upsert_next(&info_hash, now, |known, key, room| {
                let merged = merge_peer(known, key, peer, is_late, limit, room);
                counts.downloads += raise(known, downloaded);
                heard_of(known, minute_of(age, now));
                merged
            });
            match merged.unwrap_or(Merged::NoRoom) {
                Merged::Added => counts.peers += 1,
                Merged::AddedForAnother => {
                    counts.peers += 1;
                    counts.displaced += 1;
                }
                Merged::Refreshed => counts.refreshed += 1,
                Merged::Outdated => counts.outdated += 1,
                Merged::NoRoom => counts.left_out.no_room += 1,
            }
        }
        if some {
            counts.torrents += u64::from(!was_there && locked.is_there(&info_hash));
            return;
        }
        drop(locked);
        if age <= TORRENT_LIFETIME {
            // Its peers are counted as left out already.
            let _ = self.merge_downloads(torrent, age, now, counts);
        }
    }

    /// Takes over that a peer has left, unless something younger is known of it here: it is removed. Its torrent is
    /// kept for its downloads, if there are any. Locks one shard.
    pub fn merge_departure(&self, departure: &KnownDeparture, now: Minute, counts: &mut MergeCounts) {
        let KnownDeparture { info_hash, endpoint, downloaded, age } = *departure;
        if !self.flavour().admission().admits(&info_hash) {
            counts.left_out.not_admitted += 1;
            return;
        }
        let left = minute_of(age, now);
        let mut locked = self.store().lock(&info_hash);
        let departed = locked.modify(now, |torrent, key| {
            let known = torrent.peers.state(key, endpoint);
            let is_outdated = known.is_some_and(|known| known.seen(now) > left);
            let removed = if is_outdated { None } else { torrent.peers.remove(key, endpoint) };
            counts.downloads += raise(torrent, downloaded);
            heard_of(torrent, left);
            (removed, is_outdated)
        });
        if F::Cluster::REMEMBERS_STOPS && departed.is_none_or(|(_, is_outdated)| !is_outdated) {
            let counted = departed.and_then(|(removed, _)| removed).is_some_and(PeerState::completed);
            locked.note_stop(endpoint, Stop::new(left, None, counted), now);
        }
        drop(locked);
        match departed {
            Some((removed, _)) => counts.departed += u64::from(removed.is_some()),
            None if age > TORRENT_LIFETIME => counts.left_out.expired += 1,
            None => {
                let torrent = KnownTorrent { info_hash, downloaded, empty_for: age, peers: &[] };
                let merged = self.merge_downloads(&torrent, age, now, counts);
                counts.left_out.no_room += u64::from(merged.is_err());
            }
        }
    }
}

/// What has come of a peer.
enum Merged {
    Added,
    AddedForAnother,
    Refreshed,
    Outdated,
    NoRoom,
}

/// Returns the count of those who are left out for the same reason as the peer; `None` if no reason is known before its
/// torrent has been looked at.
fn refusal<'a, F: Flavour>(peer: &KnownPeer, lifetime: u32, left_out: &'a mut LeftOut) -> Option<&'a mut u64> {
    if !F::Families::serves(peer.endpoint.ip()) {
        Some(&mut left_out.family_not_served)
    } else if peer.endpoint.port() == 0 {
        Some(&mut left_out.no_port)
    } else if !is_host(peer.endpoint.ip()) {
        Some(&mut left_out.no_host)
    } else if peer.age > lifetime {
        Some(&mut left_out.expired)
    } else {
        None
    }
}

/// Takes a peer over into its torrent; one that is not known there and has stopped since is not.
fn merge_peer<F: AddressFamilies>(
    torrent: &mut Torrent<F>,
    key: &HashKey,
    peer: &KnownPeer,
    is_late: bool,
    limit: AddressLimit,
    room: bool,
) -> Merged {
    let KnownPeer { endpoint, seeder, completed, age } = *peer;
    let (now, seen) = (limit.now(), minute_of(age, limit.now()));
    let known = torrent.peers.state(key, endpoint);
    match known {
        None if is_late => Merged::Outdated,
        None if !room && !torrent.peers.has_place(key, endpoint, limit) => Merged::NoRoom,
        None => {
            let mut merged = Merged::Added;
            torrent.peers.upsert(key, endpoint, seeder, limit, |before| {
                if matches!(before, Before::Displaced(_)) {
                    merged = Merged::AddedForAnother;
                }
                PeerState::new(seen, seeder, completed)
            });
            merged
        }
        Some(known) if known.seen(now) > seen => {
            // That its download has been counted holds all the same.
            if completed && !known.completed() {
                torrent.peers.upsert(key, endpoint, known.seeder(), limit, |_| known.with_download_counted());
            }
            Merged::Outdated
        }
        Some(known) => {
            // Whoever has completed it here a moment ago was heard of there before that.
            let completes = known.seeder() && known.completed() && !completed;
            let seeder = seeder || completes && seen.since(known.seen(now)) <= DOUBT;
            let state = PeerState::new(seen, seeder, completed || known.completed());
            torrent.peers.upsert(key, endpoint, seeder, limit, |_| state);
            Merged::Refreshed
        }
    }
}

/// Sets the torrent's downloads if these are more. Returns how many more.
fn raise<F: AddressFamilies>(torrent: &mut Torrent<F>, downloaded: u32) -> u64 {
    let more = downloaded.saturating_sub(torrent.downloaded);
    torrent.downloaded += more;
    u64::from(more)
}

/// Sets that a torrent without peers has been heard of in this minute, if it has not been later.
fn heard_of<F: AddressFamilies>(torrent: &mut Torrent<F>, minute: Minute) {
    if let Some(since) = torrent.peers.empty_since() {
        torrent.peers.set_empty_since(since.max(minute));
    }
}

/// Returns the minute that was so many minutes ago.
fn minute_of(age: u32, now: Minute) -> Minute {
    Minute(now.0.saturating_sub(age))
}

#[cfg(test)]
mod tests;
