//! `dual-stack`: one process serves the IPv4 and the IPv6 swarm of each torrent.

use std::net::SocketAddr;

use crate::tracker::SwarmCounts;
use crate::tracker::address_limit::{AddressLimit, Before};
use crate::tracker::clock::{Expiry, Minute};
use crate::tracker::families::{AddressFamilies, Ipv4Only, PeerRequest, TorrentPeers};
use crate::tracker::keyed_hash::{HashKey, portion};
use crate::tracker::peer::{Peer, PeerState, PeerV4, PeerV6};
use crate::tracker::select::{Plan, Preference, Requester};
use crate::tracker::store::Torrent;
use crate::tracker::swarm::Swarm;

/// IPv4 and IPv6 peers.
#[derive(Debug)]
pub struct BothFamilies;

impl AddressFamilies for BothFamilies {
    type Peers = DualStackPeers;

    const IPV4: bool = true;
    const IPV6: bool = true;
}

/// One torrent's peers of both families. Most torrents have IPv4 peers alone: these take no more than in a tracker that
/// serves no other.
#[derive(Debug)]
pub struct DualStackPeers(Form);

#[derive(Debug)]
enum Form {
    /// The form of a torrent that has no IPv6 peer.
    Ipv4(Swarm<PeerV4>),
    /// The form of a torrent that has an IPv6 peer.
    Both(Box<Pair>),
}

#[derive(Debug, Default)]
struct Pair {
    ipv4: Swarm<PeerV4>,
    ipv6: Swarm<PeerV6>,
}

const _: () = assert!(size_of::<Torrent<BothFamilies>>() == size_of::<Torrent<Ipv4Only>>());

impl Default for DualStackPeers {
    fn default() -> Self {
        Self(Form::Ipv4(Swarm::default()))
    }
}

impl DualStackPeers {
    fn ipv4(&self) -> &Swarm<PeerV4> {
        match &self.0 {
            Form::Ipv4(ipv4) => ipv4,
            Form::Both(pair) => &pair.ipv4,
        }
    }

    fn ipv4_mut(&mut self) -> &mut Swarm<PeerV4> {
        match &mut self.0 {
            Form::Ipv4(ipv4) => ipv4,
            Form::Both(pair) => &mut pair.ipv4,
        }
    }

    fn ipv6(&self) -> Option<&Swarm<PeerV6>> {
        match &self.0 {
            Form::Ipv4(_) => None,
            Form::Both(pair) => Some(&pair.ipv6),
        }
    }

    /// Applies `change` to the IPv6 swarm, which is made if there is none.
    fn make_ipv6<R>(&mut self, change: impl FnOnce(&mut Swarm<PeerV6>) -> R) -> Option<R> {
        if let Form::Ipv4(ipv4) = &mut self.0 {
            let ipv4 = std::mem::take(ipv4);
            self.0 = Form::Both(Box::new(Pair { ipv4, ipv6: Swarm::default() }));
        }
        self.with_ipv6(change)
    }

    /// Applies `change` to the IPv6 swarm, if there is one, and drops the swarm when it is empty then.
    fn with_ipv6<R>(&mut self, change: impl FnOnce(&mut Swarm<PeerV6>) -> R) -> Option<R> {
        let Form::Both(pair) = &mut self.0 else { return None };
        let result = change(&mut pair.ipv6);
        if let Some(since) = pair.ipv6.empty_since() {
            if pair.ipv4.empty_since().is_some_and(|before| before < since) {
                pair.ipv4.set_empty_since(since);
            }
            self.0 = Form::Ipv4(std::mem::take(&mut pair.ipv4));
        }
        Some(result)
    }
}

impl TorrentPeers for DualStackPeers {
    fn counts(&self) -> SwarmCounts {
        let ipv4 = self.ipv4().counts();
        let ipv6 = self.ipv6().map(Swarm::counts).unwrap_or_default();
        SwarmCounts { seeders: ipv4.seeders + ipv6.seeders, leechers: ipv4.leechers + ipv6.leechers }
    }

    fn empty_since(&self) -> Option<Minute> {
        if self.ipv6().is_some() { None } else { self.ipv4().empty_since() }
    }

    fn set_empty_since(&mut self, minute: Minute) {
        self.ipv4_mut().set_empty_since(minute);
    }

    fn state(&self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState> {
        match endpoint {
            SocketAddr::V4(_) => TorrentPeers::state(self.ipv4(), key, endpoint),
            SocketAddr::V6(_) => TorrentPeers::state(self.ipv6()?, key, endpoint),
        }
    }

    fn contains(&self, key: &HashKey, endpoint: SocketAddr) -> bool {
        match endpoint {
            SocketAddr::V4(_) => TorrentPeers::contains(self.ipv4(), key, endpoint),
            SocketAddr::V6(_) => self.ipv6().is_some_and(|ipv6| TorrentPeers::contains(ipv6, key, endpoint)),
        }
    }

    fn upsert(
        &mut self,
        key: &HashKey,
        endpoint: SocketAddr,
        seeder: bool,
        limit: AddressLimit,
        state: impl FnOnce(Before) -> PeerState,
    ) {
        match endpoint {
            SocketAddr::V4(_) => TorrentPeers::upsert(self.ipv4_mut(), key, endpoint, seeder, limit, state),
            SocketAddr::V6(_) => {
                self.make_ipv6(|ipv6| TorrentPeers::upsert(ipv6, key, endpoint, seeder, limit, state));
            }
        }
    }

    fn has_place(&mut self, key: &HashKey, endpoint: SocketAddr, limit: AddressLimit) -> bool {
        match endpoint {
            SocketAddr::V4(_) => TorrentPeers::has_place(self.ipv4_mut(), key, endpoint, limit),
            SocketAddr::V6(_) => {
                self.with_ipv6(|ipv6| TorrentPeers::has_place(ipv6, key, endpoint, limit)) == Some(true)
            }
        }
    }

    fn remove(&mut self, key: &HashKey, endpoint: SocketAddr) -> Option<PeerState> {
        match endpoint {
            SocketAddr::V4(_) => TorrentPeers::remove(self.ipv4_mut(), key, endpoint),
            SocketAddr::V6(_) => self.with_ipv6(|ipv6| TorrentPeers::remove(ipv6, key, endpoint)).flatten(),
        }
    }

    fn prefetch(&self) {
        match &self.0 {
            Form::Ipv4(ipv4) => ipv4.prefetch(),
            Form::Both(pair) => {
                pair.ipv4.prefetch();
                pair.ipv6.prefetch();
            }
        }
    }

    /// Only of the requester's own family, which is all that an answer over UDP has.
    fn prefetch_peers(&self, key: &HashKey, requester: SocketAddr, preference: Preference, plan: &Plan, wanted: usize) {
        match self.ipv6() {
            Some(ipv6) if requester.is_ipv6() => {
                TorrentPeers::prefetch_peers(ipv6, key, requester, preference, plan, wanted)
            }
            _ => TorrentPeers::prefetch_peers(self.ipv4(), key, requester, preference, plan, wanted),
        }
    }

    /// Where both families are wanted, each gets a quarter of what is wanted, if it has so many, and the rest is shared
    /// in proportion to what each has left. Leechers that come first are shared so first, then seeders.
    fn select(&self, requester: Option<SocketAddr>, preference: Preference, plan: &Plan, peers: &mut PeerRequest<'_>) {
        let requester_v4 = Requester { endpoint: requester.and_then(PeerV4::at), preference };
        let requester_v6 = Requester { endpoint: requester.and_then(PeerV6::at), preference };
        let others_v4 = peers.into.ipv4().map(|_| requester_v4.others(self.ipv4().counts())).unwrap_or_default();
        let ipv6 = self.ipv6().zip(peers.into.ipv6());
        let others_v6 = ipv6.map(|(ipv6, _)| requester_v6.others(ipv6.counts())).unwrap_or_default();
        let (share_v4, share_v6) = preferred_shares(preference, peers.wanted, others_v4, others_v6);
        if let Some(buffer) = peers.into.ipv4() {
            buffer.append(|out| self.ipv4().select(&requester_v4, plan, share_v4, out));
        }
        if let Some((ipv6, buffer)) = self.ipv6().zip(peers.into.ipv6()) {
            buffer.append(|out| ipv6.select(&requester_v6, plan, share_v6, out));
        }
    }

    /// Both families at once, each in the same range of hashes.
    fn walk(&self, key: &HashKey, from: u64, most: usize, mut visit: impl FnMut(SocketAddr, PeerState)) -> Option<u64> {
        let (ipv4, ipv6) = (self.ipv4(), self.ipv6());
        let range = portion(from, most, ipv4.slots() + ipv6.map_or(0, Swarm::slots));
        ipv4.walk(key, &range, |peer| visit(peer.endpoint(), peer.state()));
        if let Some(ipv6) = ipv6 {
            ipv6.walk(key, &range, |peer| visit(peer.endpoint(), peer.state()));
        }
        range.end().checked_add(1)
    }

    /// Positions of the IPv4 swarm are even, those of the IPv6 swarm odd.
    fn expire(&mut self, key: &HashKey, expiry: Expiry, from: usize, budget: usize) -> Option<usize> {
        if from % 2 == 0 {
            let rest = self.ipv4_mut().expire(key, expiry, from / 2, budget);
            if let Some(next) = rest {
                return Some(next * 2);
            }
        }
        // When the IPv4 swarm is done, the IPv6 swarm is gone over from its beginning.
        let from = if from % 2 == 0 { 0 } else { from / 2 };
        let next = self.with_ipv6(|ipv6| ipv6.expire(key, expiry, from, budget)).flatten()?;
        Some(next * 2 + 1)
    }

    fn clear(&mut self, since: Minute) {
        self.ipv4_mut().clear(since);
        self.with_ipv6(|ipv6| ipv6.clear(since));
    }

    fn quiet_for(&self, now: Minute) -> u32 {
        let (ipv4, ipv6) = (self.ipv4(), self.ipv6());
        match ipv6 {
            Some(ipv6) if ipv4.empty_since().is_some() => ipv6.quiet_for(now),
            Some(ipv6) => ipv6.quiet_for(now).min(ipv4.quiet_for(now)),
            None => ipv4.quiet_for(now),
        }
    }
}

/// Returns how many of `wanted` peers are to be IPv4 and how many IPv6, when there are so many of each, of which the
/// client can use some.
fn preferred_shares(preference: Preference, wanted: usize, ipv4: SwarmCounts, ipv6: SwarmCounts) -> (usize, usize) {
    let eligible = |counts| preference.eligible_count(counts);
    if preference != Preference::LeechersFirst {
        return shares(wanted, eligible(ipv4), eligible(ipv6));
    }
    let (leechers_v4, leechers_v6) = shares(wanted, ipv4.leechers, ipv6.leechers);
    // No leecher of either family gives way to a seeder of the other.
    let (seeders_v4, seeders_v6) = shares(wanted - leechers_v4 - leechers_v6, ipv4.seeders, ipv6.seeders);
    (leechers_v4 + seeders_v4, leechers_v6 + seeders_v6)
}

/// Returns how many of `wanted` peers are to be IPv4 and how many IPv6, when there are so many of each.
fn shares(wanted: usize, ipv4: usize, ipv6: usize) -> (usize, usize) {
    if ipv4 + ipv6 <= wanted {
        return (ipv4, ipv6);
    }
    let quarter = wanted / 4;
    let (sure_v4, sure_v6) = (ipv4.min(quarter), ipv6.min(quarter));
    let (left_v4, left_v6) = (ipv4 - sure_v4, ipv6 - sure_v6);
    let rest = wanted - sure_v4 - sure_v6;
    // There are more peers than wanted, so something is left: the sum is not 0.
    let more_v4 = rest * left_v4 / (left_v4 + left_v6).max(1);
    (sure_v4 + more_v4, sure_v6 + rest - more_v4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::model;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn each_family_gets_a_quarter_and_the_rest_is_shared_in_proportion() {
        for (wanted, ipv4, ipv6, expected) in [
            (50, 0, 0, (0, 0)),
            (50, 30, 20, (30, 20)),
            (50, 1000, 0, (50, 0)),
            (50, 0, 1000, (0, 50)),
            (50, 1000, 3, (47, 3)),
            (48, 1000, 1000, (24, 24)),
            (48, 312, 112, (30, 18)),
            (3, 100, 100, (1, 2)),
            (0, 100, 100, (0, 0)),
        ] {
            assert_eq!(shares(wanted, ipv4, ipv6), expected, "{wanted} of {ipv4} and {ipv6}");
        }
    }

    #[test]
    fn leechers_of_both_families_come_before_seeders_of_either() {
        let counts = |seeders, leechers| SwarmCounts { seeders, leechers };
        for (preference, expected) in
            [(Preference::Any, (30, 20)), (Preference::LeechersFirst, (14, 36)), (Preference::LeechersOnly, (3, 30))]
        {
            let shares = preferred_shares(preference, 50, counts(100, 3), counts(20, 30));
            assert_eq!(shares, expected, "{preference:?}");
        }
    }

    proptest! {
        #[test]
        fn shares_add_up_and_exceed_no_family(wanted in 0..300_usize, ipv4 in 0..3000_usize, ipv6 in 0..3000_usize) {
            let (v4, v6) = shares(wanted, ipv4, ipv6);
            prop_assert_eq!(v4 + v6, wanted.min(ipv4 + ipv6));
            prop_assert!(v4 <= ipv4 && v6 <= ipv6);
            prop_assert!(v4 >= ipv4.min(wanted / 4) && v6 >= ipv6.min(wanted / 4));
        }
    }

    /// Every third peer has an IPv6 address.
    fn mixed(n: u16) -> SocketAddr {
        if n % 3 == 0 {
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 1000).into()
        } else {
            (Ipv4Addr::from(0x0a00_0000 + u32::from(n)), 1000).into()
        }
    }

    proptest! {
        #![proptest_config(model::config())]

        #[test]
        fn small_swarms_hold_like_the_model(intervals in model::intervals(), steps in model::steps(9)) {
            model::holds_like_the_model::<BothFamilies>(intervals, &steps, mixed);
        }

        #[test]
        fn large_swarms_hold_like_the_model(intervals in model::intervals(), steps in model::steps(600)) {
            model::holds_like_the_model::<BothFamilies>(intervals, &steps, mixed);
        }

        #[test]
        fn a_walk_visits_everybody_who_stays(steps in model::walks::steps()) {
            model::walks::visits_everybody_who_stays::<BothFamilies>(&steps, mixed);
        }
    }
}
