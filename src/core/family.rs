//! Which address families a tracker keeps: the plug point of `v6` and `dual-stack`.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;

use super::clock::Minute;
use super::keyed_hash::Key;
use super::peer::{Peer, PeerV4, Stamp};
use super::swarm::{Asker, Counts, Swarm};

/// The plug point: what a torrent keeps its peers in.
pub trait Family: Send + Sync + 'static {
    /// The peers of one torrent.
    type Swarms: Swarms;

    /// Does this tracker serve clients at such an address?
    fn serves(address: IpAddr) -> bool;
}

/// Stands where `v6` is off: IPv4 peers only.
#[derive(Debug)]
pub struct Ipv4Only;

impl Family for Ipv4Only {
    type Swarms = Swarm<PeerV4>;

    fn serves(address: IpAddr) -> bool {
        address.is_ipv4()
    }
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
pub trait Swarms: Default + Send {
    /// How many peers of each kind.
    fn counts(&self) -> Counts;
    /// Since when there has been no peer; `None` while there is one.
    fn empty_since(&self) -> Option<Minute>;
    /// Notes the last time that a torrent without peers was heard of.
    fn set_empty_since(&mut self, minute: Minute);
    /// Is there a peer at `endpoint`?
    fn contains(&mut self, key: &Key, endpoint: SocketAddr) -> bool;
    /// Adds the peer at `endpoint` or stamps it anew: see [`Swarm::upsert`]. The seeder flag of the stamp that
    /// `stamp` makes is `seeder`.
    fn upsert(&mut self, key: &Key, endpoint: SocketAddr, seeder: bool, stamp: impl FnOnce(Option<Stamp>) -> Stamp);
    /// Takes the peer at `endpoint` out; says with which stamp.
    fn remove(&mut self, key: &Key, endpoint: SocketAddr) -> Option<Stamp>;
    /// Begins to fetch what says where the peers stand: see [`Swarm::prefetch`].
    fn prefetch(&self);
    /// Begins to fetch the peers that [`Self::upsert`] and [`Self::hand_out`] will look at: see
    /// [`Swarm::prefetch_peers`].
    fn prefetch_peers(&self, key: &Key, asker: SocketAddr, seeder: bool, wanted: usize, rng: &Rng);
    /// Writes a random selection of peers: see [`Swarm::select`]. `asker` is where the asker is, if it is one of them.
    fn hand_out(&self, asker: Option<SocketAddr>, seeder: bool, rng: &mut Rng, handout: &mut Handout<'_>);
    /// Shows the peers in portions: see [`Swarm::walk`].
    fn walk(&self, from: usize, most: usize, show: impl FnMut(SocketAddr)) -> Option<usize>;
    /// Takes expired peers out in portions: see [`Swarm::expire`].
    fn expire(&mut self, key: &Key, now: Minute, from: usize, budget: usize) -> Option<usize>;
    /// Forgets every peer; none has been heard of since `since`.
    fn clear(&mut self, since: Minute);
    /// Minutes since any peer was heard of, looking at no more than a bounded number of them.
    fn quiet_for(&self, now: Minute) -> u32;
}

impl<P: Peer> Swarms for Swarm<P> {
    fn counts(&self) -> Counts {
        self.counts()
    }

    fn empty_since(&self) -> Option<Minute> {
        self.empty_since()
    }

    fn set_empty_since(&mut self, minute: Minute) {
        self.set_empty_since(minute);
    }

    fn contains(&mut self, key: &Key, endpoint: SocketAddr) -> bool {
        P::at(endpoint).is_some_and(|peer| self.contains(key, &peer))
    }

    #[inline]
    fn upsert(&mut self, key: &Key, endpoint: SocketAddr, seeder: bool, stamp: impl FnOnce(Option<Stamp>) -> Stamp) {
        if let Some(peer) = P::at(endpoint) {
            self.upsert(key, peer, seeder, stamp);
        }
    }

    fn remove(&mut self, key: &Key, endpoint: SocketAddr) -> Option<Stamp> {
        Some(self.remove(key, &P::at(endpoint)?)?.stamp())
    }

    #[inline]
    fn prefetch(&self) {
        self.prefetch();
    }

    #[inline]
    fn prefetch_peers(&self, key: &Key, asker: SocketAddr, seeder: bool, wanted: usize, rng: &Rng) {
        if let Some(peer) = P::at(asker) {
            self.prefetch_peers(key, &peer, seeder, wanted, rng.clone());
        }
    }

    #[inline]
    fn hand_out(&self, asker: Option<SocketAddr>, seeder: bool, rng: &mut Rng, handout: &mut Handout<'_>) {
        let out = if P::IPV6 { &mut handout.ipv6 } else { &mut handout.ipv4 };
        if let Some(out) = out {
            self.select(&Asker { endpoint: asker.and_then(P::at), seeder }, handout.wanted, rng, out);
        }
    }

    fn walk(&self, from: usize, most: usize, mut show: impl FnMut(SocketAddr)) -> Option<usize> {
        self.walk(from, most, |peer| show(peer.endpoint()))
    }

    fn expire(&mut self, key: &Key, now: Minute, from: usize, budget: usize) -> Option<usize> {
        self.expire(key, now, from, budget)
    }

    fn clear(&mut self, since: Minute) {
        self.clear(since);
    }

    fn quiet_for(&self, now: Minute) -> u32 {
        self.quiet_for(now)
    }
}
