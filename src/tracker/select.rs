//! Which peers are handed out: a random selection that touches few cache lines.

use fastrand::Rng;

use super::peer::Peer;
use super::prefetch::prefetch_first;

/// Peers taken from one place: 16 IPv4 peers are two cache lines, which processors fetch together.
const RUN: usize = 16;
/// With at least this many slots for each run, runs are taken from all over the swarm.
const SPREAD: usize = 4 * RUN;

/// Whom a selection is for.
#[derive(Debug, Clone, Copy)]
pub struct Requester<P> {
    /// Its endpoint, if it is one of the swarm (not of the other address family).
    pub endpoint: Option<P>,
    /// Has it got everything?
    pub seeder: bool,
}

/// What a selection is read from: slots that are peers or vacant, in one piece or in several.
pub trait Slots<P> {
    /// How many, vacant ones included.
    fn slots(&self) -> usize;
    /// Those from a slot on, as far as they stand side by side: at least that one, if there is one.
    fn piece(&self, at: usize) -> &[P];
}

impl<P> Slots<P> for [P] {
    fn slots(&self) -> usize {
        self.len()
    }

    #[inline]
    fn piece(&self, at: usize) -> &[P] {
        self.get(at..).unwrap_or_default()
    }
}

/// Appends the compact form of `wanted` of the peers in `slots` to `out`, or of all if there are fewer; never that
/// of `requester`. `present` is the number of peers in `slots`, the asker not counted; vacant slots are passed over.
///
/// Every peer is as likely to be handed out as any other that sits as densely: the selection begins at a random
/// place and wraps. From a large swarm it takes short runs, one at a random place in each stretch of slots, so the
/// cost depends on `wanted`, not on the size of the swarm.
pub fn select<P: Peer>(
    slots: &(impl Slots<P> + ?Sized),
    present: usize,
    requester: &P,
    wanted: usize,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) {
    let wanted = wanted.min(present);
    if wanted == 0 || slots.slots() == 0 {
        return;
    }
    let start = out.len();
    out.resize(start + wanted * P::COMPACT + P::WIDE - P::COMPACT, 0);
    let Some(room) = out.get_mut(start..) else { return };
    let mut taking = Taking { room, requester, written: 0 };
    let begin = rng.usize(..slots.slots());

    let runs = wanted.div_ceil(RUN);
    if wanted < present && slots.slots() >= runs * SPREAD {
        for (run, (first, many)) in stretches(slots.slots(), begin, runs, rng).enumerate() {
            // What earlier stretches fell short of is taken from this one.
            let due = ((run + 1) * RUN).min(wanted) * P::COMPACT;
            taking.around(slots, first, many, due);
        }
    }
    // A swarm from which most have left can have stretches that hold too few. One pass over all of it never falls
    // short of `wanted`.
    if taking.written < wanted * P::COMPACT {
        taking.written = 0;
        taking.around(slots, begin, slots.slots(), wanted * P::COMPACT);
    }
    let written = taking.written;
    out.truncate(start + written);
}

/// Begins to fetch what [`select`] will read with the same `wanted` and a generator in the same state.
pub fn prefetch<P: Peer>(slots: &(impl Slots<P> + ?Sized), wanted: usize, rng: &mut Rng) {
    if wanted == 0 || slots.slots() == 0 {
        return;
    }
    let begin = rng.usize(..slots.slots());
    let runs = wanted.div_ceil(RUN);
    if slots.slots() >= runs * SPREAD {
        for (first, _) in stretches(slots.slots(), begin, runs, rng) {
            prefetch_first(slots.piece(first), with_vacant(RUN));
        }
    } else {
        let piece = slots.piece(begin);
        prefetch_first(piece, with_vacant(wanted));
        prefetch_first(slots.piece(0), with_vacant(wanted).saturating_sub(piece.len()));
    }
}

/// About how many slots so many peers stand in.
fn with_vacant(peers: usize) -> usize {
    peers + peers / 8 + 1
}

/// Where each run begins, and how many slots it may use: at a random place in each of as many stretches as there are
/// runs, the first beginning at `begin`.
fn stretches(slots: usize, begin: usize, runs: usize, rng: &mut Rng) -> impl Iterator<Item = (usize, usize)> {
    let stretch = slots / runs;
    (0..runs).map(move |run| {
        let skipped = rng.usize(..=stretch / 2);
        let first = begin + run * stretch + skipped;
        (if first >= slots { first - slots } else { first }, stretch - skipped)
    })
}

/// A selection in the making.
struct Taking<'a, P> {
    room: &'a mut [u8],
    requester: &'a P,
    /// Bytes.
    written: usize,
}

impl<P: Peer> Taking<'_, P> {
    /// Takes from `many` slots from `first` on and around, until `due` bytes are written.
    #[inline(always)] // Else it is a call for each run: 100 instructions of an announce's 3,000.
    fn around(&mut self, slots: &(impl Slots<P> + ?Sized), first: usize, many: usize, due: usize) {
        let (mut at, mut left) = (first, many);
        while left > 0 && self.written < due {
            let piece = slots.piece(at);
            let Some(piece) = piece.get(..left.min(piece.len())).filter(|piece| !piece.is_empty()) else { return };
            self.from(piece, due);
            left -= piece.len();
            at += piece.len();
            if at >= slots.slots() {
                at = 0;
            }
        }
    }

    /// Writes every slot, and goes on to the next place only if it was a peer to hand out: which slots are vacant is
    /// what no processor can guess, so there is no branch on it.
    fn from(&mut self, slots: &[P], due: usize) {
        let Some(mut room) = self.room.get_mut(self.written..due + P::WIDE - P::COMPACT) else { return };
        let before = room.len();
        for peer in slots {
            if !peer.write_wide(room) {
                break;
            }
            let eligible = !peer.is_vacant() & !peer.is(self.requester);
            room = room.get_mut(if eligible { P::COMPACT } else { 0 }..).unwrap_or_default();
        }
        self.written += before - room.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::peer::PeerV4;
    use std::collections::BTreeMap;

    fn peer(n: u32) -> PeerV4 {
        PeerV4::at((std::net::Ipv4Addr::from(n), 1).into()).unwrap()
    }

    fn selection(slots: &[PeerV4], requester: &PeerV4, wanted: usize, rng: &mut Rng) -> Vec<[u8; 6]> {
        let present = slots.iter().filter(|p| !p.is_vacant() && !p.is(requester)).count();
        let mut out = vec![0xff];
        select(slots, present, requester, wanted, rng, &mut out);
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
}
