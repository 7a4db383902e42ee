use super::*;
use crate::tracker::address_limit::AddressLimit;
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::model::config;
use crate::tracker::peer::{PeerState, PeerV4, PeerV6};
use crate::tracker::swarm::Swarm;
use crate::tracker::{Minute, PeerBuffer};
use fastrand::Rng;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

fn peer(n: u32) -> PeerV4 {
    PeerV4::at((Ipv4Addr::from(n), 1).into()).unwrap()
}

fn selection(slots: &[PeerV4], requester: &PeerV4, wanted: usize, rng: &mut Rng) -> Vec<[u8; 6]> {
    let present = slots.iter().filter(|p| !p.is_vacant() && !p.same_endpoint(requester)).count();
    let mut out = vec![0xff; wanted * 6 + PeerBuffer::SPARE];
    let plan = Plan::draw(rng);
    let [one, other] = [plan.of_seeders(wanted, present), plan.of_leechers(wanted, present)];
    let selection = if rng.bool() { one } else { other };
    let written = selection.take(slots, requester, &mut out);
    out[..written].chunks(6).map(|chunk| chunk.try_into().unwrap()).collect()
}

#[test]
fn a_selection_has_as_many_as_are_wanted_or_all_and_no_peer_twice_and_never_the_requester() {
    let mut rng = Rng::with_seed(1);
    for len in [0_usize, 1, 2, 7, 8, 9, 63, 64, 100, 1_000, 5_000] {
        for density in [1, 2, 9] {
            let mut slots: Vec<_> = (0..len as u32).map(peer).collect();
            for (i, slot) in slots.iter_mut().enumerate() {
                if i % density != 0 {
                    *slot = PeerV4::default();
                }
            }
            for wanted in [0, 1, 8, 50, 200] {
                let mut chosen = selection(&slots, &peer(0), wanted, &mut rng);
                let present = len.div_ceil(density).saturating_sub(1);
                assert_eq!(chosen.len(), wanted.min(present), "{len} {density} {wanted}");
                chosen.sort_unstable();
                chosen.dedup();
                assert_eq!(chosen.len(), wanted.min(present), "{len} {density} {wanted}: twice");
                assert!(!chosen.contains(&[0, 0, 0, 0, 0, 1]), "the requester");
            }
        }
    }
}

#[test]
fn a_swarm_that_is_dense_at_one_end_only_still_gives_what_is_wanted() {
    let slots: Vec<_> = (0..4_000).map(|n| if n < 60 { peer(n) } else { PeerV4::default() }).collect();
    for seed in 0..50 {
        let chosen = selection(&slots, &peer(0), 50, &mut Rng::with_seed(seed));
        assert_eq!(chosen.len(), 50);
    }
}

#[test]
fn every_peer_is_about_as_likely_as_any_other() {
    for len in [100_u32, 2_000] {
        let slots: Vec<_> = (0..len).map(peer).collect();
        let mut rng = Rng::with_seed(7);
        let mut times = BTreeMap::new();
        let rounds = 200 * len / 50;
        for _ in 0..rounds {
            for chosen in selection(&slots, &peer(len), 50, &mut rng) {
                *times.entry(chosen).or_insert(0_u32) += 1;
            }
        }
        // 200 times each on average; six standard deviations of a fair draw are about 85.
        assert_eq!(times.len(), len as usize);
        assert!(times.values().all(|&n| (115..285).contains(&n)), "{len}: {:?}", times.values());
    }
}

/// Slots that remember from where they were read.
struct Watched {
    slots: Vec<PeerV4>,
    read_from: RefCell<BTreeSet<usize>>,
}

impl Slots<PeerV4> for Watched {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn piece(&self, at: usize) -> &[PeerV4] {
        self.read_from.borrow_mut().insert(at);
        self.slots.get(at..).unwrap_or_default()
    }
}

#[test]
fn what_is_fetched_is_what_is_taken() {
    let mut rng = Rng::with_seed(3);
    let mut out = [0; 200 * 6 + PeerBuffer::SPARE];
    for len in [1, 15, 100, 255, 1_000, 40_000] {
        let watched = Watched { slots: (0..len).map(peer).collect(), read_from: RefCell::default() };
        for wanted in [1, 16, 17, 50, 200] {
            let selection = Plan::draw(&mut rng).of_leechers(wanted, len as usize);
            selection.prefetch(&watched);
            let fetched = watched.read_from.take();
            selection.take(&watched, &peer(len), &mut out);
            let mut taken = watched.read_from.take();
            // A run that reaches the end goes on at the beginning.
            taken.remove(&0);
            assert!(taken.is_subset(&fetched), "{len} {wanted}: {taken:?} of {fetched:?}");
            assert!(len < 1_000 || taken.len() + 1 >= wanted.div_ceil(MAX_RUN), "{len} {wanted}: {taken:?}");
        }
    }
}

/// Changes a swarm between the drawing of a plan and the selection by it.
fn stays_right<P: Peer>(endpoint: impl Fn(u16) -> SocketAddr, before: &[Peers], after: &[Peers], wanted: usize) {
    let key = HashKey::from_bytes(&std::array::from_fn(|i| (i * 91 + 5) as u8));
    let mut rng = Rng::with_seed(1);
    let at = |n| P::at(endpoint(n)).unwrap();
    let (mut swarm, mut kept) = (Swarm::<P>::default(), BTreeMap::new());
    let change = |swarm: &mut Swarm<P>, kept: &mut BTreeMap<u16, bool>, changes: &[Peers]| {
        for Peers { from, many, seeder } in changes {
            for n in *from..from + many {
                if let Some(seeder) = *seeder {
                    swarm.upsert(&key, at(n), seeder, AddressLimit::new(0, Minute(1)), |_| {
                        PeerState::new(Minute(1), seeder, false)
                    });
                    kept.insert(n, seeder);
                } else {
                    swarm.remove(&key, &at(n));
                    kept.remove(&n);
                }
            }
        }
    };
    change(&mut swarm, &mut kept, before);
    for preference in [Preference::Any, Preference::LeechersOnly] {
        let seeder = preference.is_seeders();
        let plan = Plan::draw(&mut rng);
        swarm.prefetch_peers(&key, &at(0), preference, &plan, wanted);
        change(&mut swarm, &mut kept, after);
        change(&mut swarm, &mut kept, &[Peers { from: 0, many: 1, seeder: Some(seeder) }]);
        let mut out = vec![0; wanted * P::COMPACT + PeerBuffer::SPARE];
        let written = swarm.select(&Requester { endpoint: Some(at(0)), preference }, &plan, wanted, &mut out);
        let chosen: BTreeSet<_> = out[..written].chunks(P::COMPACT).collect();
        let eligible = kept.iter().filter(|(n, seeds)| **n != 0 && !(seeder && **seeds));
        let compact = |n| {
            let mut room = vec![0; P::WIDE];
            at(n).write_wide(&mut room);
            room.truncate(P::COMPACT);
            room
        };
        let eligible: BTreeSet<_> = eligible.map(|(n, _)| compact(*n)).collect();
        assert_eq!(chosen.len() * P::COMPACT, written, "twice");
        assert_eq!(chosen.len(), wanted.min(eligible.len()), "{}", eligible.len());
        assert!(chosen.iter().all(|peer| eligible.contains(*peer)));
    }
}

/// Peers that follow one another come as seeders, come as leechers, or leave (`None`).
#[derive(Debug, Clone)]
struct Peers {
    from: u16,
    many: u16,
    seeder: Option<bool>,
}

fn changes() -> impl Strategy<Value = Vec<Peers>> {
    let many = prop_oneof![0..3_u16, 0..70_u16, 0..900_u16];
    let change = (0..900_u16, many, prop_oneof![3 => any::<bool>().prop_map(Some), 1 => Just(None)]);
    prop::collection::vec(change.prop_map(|(from, many, seeder)| Peers { from, many, seeder }), 0..5)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_plan_stays_right_whatever_happens_to_the_swarm(
        before in changes(), after in changes(), wanted in 0..210_usize,
    ) {
        stays_right::<PeerV4>(|n| (Ipv4Addr::from(u32::from(n)), 1).into(), &before, &after, wanted);
        stays_right::<PeerV6>(|n| (Ipv6Addr::from(u128::from(n)), 1).into(), &before, &after, wanted);
    }

    #[test]
    fn shares_of_seeders_are_exact_on_average(
        seeders in 0..300_usize, leechers in 0..300_usize, wanted in 0..210_usize,
    ) {
        let present = seeders + leechers;
        let mut rng = Rng::with_seed(5);
        let mut sum = 0;
        for _ in 0..1_000 {
            let share = Plan::draw(&mut rng).share_of_seeders(wanted, seeders, present);
            prop_assert!(share <= seeders && wanted.min(present) - share <= leechers);
            sum += share;
        }
        let exact = wanted.min(present) as f64 * seeders as f64 / present.max(1) as f64;
        // A share is one of two neighbouring numbers: a fair draw of a thousand is off by less than six times 0.016.
        prop_assert!((sum as f64 / 1_000.0 - exact).abs() < 0.1, "{} {}", sum, exact);
    }
}

#[test]
fn every_peer_of_a_large_swarm_is_about_as_likely_though_the_requester_comes_after_the_plan_was_drawn() {
    let key = HashKey::from_bytes(&std::array::from_fn(|i| (i * 91 + 5) as u8));
    let mut rng = Rng::with_seed(9);
    let mut swarm = Swarm::default();
    let upsert = |swarm: &mut Swarm<PeerV4>, n: u32, seeder| {
        swarm.upsert(&key, peer(n), seeder, AddressLimit::new(0, Minute(1)), |_| {
            PeerState::new(Minute(1), seeder, false)
        });
    };
    (1..=600).for_each(|n| upsert(&mut swarm, n, n % 3 == 0));
    let mut times = BTreeMap::new();
    let mut out = [0; 50 * 6 + PeerBuffer::SPARE];
    for _ in 0..24_000 {
        let plan = Plan::draw(&mut rng);
        swarm.prefetch_peers(&key, &peer(0), Preference::Any, &plan, 50);
        upsert(&mut swarm, 0, false);
        let written =
            swarm.select(&Requester { endpoint: Some(peer(0)), preference: Preference::Any }, &plan, 50, &mut out);
        for chosen in out[..written].chunks(6) {
            *times.entry(<[u8; 6]>::try_from(chosen).unwrap()).or_insert(0_u32) += 1;
        }
        swarm.remove(&key, &peer(0));
    }
    // 2,000 times each on average. A table has vacant slots, so that some stand in less dense places than others.
    assert_eq!(times.len(), 600);
    assert!(times.values().all(|&n| (1000..3000).contains(&n)), "{:?}", times.values());
}
