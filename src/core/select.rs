//! Which peers are handed out: a random selection that touches few cache lines.

use fastrand::Rng;

use super::peer::Peer;

/// Peers taken from one place: eight IPv4 peers are one cache line.
const RUN: usize = 8;
/// With at least this many slots for each run, runs are taken from all over the swarm.
const SPREAD: usize = 4 * RUN;

/// Appends the compact form of `wanted` of the peers in `slots` to `out`, or of all if there are fewer; never that
/// of `asker`. `present` is the number of peers in `slots`, the asker not counted; vacant slots are passed over.
///
/// Every peer is as likely to be handed out as any other that sits as densely: the selection begins at a random
/// place and wraps. From a large swarm it takes short runs, one at a random place in each stretch of slots, so the
/// cost depends on `wanted`, not on the size of the swarm.
pub fn select<P: Peer>(slots: &[P], present: usize, asker: &P, wanted: usize, rng: &mut Rng, out: &mut Vec<u8>) {
    let wanted = wanted.min(present);
    if wanted == 0 || slots.is_empty() {
        return;
    }
    let start = out.len();
    out.resize(start + wanted * P::COMPACT, 0);
    let Some(room) = out.get_mut(start..) else { return };
    let begin = rng.usize(..slots.len());

    let runs = wanted.div_ceil(RUN);
    let written = if wanted < present && slots.len() >= runs * SPREAD {
        take_runs(slots, begin, runs, asker, rng, room)
    } else {
        0
    };
    // A swarm from which most have left can have stretches that hold too few. One pass over all of it never falls
    // short of `wanted`.
    let written = if written < room.len() { take(from(slots, begin), asker, room) } else { written };
    out.truncate(start + written);
}

/// Fills `room` from `runs` stretches of equal length, the first beginning at `begin`; says how many bytes it wrote.
fn take_runs<P: Peer>(slots: &[P], begin: usize, runs: usize, asker: &P, rng: &mut Rng, room: &mut [u8]) -> usize {
    let stretch = slots.len() / runs;
    let mut written = 0;
    for run in 0..runs {
        let skipped = rng.usize(..=stretch / 2);
        let first = (begin + run * stretch + skipped) % slots.len();
        // What earlier stretches fell short of is taken from this one.
        let due = ((run + 1) * RUN * P::COMPACT).min(room.len());
        if let Some(place) = room.get_mut(written..due) {
            written += take(from(slots, first).take(stretch - skipped), asker, place);
        }
    }
    written
}

/// Writes peers until `room` is full or the peers end; says how many bytes it wrote.
fn take<'a, P: Peer>(peers: impl Iterator<Item = &'a P>, asker: &P, room: &mut [u8]) -> usize {
    let eligible = peers.filter(|peer| !peer.is_vacant() && !peer.is(asker));
    let mut written = 0;
    for (place, peer) in room.chunks_exact_mut(P::COMPACT).zip(eligible) {
        peer.write_compact(place);
        written += P::COMPACT;
    }
    written
}

/// All slots once, from `begin` on and around.
fn from<P>(slots: &[P], begin: usize) -> impl Iterator<Item = &P> {
    let (before, after) = slots.split_at(begin);
    after.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::peer::PeerV4;
    use std::collections::BTreeMap;

    fn peer(n: u32) -> PeerV4 {
        PeerV4::at((std::net::Ipv4Addr::from(n), 1).into()).unwrap()
    }

    fn selection(slots: &[PeerV4], asker: &PeerV4, wanted: usize, rng: &mut Rng) -> Vec<[u8; 6]> {
        let present = slots.iter().filter(|p| !p.is_vacant() && !p.is(asker)).count();
        let mut out = vec![0xff];
        select(slots, present, asker, wanted, rng, &mut out);
        assert_eq!(out.remove(0), 0xff, "what stood before is kept");
        out.chunks(6).map(|chunk| chunk.try_into().unwrap()).collect()
    }

    #[test]
    fn exactly_as_many_as_wanted_or_all_and_never_twice_and_never_the_asker() {
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
                    assert!(!chosen.contains(&[0, 0, 0, 0, 0, 1]), "the asker");
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
}
