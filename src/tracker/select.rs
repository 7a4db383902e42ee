//! Selects the peers that a client is given: at random, from few cache lines.

use fastrand::Rng;

use super::counts::SwarmCounts;
use super::peer::Peer;
use super::prefetch::prefetch_first;

/// Most peers of one run, which are taken side by side: 16 IPv4 peers are two cache lines, which processors fetch
/// together.
const MAX_RUN: usize = 16;
/// With at least this many slots for each run, runs are taken from all over the swarm; with fewer, all peers from one
/// place.
const MIN_STRETCH: usize = 4 * MAX_RUN;

/// Which peers a client can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// A leecher's: peers of both kinds, in proportion to their numbers.
    Any,
    /// That of a client which says that nothing is left, but has uploaded nothing: leechers, then seeders up to the
    /// number wanted. Some say so of a magnet link whose size they do not know yet (aria2), and need the seeders.
    LeechersFirst,
    /// That of a seeder which has uploaded: leechers alone, since it can use nobody else.
    LeechersOnly,
}

impl Preference {
    /// Returns that of a client which says that nothing is left to download or not, and that it has uploaded or not.
    #[inline]
    pub fn of(seeder: bool, uploaded: bool) -> Self {
        if !seeder {
            Self::Any
        } else if uploaded {
            Self::LeechersOnly
        } else {
            Self::LeechersFirst
        }
    }

    /// Returns whether it is that of a client which counts as a seeder.
    #[inline]
    pub fn is_seeders(self) -> bool {
        self != Self::Any
    }

    /// Returns how many of the peers that there are to choose from are eligible.
    #[inline]
    pub fn eligible_count(self, others: SwarmCounts) -> usize {
        match self {
            Self::Any | Self::LeechersFirst => others.peers(),
            Self::LeechersOnly => others.leechers,
        }
    }
}

/// The client that a selection is for.
#[derive(Debug, Clone, Copy)]
pub struct Requester<P> {
    /// Its endpoint, if it is one of the swarm (not of the other address family).
    pub endpoint: Option<P>,
    /// Which peers it can use.
    pub preference: Preference,
}

impl<P> Requester<P> {
    /// Returns how many peers of each kind there are but itself, in its swarm of so many.
    #[inline]
    pub fn others(&self, counts: SwarmCounts) -> SwarmCounts {
        let itself = usize::from(self.endpoint.is_some());
        let SwarmCounts { seeders, leechers } = counts;
        match self.preference {
            Preference::Any => SwarmCounts { seeders, leechers: leechers - itself },
            _ => SwarmCounts { seeders: seeders - itself, leechers },
        }
    }
}

/// Slots that hold a peer or are vacant, in one piece or in several.
pub trait Slots<P> {
    /// Returns how many slots there are, vacant ones included.
    fn slots(&self) -> usize;
    /// Returns the slots from `at` on as far as they are in one piece: at least one, or none if there is no such slot.
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
/// So it can be drawn, and the memory that it names fetched, before the requester's own entry is stored or refreshed.
/// Whatever that does to the swarm (one peer more, a larger table, another form), the plan stays valid; and since a
/// table that grows keeps its peers in order, a fraction still names the same neighbourhood.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    seeders_begin: Fraction,
    leechers_begin: Fraction,
    /// Random bits that decide how far into its stretch each run begins.
    skips: u64,
}

impl Plan {
    /// Fills a place where no plan has been drawn yet.
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

    /// Returns how many seeders and how many leechers are to be selected, if `wanted` peers are wanted.
    #[inline]
    pub fn shares(&self, preference: Preference, wanted: usize, others: SwarmCounts) -> SwarmCounts {
        let wanted = wanted.min(preference.eligible_count(others));
        let seeders = match preference {
            Preference::Any => self.share_of_seeders(wanted, others.seeders, others.peers()),
            Preference::LeechersFirst => wanted.saturating_sub(others.leechers),
            Preference::LeechersOnly => 0,
        };
        SwarmCounts { seeders, leechers: wanted - seeders }
    }

    /// Returns how many of `wanted` peers are to be seeders, if `seeders` of the `present` peers are. Rounds at random,
    /// so that the average is the exact share. There are always enough seeders for it, and enough leechers for the
    /// rest.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub fn share_of_seeders(&self, wanted: usize, seeders: usize, present: usize) -> usize {
        let wanted = wanted.min(present);
        // The half of `skips` that decides least. Where a selection begins depends on neither half.
        let rounding = Fraction(self.skips as u32).of(present);
        let share = (wanted * seeders + rounding) / present.max(1);
        // One of the two numbers next to the exact share, and those are within these bounds.
        debug_assert!(share <= seeders && wanted - share <= present - seeders, "{share} of {seeders} of {present}");
        share.min(wanted)
    }

    /// Plans to select `wanted` peers from seeders and leechers that stand apart: the selections from each.
    #[inline]
    pub fn selections(&self, preference: Preference, wanted: usize, others: SwarmCounts) -> [Selection; 2] {
        let shares = self.shares(preference, wanted, others);
        [self.of_seeders(shares.seeders, others.seeders), self.of_leechers(shares.leechers, others.leechers)]
    }

    /// Plans to select `wanted` of `present` peers from slots in which only seeders stand.
    #[inline]
    pub fn of_seeders(&self, wanted: usize, present: usize) -> Selection {
        Selection { wanted: wanted.min(present), present, begin: self.seeders_begin, skips: self.skips }
    }

    /// Plans to select `wanted` of `present` peers from slots in which leechers stand, or peers of both kinds.
    #[inline]
    pub fn of_leechers(&self, wanted: usize, present: usize) -> Selection {
        Selection { wanted: wanted.min(present), present, begin: self.leechers_begin, skips: self.skips }
    }
}

/// What is to be selected from one set of slots: how many peers, and where.
///
/// Every peer is as likely to be handed out as any other that stands among as many vacant slots: the selection begins
/// at a random place and wraps. From a large swarm it takes short runs, one at a random place in each stretch of slots,
/// so the cost depends on the number wanted, not on the size of the swarm.
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
        let mut writer = SelectionWriter { out, requester, written: 0 };
        if let Some(runs) = selection.runs(slots.slots()) {
            for (run, (first, many)) in runs.enumerate() {
                // What earlier stretches fell short of is taken from this one.
                let due = ((run + 1) * MAX_RUN).min(wanted) * P::COMPACT;
                writer.write_wrapping(slots, first, many, due);
            }
        }
        // A swarm from which most have left can have stretches that hold too few. One pass over all of it never falls
        // short of `wanted`.
        if writer.written < wanted * P::COMPACT {
            writer.written = 0;
            writer.write_wrapping(slots, self.begin.of(slots.slots()), slots.slots(), wanted * P::COMPACT);
        }
        writer.written
    }

    /// Begins to fetch what [`Self::take`] will read.
    pub fn prefetch<P: Peer>(&self, slots: &(impl Slots<P> + ?Sized)) {
        if self.wanted == 0 {
            return;
        }
        if let Some(runs) = self.runs(slots.slots()) {
            for (first, _) in runs {
                prefetch_first(slots.piece(first), expected_slots(MAX_RUN));
            }
        } else {
            let piece = slots.piece(self.begin.of(slots.slots()));
            prefetch_first(piece, expected_slots(self.wanted));
            prefetch_first(slots.piece(0), expected_slots(self.wanted).saturating_sub(piece.len()));
        }
    }

    /// Returns where each run begins and how many slots it may use. The slots are divided into as many stretches as
    /// there are runs, and each run begins at a random place in its own. `None` if all peers are taken from one place.
    #[inline]
    fn runs(&self, slots: usize) -> Option<impl Iterator<Item = (usize, usize)> + use<>> {
        let runs = self.wanted.div_ceil(MAX_RUN);
        if self.wanted == self.present || slots < runs * MIN_STRETCH {
            return None;
        }
        let (begin, stretch, mut skips) = (self.begin.of(slots), slots / runs, self.skips);
        Some((0..runs).map(move |run| {
            let skipped = Fraction((skips >> 32) as u32).of(stretch / 2 + 1);
            // Each run looks at highest bits of its own.
            skips = skips.rotate_left(5);
            let first = begin + run * stretch + skipped;
            (if first >= slots { first - slots } else { first }, stretch - skipped)
        }))
    }
}

/// A fraction of a whole that is not known yet, in units of 1 / 2^32.
#[derive(Debug, Clone, Copy)]
struct Fraction(u32);

impl Fraction {
    /// Returns this fraction of `whole`, rounded down: always below `whole`, but 0 for 0. Random fractions make all
    /// numbers about equally likely.
    #[inline]
    fn of(self, whole: usize) -> usize {
        // No swarm has 2^32 slots; if one had, the number would still be below.
        (u64::from(self.0).wrapping_mul(whole as u64) >> 32) as usize
    }
}

/// Returns about how many slots so many peers stand in, vacant ones included.
fn expected_slots(peers: usize) -> usize {
    peers + peers / 8 + 1
}

/// Writes selected peers to a buffer.
struct SelectionWriter<'a, P> {
    out: &'a mut [u8],
    requester: &'a P,
    /// Bytes written to the beginning of `out`.
    written: usize,
}

impl<P: Peer> SelectionWriter<'_, P> {
    /// Writes peers from the `many` slots from `first` on, wrapping at the end, until `due` bytes are written in all.
    #[inline(always)] // Else it is a call for each run: 100 instructions of an announce's 3,000.
    fn write_wrapping(&mut self, slots: &(impl Slots<P> + ?Sized), first: usize, many: usize, due: usize) {
        let (mut at, mut left) = (first, many);
        while left > 0 && self.written < due {
            let piece = slots.piece(at);
            let Some(piece) = piece.get(..left.min(piece.len())).filter(|piece| !piece.is_empty()) else { return };
            self.write_piece(piece, due);
            left -= piece.len();
            at += piece.len();
            if at >= slots.slots() {
                at = 0;
            }
        }
    }

    /// Writes the peers of `slots` until `due` bytes are written in all. Writes every slot, and moves on in `out` only
    /// if it was a peer to hand out: no processor can guess which slots are vacant, so there is no branch on it.
    fn write_piece(&mut self, slots: &[P], due: usize) {
        let Some(mut room) = self.out.get_mut(self.written..due + P::WIDE - P::COMPACT) else { return };
        let before = room.len();
        for peer in slots {
            if !peer.write_wide(room) {
                break;
            }
            let eligible = !peer.is_vacant() & !peer.same_endpoint(self.requester);
            room = room.get_mut(if eligible { P::COMPACT } else { 0 }..).unwrap_or_default();
        }
        self.written += before - room.len();
    }
}

#[cfg(test)]
mod tests;
