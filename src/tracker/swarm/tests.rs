//! The limit to the peers of one address, in every form of a swarm and while it changes form.

use super::*;
use crate::tracker::model::config;
use crate::tracker::tally;
use crate::tracker::testing::key;
use crate::tracker::{Intervals, Minute};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const START: Minute = Minute(29_000_191);

/// What happens to the peers of an address whose numbers are in a range.
#[derive(Debug, Clone)]
enum Step {
    Come {
        address: u16,
        peers: (u16, u16),
        seeders: bool,
    },
    Leave {
        address: u16,
        peers: (u16, u16),
    },
    /// So many addresses that have a peer each.
    Strangers {
        many: u16,
        come: bool,
    },
    Wait {
        minutes: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peers = || {
        (0..300_u16, prop_oneof![4 => 1..4_u16, 3 => 10..40_u16, 1 => 100..300_u16])
            .prop_map(|(first, many)| (first, first + many))
    };
    let come =
        (0..4_u16, peers(), any::<bool>()).prop_map(|(address, peers, seeders)| Step::Come { address, peers, seeders });
    let leave = (0..4_u16, peers()).prop_map(|(address, peers)| Step::Leave { address, peers });
    let strangers = (prop_oneof![1..30_u16, 100..2500_u16], prop::bool::weighted(0.6))
        .prop_map(|(many, come)| Step::Strangers { many, come });
    let wait = prop_oneof![3 => 1..5_u32, 1 => 20..50_u32].prop_map(|minutes| Step::Wait { minutes });
    prop::collection::vec(prop_oneof![6 => come, 2 => leave, 2 => strangers, 3 => wait], 1..40)
}

/// Of each peer: is it a seeder, and when was it last seen?
type Known = BTreeMap<SocketAddr, (bool, Minute)>;

/// A swarm, and what it has to hold.
struct Compared<P: Peer> {
    swarm: Swarm<P>,
    known: Known,
    limit: u32,
    now: Minute,
}

impl<P: Peer> Compared<P> {
    fn new(limit: u32) -> Self {
        Self { swarm: Swarm::default(), known: Known::new(), limit, now: START }
    }

    fn limit(&self) -> AddressLimit {
        AddressLimit::new(self.limit, self.now)
    }

    /// The n-th peer of an address.
    fn at(address: u16, n: u16) -> P {
        // One /64 has many addresses.
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, address, 0, n % 3, 0, 1);
        let v4 = Ipv4Addr::new(10, 0, (address >> 8) as u8, address as u8);
        P::at((v4, 1 + n).into()).or_else(|| P::at((v6, 1 + n).into())).unwrap()
    }

    /// Those of the peer's address, and when they were last seen.
    fn known_of(&self, peer: &P) -> Vec<(Minute, SocketAddr)> {
        let (first, last) = match peer.endpoint().ip() {
            IpAddr::V4(ip) => (IpAddr::V4(ip), IpAddr::V4(ip)),
            IpAddr::V6(ip) => {
                let network = u128::from(ip) >> 64 << 64;
                (Ipv6Addr::from(network).into(), Ipv6Addr::from(network | u128::from(u64::MAX)).into())
            }
        };
        let of_address = self.known.range(SocketAddr::new(first, 0)..=SocketAddr::new(last, u16::MAX));
        of_address.map(|(at, (_, seen))| (*seen, *at)).collect()
    }

    fn come(&mut self, peer: P, seeder: bool) {
        let (at, state, limit) = (peer.endpoint(), PeerState::new(self.now, seeder, false), self.limit());
        let of_address = self.known_of(&peer);
        let most = limit.among(self.known.len());
        let is_known = self.known.contains_key(&at);
        let displaces = !is_known && of_address.len() >= most;
        assert_eq!(self.swarm.has_place(&key(), &peer, limit), is_known || displaces);
        let mut before = None;
        self.swarm.upsert(&key(), peer, seeder, limit, |was| {
            before = Some(was);
            state
        });
        let before = before.expect("its state is asked for");
        assert_eq!(before.itself().map(|old| (old.seeder(), old.seen(self.now))), self.known.get(&at).copied());
        assert_eq!(matches!(before, Before::Displaced(_)), displaces, "{of_address:?} of {most}");
        if displaces {
            let gone = if of_address.len() > most { 2 } else { 1 };
            let oldest = self.oldest_are_gone(of_address, gone);
            assert!(matches!(before, Before::Displaced(state) if state.seen(self.now) == oldest));
        }
        self.known.insert(at, (seeder, self.now));
    }

    /// Asserts that so many of these peers are not in the swarm any more, and that none of the others has been silent
    /// for longer. Returns the minute of the oldest.
    fn oldest_are_gone(&mut self, mut peers: Vec<(Minute, SocketAddr)>, many: usize) -> Minute {
        peers.sort_unstable();
        let is_there = |at: &SocketAddr| self.swarm.contains(&key(), &P::at(*at).unwrap());
        let (stayed, gone): (Vec<_>, Vec<_>) = peers.iter().partition(|(_, at)| is_there(at));
        assert_eq!(gone.len(), many, "of {peers:?}");
        let last_gone = gone.iter().map(|(seen, _)| *seen).max();
        assert!(stayed.iter().all(|(seen, _)| Some(*seen) >= last_gone), "{gone:?} are gone, {stayed:?} are not");
        gone.iter().for_each(|(_, at)| assert!(self.known.remove(at).is_some()));
        peers[0].0
    }

    fn leave(&mut self, peer: &P) {
        let removed = self.swarm.remove(&key(), peer);
        assert_eq!(removed.map(|peer| peer.endpoint()), self.known.remove(&peer.endpoint()).map(|_| peer.endpoint()));
    }

    fn wait(&mut self, minutes: u32) {
        self.now = self.now + minutes;
        let expiry = Expiry { now: self.now, peer_lifetime: Intervals::MIN_PEER_LIFETIME };
        let was_tallied = self.is_tallied();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.swarm.expire(&key(), expiry, from, 100);
        }
        let now = self.now;
        self.known.retain(|_, (_, seen)| now.since(*seen) <= expiry.peer_lifetime);
        // Where there is a tally, who has too many for the smaller swarm loses the oldest.
        let most = self.limit().among(self.known.len());
        for address in (0..4).map(|address| Self::at(address, 0)) {
            let of_address = self.known_of(&address);
            if was_tallied && of_address.len() > most {
                let excess = of_address.len() - most;
                self.oldest_are_gone(of_address, excess);
            }
        }
    }

    fn is_tallied(&self) -> bool {
        matches!(&self.swarm.0, Form::Hashed(hashed) if hashed.assert_tallied(&key(), self.now))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Come { address, peers: (first, end), seeders } => {
                (first..end).for_each(|n| self.come(Self::at(address, n), seeders));
            }
            Step::Leave { address, peers: (first, end) } => {
                (first..end).for_each(|n| self.leave(&Self::at(address, n)));
            }
            Step::Strangers { many, come } => {
                for peer in (0..many).map(|n| Self::at(100 + n, n)) {
                    if come { self.come(peer, peer.endpoint().port() % 3 == 0) } else { self.leave(&peer) }
                }
            }
            Step::Wait { minutes } => self.wait(minutes),
        }
        let mut walked = Known::new();
        self.swarm.walk(&key(), &(0..=u64::MAX), |peer| {
            walked.insert(peer.endpoint(), (peer.state().seeder(), peer.state().seen(self.now)));
        });
        assert_eq!(walked, self.known);
        let seeders = self.known.values().filter(|(seeder, _)| *seeder).count();
        assert_eq!(self.swarm.counts(), SwarmCounts { seeders, leechers: self.known.len() - seeders });
        assert!(!self.is_tallied() || self.limit > 0, "nothing is kept where there is no limit");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_address_has_more_than_it_may_and_its_oldest_makes_place(
        limit in prop_oneof![Just(0), Just(16), 1..40_u32],
        steps in steps(),
    ) {
        let (mut ipv4, mut ipv6) = (Compared::<PeerV4>::new(limit), Compared::<PeerV6>::new(limit));
        for step in &steps {
            ipv4.step(step);
            ipv6.step(step);
        }
    }
}

#[test]
fn a_swarm_that_shrinks_while_an_address_refreshes_its_peers_is_rid_of_what_is_too_many() {
    let mut compared = Compared::<PeerV4>::new(16);
    compared.step(&Step::Strangers { many: 2500, come: true });
    compared.step(&Step::Come { address: 1, peers: (0, 200), seeders: false });
    let of_address = |compared: &Compared<PeerV4>| compared.known_of(&Compared::at(1, 0)).len();
    assert_eq!(of_address(&compared), 166, "a sixteenth of 2,666");
    compared.step(&Step::Wait { minutes: 40 });
    compared.step(&Step::Come { address: 1, peers: (34, 200), seeders: true });
    compared.step(&Step::Wait { minutes: 10 });
    assert_eq!((of_address(&compared), compared.known.len()), (16, 16));
}

#[test]
fn a_swarm_that_shrinks_by_newcomers_ends_its_tally() {
    let mut compared = Compared::<PeerV4>::new(16);
    compared.step(&Step::Strangers { many: 2500, come: true });
    compared.step(&Step::Come { address: 1, peers: (0, 200), seeders: false });
    compared.step(&Step::Strangers { many: 2500, come: false });
    assert!(compared.is_tallied());
    // Each gets the place of two.
    compared.step(&Step::Come { address: 1, peers: (200, 230), seeders: false });
    assert_eq!((compared.known.len(), compared.is_tallied()), (166 - 30, false));
}

#[test]
fn a_large_swarm_that_can_only_refuse_is_looked_through_once() {
    let mut compared = Compared::<PeerV4>::new(300);
    compared.step(&Step::Strangers { many: 300, come: true });
    assert!(!compared.is_tallied());
    let limit = compared.limit();
    assert!(!compared.swarm.has_place(&key(), &Compared::at(1, 0), limit));
    assert!(compared.is_tallied(), "the next one is answered by the tally");
}

/// A swarm of so many peers, each at an address of its own.
fn of_strangers(many: u32) -> Compared<PeerV4> {
    let mut compared = Compared::new(16);
    for n in 0..many {
        compared.come_unchecked(Ipv4Addr::from(0x0b00_0000 + n), 6881);
    }
    compared
}

impl Compared<PeerV4> {
    fn come_unchecked(&mut self, address: Ipv4Addr, port: u16) {
        let (peer, limit) = (PeerV4::at((address, port).into()).unwrap(), self.limit());
        self.swarm.upsert(&key(), peer, false, limit, |_| PeerState::new(START, false, false));
    }
}

#[test]
fn a_flood_of_ports_ends_at_a_sixteenth_of_a_large_swarm() {
    let mut compared = of_strangers(30_000);
    (1..=u16::MAX).for_each(|port| compared.come_unchecked(Ipv4Addr::new(10, 0, 0, 1), port));
    assert_eq!(compared.swarm.counts().leechers, 31_999, "one more would allow the address one more");
    assert!(compared.is_tallied());
}

#[test]
fn whoever_comes_and_goes_with_many_addresses_makes_a_tally_look_at_few_peers_for_each() {
    for ports in [8, 16, 200, 450, 900] {
        let mut compared = of_strangers(7000);
        let before = tally::tests::LOOKED_AT.get();
        let mut came = 0;
        for round in 0..40_000 / u32::from(ports) {
            let address = Ipv4Addr::from(0x0a00_0000 + round % 100);
            (1..=ports).for_each(|port| compared.come_unchecked(address, port));
            came += usize::from(ports);
            // Those of earlier rounds go, so that cells fill up anew and crowds are none any more.
            let gone = Ipv4Addr::from(0x0a00_0000 + (round + 90) % 100);
            for port in 1..=ports {
                compared.swarm.remove(&key(), &PeerV4::at((gone, port).into()).unwrap());
            }
        }
        let looked_at = tally::tests::LOOKED_AT.get() - before;
        assert!(looked_at < 40 * came, "{looked_at} for {came} that came with {ports} ports");
        compared.is_tallied();
    }
}
