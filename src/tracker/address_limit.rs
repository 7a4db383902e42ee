//! How many peers of one address a swarm holds.
//!
//! Clients connect to an address once, so a swarm that is full of one address's ports is of no use to anybody. Who
//! comes from an address that has as many peers as it may takes the place of that address's oldest peer.

use super::clock::Minute;
use super::peer::{Peer, PeerState};

/// How many peers of a swarm one address may have, and the minute in which that is asked. An IPv6 network /64 is one
/// address: any host can have all of it.
#[derive(Debug, Clone, Copy)]
pub struct AddressLimit {
    /// 0: there is no limit.
    peers_per_address: u32,
    now: Minute,
}

/// Who had a peer's place in its swarm before it was added or refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nobody: the swarm has one peer more.
    Nobody,
    /// The peer itself, in this state.
    Itself(PeerState),
    /// Another peer of its address, in this state. It is not in the swarm any more.
    Displaced(PeerState),
}

impl Before {
    /// Returns the state in which the peer itself was; `None` if it is new.
    #[inline]
    pub fn itself(self) -> Option<PeerState> {
        match self {
            Self::Itself(state) => Some(state),
            Self::Nobody | Self::Displaced(_) => None,
        }
    }
}

impl AddressLimit {
    /// The part of a swarm's peers that one address may have in any case: a sixteenth. In a large swarm, a limit that
    /// does not grow with it would shut out the users of a carrier's NAT.
    pub const SHARE: usize = 16;

    /// Makes a limit of so many peers, or [`Self::SHARE`], whichever is more. 0 is no limit.
    #[inline]
    pub fn new(peers_per_address: u32, now: Minute) -> Self {
        Self { peers_per_address, now }
    }

    /// Returns how many peers an address may have in a swarm of so many. `usize::MAX` stands for no limit.
    #[inline]
    pub fn among(self, peers: usize) -> usize {
        match self.peers_per_address {
            0 => usize::MAX,
            most => (peers / Self::SHARE).max(usize::try_from(most).unwrap_or(usize::MAX)),
        }
    }

    /// Returns the minute in which it is asked.
    pub(super) fn now(self) -> Minute {
        self.now
    }

    /// Returns the number that it was made of.
    pub(super) fn peers_per_address(self) -> u32 {
        self.peers_per_address
    }

    /// Makes place for a newcomer in a swarm of so many. `remove_oldest` removes the oldest peer of the newcomer's
    /// address if that has at least as many peers as `remove_oldest` is told, and returns its state.
    #[inline]
    pub(super) fn displace(self, peers: usize, mut remove_oldest: impl FnMut(usize) -> Option<PeerState>) -> Before {
        let most = self.among(peers);
        if peers < most {
            return Before::Nobody;
        }
        let Some(first) = remove_oldest(most) else { return Before::Nobody };
        // An address that has more than it may, because the swarm was larger, gives up two for one.
        remove_oldest(most);
        Before::Displaced(first)
    }
}

/// Returns how many of these peers are of the address of `peer`, and which of them has been silent for longest.
pub(super) fn of_address<'a, P: Peer>(
    peers: impl Iterator<Item = &'a P>,
    peer: &P,
    now: Minute,
) -> (usize, Option<&'a P>) {
    let (mut count, mut oldest, mut most) = (0, None, 0);
    for found in peers.filter(|found| found.same_address(peer)) {
        count += 1;
        let age = found.state().age(now);
        if oldest.is_none() || age > most {
            (oldest, most) = (Some(found), age);
        }
    }
    (count, oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_the_number_or_a_sixteenth_of_the_swarm_and_with_zero_all_of_it() {
        let among = |most, peers| AddressLimit::new(most, Minute(1)).among(peers);
        assert_eq!([0, 16, 17, 271, 272].map(|peers| among(16, peers)), [16, 16, 16, 16, 17]);
        assert_eq!([0, 31, 32, 64].map(|peers| among(1, peers)), [1, 1, 2, 4]);
        assert_eq!(among(u32::MAX, 1_000_000), u32::MAX as usize);
        assert_eq!(among(0, 1_000_000), usize::MAX);
    }
}
