//! What is said, and how a batch becomes a message.

use std::ops::Range;

use crate::cluster::counts::TransportCounter;
use crate::cluster::record::RecordKind;
use crate::tracker::{Cluster as _, Flavour};

use super::super::batch::Batch;
use super::super::journal::Entry;
use super::super::member::Member;
use super::Now;

/// The last part of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Topic {
    Changes,
    Ask,
    /// Only this tracker hears it.
    Echo,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Message {
    pub(in super::super) topic: Topic,
    pub(in super::super) payload: Vec<u8>,
}

/// What is the same in all batches of a tracker is filled in by [`changes`].
pub(super) const OWN: Batch<'_> =
    Batch { sender: 0, sequence: 0, made_up: 0..0, member: [0; 4], waited: 0, kind: RecordKind::Ipv4, records: &[] };

/// Returns the message that is this batch.
pub(super) fn changes<F: Flavour>(member: &Member<'_, F>, batch: Batch<'_>) -> Message {
    let Member { shared, tracker, .. } = member;
    let [.., a, b, c, d] = shared.sender.to_be_bytes();
    let id = tracker.flavour().cluster().id().map_or([a, b, c, d], u32::to_be_bytes);
    let payload = Batch { sender: shared.sender, member: id, ..batch }.write(&shared.cluster);
    shared.counters.count(TransportCounter::PacketsSent);
    shared.counters.add(TransportCounter::BytesSent, payload.len());
    Message { topic: Topic::Changes, payload }
}

/// Says a batch of the journal, and counts it.
pub(super) fn say_batch<F: Flavour>(
    member: &Member<'_, F>,
    entry: &Entry,
    anew: bool,
    made_up: Range<u64>,
    now: Now,
    out: &mut Vec<Message>,
) {
    let Entry { sequence, ref sealed, .. } = *entry;
    // Whole minutes: what was announced later never waited for longer.
    let waited = now.instant.saturating_duration_since(sealed.since).as_secs() / 60;
    let waited = u8::try_from(waited).unwrap_or(u8::MAX);
    let records = &sealed.records;
    out.push(changes(member, Batch { sequence, made_up, waited, kind: sealed.kind, records, ..OWN }));
    let counter = if anew { TransportCounter::Republished } else { TransportCounter::RecordsSent };
    member.shared.counters.add(counter, sealed.count());
}
