//! What comes from the cluster and is believed.

use crate::tracker::{AnnounceOutcome, Change, Flavour, Minute, Tracker};

use super::counts::{TransportCounter, TransportCounters};

/// Takes over what the changes of a believed packet tell, and counts the packet and its `records`: one that means no
/// change, or one that the tracker would not take from the peer itself either (port 0, a family or a torrent that is
/// not served, no room), is passed over. Calls `absorbed` for each change that is taken over.
pub fn absorb<F: Flavour>(
    tracker: &Tracker<F>,
    changes: &[Change],
    records: usize,
    now: Minute,
    counters: &TransportCounters,
    mut absorbed: impl FnMut(&Change, &AnnounceOutcome),
) {
    let mut taken = 0;
    tracker.absorb_group(changes, now, |change, outcome| {
        if let Ok(outcome) = outcome {
            taken += 1;
            absorbed(change, &outcome);
        }
    });
    counters.count(TransportCounter::PacketsReceived);
    counters.add(TransportCounter::RecordsReceived, taken);
    counters.add(TransportCounter::RecordsRefused, records.saturating_sub(taken));
}
