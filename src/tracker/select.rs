//! Selects the peers that a client is given: at random, from few cache lines.

use fastrand::Rng;

use super::peer::Peer;
use super::prefetch::prefetch_first;

/// Most peers taken from one place: 16 IPv4 peers are two cache lines, which processors fetch together.
const RUN: usize = 16;
/// With at least this many slots for each run, runs are taken from all over the swarm.
const SPREAD: usize = 4 * RUN;

/// The client that a selection is for.
#[derive(Debug, Clone, Copy)]
pub struct Requester<P> {
    /// Its endpoint, if it is one of the swarm (not of the other address family).
    pub endpoint: Option<P>,
    /// It has everything.
    pub seeder: bool,
}

/// Slots that hold a peer or are vacant, in one piece or in several.
pub trait Slots<P> {
    /// Returns how many slots there are, vacant ones included.
    fn slots(&self) -> usize;
    /// Returns the slots from `at` on that stand side by side: at least that one, if there is one.
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

/// The random choices of one selection, drawn once: fractions of a swarm, not positions in it.
///
/// So it can be drawn, and the memory it names fetched, before the requester's own entry is made or changed. Whatever
/// that does to the swarm (one peer more, a larger table, another form), the plan holds nothing that could be wrong
/// afterwards; and since a table that grows keeps its peers in order, a fraction still names the same neighbourhood.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    seeders_begin: Fraction,
    leechers_begin: Fraction,
    /// Decides how far into its stretch each run begins.
    skips: u64,
}

impl Plan {
    /// Stands where none has been drawn yet.
    pub(super) const NONE: Self = Self { seeders_begin: Fraction(0), leechers_begin: Fraction(0), skips: 0 };

    /// Draws a plan.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub fn draw(rng: &mut Rng) -> Self {
        let begins = rng.u64(..);
        Self {
            seeders_begin: Fraction((begins >> 32) as u32),
            leechers_begin: Fraction(begins as u32),
            skips: rng.u64(..),
        }
    }

    /// Returns how many of `wanted` peers are to be seeders, when `seeders` of the `present` peers are. Rounded at random,
    /// so that on average it is the exact share. Neither seeders nor leechers are ever too few for it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub fn share_of_seeders(&self, wanted: usize, seeders: usize, present: usize) -> usize {
        let wanted = wanted.min(present);
        // Of `skips`, the half that decides least: where a selection begins depends on neither.
        let rounding = Fraction(self.skips as u32).of(present);
        let share = (wanted * seeders + rounding) / present.max(1);
        // One of the two numbers next to the exact share, and those are within these bounds.
        debug_assert!(share <= seeders && wanted - share <= present - seeders, "{share} of {seeders} of {present}");
        share.min(wanted)
    }

    /// Selects `wanted` of `present` peers from slots that are all peers' or all seeders'.
    #[inline]
    pub fn of_seeders(&self, wanted: usize, present: usize) -> Selection {
        Selection { wanted: wanted.min(present), present, begin: self.seeders_begin, skips: self.skips }
    }

    /// Selects `wanted` of `present` peers from slots that are all leechers'.
    #[inline]
    pub fn of_leechers(&self, wanted: usize, present: usize) -> Selection {
        Selection { wanted: wanted.min(present), present, begin: self.leechers_begin, skips: self.skips }
    }
}

/// What is to be selected from one set of slots: how many peers, and where.
///
/// Every peer is as likely to be handed out as any other that sits as densely: the selection begins at a random
/// place and wraps. From a large swarm it takes short runs, one at a random place in each stretch of slots, so the
/// cost depends on the number wanted, not on the size of the swarm.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// At most `present`.
    wanted: usize,
    present: usize,
    begin: Fraction,
    skips: u64,
}

impl Selection {
    /// Writes the compact form of as many of the peers in `slots` as are wanted (of all if there are fewer) to the
    /// beginning of `out`, and returns the number of bytes. Passes over vacant slots and over `requester`, which was
    /// not counted among those present.
    ///
    /// `out` takes `P::WIDE - P::COMPACT` bytes more than the peers do; where it is shorter, fewer peers are selected.
    pub fn take<P: Peer>(&self, slots: &(impl Slots<P> + ?Sized), requester: &P, out: &mut [u8]) -> usize {
        let most = out.len().saturating_sub(P::WIDE - P::COMPACT) / P::COMPACT;
        let selection = Self { wanted: self.wanted.min(most), ..*self };
        let wanted = selection.wanted;
        if wanted == 0 || slots.slots() == 0 {
            return 0;
        }
        let mut taking = Taking { room: out, requester, written: 0 };
        if let Some(runs) = selection.runs(slots.slots()) {
            for (run, (first, many)) in runs.enumerate() {
                // What earlier stretches fell short of is taken from this one.
                let due = ((run + 1) * RUN).min(wanted) * P::COMPACT;
                taking.around(slots, first, many, due);
            }
        }
        // A swarm from which most have left can have stretches that hold too few. One pass over all of it never falls
        // short of `wanted`.
        if taking.written < wanted * P::COMPACT {
            taking.written = 0;
            taking.around(slots, self.begin.of(slots.slots()), slots.slots(), wanted * P::COMPACT);
        }
        taking.written
    }

    /// Begins to fetch what [`Self::take`] will read.
    pub fn prefetch<P: Peer>(&self, slots: &(impl Slots<P> + ?Sized)) {
        if self.wanted == 0 {
            return;
        }
        if let Some(runs) = self.runs(slots.slots()) {
            for (first, _) in runs {
                prefetch_first(slots.piece(first), with_vacant(RUN));
            }
        } else {
            let piece = slots.piece(self.begin.of(slots.slots()));
            prefetch_first(piece, with_vacant(self.wanted));
            prefetch_first(slots.piece(0), with_vacant(self.wanted).saturating_sub(piece.len()));
        }
    }

    /// Returns where each run begins and how many slots it may use: at a random place in each of as many stretches as
    /// there are runs. `None`: all is taken from one place.
    #[inline]
    fn runs(&self, slots: usize) -> Option<impl Iterator<Item = (usize, usize)> + use<>> {
        let runs = self.wanted.div_ceil(RUN);
        if self.wanted == self.present || slots < runs * SPREAD {
            return None;
        }
        let (begin, stretch, mut skips) = (self.begin.of(slots), slots / runs, self.skips);
        Some((0..runs).map(move |run| {
            let skipped = Fraction((skips >> 32) as u32).of(stretch / 2 + 1);
            // Each looks at bits of its own first.
            skips = skips.rotate_left(5);
            let first = begin + run * stretch + skipped;
            (if first >= slots { first - slots } else { first }, stretch - skipped)
        }))
    }
}

/// A part of a whole that is not known yet, in parts of 2^32.
#[derive(Debug, Clone, Copy)]
struct Fraction(u32);

impl Fraction {
    /// Returns a number below `whole`, each about as likely as any other; 0 if there is none.
    #[inline]
    fn of(self, whole: usize) -> usize {
        // No swarm has 2^32 slots; if one had, the number would still be below.
        (u64::from(self.0).wrapping_mul(whole as u64) >> 32) as usize
    }
}

/// Returns about how many slots so many peers stand in.
fn with_vacant(peers: usize) -> usize {
    peers + peers / 8 + 1
}

/// A selection in the making.
struct Taking<'a, P> {
    room: &'a mut [u8],
    requester: &'a P,
    /// Bytes.
    written: usize,
}

impl<P: Peer> Taking<'_, P> {
    /// Takes peers from the `many` slots from `first` on, wrapping at the end, until `due` bytes are written.
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
mod tests;
