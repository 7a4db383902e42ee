//! Changes that are kept while another tracker tells them, in case it falls silent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::tracker::{Change, InfoHash, Origin};

/// Most changes that are held: 16 MiB with what finds them. When there are more, the oldest are given up.
pub const MAX_HELD: usize = 32_768;

/// Most places for changes, of which some are vacant. When there are more, the vacant ones are removed: at least half.
const MAX_PLACES: usize = 2 * MAX_HELD;

/// How long a change is held.
pub const MAX_HELD_TIME: Duration = Duration::from_secs(60);

/// Most changes of a peer that are looked at when another tracker has published one, as announces wait meanwhile. That
/// tracker publishes them in their order, so it is one of the oldest.
const MAX_LOOKS: usize = 16;

/// Changes in the order in which they came. Takes no memory while there are none.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// `None` where one is held no more; never at the front. At most [`MAX_PLACES`].
    changes: VecDeque<Option<HeldChange>>,
    /// How many are held; at most [`MAX_HELD`].
    many: usize,
    /// How many have left at the front. The number of a change is this and its position.
    left: u64,
    /// The changes of each peer.
    of_peer: HashMap<PeerName, Chain>,
}

type PeerName = (InfoHash, SocketAddr);

/// A change, and when it came.
#[derive(Debug)]
struct HeldChange {
    change: Change,
    since: Instant,
    /// The number of the next one of the same peer.
    next: Option<u64>,
}

const _: () = assert!(size_of::<Option<HeldChange>>() <= 120);

/// The numbers of the oldest and the newest change of a peer.
#[derive(Debug, Clone, Copy)]
struct Chain {
    oldest: u64,
    newest: u64,
}

impl Held {
    /// Keeps a change. If there are [`MAX_HELD`], the oldest makes place for it.
    pub(super) fn keep(&mut self, change: &Change, now: Instant) {
        if self.is_full() {
            self.forget_first();
        }
        if self.changes.len() >= MAX_PLACES {
            self.close_up();
        }
        self.push(change, now);
        self.expire(now);
    }

    fn push(&mut self, change: &Change, since: Instant) {
        let number = self.left + self.changes.len() as u64;
        self.changes.push_back(Some(HeldChange { change: *change, since, next: None }));
        self.many += 1;
        let chain = self.of_peer.entry(name(change)).or_insert(Chain { oldest: number, newest: number });
        let before = std::mem::replace(&mut chain.newest, number);
        if let Some(before) = self.at(before).filter(|_| before != number) {
            before.next = Some(number);
        }
    }

    /// Removes the vacant places. Announces wait for that; but before the next time come [`MAX_HELD`] others at least.
    fn close_up(&mut self) {
        let changes = std::mem::take(self).changes;
        changes.into_iter().flatten().for_each(|held| self.push(&held.change, held.since));
    }

    /// Forgets a change that tells the same as this one, and those of its peer that came before it: another tracker has
    /// published them. Returns whether the change tells nothing new here: it is the stop that has been held, or of its
    /// peer something later is held. Of a peer's changes only the [`MAX_LOOKS`] oldest are looked at.
    pub(super) fn forget_published(&mut self, change: &Change) -> bool {
        let Some(Chain { oldest, newest }) = self.of_peer.get(&name(change)).copied() else { return false };
        let mut number = Some(oldest);
        for _ in 0..MAX_LOOKS {
            let Some(held) = number.and_then(|number| self.at(number)) else { break };
            let next = held.next;
            if tells(&held.change) == tells(change) {
                self.forget_until(name(change), oldest, next, newest);
                return change.stopped || next.is_some();
            }
            number = next;
        }
        false
    }

    /// Gives up what has been held for longer than [`MAX_HELD_TIME`].
    pub(super) fn expire(&mut self, now: Instant) {
        let is_old = |held: &HeldChange| now.saturating_duration_since(held.since) > MAX_HELD_TIME;
        while self.changes.front().and_then(Option::as_ref).is_some_and(is_old) {
            self.forget_first();
        }
    }

    /// Forgets all changes of the peer that this one is about, unless they came from the same tracker or are later: who
    /// publishes anew what it knows, or comes late, may not know of them.
    pub(super) fn forget_outdated(&mut self, change: &Change) {
        let Some(Chain { oldest, newest }) = self.of_peer.get(&name(change)).copied() else { return };
        let is_outdated = |held: &HeldChange| change.seen >= held.change.seen && teller(&held.change) != teller(change);
        if !matches!(change.origin, Origin::Late { .. }) && self.at(newest).is_some_and(|held| is_outdated(held)) {
            self.forget_until(name(change), oldest, None, newest);
        }
    }

    /// Returns the oldest change, and when it came.
    pub(super) fn first(&self) -> Option<(Change, Instant)> {
        let held = self.changes.front()?.as_ref()?;
        Some((held.change, held.since))
    }

    /// Forgets the oldest change.
    pub(super) fn forget_first(&mut self) {
        let Some(HeldChange { change, next, .. }) = self.changes.front().and_then(Option::as_ref) else { return };
        let (name, next) = (name(change), *next);
        if let Some(Chain { oldest, newest }) = self.of_peer.get(&name).copied() {
            self.forget_until(name, oldest, next, newest);
        }
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns whether one more would push the oldest out.
    pub(super) fn is_full(&self) -> bool {
        self.many >= MAX_HELD
    }

    fn at(&mut self, number: u64) -> Option<&mut HeldChange> {
        let position = usize::try_from(number.checked_sub(self.left)?).ok()?;
        self.changes.get_mut(position)?.as_mut()
    }

    /// Forgets the changes of a peer from the oldest one up to that before `next`, and what stands vacant at the front.
    fn forget_until(&mut self, name: PeerName, oldest: u64, next: Option<u64>, newest: u64) {
        let mut number = Some(oldest).filter(|oldest| Some(*oldest) != next);
        while let Some(at) = number {
            let position = at.checked_sub(self.left).and_then(|position| usize::try_from(position).ok());
            let slot = position.and_then(|position| self.changes.get_mut(position));
            let forgotten = slot.and_then(Option::take);
            self.many -= usize::from(forgotten.is_some());
            number = forgotten.and_then(|held| held.next).filter(|number| Some(*number) != next);
        }
        match next {
            Some(oldest) => _ = self.of_peer.insert(name, Chain { oldest, newest }),
            None => _ = self.of_peer.remove(&name),
        }
        while self.changes.front().is_some_and(Option::is_none) {
            self.changes.pop_front();
            self.left += 1;
        }
        if self.changes.is_empty() {
            // Returns their memory.
            self.changes = VecDeque::new();
            self.of_peer.shrink_to_fit();
        }
    }
}

fn name(change: &Change) -> PeerName {
    (change.info_hash, change.endpoint)
}

/// Returns the number of the tracker that has told a change; 0 if it has none, or it was a client.
fn teller(change: &Change) -> u32 {
    match change.origin {
        Origin::Client => 0,
        Origin::Transport { member, .. } | Origin::Late { member, .. } => member,
    }
}

/// Returns what a change tells of its peer.
fn tells(change: &Change) -> (bool, bool, bool) {
    (change.seeder, change.completed, change.stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Minute;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn change(peer: u16, flags: u8) -> Change {
        Change {
            info_hash: InfoHash([7; 20]),
            endpoint: ([192, 0, 2, 1], peer).into(),
            seeder: flags & 1 != 0,
            completed: false,
            stopped: flags & 2 != 0,
            seen: Minute(1),
            origin: Origin::Transport { name: "other", member: 0 },
        }
    }

    fn drain(held: &mut Held) -> Vec<Change> {
        let first = |held: &mut Held| {
            let first = held.first();
            held.forget_first();
            Some(first?.0)
        };
        std::iter::from_fn(|| first(held)).collect()
    }

    #[test]
    fn what_another_has_published_is_forgotten_with_what_came_before_it() {
        let now = Instant::now();
        let mut held = Held::default();
        let [came, other, left, again] = [change(1, 0), change(2, 0), change(1, 2), change(1, 1)];
        [came, other, left, again].iter().for_each(|change| held.keep(change, now));
        assert!(!held.forget_published(&change(3, 0)) && !held.forget_published(&change(2, 2)));
        assert!(held.forget_published(&left));
        assert_eq!(drain(&mut held), [other, again]);
        assert_eq!((held.of_peer.len(), held.of_peer.capacity(), held.changes.capacity()), (0, 0, 0));
    }

    #[test]
    fn of_a_peer_that_changes_all_the_time_only_the_oldest_changes_are_looked_at() {
        let now = Instant::now();
        let mut held = Held::default();
        (0..MAX_LOOKS).for_each(|_| held.keep(&change(1, 0), now));
        held.keep(&change(1, 1), now);
        assert!(!held.forget_published(&change(1, 1)), "behind too many");
        assert_eq!(held.changes.len(), MAX_LOOKS + 1);
        held.forget_first();
        assert!(!held.forget_published(&change(1, 1)), "nothing later is held, so it is new here");
        assert!(held.is_empty(), "it is the last one that is looked at");
    }

    #[test]
    fn as_many_are_held_as_may_be_although_others_behind_the_oldest_are_held_no_more() {
        let now = Instant::now();
        let mut held = Held::default();
        held.keep(&change(1, 0), now);
        for _ in 0..MAX_PLACES {
            held.keep(&change(2, 0), now);
            assert!(!held.is_full() && held.changes.len() <= MAX_PLACES);
            held.forget_published(&change(2, 0));
        }
        held.keep(&change(1, 1), now);
        (0..MAX_HELD - 3).for_each(|_| held.keep(&change(2, 0), now));
        assert!(!held.is_full());
        held.keep(&change(3, 0), now);
        assert!(held.is_full());
        assert!(held.forget_published(&change(1, 0)), "the later one of its peer is found");
        assert_eq!((held.is_full(), held.many), (false, MAX_HELD - 1));
        (0..2).for_each(|_| held.keep(&change(3, 0), now));
        assert_eq!((held.is_full(), drain(&mut held)[0]), (true, change(2, 0)), "the oldest gives way");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_holds_what_a_plain_list_would(
            steps in prop::collection::vec((0..4_u8, 1..5_u16, 0..4_u8, 0..30_u32), 1..200),
        ) {
            let (mut now, mut held, mut expected) = (Instant::now(), Held::default(), Vec::<(Change, Instant)>::new());
            for (step, peer, flags, seconds) in steps {
                let change = change(peer, flags);
                match step {
                    0 => {
                        let of_peer = expected.iter().enumerate().filter(|(_, (held, _))| held.endpoint == change.endpoint);
                        let published = of_peer.take(MAX_LOOKS).find(|(_, (held, _))| *held == change).map(|(at, _)| at);
                        let is_old = published.is_some_and(|at| {
                            change.stopped || expected.iter().skip(at + 1).any(|(held, _)| held.endpoint == change.endpoint)
                        });
                        if let Some(last) = published {
                            let is_older = |at: usize, held: &Change| at <= last && held.endpoint == change.endpoint;
                            let mut at = 0..;
                            expected.retain(|(held, _)| !is_older(at.next().unwrap(), held));
                        }
                        prop_assert_eq!(held.forget_published(&change), is_old);
                    }
                    1 => {
                        now += seconds * SECOND;
                        held.expire(now);
                        expected.retain(|(_, since)| now - *since <= MAX_HELD_TIME);
                    }
                    2 => {
                        prop_assert_eq!(held.first(), expected.first().copied());
                        held.forget_first();
                        expected.drain(..expected.len().min(1));
                    }
                    _ => {
                        held.keep(&change, now);
                        expected.push((change, now));
                    }
                }
                prop_assert_eq!(held.is_empty(), expected.is_empty());
                prop_assert_eq!(held.many, expected.len());
                if seconds == 7 {
                    held.close_up();
                    prop_assert!(held.changes.iter().all(Option::is_some));
                }
                prop_assert!(held.changes.front().is_none_or(Option::is_some));
            }
            prop_assert_eq!(drain(&mut held), expected.into_iter().map(|(change, _)| change).collect::<Vec<_>>());
            prop_assert_eq!(held.of_peer.len(), 0);
        }
    }
}
