//! How many peers each address has in a large swarm, as exactly as it matters.
//!
//! Most addresses have one peer, and of these nobody is to keep a list. So there are a few cells, each counting the
//! peers of all addresses that a keyed hash assigns to it. While a cell counts fewer peers than one address may have,
//! no address in it has too many. When it counts as many, the peers of the swarm are looked at once, and the
//! addresses that have most of the cell's peers are taken out of it: each is a crowd from then on, whose peers are
//! known one by one.
//!
//! An address may have a sixteenth of the swarm, and a cell counts a sixty-fourth of it on average. So a cell is not
//! full unless few addresses make it full; and after they are taken out, it takes half a limit of newcomers to fill it
//! again: to look at all peers costs each of these newcomers some 32 peers to look at, however large the swarm.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::address_limit::AddressLimit;
use super::clock::Minute;
use super::keyed_hash::HashKey;
use super::peer::Peer;
use super::tables::Tables;

/// How many cells there are.
const CELLS: usize = 64;
/// A crowd of less than this part of its swarm is one no longer.
const MIN_CROWD_PART: usize = 256;
/// Known peers of a crowd that are looked up to find the oldest. Only who has announced itself since it was last
/// looked up takes more than one step; if all have, it is the oldest of these.
const MAX_STEPS: usize = 128;

/// How many sightings a crowd has room for, at least, beyond those that it has.
const MIN_SPARE: usize = 16;

/// Counts the peers of a swarm by address.
#[derive(Debug)]
pub(super) struct Tally<P> {
    /// How many peers of each cell are of no crowd.
    cells: [u32; CELLS],
    /// In the order of their addresses' hashes.
    crowds: Vec<Crowd<P>>,
    peers_per_address: u32,
}

/// An address with many peers.
#[derive(Debug)]
pub(super) struct Crowd<P> {
    /// The keyed hash of the address.
    address: u64,
    /// How many peers it has.
    count: usize,
    /// The oldest first. Each of its peers is among them with a minute in which it was seen, perhaps not the last; so
    /// may be some who have left, and some twice.
    sightings: BinaryHeap<Sighting<P>>,
}

/// That a peer was there.
#[derive(Debug, Clone, Copy)]
struct Sighting<P> {
    minute: Minute,
    peer: P,
}

impl<P: Peer> Tally<P> {
    /// Counts the peers of a swarm, to keep a limit in it.
    pub(super) fn new(key: &HashKey, swarm: &Tables<P>, limit: AddressLimit) -> Self {
        let mut tally = Self { cells: [0; CELLS], crowds: Vec::new(), peers_per_address: limit.peers_per_address() };
        swarm.peers().for_each(|peer| tally.change_cell(peer.address_hash(key), 1));
        tally
    }

    /// Returns the limit, as it is in this minute.
    pub(super) fn limit(&self, now: Minute) -> AddressLimit {
        AddressLimit::new(self.peers_per_address, now)
    }

    /// Counts a peer that has come to the swarm.
    pub(super) fn add(&mut self, key: &HashKey, swarm: &Tables<P>, peer: P, now: Minute) {
        let address = peer.address_hash(key);
        match self.crowd_mut(address) {
            Some(crowd) => crowd.add(key, swarm, peer, now),
            None => self.change_cell(address, 1),
        }
    }

    /// No longer counts a peer that has left a swarm of so many.
    pub(super) fn remove(&mut self, key: &HashKey, peer: &P, peers: usize) {
        let address = peer.address_hash(key);
        let Ok(at) = self.position(address) else { return self.change_cell(address, -1) };
        let Some(crowd) = self.crowds.get_mut(at) else { return };
        crowd.count -= 1;
        let count = crowd.count;
        if count <= (peers / MIN_CROWD_PART).max(1) {
            self.crowds.remove(at);
            self.change_cell(address, i32::try_from(count).unwrap_or(i32::MAX));
        }
    }

    /// Returns the crowd of the address of `peer`, if that has `most` peers or more.
    pub(super) fn full_crowd(
        &mut self,
        key: &HashKey,
        swarm: &Tables<P>,
        peer: &P,
        most: usize,
        now: Minute,
    ) -> Option<&mut Crowd<P>> {
        let address = peer.address_hash(key);
        if self.position(address).is_err() {
            let cell = cell_of(address);
            if self.cell(cell) < most {
                return None;
            }
            self.empty_cell(key, swarm, cell, most / 2, now);
        }
        self.crowd_mut(address).filter(|crowd| crowd.count >= most)
    }

    /// Returns a peer of each address that has more than `most` peers, and how many more. Whoever it returns may have
    /// left.
    pub(super) fn excess(&mut self, key: &HashKey, swarm: &Tables<P>, most: usize, now: Minute) -> Vec<(P, usize)> {
        for cell in 0..CELLS {
            if self.cell(cell) > most {
                self.empty_cell(key, swarm, cell, most / 2, now);
            }
        }
        let crowds = self.crowds.iter().filter(|crowd| crowd.count > most);
        crowds.filter_map(|crowd| Some((crowd.sightings.peek()?.peer, crowd.count - most))).collect()
    }

    /// Makes crowds of those addresses of a cell that have most peers, until at most `rest` peers are left in it.
    /// Looks at all peers of the swarm.
    #[cold]
    fn empty_cell(&mut self, key: &HashKey, swarm: &Tables<P>, cell: usize, rest: usize, now: Minute) {
        #[cfg(test)]
        tests::LOOKED_AT.set(tests::LOOKED_AT.get() + swarm.counts().peers());
        let with_address = swarm.peers().map(|peer| (peer.address_hash(key), peer));
        let mut found: Vec<_> =
            with_address.filter(|(address, _)| cell_of(*address) == cell && self.position(*address).is_err()).collect();
        debug_assert_eq!(self.cell(cell), found.len(), "the count of cell {cell}");
        found.sort_unstable_by_key(|(address, _)| *address);
        let mut addresses: Vec<_> = found.chunk_by(|(one, _), (other, _)| one == other).collect();
        addresses.sort_unstable_by_key(|peers| Reverse(peers.len()));
        let mut left = found.len();
        for peers in addresses {
            let Some((address, _)) = peers.first().filter(|_| left > rest) else { break };
            let Err(at) = self.position(*address) else { continue };
            left -= peers.len();
            let sightings = peers.iter().map(|(_, peer)| Sighting::of(**peer, now));
            self.crowds.insert(at, Crowd { address: *address, count: peers.len(), sightings: sightings.collect() });
        }
        if let Some(count) = self.cells.get_mut(cell) {
            *count = u32::try_from(left).unwrap_or(u32::MAX);
        }
    }

    fn cell(&self, cell: usize) -> usize {
        self.cells.get(cell).map_or(0, |count| *count as usize)
    }

    fn change_cell(&mut self, address: u64, by: i32) {
        if let Some(count) = self.cells.get_mut(cell_of(address)) {
            *count = count.saturating_add_signed(by);
        }
    }

    fn crowd_mut(&mut self, address: u64) -> Option<&mut Crowd<P>> {
        let at = self.position(address).ok()?;
        self.crowds.get_mut(at)
    }

    /// Returns the position of an address's crowd, or the one where it would be.
    fn position(&self, address: u64) -> Result<usize, usize> {
        self.crowds.binary_search_by_key(&address, |crowd| crowd.address)
    }
}

impl<P: Peer> Crowd<P> {
    /// Returns the peer that has been silent for longest, to be removed.
    pub(super) fn oldest(&mut self, key: &HashKey, swarm: &Tables<P>, now: Minute) -> Option<P> {
        let mut oldest: Option<Sighting<P>> = None;
        let mut steps = 0;
        while let Some(Sighting { minute, peer }) = self.sightings.pop() {
            // Whoever has left is passed over once.
            let Some(found) = swarm.get(key, &peer) else { continue };
            let seen = Sighting::of(*found, now);
            if seen.minute <= minute {
                // All others were seen later, or in the same minute.
                return Some(*found);
            }
            if oldest.as_ref().is_none_or(|oldest| seen.minute < oldest.minute) {
                oldest = Some(seen);
            }
            self.sightings.push(seen);
            steps += 1;
            if steps == MAX_STEPS {
                break;
            }
        }
        oldest.map(|oldest| oldest.peer)
    }

    fn add(&mut self, key: &HashKey, swarm: &Tables<P>, peer: P, now: Minute) {
        self.count += 1;
        // A vector that grows by itself would take twice as much, and up to half of it for who has left.
        let spare = self.count / 4 + MIN_SPARE;
        if self.sightings.len() == self.sightings.capacity() || self.sightings.capacity() > 2 * (self.count + spare) {
            if self.sightings.len() > self.count + spare / 2 {
                self.drop_stale(key, swarm, now);
            }
            self.sightings.shrink_to(self.sightings.len() + spare);
            self.sightings.reserve_exact(spare);
        }
        self.sightings.push(Sighting::of(peer, now));
    }

    /// Drops the sightings of those who have left, and all but one of each other peer.
    fn drop_stale(&mut self, key: &HashKey, swarm: &Tables<P>, now: Minute) {
        let sightings = std::mem::take(&mut self.sightings).into_iter();
        let mut there: Vec<_> = sightings.filter_map(|sighting| swarm.get(key, &sighting.peer)).collect();
        there.sort_unstable_by_key(|peer| peer.endpoint());
        there.dedup_by_key(|peer| peer.endpoint());
        self.sightings = there.into_iter().map(|peer| Sighting::of(*peer, now)).collect();
    }
}

impl<P: Peer> Sighting<P> {
    /// Returns the last one of this peer.
    fn of(peer: P, now: Minute) -> Self {
        Self { minute: peer.state().seen(now), peer }
    }
}

/// Returns the cell of an address, by its hash.
fn cell_of(address: u64) -> usize {
    (address >> 32) as usize % CELLS
}

/// The oldest is the greatest, since that is what a heap gives first.
impl<P> Ord for Sighting<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.minute.cmp(&self.minute)
    }
}

impl<P> PartialOrd for Sighting<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for Sighting<P> {
    fn eq(&self, other: &Self) -> bool {
        self.minute == other.minute
    }
}

impl<P> Eq for Sighting<P> {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tracker::counts::SwarmCounts;
    use crate::tracker::peer::{PeerState, PeerV4};
    use std::net::{Ipv4Addr, SocketAddr};

    thread_local! {
        /// How many peers have been looked at to find crowds.
        pub(in super::super) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn a_crowd_whose_peers_come_and_go_has_room_for_few_more_sightings_than_peers() {
        let key = HashKey::from_bytes(&[7; 48]);
        let now = Minute(1000);
        let peer_at =
            |n: u32| PeerV4::at(SocketAddr::from((Ipv4Addr::from(n >> 15), (n % (1 << 15)) as u16 + 1))).unwrap();
        let mut swarm = Tables::with_room_for(SwarmCounts::default());
        let mut crowd = Crowd { address: 0, count: 0, sightings: BinaryHeap::new() };
        let mut most = 0;
        for n in 0..60_000 {
            let peer = peer_at(n).with_state(PeerState::new(now, false, false));
            swarm.insert(&key, peer);
            crowd.add(&key, &swarm, peer, now);
            most = crowd.count + crowd.count / 4 + MIN_SPARE;
            assert!(crowd.sightings.capacity() <= 2 * most, "{n}");
            // First all stay, then most go, then as many come as go.
            let gone = match n {
                0..30_000 => 0..0,
                30_000 => 0..29_000,
                _ => n - 1001..n - 1000,
            };
            for left in gone {
                swarm.remove(&key, &peer_at(left)).unwrap();
                crowd.count -= 1;
            }
        }
        assert!(crowd.sightings.capacity() <= most + MIN_SPARE, "{} for {}", crowd.sightings.capacity(), crowd.count);
    }

    impl<P: Peer> Tally<P> {
        /// Asserts that it has counted these peers, and knows all those of crowds.
        pub(in super::super) fn assert_counts(&self, key: &HashKey, peers: &[P], now: Minute) {
            let mut cells = [0; CELLS];
            let mut crowds = vec![0; self.crowds.len()];
            for peer in peers {
                let address = peer.address_hash(key);
                let Ok(at) = self.position(address) else {
                    cells[cell_of(address)] += 1;
                    continue;
                };
                crowds[at] += 1;
                let known = |sighting: &&Sighting<P>| {
                    sighting.peer.same_endpoint(peer) && sighting.minute <= peer.state().seen(now)
                };
                assert!(self.crowds[at].sightings.iter().any(|sighting| known(&sighting)), "{peer:?} is not known");
            }
            assert_eq!(self.cells, cells);
            assert!(self.crowds.iter().map(|crowd| crowd.count).eq(crowds));
            assert!(self.crowds.is_sorted_by_key(|crowd| crowd.address));
        }
    }
}
