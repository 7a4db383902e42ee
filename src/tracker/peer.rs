//! A peer as it is kept: its address, its port, and a [`PeerState`]. 8 bytes for IPv4, 20 for IPv6.

use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::clock::{Expiry, Minute};
use super::intervals::Intervals;
use super::keyed_hash::HashKey;

/// Two flags and two coarse times in 16 bits.
///
/// The minute of the last announce is kept modulo 256. When the peer was last published to the cluster is kept in steps
/// of two minutes, modulo 64 steps. That is enough because a sweep comes every minute and forgets who is silent for
/// [`Intervals::MAX_PEER_LIFETIME`] at the latest: no peer is older than that when it is looked at, and none was
/// published longer ago than that lifetime and [`PeerState::REPUBLISH_AFTER`] together.
/// [`Store::sweep`](super::store::Store::sweep) says what happens when a sweep is late.
///
/// | bits | what |
/// | --- | --- |
/// | 15 | it is a seeder |
/// | 14 | its completed download has been counted |
/// | 8 to 13 | the step in which it was published, or the next one if that was its second minute |
/// | 0 to 7 | the minute of its last announce |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerState(u16);

impl PeerState {
    /// Minutes for which a peer that announces itself again is not published again. One minute later it surely is.
    pub const REPUBLISH_AFTER: u32 = 10;
    /// Most minutes between two sweeps after which old peers can be told from new ones.
    pub const MAX_SWEEP_GAP: u32 = 256 - Intervals::MAX_PEER_LIFETIME - 2;

    const SEEDER: u16 = 1 << 15;
    const COMPLETED: u16 = 1 << 14;
    const PUBLISHED: u16 = 63 << 8;
    /// Minutes of a step in which the time of publication is kept.
    const STEP: u32 = 2;

    /// Makes the state of a peer that was seen and published `now`.
    #[expect(clippy::cast_possible_truncation, reason = "kept modulo 256, as said above")]
    pub fn new(now: Minute, seeder: bool, completed: bool) -> Self {
        let flags = if seeder { Self::SEEDER } else { 0 } | if completed { Self::COMPLETED } else { 0 };
        Self(flags | now.0 as u16 & 255).published(now.0.wrapping_add(Self::STEP - 1) / Self::STEP)
    }

    /// Returns the same state, but published when `earlier` was.
    #[must_use]
    pub fn published_with(self, earlier: Self) -> Self {
        Self(self.0 & !Self::PUBLISHED | earlier.0 & Self::PUBLISHED)
    }

    /// Returns the same state, but due to be published when the peer next announces itself.
    #[must_use]
    pub fn unpublished(self, now: Minute) -> Self {
        self.published((now.0 / Self::STEP).wrapping_sub(Self::REPUBLISH_AFTER / Self::STEP))
    }

    /// Returns the same state, but with the peer's download counted.
    #[must_use]
    pub fn with_download_counted(self) -> Self {
        Self(self.0 | Self::COMPLETED)
    }

    /// Returns whether the peer has said that nothing is left to download.
    pub fn seeder(self) -> bool {
        self.0 & Self::SEEDER != 0
    }

    /// Returns whether its completed download has been counted.
    pub fn completed(self) -> bool {
        self.0 & Self::COMPLETED != 0
    }

    /// Returns the minutes since its last announce. A state from the near future (a worker whose clock was read a
    /// moment earlier than another's) is of age 0.
    pub fn age(self, now: Minute) -> u32 {
        let age = now.0.wrapping_sub(u32::from(self.0)) & 255;
        if age == 255 { 0 } else { age }
    }

    /// Returns the minute of its last announce.
    pub fn seen(self, now: Minute) -> Minute {
        Minute(now.0.saturating_sub(self.age(now)))
    }

    /// Returns the minutes since it was last published, rounded down to an even number. A publication in an odd minute
    /// counts as one in the next.
    pub fn published_age(self, now: Minute) -> u32 {
        let steps = (now.0 / Self::STEP).wrapping_sub(u32::from(self.0 >> 8)) & 63;
        if steps == 63 { 0 } else { steps * Self::STEP }
    }

    /// Returns whether it has been silent for longer than peers are kept.
    pub fn expired(self, expiry: Expiry) -> bool {
        self.age(expiry.now) > expiry.peer_lifetime
    }

    /// Returns the same state, but published in this step.
    #[expect(clippy::cast_possible_truncation, reason = "kept modulo 64, as said above")]
    fn published(self, step: u32) -> Self {
        Self(self.0 & !Self::PUBLISHED | ((step as u16 & 63) << 8))
    }
}

const _: () = assert!(PeerState::REPUBLISH_AFTER % PeerState::STEP == 0, "a whole number of steps");

/// A peer of one address family. The all-zero value is no peer: port 0 is never stored.
pub trait Peer: Copy + Default + Debug + PartialEq + Send + Sync + 'static {
    /// True for IPv6 peers.
    const IPV6: bool;
    /// Bytes of one peer in compact form (BEP 23, BEP 7).
    const COMPACT: usize;
    /// Bytes that [`Self::write_wide`] writes: [`Self::COMPACT`] or some more, because that takes fewer instructions.
    const WIDE: usize;
    /// An array of as many peers as fit in a torrent's own entry.
    type Few: Copy + Default + Debug + AsRef<[Self]> + AsMut<[Self]> + Send + Sync;

    /// Makes a peer at `endpoint`; `None` if that is of another family or has port 0.
    fn at(endpoint: SocketAddr) -> Option<Self>;
    /// Returns the address and the port.
    fn endpoint(&self) -> SocketAddr;
    /// Returns whether both have the same address and port.
    fn same_endpoint(&self, other: &Self) -> bool;
    /// Returns whether both have the same address (IPv6: are of the same network /64).
    fn same_address(&self, other: &Self) -> bool;
    /// Returns whether this value stands for no peer.
    fn is_vacant(&self) -> bool;
    /// Returns its flags and times.
    fn state(&self) -> PeerState;
    /// Returns the same endpoint with another state.
    #[must_use]
    fn with_state(self, state: PeerState) -> Self;
    /// Writes [`Self::WIDE`] bytes to the beginning of `room`: the compact form, and behind it bytes that mean nothing.
    /// Returns false, and writes nothing, if `room` is shorter.
    fn write_wide(&self, room: &mut [u8]) -> bool;
    /// Returns the keyed hash of the endpoint, which says where the peer stands in a hash table.
    fn hash(&self, key: &HashKey) -> u64;
    /// Returns the keyed hash of the address (IPv6: of its network /64).
    fn address_hash(&self, key: &HashKey) -> u64;
}

/// An IPv4 peer. The little-endian bytes of the number are: address (4), port (2, big-endian), state (2), so that
/// the compact form is its first six bytes and a comparison is one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerV4(u64);

const _: () = assert!(size_of::<PeerV4>() == 8);

impl Peer for PeerV4 {
    const IPV6: bool = false;
    const COMPACT: usize = 6;
    const WIDE: usize = 8;
    type Few = [Self; 2];

    fn at(endpoint: SocketAddr) -> Option<Self> {
        let SocketAddr::V4(endpoint) = endpoint else { return None };
        let [a, b, c, d] = endpoint.ip().octets();
        let [high, low] = endpoint.port().to_be_bytes();
        (endpoint.port() != 0).then_some(Self(u64::from_le_bytes([a, b, c, d, high, low, 0, 0])))
    }

    fn endpoint(&self) -> SocketAddr {
        let [a, b, c, d, high, low, ..] = self.0.to_le_bytes();
        (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()
    }

    #[inline]
    fn same_endpoint(&self, other: &Self) -> bool {
        (self.0 ^ other.0) << 16 == 0
    }

    #[inline]
    fn same_address(&self, other: &Self) -> bool {
        (self.0 ^ other.0) << 32 == 0
    }

    #[inline]
    fn is_vacant(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn state(&self) -> PeerState {
        PeerState((self.0 >> 48) as u16)
    }

    #[inline]
    fn with_state(self, state: PeerState) -> Self {
        Self((self.0 << 16 >> 16) | (u64::from(state.0) << 48))
    }

    #[inline]
    fn write_wide(&self, room: &mut [u8]) -> bool {
        let place = room.first_chunk_mut();
        place.map(|place| *place = self.0.to_le_bytes()).is_some()
    }

    #[inline]
    fn hash(&self, key: &HashKey) -> u64 {
        key.hash_endpoint(0, self.0 << 16)
    }

    #[inline]
    fn address_hash(&self, key: &HashKey) -> u64 {
        key.hash_endpoint(1, self.0 << 32)
    }
}

/// An IPv6 peer: address (16), port (2, big-endian), state (2, native).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerV6 {
    compact: [u8; 18],
    state: [u8; 2],
}

const _: () = assert!(size_of::<PeerV6>() == 20);

impl Peer for PeerV6 {
    const IPV6: bool = true;
    const COMPACT: usize = 18;
    const WIDE: usize = 18;
    type Few = [Self; 1];

    fn at(endpoint: SocketAddr) -> Option<Self> {
        let SocketAddr::V6(endpoint) = endpoint else { return None };
        let mut compact = [0; 18];
        let (address, port) = compact.split_at_mut(16);
        address.copy_from_slice(&endpoint.ip().octets());
        port.copy_from_slice(&endpoint.port().to_be_bytes());
        (endpoint.port() != 0).then_some(Self { compact, state: [0; 2] })
    }

    fn endpoint(&self) -> SocketAddr {
        let (address, port) = self.halves();
        (Ipv6Addr::from(address), port).into()
    }

    #[inline]
    fn same_endpoint(&self, other: &Self) -> bool {
        self.compact == other.compact
    }

    #[inline]
    fn same_address(&self, other: &Self) -> bool {
        self.network() == other.network()
    }

    #[inline]
    fn is_vacant(&self) -> bool {
        let [.., high, low] = self.compact;
        high == 0 && low == 0
    }

    #[inline]
    fn state(&self) -> PeerState {
        PeerState(u16::from_ne_bytes(self.state))
    }

    #[inline]
    fn with_state(mut self, state: PeerState) -> Self {
        self.state = state.0.to_ne_bytes();
        self
    }

    #[inline]
    fn write_wide(&self, room: &mut [u8]) -> bool {
        let place = room.first_chunk_mut();
        place.map(|place| *place = self.compact).is_some()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the address")]
    fn hash(&self, key: &HashKey) -> u64 {
        let (address, port) = self.halves();
        key.hash_endpoint(key.hash_endpoint((address >> 64) as u64, address as u64), u64::from(port))
    }

    #[inline]
    fn address_hash(&self, key: &HashKey) -> u64 {
        key.hash_endpoint(1, self.network())
    }
}

impl PeerV6 {
    /// Returns the upper half of the address: the network /64 that it is of.
    #[inline]
    fn network(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.compact;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    #[inline]
    fn halves(&self) -> (u128, u16) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, high, low] = self.compact;
        (u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]), u16::from_be_bytes([high, low]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Holder;
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    #[test]
    fn a_state_keeps_its_flags_and_both_times() {
        for minute in [0, 44, 63, 64, 255, 256, 29_000_000] {
            for (seeder, completed) in [(false, false), (true, false), (false, true), (true, true)] {
                let state = PeerState::new(Minute(minute), seeder, completed);
                assert_eq!((state.seeder(), state.completed()), (seeder, completed));
                for age in 0..=Intervals::MAX_PEER_LIFETIME + PeerState::MAX_SWEEP_GAP {
                    assert_eq!(state.age(Minute(minute + age)), age);
                    for peer_lifetime in Intervals::MIN_PEER_LIFETIME..=Intervals::MAX_PEER_LIFETIME {
                        let expiry = Expiry { now: Minute(minute + age), peer_lifetime };
                        assert_eq!(state.expired(expiry), age > peer_lifetime);
                    }
                }
                let later = PeerState::new(Minute(minute + 9), seeder, completed).published_with(state);
                assert_eq!(later.published_age(Minute(minute + 9)), 8);
                assert_eq!(later.age(Minute(minute + 9)), 0);
                assert_eq!((later.seeder(), later.completed()), (seeder, completed));
            }
        }
    }

    #[test]
    fn a_peer_is_not_due_for_ten_minutes_and_surely_due_from_the_eleventh_to_the_end_of_the_longest_life() {
        for minute in (0..300).chain(29_000_000..29_000_300) {
            let state = PeerState::new(Minute(minute), true, false);
            // Published just before it would have been due again, and then silent until a late sweep.
            for age in 0..=PeerState::REPUBLISH_AFTER + Intervals::MAX_PEER_LIFETIME + 20 {
                let is_due = state.published_age(Minute(minute + age)) >= PeerState::REPUBLISH_AFTER;
                // Ten minutes after an odd minute five whole steps are not over.
                let expected = age >= PeerState::REPUBLISH_AFTER + minute % 2;
                assert_eq!(is_due, expected, "{age} minutes after {minute}");
            }
        }
    }

    #[test]
    fn who_counts_as_unpublished_is_published_again_at_any_age() {
        for minute in (10..300).chain(29_000_000..29_000_300) {
            let state = PeerState::new(Minute(minute), true, false).unpublished(Minute(minute));
            assert_eq!((state.seeder(), state.completed(), state.age(Minute(minute))), (true, false, 0));
            for age in 0..=Intervals::MAX_PEER_LIFETIME + 20 {
                assert!(
                    state.published_age(Minute(minute + age)) >= PeerState::REPUBLISH_AFTER,
                    "{age} minutes after {minute}"
                );
            }
        }
    }

    #[test]
    fn a_state_of_the_coming_minute_is_new() {
        for minute in [99, 100] {
            let (state, before) = (PeerState::new(Minute(minute), true, false), Minute(minute - 1));
            assert_eq!((state.age(before), state.published_age(before)), (0, 0));
            assert!(!state.expired(Intervals::default().expiry(before)));
        }
    }

    #[test]
    fn a_peer_of_the_other_family_or_without_a_port_is_none() {
        let (v4, v6) = ("1.2.3.4:0".parse().unwrap(), "[::1]:0".parse().unwrap());
        assert_eq!((PeerV4::at(v4), PeerV6::at(v6)), (None, None));
        assert_eq!(PeerV4::at("[::1]:80".parse().unwrap()), None);
        assert_eq!(PeerV6::at("1.2.3.4:80".parse().unwrap()), None);
    }

    /// Returns whether two peers have the same address; and the hashes of their addresses, whether these are equal.
    fn same_address<P: Peer>(one: SocketAddr, other: SocketAddr) -> bool {
        let (one, other) = (P::at(one).unwrap(), P::at(other).unwrap());
        let key = crate::tracker::testing::key();
        let same = one.same_address(&other);
        assert_eq!(one.address_hash(&key) == other.address_hash(&key), same);
        same
    }

    fn round_trip<P: Peer>(endpoint: SocketAddr, expected: &[u8]) {
        let state = PeerState::new(Minute(77), true, true);
        let peer = P::at(endpoint).unwrap().with_state(state);
        assert_eq!(peer.endpoint(), endpoint);
        assert_eq!(peer.state(), state);
        assert!(peer.same_endpoint(&P::at(endpoint).unwrap()) && !peer.is_vacant() && P::default().is_vacant());
        let mut room = vec![0; P::WIDE];
        assert!(peer.write_wide(&mut room));
        assert_eq!((&room[..P::COMPACT], P::COMPACT), (expected, expected.len()));
        assert!(!peer.write_wide(&mut room[1..]));
    }

    proptest! {
        #[test]
        fn peers_have_the_same_address_if_they_have_the_same_holder(
            one: [u8; 16], bit in 0..128_u32, ports in [1..=u16::MAX, 1..=u16::MAX],
        ) {
            let one = u128::from_be_bytes(one);
            for other in [one, one ^ (1 << bit)] {
                let [v6, other_v6] = [one, other].map(Ipv6Addr::from_bits);
                let same = Holder::from(IpAddr::V6(v6)) == Holder::from(IpAddr::V6(other_v6));
                prop_assert_eq!(same_address::<PeerV6>((v6, ports[0]).into(), (other_v6, ports[1]).into()), same);
                let [v4, other_v4] = [one, other].map(|bits| Ipv4Addr::from_bits((bits >> 96) as u32));
                let same = Holder::from(IpAddr::V4(v4)) == Holder::from(IpAddr::V4(other_v4));
                prop_assert_eq!(same_address::<PeerV4>((v4, ports[0]).into(), (other_v4, ports[1]).into()), same);
            }
        }

        #[test]
        fn an_endpoint_survives_and_its_compact_form_is_that_of_bep_23_and_bep_7(
            v4: [u8; 4], v6: [u8; 16], port in 1..=u16::MAX,
        ) {
            let tail = port.to_be_bytes();
            round_trip::<PeerV4>((Ipv4Addr::from(v4), port).into(), &[&v4[..], &tail].concat());
            round_trip::<PeerV6>((Ipv6Addr::from(v6), port).into(), &[&v6[..], &tail].concat());
        }
    }
}
