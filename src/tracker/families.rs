//! Which address families a tracker keeps: the plug point of `v6` and `dual-stack`.

use std::net::{IpAddr, SocketAddr};

use super::address_limit::{AddressLimit, Before};
use super::clock::{Expiry, Minute};
use super::counts::SwarmCounts;
use super::keyed_hash::{HashKey, portion};
use super::peer::{Peer, PeerState, PeerV4, PeerV6};
use super::select::{Plan, Preference, Requester};
use super::swarm::Swarm;

/// The plug point: what a torrent keeps its peers in.
pub trait AddressFamilies: Send + Sync + 'static {
    /// The peers of one torrent.
    type Peers: TorrentPeers;

    /// True if IPv4 peers are kept and IPv4 clients are served.
    const IPV4: bool;
    /// True if IPv6 peers are kept and IPv6 clients are served.
    const IPV6: bool;

    /// Returns whether this tracker serves clients at such an address.
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

/// How many peers a client wants, and the memory that they are written to.
#[derive(Debug)]
pub struct PeerRequest<'a> {
    /// How many peers are wanted, of all families together.
    pub wanted: usize,
    /// The families that are wanted, with memory for each.
    pub into: PeerBuffers<'a>,
}

impl PeerRequest<'_> {
    /// Returns a request for no peers.
    pub const fn none() -> Self {
        Self { wanted: 0, into: PeerBuffers::None }
    }
}

/// Memory for the peers of each family that is wanted.
#[derive(Debug)]
pub enum PeerBuffers<'a> {
    /// No family is wanted.
    None,
    /// IPv4 alone: 6 bytes for each peer (BEP 23).
    Ipv4(PeerBuffer<'a>),
    /// IPv6 alone: 18 bytes for each peer (BEP 7).
    Ipv6(PeerBuffer<'a>),
    /// Both families, as far as the tracker keeps them.
    Both {
        /// 6 bytes for each peer.
        ipv4: PeerBuffer<'a>,
        /// 18 bytes for each peer.
        ipv6: PeerBuffer<'a>,
    },
}

impl<'a> PeerBuffers<'a> {
    /// Returns the memory for IPv4 peers, if they are wanted.
    #[inline]
    pub fn ipv4(&mut self) -> Option<&mut PeerBuffer<'a>> {
        match self {
            Self::Ipv4(ipv4) | Self::Both { ipv4, .. } => Some(ipv4),
            Self::None | Self::Ipv6(_) => None,
        }
    }

    /// Returns the memory for IPv6 peers, if they are wanted.
    #[inline]
    pub fn ipv6(&mut self) -> Option<&mut PeerBuffer<'a>> {
        match self {
            Self::Ipv6(ipv6) | Self::Both { ipv6, .. } => Some(ipv6),
            Self::None | Self::Ipv4(_) => None,
        }
    }

    /// Returns what has been written of each family, IPv4 first.
    pub fn written(&self) -> [&[u8]; 2] {
        match self {
            Self::None => [&[], &[]],
            Self::Ipv4(ipv4) => [ipv4.written(), &[]],
            Self::Ipv6(ipv6) => [&[], ipv6.written()],
            Self::Both { ipv4, ipv6 } => [ipv4.written(), ipv6.written()],
        }
    }

    /// Returns the memory for peers of this family, if they are wanted.
    #[inline]
    fn buffer_of<P: Peer>(&mut self) -> Option<&mut PeerBuffer<'a>> {
        if P::IPV6 { self.ipv6() } else { self.ipv4() }
    }
}

/// Lent memory to which peers are appended in compact form.
///
/// Peers are written in wide steps, so the memory has to be [`PeerBuffer::SPARE`] bytes longer than the peers are. If
/// it is shorter, fewer peers are written.
#[derive(Debug)]
pub struct PeerBuffer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> PeerBuffer<'a> {
    /// Bytes behind the last peer that may be overwritten.
    pub const SPARE: usize = {
        let (ipv4, ipv6) = (PeerV4::WIDE - PeerV4::COMPACT, PeerV6::WIDE - PeerV6::COMPACT);
        if ipv4 > ipv6 { ipv4 } else { ipv6 }
    };

    /// Makes an empty buffer of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self::behind(bytes, 0)
    }

    /// Makes a buffer of `bytes`, of which the first `len` are in use already.
    #[inline]
    pub fn behind(bytes: &'a mut [u8], len: usize) -> Self {
        Self { bytes, len }
    }

    /// Returns how many bytes are in use, those before the peers included.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns all of the memory, vacant bytes included.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Returns the bytes that are in use.
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Passes the vacant bytes to `write`, which returns how many of them it has used.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        self.len += write(self.bytes.get_mut(self.len..).unwrap_or_default());
    }
}

/// All peers of one torrent, of whatever families the tracker keeps.
pub trait TorrentPeers: Default + Send {
    /// Returns how many peers of each kind there are.
    fn counts(&self) -> SwarmCounts;
    /// Returns since when there has been no peer; `None` while there is one.
    fn empty_since(&self) -> Option<Minute>;
    /// Sets since when there has been no peer. Does nothing while there is one.
    fn set_empty_since(&mut self, minute: Minute);
    /// Returns the state of the peer at `endpoint`, if there is one.
    fn state(&self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState>;
    /// Returns whether there is a peer at `endpoint`.
    fn contains(&self, key: &HashKey, endpoint: SocketAddr) -> bool;
    /// Adds the peer at `endpoint` or refreshes its state: see [`Swarm::upsert`]. The seeder flag of the state that
    /// `state` makes is `seeder`.
    fn upsert(
        &mut self,
        key: &HashKey,
        endpoint: SocketAddr,
        seeder: bool,
        limit: AddressLimit,
        state: impl FnOnce(Before) -> PeerState,
    );
    /// Returns whether [`Self::upsert`] makes no more peers than there are: see [`Swarm::has_place`].
    fn has_place(&mut self, key: &HashKey, endpoint: SocketAddr, limit: AddressLimit) -> bool;
    /// Removes the peer at `endpoint`. Returns its state.
    fn remove(&mut self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState>;
    /// Begins to fetch what [`Self::prefetch_peers`] reads: see [`Swarm::prefetch`].
    fn prefetch(&self);
    /// Begins to fetch the peers that [`Self::upsert`] and [`Self::select`] with the same `plan` will look at: see
    /// [`Swarm::prefetch_peers`].
    fn prefetch_peers(&self, key: &HashKey, requester: SocketAddr, preference: Preference, plan: &Plan, wanted: usize);
    /// Writes a random selection of peers into the buffers of the request: see [`Swarm::select`]. `requester` is the
    /// client's endpoint, if it is one of the peers.
    fn select(&self, requester: Option<SocketAddr>, preference: Preference, plan: &Plan, peers: &mut PeerRequest<'_>);
    /// Visits the peers in about `most` slots, in the order of their hashes, from the hash `from` on (0 to begin with).
    /// Returns the hash to go on from; `None` at the end. Misses no peer that stays from the first portion to the last:
    /// see [`Swarm::walk`].
    fn walk(&self, key: &HashKey, from: u64, most: usize, visit: impl FnMut(SocketAddr, PeerState)) -> Option<u64>;
    /// Removes expired peers in portions, and returns where to go on: see [`Swarm::expire`].
    fn expire(&mut self, key: &HashKey, expiry: Expiry, from: usize, budget: usize) -> Option<usize>;
    /// Removes all peers, of whom none has been heard of since `since`.
    fn clear(&mut self, since: Minute);
    /// Returns how many minutes ago a peer was last heard of, whichever it was: see [`Swarm::quiet_for`]. Looks at a
    /// bounded number of peers.
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

    fn contains(&self, key: &HashKey, endpoint: SocketAddr) -> bool {
        P::at(endpoint).is_some_and(|peer| self.contains(key, &peer))
    }

    #[inline]
    fn upsert(
        &mut self,
        key: &HashKey,
        endpoint: SocketAddr,
        seeder: bool,
        limit: AddressLimit,
        state: impl FnOnce(Before) -> PeerState,
    ) {
        match P::at(endpoint) {
            Some(peer) => self.upsert(key, peer, seeder, limit, state),
            None => debug_assert!(false, "{endpoint} should have been refused"),
        }
    }

    fn has_place(&mut self, key: &HashKey, endpoint: SocketAddr, limit: AddressLimit) -> bool {
        P::at(endpoint).is_some_and(|peer| self.has_place(key, &peer, limit))
    }

    fn remove(&mut self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState> {
        Some(self.remove(key, &P::at(endpoint)?)?.state())
    }

    #[inline]
    fn prefetch(&self) {
        self.prefetch();
    }

    #[inline]
    fn prefetch_peers(&self, key: &HashKey, requester: SocketAddr, preference: Preference, plan: &Plan, wanted: usize) {
        if let Some(peer) = P::at(requester) {
            self.prefetch_peers(key, &peer, preference, plan, wanted);
        }
    }

    #[inline]
    fn select(&self, requester: Option<SocketAddr>, preference: Preference, plan: &Plan, peers: &mut PeerRequest<'_>) {
        let requester = Requester { endpoint: requester.and_then(P::at), preference };
        if let Some(buffer) = peers.into.buffer_of::<P>() {
            buffer.append(|out| self.select(&requester, plan, peers.wanted, out));
        }
    }

    fn walk(&self, key: &HashKey, from: u64, most: usize, mut visit: impl FnMut(SocketAddr, PeerState)) -> Option<u64> {
        let range = portion(from, most, self.slots());
        self.walk(key, &range, |peer| visit(peer.endpoint(), peer.state()));
        range.end().checked_add(1)
    }

    fn expire(&mut self, key: &HashKey, expiry: Expiry, from: usize, budget: usize) -> Option<usize> {
        self.expire(key, expiry, from, budget)
    }

    fn clear(&mut self, since: Minute) {
        self.clear(since);
    }

    fn quiet_for(&self, now: Minute) -> u32 {
        self.quiet_for(now)
    }
}
