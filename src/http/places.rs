//! The places of all connections that stay, and which of them makes room when all are taken.
//!
//! An address that holds more than its share goes before all others, the one that holds most first. Then it matters
//! whose turn it is: who is waited for goes before who waits for us. A connection from a proxy is nobody's while it
//! waits for a request, and its client's while it brings a long reply: a proxy answers a closed connection with 502, so
//! it goes after those whose clients keep us waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::atomic::AtomicU64;
use crate::tracker::Holder;

use super::stream::Lease;

/// An address holds too many places from this part of them on.
const SHARE: usize = 64;

/// Maximum number of connections that are compared at a time, so that the table is never locked for long. Among fewer,
/// exactly the one that the order names makes room; among more, the first of so many.
const MAX_COMPARED: usize = 256;

/// Whose turn it is on a connection. Who stands further down makes room sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Ours: a long reply is being made.
    Ours,
    /// A proxy's, which has nothing to ask at the time.
    Proxy,
    /// The client's, to read what was sent.
    Read,
    /// The client's, to ask: it is silent, trickles, or is idle between two requests.
    Ask,
}

/// What goes on over a connection: written by the worker that owns it, read by any that looks for room.
#[derive(Debug)]
pub(super) struct Activity(AtomicU64);

impl Activity {
    /// Says whose turn it is and since when, in time since the process started; and how many bytes of a request have
    /// come, which is never more than [`MAX_HEAD`](super::request::MAX_HEAD).
    pub(super) fn new(turn: Turn, since: Duration, said: usize) -> Self {
        Self(AtomicU64::new(pack(turn, since, said)))
    }

    /// Says it anew.
    pub(super) fn set(&self, turn: Turn, since: Duration, said: usize) {
        self.0.store(pack(turn, since, said), Ordering::Relaxed);
    }

    /// Says only that more bytes of the request have come.
    pub(super) fn set_said(&self, said: usize) {
        let packed = self.0.load(Ordering::Relaxed);
        self.0.store(packed & !SAID_MASK | pack_said(said), Ordering::Relaxed);
    }

    /// Returns whose turn it is, since when in milliseconds, and how many bytes have come.
    fn get(&self) -> (Turn, u64, u64) {
        let packed = self.0.load(Ordering::Relaxed);
        let turn = match packed & 3 {
            0 => Turn::Ours,
            1 => Turn::Proxy,
            2 => Turn::Read,
            _ => Turn::Ask,
        };
        (turn, packed >> SINCE_SHIFT, (packed & SAID_MASK) >> SAID_SHIFT)
    }
}

/// Bits of [`Activity`]: two for the turn, then the bytes, then milliseconds.
const SAID_SHIFT: u32 = 2;
const SINCE_SHIFT: u32 = 18;
const SAID_MASK: u64 = (1 << SINCE_SHIFT) - (1 << SAID_SHIFT);

fn pack_said(said: usize) -> u64 {
    ((said as u64) << SAID_SHIFT).min(SAID_MASK) & SAID_MASK
}

fn pack(turn: Turn, since: Duration, said: usize) -> u64 {
    (millis(since) << SINCE_SHIFT) | pack_said(said) | turn as u64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How much a connection is in the way: the greatest makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// How many places more than its share its holder has.
    excess: usize,
    turn: Turn,
    weight: u64,
}

impl Standing {
    fn new(excess: usize, is_named: bool, activity: &Activity, now: Duration) -> Self {
        let (turn, since, said) = activity.get();
        let waited = millis(now).saturating_sub(since);
        let turn = if is_named || turn == Turn::Ours { turn } else { Turn::Proxy };
        let weight = match turn {
            // Who has waited for longest is nearly there: whoever began last has cost least.
            Turn::Ours => u64::MAX - waited,
            Turn::Read => waited,
            // A byte counts as a millisecond: a head that comes at once counts, one that trickles does not.
            Turn::Proxy | Turn::Ask => waited.saturating_sub(said),
        };
        Self { excess, turn, weight }
    }
}

/// The table of all places that are taken.
#[derive(Debug)]
pub(super) struct Places {
    slots: Vec<Option<Entry>>,
    vacant: Vec<usize>,
    /// The slots of each holder.
    held: HashMap<Holder, Vec<usize>>,
    /// How many places a holder may have before it has too many.
    share: usize,
    /// How many places a holder may have at all.
    max_per_holder: usize,
    /// Moves on, so that other connections are compared the next time.
    hand: usize,
    /// How many connections are being cut off and have not left yet.
    leaving: usize,
    /// How many newcomers wait for a place.
    waiting: usize,
}

/// A connection in its place.
#[derive(Debug)]
struct Entry {
    /// Whose it is; nobody's if it is a proxy's that has nobody's request.
    holder: Option<Holder>,
    /// Which one it is among its holder's.
    index: usize,
    activity: Arc<Activity>,
    /// `None` once the connection is to make room.
    lease: Option<Lease>,
}

/// Where a connection has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// Everybody else has more right to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Places {
    /// Returns a table of `max` places, of which one holder may have `max_per_holder`.
    pub(super) fn new(max: usize, max_per_holder: usize) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            held: HashMap::new(),
            share: (max / SHARE).max(1),
            max_per_holder,
            hand: 0,
            leaving: 0,
            waiting: 0,
        }
    }

    /// Gives a connection a place. It is cut off when `lease` is dropped. Where its holder has as many as may be, that
    /// one of them makes room which is most in the way. One more does for each newcomer who waits and for whom nobody
    /// could be cut off.
    pub(super) fn enter(
        &mut self,
        holder: Option<Holder>,
        activity: Arc<Activity>,
        lease: Lease,
        now: Duration,
    ) -> Slot {
        let entry = Entry { holder: None, index: 0, activity, lease: Some(lease) };
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        self.hand_over(Slot(slot), holder, now);
        while self.waiting > self.leaving {
            let Some((_, worst)) = self.most_in_the_way(now) else { break };
            self.cut_off(worst);
        }
        Slot(slot)
    }

    /// Frees a place.
    pub(super) fn leave(&mut self, Slot(slot): Slot) {
        self.unlist(slot);
        if let Some(entry) = self.slots.get_mut(slot).and_then(Option::take) {
            self.leaving -= usize::from(entry.lease.is_none());
            self.vacant.push(slot);
        }
    }

    /// Counts a place for another holder, or for none.
    pub(super) fn hand_over(&mut self, Slot(slot): Slot, holder: Option<Holder>, now: Duration) {
        self.unlist(slot);
        let Some(holder) = holder.filter(|_| self.is_kept(slot)) else { return };
        if self.held_by(holder) >= self.max_per_holder {
            if let Some((_, worst)) = self.worst_of(holder, now) {
                self.cut_off(worst);
            }
        }
        let list = self.held.entry(holder).or_default();
        list.push(slot);
        let index = list.len() - 1;
        if let Some(entry) = self.entry(slot) {
            entry.holder = Some(holder);
            entry.index = index;
        }
    }

    /// Has the connection cut off that is most in the way. If all are being cut off already, one that enters later will
    /// be. The newcomer waits from now on, until [`Self::stop_waiting`].
    ///
    /// # Errors
    ///
    /// That would be the newcomer: we make a long reply for each, and its holder has no fewer places than any other.
    pub(super) fn make_room(
        &mut self,
        holder: Option<Holder>,
        activity: &Activity,
        now: Duration,
    ) -> Result<(), NoRoom> {
        let Some((standing, worst)) = self.most_in_the_way(now) else {
            self.waiting += 1;
            return Ok(());
        };
        let its_holder = self.entry(worst).and_then(|entry| entry.holder);
        let held = holder.map_or(0, |holder| self.held_by(holder) + usize::from(Some(holder) != its_holder));
        let newcomer = Standing::new(held.saturating_sub(self.share), holder.is_some(), activity, now);
        if newcomer.turn == Turn::Ours && newcomer >= standing {
            return Err(NoRoom);
        }
        self.cut_off(worst);
        self.waiting += 1;
        Ok(())
    }

    /// Counts a newcomer no longer who has waited for a place.
    pub(super) fn stop_waiting(&mut self) {
        self.waiting -= 1;
    }

    /// Returns the slot that is most in the way; `None` if all are being cut off.
    fn most_in_the_way(&mut self, now: Duration) -> Option<(Standing, usize)> {
        let (standing, worst) = self.worst(now)?;
        match self.entry(worst)?.holder {
            Some(holder) if standing.excess > 0 => self.worst_of(holder, now).or(Some((standing, worst))),
            _ => Some((standing, worst)),
        }
    }

    /// Returns the slot that is most in the way, of some that lie far apart: those of one flood lie side by side.
    /// Returns `None` if all are being cut off.
    fn worst(&mut self, now: Duration) -> Option<(Standing, usize)> {
        let len = self.slots.len();
        let compared = len.min(MAX_COMPARED);
        self.hand = self.hand.wrapping_add(1);
        let slots = (0..compared).map(|n| (self.hand % len + n * len / compared) % len);
        let standing = |slot| Some((self.standing(slot, now)?, slot));
        slots.filter_map(standing).max().or_else(|| (0..len).find_map(standing))
    }

    /// Returns the slot that is most in the way of those that a holder has.
    fn worst_of(&self, holder: Holder, now: Duration) -> Option<(Standing, usize)> {
        let slots = self.held.get(&holder)?;
        let slots = slots.iter().cycle().skip(self.hand % slots.len().max(1)).take(slots.len().min(MAX_COMPARED));
        slots.filter_map(|&slot| Some((self.standing(slot, now)?, slot))).max()
    }

    /// Returns how much a connection is in the way; `None` if it is being cut off.
    fn standing(&self, slot: usize, now: Duration) -> Option<Standing> {
        let entry = self.slots.get(slot)?.as_ref().filter(|entry| entry.lease.is_some())?;
        let excess = entry.holder.map_or(0, |holder| self.held_by(holder).saturating_sub(self.share));
        Some(Standing::new(excess, entry.holder.is_some(), &entry.activity, now))
    }

    fn held_by(&self, holder: Holder) -> usize {
        self.held.get(&holder).map_or(0, Vec::len)
    }

    fn entry(&mut self, slot: usize) -> Option<&mut Entry> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Returns whether a connection is there and is not being cut off.
    fn is_kept(&mut self, slot: usize) -> bool {
        self.entry(slot).is_some_and(|entry| entry.lease.is_some())
    }

    /// Has a connection cut off. It counts for nobody from now on, and keeps its slot until it leaves.
    fn cut_off(&mut self, slot: usize) {
        self.unlist(slot);
        if self.entry(slot).is_some_and(|entry| entry.lease.take().is_some()) {
            self.leaving += 1;
        }
    }

    /// Counts a place for nobody.
    fn unlist(&mut self, slot: usize) {
        let Some(entry) = self.entry(slot) else { return };
        let (Some(holder), index) = (entry.holder.take(), entry.index) else { return };
        let Some(list) = self.held.get_mut(&holder) else { return };
        list.swap_remove(index);
        match list.get(index).copied() {
            Some(moved) => {
                if let Some(entry) = self.entry(moved) {
                    entry.index = index;
                }
            }
            None if list.is_empty() => drop(self.held.remove(&holder)),
            None => (),
        }
    }
}

#[cfg(test)]
mod tests;
