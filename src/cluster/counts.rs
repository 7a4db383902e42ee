//! The counters of a transport.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tracker::TransportCounts;

/// The counters of one transport, shared by its threads.
#[derive(Debug, Default)]
pub struct TransportCounters([AtomicU64; COUNTS]);

/// The name of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TransportCounter {
    /// Packets that were believed.
    PacketsReceived,
    /// Packets sent.
    PacketsSent,
    /// Packets that changed nothing: from strangers, from this tracker itself, or malformed.
    PacketsRefused,
    /// Packets that could not be sent, and as many as would have held the changes that found no room.
    PacketsLost,
    /// Changes in believed packets that were taken over.
    RecordsReceived,
    /// Changes sent.
    RecordsSent,
    /// Changes in believed packets that were not taken over.
    RecordsRefused,
    /// Bytes of believed packets.
    BytesReceived,
    /// Bytes of packets sent.
    BytesSent,
    /// Connections that were made anew after one had been lost.
    Reconnects,
    /// Gaps in the numbers of packets received.
    Gaps,
    /// Changes that were published anew, as others may not have had them.
    Republished,
    /// Snapshots given to others as a whole.
    SnapshotsGiven,
    /// Milliseconds that it took to give them.
    SnapshotsGivenMs,
    /// Snapshots taken from others as a whole.
    SnapshotsTaken,
    /// Milliseconds that it took to take them.
    SnapshotsTakenMs,
}

const COUNTS: usize = TransportCounter::SnapshotsTakenMs as usize + 1;

impl TransportCounters {
    /// Adds one to a counter.
    pub fn count(&self, counter: TransportCounter) {
        self.add(counter, 1);
    }

    /// Adds `n` to a counter.
    pub fn add(&self, counter: TransportCounter, n: usize) {
        if let Some(counter) = self.0.get(counter as usize) {
            counter.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// Returns what has been counted so far.
    pub fn counts(&self) -> TransportCounts {
        use TransportCounter as Counter;
        let of = |counter: Counter| self.0.get(counter as usize).map_or(0, |n| n.load(Ordering::Relaxed));
        TransportCounts {
            packets_received: of(Counter::PacketsReceived),
            packets_sent: of(Counter::PacketsSent),
            packets_refused: of(Counter::PacketsRefused),
            packets_lost: of(Counter::PacketsLost),
            records_received: of(Counter::RecordsReceived),
            records_sent: of(Counter::RecordsSent),
            records_refused: of(Counter::RecordsRefused),
            bytes_received: of(Counter::BytesReceived),
            bytes_sent: of(Counter::BytesSent),
            reconnects: of(Counter::Reconnects),
            gaps: of(Counter::Gaps),
            republished: of(Counter::Republished),
            snapshots_given: of(Counter::SnapshotsGiven),
            snapshots_given_ms: of(Counter::SnapshotsGivenMs),
            snapshots_taken: of(Counter::SnapshotsTaken),
            snapshots_taken_ms: of(Counter::SnapshotsTakenMs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_a_number_of_its_own() {
        use TransportCounter::{
            BytesReceived, BytesSent, Gaps, Reconnects, Republished, SnapshotsGiven, SnapshotsGivenMs, SnapshotsTaken,
            SnapshotsTakenMs,
        };
        use TransportCounter::{PacketsLost, PacketsReceived, PacketsRefused, PacketsSent};
        use TransportCounter::{RecordsReceived, RecordsRefused, RecordsSent};
        let counters = TransportCounters::default();
        let all = [
            PacketsReceived,
            PacketsSent,
            PacketsRefused,
            PacketsLost,
            RecordsReceived,
            RecordsSent,
            RecordsRefused,
            BytesReceived,
            BytesSent,
            Reconnects,
            Gaps,
            Republished,
            SnapshotsGiven,
            SnapshotsGivenMs,
            SnapshotsTaken,
            SnapshotsTakenMs,
        ];
        assert_eq!(all.len(), COUNTS);
        for (counter, n) in all.into_iter().zip(0..) {
            counters.count(counter);
            counters.add(counter, n);
        }
        let expected = TransportCounts {
            packets_received: 1,
            packets_sent: 2,
            packets_refused: 3,
            packets_lost: 4,
            records_received: 5,
            records_sent: 6,
            records_refused: 7,
            bytes_received: 8,
            bytes_sent: 9,
            reconnects: 10,
            gaps: 11,
            republished: 12,
            snapshots_given: 13,
            snapshots_given_ms: 14,
            snapshots_taken: 15,
            snapshots_taken_ms: 16,
        };
        assert_eq!(counters.counts(), expected);
    }
}
