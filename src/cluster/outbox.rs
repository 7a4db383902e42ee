//! The way out to the cluster: gathers changes into packets.
//!
//! A worker adds a change to the [`Outbox`], which is all that an announce waits for; a thread of the transport takes
//! packets that are full or due, and sends them.
//!
//! Of several trackers on the same transports one forwards what comes in by another transport. The others hold it: once
//! the thread says that this tracker forwards ([`Outbox::set_forwarding`]), what is held is sent after all.
//!
//! What another tracker that is heard here too has told by another transport it tells here itself, within a moment. In
//! case it dies in between, that is kept until it has surely done so; else the one that forwards tells it.

mod draft;
mod held;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::tracker::{Change, Origin};

use super::members::{Members, Told};
use super::record::RecordKind;
use draft::{AddResult, Draft};
use held::Held;

pub use draft::OutgoingPacket;
pub use held::{MAX_HELD, MAX_HELD_TIME};

/// How long a forwarded change waits for others, if a packet is not full: it has waited once, where it came from.
pub const MAX_FORWARD_DELAY: Duration = Duration::from_millis(500);

/// How much longer than it should a packet that is not full waits for full ones at most.
const MAX_OVERDUE: Duration = Duration::from_millis(500);

/// How long one that begins to forward waits until it sends what it holds: what the one before it has still to send
/// arrives meanwhile, and is held no more.
pub const RELEASE_DELAY: Duration = Duration::from_secs(2);

/// Most changes that are held or owed and are settled, or that are heard, in one go: announces wait meanwhile.
const MAX_SETTLED: usize = 256;

/// How a transport writes packets.
pub trait Codec: Send + 'static {
    /// Most full packets that wait to be sent. If the transport cannot keep up, changes that find no room are refused.
    const MAX_WAITING: usize;

    /// Returns a packet for this kind of records with none in it.
    fn begin(&self, kind: RecordKind) -> Vec<u8>;

    /// Appends a change as a record to a packet of its kind that is not full.
    fn append(&self, packet: &mut Vec<u8>, change: &Change);

    /// Returns whether there is no room for one more record.
    fn is_full(packet: &[u8], kind: RecordKind) -> bool;
}

/// Takes changes from workers, and gives packets of them to the thread that sends.
#[derive(Debug)]
pub struct Outbox<C: Codec> {
    batcher: Mutex<Batcher<C>>,
    /// Notified when a packet has become full.
    filled: Condvar,
}

impl<C: Codec> Outbox<C> {
    /// Makes an empty outbox, from which the first change is due at once. Later, a packet that is not full is due
    /// `delay` after the previous one of its kind.
    pub fn new(codec: C, delay: Duration, now: Instant) -> Self {
        Self { batcher: Mutex::new(Batcher::new(codec, delay, now)), filled: Condvar::new() }
    }

    /// Lets it know who is heard on this transport: what such a tracker has told by another one is sent only if it
    /// falls silent before it has surely told it here.
    #[must_use]
    pub fn among(self, members: Arc<Members>) -> Self {
        self.batcher().members = Some(members);
        self
    }

    /// Sets how long after the previous packet of its kind one that is not full is due.
    pub fn set_delay(&self, delay: Duration, now: Instant) {
        self.batcher().set_delay(delay, now);
    }

    /// Adds a change; one that is forwarded is due within [`MAX_FORWARD_DELAY`], or when what is held has left. Returns
    /// false if there is no room for it. Holds a lock for as long as it takes to write a record.
    pub fn add(&self, change: &Change, now: Instant) -> bool {
        let added = self.batcher().add(change, now);
        if added == AddResult::Completed {
            self.filled.notify_one();
        }
        added != AddResult::Refused
    }

    /// Keeps a change that another tracker forwards at present, for [`MAX_HELD_TIME`]. Returns true: if that tracker
    /// falls silent, it is sent as far as [`MAX_HELD`] younger ones leave it a place.
    ///
    /// If this tracker forwards since a moment ago, adds it as [`Self::add`] does.
    pub fn hold(&self, change: &Change, now: Instant) -> bool {
        let added = self.batcher().hold(change, now);
        if added == AddResult::Completed {
            self.filled.notify_one();
        }
        added != AddResult::Refused
    }

    /// Hears changes that came in together. If it was by this very transport, of this name, another tracker has
    /// told what is held of them: it is held no more, so nobody is told of it twice when this one begins to
    /// forward. Returns the changes without those that are late copies of what has come before by another transport.
    pub fn hear<'a>(&self, transport: &str, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        if !changes.first().is_some_and(|change| change.origin.is_by(transport)) {
            return changes;
        }
        let mut copies = Vec::new();
        for (first, some) in (0..).step_by(MAX_SETTLED).zip(changes.chunks(MAX_SETTLED)) {
            if first > 0 {
                // Else this thread would have the lock again before an announce that waits for it wakes up.
                thread::yield_now();
            }
            let mut batcher = self.batcher();
            copies.extend((first..).zip(some).filter(|(_, change)| batcher.hear(change)).map(|(at, _)| at));
        }
        if copies.is_empty() {
            return changes;
        }
        let mut copies = copies.into_iter().peekable();
        let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
        for (at, change) in (0..).zip(&*changes) {
            let is_copy = copies.next_if_eq(&at).is_some();
            // What stops behind something new has come from one tracker in this order.
            let is_of_peer = |kept: &Change| (kept.info_hash, kept.endpoint) == (change.info_hash, change.endpoint);
            if !is_copy || change.stopped && kept.iter().any(is_of_peer) {
                kept.push(*change);
            }
        }
        Cow::Owned(kept)
    }

    /// Says whether this tracker forwards. If so, what is held leaves after [`RELEASE_DELAY`], in its order and as fast
    /// as there is room; if not, what has been held for too long is forgotten. To be called before each packet is
    /// taken: false until then.
    pub fn set_forwarding(&self, forwards: bool, now: Instant) {
        self.batcher().set_forwarding(forwards, now);
    }

    /// Waits until a packet is full, but no longer than `max_wait`. Returns a packet that is full or due by then, if
    /// there is one.
    pub fn next(&self, max_wait: Duration) -> Option<OutgoingPacket> {
        let waited = self.filled.wait_timeout_while(self.batcher(), max_wait, |batcher| !batcher.is_waiting());
        waited.unwrap_or_else(PoisonError::into_inner).0.take(Instant::now())
    }

    /// Returns a packet that is full or due `now`, if there is one: for threads that wait for other things as well.
    pub fn take_due(&self, now: Instant) -> Option<OutgoingPacket> {
        self.batcher().take(now)
    }

    /// Returns a packet whether it is full or due or neither; `None` when nothing is left.
    pub fn take_any(&self) -> Option<OutgoingPacket> {
        self.batcher().take_any(Instant::now())
    }

    /// Returns how many packets the changes would have filled that were refused since the last call.
    pub fn take_lost(&self) -> usize {
        self.batcher().take_lost()
    }

    /// A panic in another thread is a defect, but each of our changes leaves the batcher whole: go on.
    fn batcher(&self) -> MutexGuard<'_, Batcher<C>> {
        self.batcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gathers changes into packets. Each kind of records has packets of its own, and its changes leave in the order in
/// which they came. Time is passed in.
#[derive(Debug)]
struct Batcher<C: Codec> {
    codec: C,
    delay: Duration,
    drafts: Vec<Draft>,
    /// Full packets, the oldest first; at most [`Codec::MAX_WAITING`].
    waiting: VecDeque<OutgoingPacket>,
    /// What came in by another transport, and has not been added.
    held: Held,
    /// What came in by another transport from those who are heard on this one, and may not have told it here.
    owed: Held,
    /// Who is heard on this transport, if that matters.
    members: Option<Arc<Members>>,
    /// When what is held is added; `None` while another tracker forwards.
    release_at: Option<Instant>,
    /// More could have been settled at once than [`MAX_SETTLED`].
    is_unsettled: bool,
    /// Changes that were refused since `lost` was last raised: less than a packet of them.
    refused: usize,
    /// Packets that refused changes would have filled.
    lost: usize,
}

impl<C: Codec> Batcher<C> {
    fn new(codec: C, delay: Duration, now: Instant) -> Self {
        let draft = |&kind| Draft { kind, bytes: codec.begin(kind), records: 0, due: now };
        let drafts = RecordKind::ALL.iter().map(draft).collect();
        let (waiting, held, owed) = (VecDeque::new(), Held::default(), Held::default());
        let (members, release_at, is_unsettled) = (None, None, false);
        Self { codec, delay, drafts, waiting, held, owed, members, release_at, is_unsettled, refused: 0, lost: 0 }
    }

    fn set_delay(&mut self, delay: Duration, now: Instant) {
        self.delay = delay;
        self.drafts.iter_mut().for_each(|draft| draft.due = draft.due.min(now + delay));
    }

    fn add(&mut self, change: &Change, now: Instant) -> AddResult {
        if self.is_owed(change, now) {
            return AddResult::Batched;
        }
        if change.origin == Origin::Client {
            return self.batch(change, now);
        }
        if self.held.is_empty() {
            return self.forward(change, now);
        }
        // Those that came earlier go first.
        if self.release_at.is_some() && self.held.is_full() {
            return self.refuse(RecordKind::of(change));
        }
        self.held.keep(change, now);
        AddResult::Batched
    }

    /// Adds a change to the packet of its kind.
    #[inline]
    fn batch(&mut self, change: &Change, now: Instant) -> AddResult {
        let kind = RecordKind::of(change);
        let Some(draft) = self.drafts.iter_mut().find(|draft| draft.kind == kind) else {
            debug_assert!(false, "{kind:?} is none of the kinds");
            return AddResult::Refused;
        };
        if C::is_full(&draft.bytes, kind) {
            // The packet stays here until there is room for it among those that wait.
            return self.refuse(kind);
        }
        self.codec.append(&mut draft.bytes, change);
        draft.records += 1;
        if !C::is_full(&draft.bytes, kind) {
            return AddResult::Batched;
        }
        self.queue_full(now);
        AddResult::Completed
    }

    /// Counts a change for which there is no room.
    #[cold]
    fn refuse(&mut self, kind: RecordKind) -> AddResult {
        let fit = self.drafts.iter().find(|draft| draft.kind == kind).map_or(0, |draft| draft.records);
        self.refused += 1;
        if self.refused >= fit {
            self.refused = 0;
            self.lost += 1;
        }
        AddResult::Refused
    }

    /// Adds a change that came in by another transport.
    fn forward(&mut self, change: &Change, now: Instant) -> AddResult {
        if let Some(draft) = self.drafts.iter_mut().find(|draft| draft.kind == RecordKind::of(change)) {
            draft.due = draft.due.min(now + MAX_FORWARD_DELAY);
        }
        self.batch(change, now)
    }

    fn hold(&mut self, change: &Change, now: Instant) -> AddResult {
        if self.release_at.is_some() {
            return self.add(change, now);
        }
        if !self.is_owed(change, now) {
            self.held.keep(change, now);
        }
        AddResult::Batched
    }

    /// Keeps a change that whoever told it is about to tell here as well, and returns true. By any other change of its
    /// peer, if that is no older, what is kept of that is outdated.
    #[inline]
    fn is_owed(&mut self, change: &Change, now: Instant) -> bool {
        if change.origin != Origin::Client && self.have_told(change.origin, now, now) == Told::Unsure {
            if self.owed.is_full() {
                self.settle_owed(false, now);
            }
            self.owed.keep(change, now);
            return true;
        }
        if !self.owed.is_empty() {
            self.owed.forget_outdated(change);
        }
        false
    }

    /// Hears a change by this transport: it is owed and held no more. Returns whether it was held. A late one tells
    /// perhaps what was before what is owed.
    fn hear(&mut self, change: &Change) -> bool {
        if !self.owed.is_empty() && !matches!(change.origin, Origin::Late { .. }) {
            self.owed.forget_published(change);
            self.owed.forget_outdated(change);
        }
        !self.held.is_empty() && self.held.forget_published(change)
    }

    fn have_told(&self, origin: Origin, since: Instant, now: Instant) -> Told {
        self.members.as_ref().map_or(Told::No, |members| members.have_told(origin, since, now))
    }

    fn set_forwarding(&mut self, forwards: bool, now: Instant) {
        self.is_unsettled = false;
        if forwards {
            self.release_at.get_or_insert(now + RELEASE_DELAY);
            self.release(now);
        } else {
            self.release_at = None;
            self.held.expire(now);
            self.owed.expire(now);
            self.is_unsettled = (0..MAX_SETTLED).all(|_| self.settle_owed(false, now));
        }
    }

    /// Returns whether what is held leaves.
    fn releases(&self, now: Instant) -> bool {
        self.release_at.is_some_and(|at| now >= at)
    }

    /// Adds what is held and owed, if this tracker forwards, and as far as there is room.
    fn release(&mut self, now: Instant) {
        if self.releases(now) {
            self.is_unsettled = (0..MAX_SETTLED).all(|_| self.release_held(now) || self.settle_owed(true, now));
        }
    }

    /// Adds the oldest change that is held. If it has been told here, it is left out: when it was held, nobody knew yet
    /// who is heard here. Returns whether it is held no more.
    fn release_held(&mut self, now: Instant) -> bool {
        let Some((change, since)) = self.held.first() else { return false };
        match self.have_told(change.origin, since, now) {
            Told::No if !self.has_room(&change) => return false,
            Told::No => _ = self.forward(&change, now),
            Told::Unsure => self.owed.keep(&change, since),
            Told::Yes => {}
        }
        self.held.forget_first();
        true
    }

    /// Forgets the oldest change that is owed, if it has been told. If it will not be told, adds it or holds it.
    /// Returns whether it is owed no more.
    fn settle_owed(&mut self, forwards: bool, now: Instant) -> bool {
        let Some((change, since)) = self.owed.first() else { return false };
        match self.have_told(change.origin, since, now) {
            Told::Unsure => return false,
            Told::No if !forwards => self.held.keep(&change, since),
            Told::No if !self.has_room(&change) => return false,
            Told::No => _ = self.forward(&change, now),
            Told::Yes => {}
        }
        self.owed.forget_first();
        true
    }

    fn has_room(&self, change: &Change) -> bool {
        let kind = RecordKind::of(change);
        self.drafts.iter().any(|draft| draft.kind == kind && !C::is_full(&draft.bytes, kind))
    }

    /// Moves full packets to those that wait, as far as there is room.
    fn queue_full(&mut self, now: Instant) {
        for draft in &mut self.drafts {
            if self.waiting.len() < C::MAX_WAITING && C::is_full(&draft.bytes, draft.kind) {
                self.waiting.push_back(draft.finish(self.codec.begin(draft.kind), now + self.delay));
            }
        }
    }

    /// Returns the next packet that is full or due.
    fn take(&mut self, now: Instant) -> Option<OutgoingPacket> {
        self.release(now);
        if let Some(overdue) = self.take_overdue(now) {
            return Some(overdue);
        }
        let full = self.waiting.pop_front();
        self.queue_full(now);
        full.or_else(|| {
            let is_due = |draft: &&mut Draft| now >= draft.due && draft.records > 0;
            let draft = self.drafts.iter_mut().find(is_due)?;
            Some(draft.finish(self.codec.begin(draft.kind), now + self.delay))
        })
    }

    /// Returns a packet that is overdue while only full ones of other kinds wait.
    fn take_overdue(&mut self, now: Instant) -> Option<OutgoingPacket> {
        let Self { waiting, drafts, .. } = self;
        let is_overdue = |draft: &&mut Draft| {
            now >= draft.due + MAX_OVERDUE
                && draft.records > 0
                && waiting.iter().all(|packet| packet.kind != draft.kind)
        };
        let draft = drafts.iter_mut().find(is_overdue)?;
        Some(draft.finish(self.codec.begin(draft.kind), now + self.delay))
    }

    /// Returns the next packet, whether it is full or due or neither.
    fn take_any(&mut self, now: Instant) -> Option<OutgoingPacket> {
        loop {
            self.drafts.iter_mut().for_each(|draft| draft.due = now);
            let packet = self.take(now);
            if packet.is_some() || !(self.is_unsettled && self.releases(now)) {
                return packet;
            }
        }
    }

    /// Returns whether the thread that sends has something to do.
    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.is_unsettled
    }

    fn take_lost(&mut self) -> usize {
        mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests;
