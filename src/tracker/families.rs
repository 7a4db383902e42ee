//! Which address families a tracker keeps: the plug point of `v6` and `dual-stack`.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;

use super::clock::Minute;
use super::counts::SwarmCounts;
use super::keyed_hash::{HashKey, portion};
use super::peer::{Peer, PeerState, PeerV4};
use super::select::Requester;
use super::swarm::Swarm;

/// The plug point: what a torrent keeps its peers in.
pub trait AddressFamilies: Send + Sync + 'static {
    /// The peers of one torrent.
    type Peers: TorrentPeers;

    /// Are IPv4 peers kept and IPv4 clients served?
    const IPV4: bool;
    /// The same for IPv6.
    const IPV6: bool;

    /// Does this tracker serve clients at such an address?
    fn serves(address: IpAddr) -> bool {
        if address.is_ipv4() { Self::IPV4 } else { Self::IPV6 }
    }
}

/// Stands where `v6` is off: IPv4 peers only.
#[derive(Debug)]
pub struct Ipv4Only;

impl AddressFamilies for Ipv4Only {
    type Peers = Swarm<PeerV4>;

    const IPV4: bool = true;
    const IPV6: bool = false;
}

/// Where the peers of a reply go, in compact form. A family that the client has no use for has no place.
#[derive(Debug)]
pub struct Handout<'a> {
    /// How many peers the client wants, of both families together.
    pub wanted: usize,
    /// 6 bytes each (BEP 23).
    pub ipv4: Option<&'a mut Vec<u8>>,
    /// 18 bytes each (BEP 7).
    pub ipv6: Option<&'a mut Vec<u8>>,
}

/// All peers of one torrent, of whatever families the tracker keeps.
pub trait TorrentPeers: Default + Send {
    /// How many peers of each kind.
    fn counts(&self) -> SwarmCounts;
    /// Since when there has been no peer; `None` while there is one.
    fn empty_since(&self) -> Option<Minute>;
    /// Notes the last time that a torrent without peers was heard of.
    fn set_empty_since(&mut self, minute: Minute);
    /// Returns the state of the peer at `endpoint`, if there is one.
    fn state(&self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState>;
    /// Is there a peer at `endpoint`?
    fn contains(&mut self, key: &HashKey, endpoint: SocketAddr) -> bool;
    /// Adds the peer at `endpoint` or refreshes its state: see [`Swarm::upsert`]. The seeder flag of the state that
    /// `state` makes is `seeder`.
    fn upsert(
        &mut self,
        key: &HashKey,
        endpoint: SocketAddr,
        seeder: bool,
        state: impl FnOnce(Option<PeerState>) -> PeerState,
    );
    /// Takes the peer at `endpoint` out; says with which state.
    fn remove(&mut self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState>;
    /// Begins to fetch what says where the peers stand: see [`Swarm::prefetch`].
    fn prefetch(&self);
    /// Begins to fetch the peers that [`Self::upsert`] and [`Self::hand_out`] will look at: see
    /// [`Swarm::prefetch_peers`].
    fn prefetch_peers(&self, key: &HashKey, requester: SocketAddr, seeder: bool, wanted: usize, rng: &Rng);
    /// Writes a random selection of peers: see [`Swarm::select`]. `requester` is where the client is, if it is one of
    /// them.
    fn hand_out(&self, requester: Option<SocketAddr>, seeder: bool, rng: &mut Rng, handout: &mut Handout<'_>);
    /// Shows the peers at about `most` places, from the one with the hash `from` on: 0 at the beginning. Returns where
    /// to go on; `None` at the end. Misses none that stays from the first portion to the last: see [`Swarm::walk`].
    fn walk(&self, key: &HashKey, from: u64, most: usize, visit: impl FnMut(SocketAddr, PeerState)) -> Option<u64>;
    /// Takes expired peers out in portions: see [`Swarm::expire`].
    fn expire(&mut self, key: &HashKey, now: Minute, from: usize, budget: usize) -> Option<usize>;
    /// Forgets every peer; none has been heard of since `since`.
    fn clear(&mut self, since: Minute);
    /// Minutes since any peer was heard of, looking at no more than a bounded number of them.
    fn quiet_for(&self, now: Minute) -> u32;
}

impl<P: Peer> TorrentPeers for Swarm<P> {
    fn counts(&self) -> SwarmCounts {
        self.counts()
    }

    fn empty_since(&self) -> Option<Minute> {
        self.empty_since()
    }

    fn set_empty_since(&mut self, minute: Minute) {
        self.set_empty_since(minute);
    }

    fn state(&self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState> {
        self.state(key, &P::at(endpoint)?)
    }

    fn contains(&mut self, key: &HashKey, endpoint: SocketAddr) -> bool {
        P::at(endpoint).is_some_and(|peer| self.contains(key, &peer))
    }

    #[inline]
    fn upsert(
        &mut self,
        key: &HashKey,
        endpoint: SocketAddr,
        seeder: bool,
        state: impl FnOnce(Option<PeerState>) -> PeerState,
    ) {
        if let Some(peer) = P::at(endpoint) {
            self.upsert(key, peer, seeder, state);
        }
    }

    fn remove(&mut self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState> {
        Some(self.remove(key, &P::at(endpoint)?)?.state())
    }

    #[inline]
    fn prefetch(&self) {
        self.prefetch();
    }

    #[inline]
    fn prefetch_peers(&self, key: &HashKey, requester: SocketAddr, seeder: bool, wanted: usize, rng: &Rng) {
        if let Some(peer) = P::at(requester) {
            self.prefetch_peers(key, &peer, seeder, wanted, rng.clone());
        }
    }

    #[inline]
    fn hand_out(&self, requester: Option<SocketAddr>, seeder: bool, rng: &mut Rng, handout: &mut Handout<'_>) {
        let out = if P::IPV6 { &mut handout.ipv6 } else { &mut handout.ipv4 };
        if let Some(out) = out {
            self.select(&Requester { endpoint: requester.and_then(P::at), seeder }, handout.wanted, rng, out);
        }
    }

    fn walk(&self, key: &HashKey, from: u64, most: usize, mut visit: impl FnMut(SocketAddr, PeerState)) -> Option<u64> {
        let range = portion(from, most, self.places());
        self.walk(key, &range, |peer| visit(peer.endpoint(), peer.state()));
        range.end().checked_add(1)
    }

    fn expire(&mut self, key: &HashKey, now: Minute, from: usize, budget: usize) -> Option<usize> {
        self.expire(key, now, from, budget)
    }

    fn clear(&mut self, since: Minute) {
        self.clear(since);
    }

    fn quiet_for(&self, now: Minute) -> u32 {
        self.quiet_for(now)
    }
}
