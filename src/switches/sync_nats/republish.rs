//! The walk over all peers that publishes anew those that have been seen since a minute, as others may not have heard
//! of them.

use std::mem;
use std::ops::Range;
use std::time::Instant;

use crate::cluster::outbox::Codec as _;
use crate::cluster::record::RecordKind;
use crate::tracker::peer::PeerState;
use crate::tracker::store::Cursor;
use crate::tracker::{Change, Flavour, InfoHash, Minute, Origin, Tracker};

use super::batch::{BatchCodec, Sealed};

/// Peers and torrents that are looked at before a shard is unlocked.
const PORTION: usize = 1024;
/// Peers and torrents that one step looks at at most; a shard counts for some of them, as most are small.
const MAX_LOOKED_AT: usize = 65_536;
const SHARD: usize = 32;

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    /// Publishes those who have been seen since then.
    since: Minute,
    /// The batches that it makes up for.
    pub(super) made_up: Range<u64>,
    /// Where to go on; `None` at the end.
    cursor: Option<Cursor>,
    drafts: [(RecordKind, Vec<u8>); 2],
}

impl Walk {
    /// Begins a walk that makes up for these batches.
    pub(super) fn new(since: Minute, made_up: Range<u64>) -> Self {
        let draft = |kind| (kind, BatchCodec.begin(kind));
        let drafts = [RecordKind::Ipv4, RecordKind::Ipv6].map(draft);
        Self { since, made_up, cursor: Some(Cursor::default()), drafts }
    }

    /// Goes on until a batch is full, but no further than 65,536 peers and torrents, of which 1,024 are looked at while
    /// a shard is locked. Returns what is to be published: a batch, seldom more. At the end the rest.
    ///
    /// Each peer becomes a minute older than it is here. Ages are whole minutes, and a peer that two trackers told each
    /// other of again and again would otherwise grow younger, and be kept for ever.
    pub(super) fn step<F: Flavour>(&mut self, tracker: &Tracker<F>, now: Minute, instant: Instant) -> Vec<Sealed> {
        let Self { since, cursor, drafts, .. } = self;
        let expiry = tracker.intervals().expiry(now);
        let mut full = Vec::new();
        let mut budget = MAX_LOOKED_AT;
        while budget > 0 {
            let Some(from) = cursor.take() else { break };
            let mut visit = |info_hash: &InfoHash, endpoint, state: PeerState| {
                let seen = state.seen(now);
                if seen < *since || state.expired(expiry) {
                    return;
                }
                let (seeder, completed) = (state.seeder(), state.completed());
                let seen = Minute(seen.0.saturating_sub(1));
                let origin = Origin::Client;
                let change =
                    Change { info_hash: *info_hash, endpoint, seeder, completed, stopped: false, seen, origin };
                let kind = RecordKind::of(&change);
                for (_, draft) in drafts.iter_mut().filter(|(of, _)| *of == kind) {
                    BatchCodec.append(draft, &change);
                    if BatchCodec::is_full(draft, kind) {
                        full.extend(Sealed::new(kind, mem::replace(draft, BatchCodec.begin(kind)), now, instant));
                    }
                }
            };
            let mut left = PORTION;
            *cursor = tracker.store().walk_peers(from, &mut left, &mut visit);
            budget = budget.saturating_sub(PORTION - left + SHARD);
            if !full.is_empty() {
                break;
            }
        }
        if cursor.is_none() {
            for (kind, draft) in drafts {
                full.extend(Sealed::new(*kind, mem::replace(draft, BatchCodec.begin(*kind)), now, instant));
            }
            full.retain(|sealed| sealed.count() > 0);
        }
        full
    }

    /// Returns whether all peers have been looked at.
    pub(super) fn is_over(&self) -> bool {
        self.cursor.is_none()
    }
}
