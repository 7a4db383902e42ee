//! The peers of one torrent and one address family, in a form that fits their number.
//!
//! | form | peers | where | finding one |
//! |---|---|---|---|
//! | `Empty` | 0 | in the torrent's entry, with the minute since when | - |
//! | `Few` | 1 or 2 (IPv6: 1), as most torrents have | in the torrent's entry | by looking |
//! | `Packed` | up to 64 | an array, seeders first | by looking |
//! | `Hashed` | more | two hash tables, seeders and leechers | by hash |
//!
//! Seeders and leechers stand apart wherever there are many, so that their numbers need no counting, and a seeder
//! finds the one leecher among a million seeders at once.

use std::ops::RangeInclusive;

use super::address_limit::{AddressLimit, Before, of_address};
use super::clock::{Expiry, Minute};
use super::counts::SwarmCounts;
use super::hashed::Hashed;
use super::keyed_hash::HashKey;
use super::peer::{Peer, PeerState, PeerV4, PeerV6};
use super::prefetch::{prefetch, prefetch_first};
use super::select::{Plan, Preference, Requester};

/// A packed array becomes hash tables beyond this many peers: looking through more costs more than hashing.
const MAX_PACKED: usize = 64;
/// Hash tables become a packed array below this many. Lower, so that a swarm does not change form to and fro.
const MIN_HASHED: usize = 40;

/// The peers of one torrent and one address family: 24 bytes in the torrent's entry, and what the form has outside.
#[derive(Debug)]
pub struct Swarm<P: Peer>(Form<P>);

const _: () = assert!(size_of::<Swarm<PeerV4>>() <= 24 && size_of::<Swarm<PeerV6>>() <= 24);

#[derive(Debug)]
enum Form<P: Peer> {
    Empty { since: Minute },
    Few { len: u8, peers: P::Few },
    Packed { seeders: u8, len: u8, room: Box<[P]> },
    Hashed(Box<Hashed<P>>),
}

impl<P: Peer> Default for Swarm<P> {
    fn default() -> Self {
        Self(Form::Empty { since: Minute::default() })
    }
}

impl<P: Peer> Swarm<P> {
    /// Returns how many peers of each kind there are.
    pub fn counts(&self) -> SwarmCounts {
        match &self.0 {
            Form::Empty { .. } => SwarmCounts::default(),
            Form::Few { .. } => {
                let seeders = self.slice().iter().filter(|peer| peer.state().seeder()).count();
                SwarmCounts { seeders, leechers: self.slice().len() - seeders }
            }
            Form::Packed { seeders, len, .. } => {
                SwarmCounts { seeders: usize::from(*seeders), leechers: usize::from(len - seeders) }
            }
            Form::Hashed(hashed) => hashed.tables.counts(),
        }
    }

    /// Returns since when there has been no peer; `None` while there is one.
    pub fn empty_since(&self) -> Option<Minute> {
        match self.0 {
            Form::Empty { since } => Some(since),
            _ => None,
        }
    }

    /// Sets since when there has been no peer. Does nothing while there is one.
    pub fn set_empty_since(&mut self, minute: Minute) {
        if let Form::Empty { since } = &mut self.0 {
            *since = minute;
        }
    }

    /// Adds `peer`, or refreshes its state. `state` is called once with who had its place before, and returns its new
    /// state, whose seeder flag is `seeder`.
    ///
    /// A newcomer at an address that has as many peers as `limit` allows takes the place of the one of them that has
    /// been silent for longest. Costs the same in a swarm of a million as in one of a hundred.
    pub fn upsert(
        &mut self,
        key: &HashKey,
        peer: P,
        seeder: bool,
        limit: AddressLimit,
        state: impl FnOnce(Before) -> PeerState,
    ) {
        if let Form::Hashed(hashed) = &mut self.0 {
            return hashed.upsert(key, peer, seeder, limit, state);
        }
        match self.slice_mut().iter_mut().find(|found| found.same_endpoint(&peer)) {
            Some(found) if found.state().seeder() == seeder => {
                *found = peer.with_state(state(Before::Itself(found.state())));
            }
            Some(found) => {
                let old = found.state();
                self.remove(key, &peer);
                self.insert(key, peer.with_state(state(Before::Itself(old))));
            }
            None => {
                let peers = self.slice().len();
                let before = limit.displace(peers, |most| self.remove_oldest(&peer, most, limit.now()));
                self.insert(key, peer.with_state(state(before)));
            }
        }
    }

    /// Returns whether [`Self::upsert`] makes no more peers than there are: the peer is there, or displaces another.
    pub fn has_place(&mut self, key: &HashKey, peer: &P, limit: AddressLimit) -> bool {
        let peers = self.counts().peers();
        let most = limit.among(peers);
        self.contains(key, peer)
            || peers >= most
                && match &mut self.0 {
                    Form::Hashed(hashed) => hashed.is_full(key, peer, most, limit),
                    _ => of_address(self.slice().iter(), peer, limit.now()).0 >= most,
                }
    }

    /// Removes the peer at `endpoint`'s address and port, and returns it. An emptied swarm has been empty since
    /// minute 0: see [`Self::set_empty_since`].
    pub fn remove(&mut self, key: &HashKey, endpoint: &P) -> Option<P> {
        let removed = match &mut self.0 {
            Form::Hashed(hashed) => hashed.remove(key, endpoint),
            _ => {
                let at = self.slice_mut().iter().position(|peer| peer.same_endpoint(endpoint))?;
                Some(self.remove_at(at))
            }
        };
        self.shrink();
        removed
    }

    /// Returns the state of the peer at `endpoint`'s address and port, if there is one.
    pub fn state(&self, key: &HashKey, endpoint: &P) -> Option<PeerState> {
        match &self.0 {
            Form::Hashed(hashed) => hashed.tables.get(key, endpoint).map(P::state),
            _ => self.slice().iter().find(|peer| peer.same_endpoint(endpoint)).map(P::state),
        }
    }

    /// Returns whether there is a peer at `endpoint`'s address and port.
    pub fn contains(&self, key: &HashKey, endpoint: &P) -> bool {
        match &self.0 {
            Form::Hashed(hashed) => hashed.tables.contains(key, endpoint),
            _ => self.slice().iter().any(|peer| peer.same_endpoint(endpoint)),
        }
    }

    /// Writes the compact form of a random selection of `wanted` peers to the beginning of `out`, or of all eligible
    /// ones if there are fewer, and returns the number of bytes. The requester itself is not eligible; which others
    /// are, and which come first, its preference says.
    ///
    /// `out` takes `P::WIDE - P::COMPACT` bytes more than the peers do; where it is shorter, fewer peers are selected.
    #[inline]
    pub fn select(&self, requester: &Requester<P>, plan: &Plan, wanted: usize, out: &mut [u8]) -> usize {
        match requester.preference {
            Preference::Any => self.select_any(requester, plan, wanted, out),
            _ => self.select_leechers(requester, plan, wanted, out),
        }
    }

    /// Selects peers of both kinds, in proportion to their numbers.
    fn select_any(&self, requester: &Requester<P>, plan: &Plan, wanted: usize, out: &mut [u8]) -> usize {
        let itself = requester.endpoint.unwrap_or_default();
        match &self.0 {
            Form::Empty { .. } => 0,
            Form::Few { .. } => write_few(self.slice().iter().filter(|peer| !peer.same_endpoint(&itself)), wanted, out),
            Form::Packed { .. } => {
                let present = self.slice().len() - usize::from(requester.endpoint.is_some());
                plan.of_leechers(wanted, present).take(self.slice(), &itself, out)
            }
            Form::Hashed(hashed) => hashed.tables.select(requester, plan, wanted, out),
        }
    }

    /// Selects leechers, and seeders if the requester takes these as well where there are too few leechers.
    #[inline(never)] // So that what most clients ask for stays short.
    fn select_leechers(&self, requester: &Requester<P>, plan: &Plan, wanted: usize, out: &mut [u8]) -> usize {
        let itself = requester.endpoint.unwrap_or_default();
        match &self.0 {
            Form::Empty { .. } => 0,
            Form::Few { .. } => {
                // There are at most two: where leechers are too few for what is wanted, all others are wanted.
                let leechers_only =
                    requester.preference == Preference::LeechersOnly || self.counts().leechers >= wanted;
                let eligible = |peer: &&P| !(peer.same_endpoint(&itself) || leechers_only && peer.state().seeder());
                write_few(self.slice().iter().filter(eligible), wanted, out)
            }
            Form::Packed { seeders, .. } => {
                let (seeders, leechers) = self.slice().split_at_checked(usize::from(*seeders)).unwrap_or_default();
                let others = requester.others(self.counts());
                let [of_seeders, of_leechers] = plan.selections(requester.preference, wanted, others);
                let written = of_leechers.take(leechers, &itself, out);
                written + of_seeders.take(seeders, &itself, out.get_mut(written..).unwrap_or_default())
            }
            Form::Hashed(hashed) => hashed.tables.select(requester, plan, wanted, out),
        }
    }

    /// Begins to fetch what says where the peers of a large swarm stand, and how many there are.
    #[inline]
    pub fn prefetch(&self) {
        if let Form::Hashed(hashed) = &self.0 {
            prefetch(&**hashed);
        }
    }

    /// Begins to fetch what [`Self::upsert`] of `peer` will look at, and what [`Self::select`] will with the same plan.
    #[inline]
    pub fn prefetch_peers(&self, key: &HashKey, peer: &P, preference: Preference, plan: &Plan, wanted: usize) {
        match &self.0 {
            Form::Empty { .. } | Form::Few { .. } => {}
            // All of it is looked through.
            Form::Packed { room, .. } => prefetch_first(room, usize::MAX),
            Form::Hashed(hashed) => hashed.tables.prefetch_peers(key, peer, preference, plan, wanted),
        }
    }

    /// Returns how many slots a walk over all peers looks at.
    pub fn slots(&self) -> usize {
        match &self.0 {
            Form::Hashed(hashed) => hashed.tables.slots(),
            _ => self.slice().len(),
        }
    }

    /// Visits the peers whose hashes are in `range`, each once. A peer keeps its hash wherever it moves: a walk that
    /// goes through all hashes, range by range, misses none that stays.
    pub fn walk(&self, key: &HashKey, range: &RangeInclusive<u64>, visit: impl FnMut(&P)) {
        match &self.0 {
            Form::Hashed(hashed) => hashed.tables.walk(key, range, visit),
            _ if *range == (0..=u64::MAX) => self.slice().iter().for_each(visit),
            _ => self.slice().iter().filter(|peer| range.contains(&peer.hash(key))).for_each(visit),
        }
    }

    /// Removes the expired ones among about `budget` peers from `from` on (0 to begin with). Returns where to go on;
    /// `None` at the end. A swarm that this empties was last heard of one lifetime ago.
    pub fn expire(&mut self, key: &HashKey, expiry: Expiry, from: usize, budget: usize) -> Option<usize> {
        if matches!(self.0, Form::Empty { .. }) {
            return None;
        }
        let rest = match &mut self.0 {
            Form::Hashed(hashed) => hashed.expire(key, expiry, from, budget),
            _ => {
                let mut at = 0;
                while let Some(peer) = self.slice_mut().get(at) {
                    if peer.state().expired(expiry) {
                        self.remove_at(at);
                    } else {
                        at += 1;
                    }
                }
                None
            }
        };
        if rest.is_none() {
            self.shrink();
            self.set_empty_since(expiry.last_heard_of());
        }
        rest
    }

    /// Returns how many minutes ago the peer was heard of that was heard of last. In a swarm of hash tables somebody is
    /// heard of every minute, so for these it returns 0 and looks at none.
    pub fn quiet_for(&self, now: Minute) -> u32 {
        match &self.0 {
            Form::Empty { since } => return now.since(*since),
            Form::Few { .. } | Form::Packed { .. } => {}
            Form::Hashed(_) => return 0,
        }
        self.slice().iter().map(|peer| peer.state().age(now)).min().unwrap_or(0)
    }

    /// Removes all peers, of whom none has been heard of since `since`. A swarm that is empty already stays as it is.
    pub fn clear(&mut self, since: Minute) {
        if self.empty_since().is_none() {
            self.0 = Form::Empty { since };
        }
    }

    /// Returns the peers, if the form is one that is searched from end to end; none otherwise.
    fn slice(&self) -> &[P] {
        let (len, room) = match &self.0 {
            Form::Few { len, peers } => (len, peers.as_ref()),
            Form::Packed { len, room, .. } => (len, &**room),
            Form::Empty { .. } | Form::Hashed(_) => return &[],
        };
        debug_assert!(usize::from(*len) <= room.len(), "{len} peers in {} places", room.len());
        room.get(..usize::from(*len)).unwrap_or_default()
    }

    /// Returns the same peers as [`Self::slice`], to be changed.
    fn slice_mut(&mut self) -> &mut [P] {
        let (len, room) = match &mut self.0 {
            Form::Few { len, peers } => (len, peers.as_mut()),
            Form::Packed { len, room, .. } => (len, &mut **room),
            Form::Empty { .. } | Form::Hashed(_) => return &mut [],
        };
        debug_assert!(usize::from(*len) <= room.len(), "{len} peers in {} places", room.len());
        room.get_mut(..usize::from(*len)).unwrap_or_default()
    }

    /// Adds a peer that is not there yet. Changes to a larger form if the present one is full.
    fn insert(&mut self, key: &HashKey, peer: P) {
        debug_assert!(!peer.is_vacant() && !self.contains(key, &peer), "{peer:?} is inserted twice");
        match &mut self.0 {
            Form::Empty { .. } => {
                let mut peers = P::Few::default();
                if let Some(first) = peers.as_mut().first_mut() {
                    *first = peer;
                }
                self.0 = Form::Few { len: 1, peers };
            }
            Form::Few { len, peers } => {
                if let Some(vacant) = peers.as_mut().get_mut(usize::from(*len)) {
                    *vacant = peer;
                    *len += 1;
                } else {
                    self.0 = Form::packed(peers.as_ref());
                    self.insert(key, peer);
                }
            }
            Form::Packed { len, .. } if usize::from(*len) >= MAX_PACKED => {
                let mut hashed = Hashed::with_room_for(self.counts());
                for old in self.slice_mut() {
                    hashed.tables.insert(key, *old);
                }
                hashed.tables.insert(key, peer);
                self.0 = Form::Hashed(Box::new(hashed));
            }
            Form::Packed { seeders, len, room } => push(seeders, len, room, peer),
            Form::Hashed(hashed) => hashed.tables.insert(key, peer),
        }
    }

    /// Removes the oldest peer of the newcomer's address from [`Self::slice`], without changing the form, if that
    /// address has at least `most` peers. Returns its state.
    fn remove_oldest(&mut self, newcomer: &P, most: usize, now: Minute) -> Option<PeerState> {
        let (count, oldest) = of_address(self.slice().iter(), newcomer, now);
        let oldest = *oldest.filter(|_| count >= most)?;
        let at = self.slice().iter().position(|peer| peer.same_endpoint(&oldest))?;
        Some(self.remove_at(at).state())
    }

    /// Removes the peer at a position of [`Self::slice`], without changing the form. Returns it.
    fn remove_at(&mut self, at: usize) -> P {
        match &mut self.0 {
            Form::Few { len, peers } => {
                let last = usize::from(*len) - 1;
                peers.as_mut().swap(at, last);
                *len -= 1;
                peers.as_ref().get(last).copied().unwrap_or_default()
            }
            Form::Packed { seeders, len, room } => {
                let mut at = at;
                if at < usize::from(*seeders) {
                    *seeders -= 1;
                    room.swap(at, usize::from(*seeders));
                    at = usize::from(*seeders);
                }
                *len -= 1;
                room.swap(at, usize::from(*len));
                room.get(usize::from(*len)).copied().unwrap_or_default()
            }
            Form::Empty { .. } | Form::Hashed(_) => {
                debug_assert!(false, "there is no position to remove from");
                P::default()
            }
        }
    }

    /// Changes to a smaller form if few peers are left, and gives memory back.
    fn shrink(&mut self) {
        match &mut self.0 {
            Form::Few { len: 0, .. } => self.0 = Form::Empty { since: Minute::default() },
            Form::Packed { len, room, .. } if usize::from(*len) <= P::Few::default().as_ref().len() => {
                let mut peers = P::Few::default();
                peers.as_mut().iter_mut().zip(room).for_each(|(place, peer)| *place = *peer);
                self.0 = Form::Few { len: *len, peers };
                self.shrink();
            }
            Form::Packed { len, room, .. } if room.len() > 2 * usize::from(*len) + 2 => {
                *room = with_room_for(usize::from(*len), room);
            }
            Form::Hashed(hashed) if hashed.tables.counts().peers() < MIN_HASHED => {
                let peers: Vec<P> = hashed.tables.peers().copied().collect();
                self.0 = Form::packed(&peers);
                self.shrink();
            }
            _ => {}
        }
    }
}

impl<P: Peer> Form<P> {
    /// Makes a packed array of these peers, with room for one more.
    fn packed(from: &[P]) -> Self {
        let (mut seeders, mut len, mut room) = (0, 0, with_room_for(from.len() + 1, &[]));
        from.iter().for_each(|peer| push(&mut seeders, &mut len, &mut room, *peer));
        Self::Packed { seeders, len, room }
    }
}

/// Writes the compact form of the first `wanted` of these peers, and returns the number of bytes.
fn write_few<'a, P: Peer>(peers: impl Iterator<Item = &'a P>, wanted: usize, out: &mut [u8]) -> usize {
    let mut written = 0;
    for peer in peers.take(wanted) {
        if peer.write_wide(out.get_mut(written..).unwrap_or_default()) {
            written += P::COMPACT;
        }
    }
    written
}

/// Adds a peer to a packed array, whose first `seeders` peers are the seeders.
fn push<P: Peer>(seeders: &mut u8, len: &mut u8, room: &mut Box<[P]>, peer: P) {
    let last = usize::from(*len);
    if last == room.len() {
        *room = with_room_for(last + 1, room);
    }
    let Some(place) = room.get_mut(last) else { return debug_assert!(false, "room has just been made") };
    *place = peer;
    *len += 1;
    if peer.state().seeder() {
        room.swap(usize::from(*seeders), last);
        *seeders += 1;
    }
}

/// Makes a packed array for `len` peers and up to a quarter more, and copies `peers` to its beginning. A vector that
/// grows by itself would take twice as much. An odd number of 8-byte peers fills what malloc hands out: steps of 16
/// bytes, less its own 8.
fn with_room_for<P: Peer>(len: usize, peers: &[P]) -> Box<[P]> {
    let mut room = vec![P::default(); (len + len / 4) | 1].into_boxed_slice();
    room.iter_mut().zip(peers).for_each(|(place, peer)| *place = *peer);
    room
}

#[cfg(test)]
mod tests;
