//! The way in from the cluster: takes over the changes of packets that are believed.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::tracker::{AnnounceOutcome, Change, Cluster as _, Flavour, Minute, Tracker};

use super::counts::{TransportCounter, TransportCounters};

/// Takes over the changes of a believed packet, all of one transport. Counts the packet, and its `records` as received
/// or refused. Refused are records that mean no change, and changes that the tracker would not remember of the peer
/// itself either (port 0, a family or a torrent that is not served, no room, seen too long ago). Calls `absorbed` for
/// each change that is taken over.
pub fn absorb<F: Flavour>(
    tracker: &Tracker<F>,
    changes: &[Change],
    records: usize,
    now: Minute,
    counters: &TransportCounters,
    mut absorbed: impl FnMut(&Change, &AnnounceOutcome),
) {
    let mut fresh = Cow::Borrowed(changes);
    if F::Cluster::BRIDGES {
        fresh = tracker.flavour().cluster().hear(fresh);
    }
    let mut taken = changes.len() - fresh.len();
    let mut newest = None;
    tracker.absorb_group(&fresh, now, |change, outcome| {
        if let Ok(outcome) = outcome {
            taken += 1;
            newest = newest.max(Some(change.seen));
            absorbed(change, &outcome);
        }
    });
    if let Some(newest) = newest {
        counters.note_change(Duration::from_secs(60 * u64::from(now.since(newest))), Instant::now());
    }
    counters.count(TransportCounter::PacketsReceived);
    counters.add(TransportCounter::RecordsReceived, taken);
    counters.add(TransportCounter::RecordsRefused, records.saturating_sub(taken));
}
