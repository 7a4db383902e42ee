//! The counters of a transport.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::atomic::AtomicU64;
use crate::tracker::{TransportCounts, TransportStatus};

use super::members::Members;

/// For how long a tracker counts among the members that is not heard any more. One that is idle says something every
/// 5 s over NATS; over multicast it is silent until a client of its own announces itself.
const MEMORY: Duration = Duration::from_secs(60);

/// The counters of one transport, shared by its threads.
#[derive(Debug)]
pub struct TransportCounters {
    counts: [AtomicU64; COUNTS],
    /// When the transport began to count.
    started: Instant,
    /// When the newest change that was taken over was made, wherever that was. Locked once for each packet, and to
    /// read.
    newest: Mutex<Option<Instant>>,
    /// Whoever was heard within a minute.
    members: Members,
}

/// The name of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TransportCounter {
    /// Packets that were believed.
    PacketsReceived,
    /// Packets sent.
    PacketsSent,
    /// Packets that changed nothing: from strangers or malformed; over multicast also those of this tracker itself.
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

impl Default for TransportCounters {
    fn default() -> Self {
        let now = Instant::now();
        Self { counts: Default::default(), started: now, newest: Mutex::default(), members: Members::new(MEMORY, now) }
    }
}

impl TransportCounters {
    /// Adds one to a counter.
    pub fn count(&self, counter: TransportCounter) {
        self.add(counter, 1);
    }

    /// Adds `n` to a counter.
    pub fn add(&self, counter: TransportCounter, n: usize) {
        if let Some(counter) = self.counts.get(counter as usize) {
            counter.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// Notes that another tracker was heard, the one with this number.
    pub fn note_member(&self, id: u32, now: Instant) {
        self.members.hear(id, now);
    }

    /// Notes that a change has been taken over which was so old then.
    pub fn note_change(&self, age: Duration, now: Instant) {
        let Some(made) = now.checked_sub(age) else { return };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max(Some(made));
    }

    /// Returns what monitors are told of the transport of this name and title, which is connected or not, if it has
    /// connections.
    pub fn status(
        &self,
        name: &'static str,
        title: &'static str,
        connected: Option<bool>,
        now: Instant,
    ) -> TransportStatus {
        // First: whoever has sent what is counted was noted before that, and is among the members.
        let counts = self.counts();
        let newest = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = now.saturating_duration_since(newest.unwrap_or(self.started));
        let members = self.members.count(now);
        TransportStatus { name, title, counts, lag, members, connected }
    }

    /// Returns what has been counted so far.
    pub fn counts(&self) -> TransportCounts {
        use TransportCounter as Counter;
        let of = |counter: Counter| self.counts.get(counter as usize).map_or(0, |n| n.load(Ordering::Relaxed));
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
    fn the_lag_is_the_age_of_the_newest_change_whatever_came_last() {
        let counters = TransportCounters::default();
        let (start, [second, minute]) = (counters.started, [1, 60].map(Duration::from_secs));
        let lag = |now| counters.status("one", "One", None, now).lag;
        assert_eq!((lag(start), lag(start + minute)), (Duration::ZERO, minute), "none has come");
        counters.note_change(3 * minute, start + minute);
        assert_eq!(lag(start + minute + second), 3 * minute + second, "it was made before all this began");
        counters.note_change(second, start + minute + 2 * second);
        assert_eq!(lag(start + minute + 3 * second), 2 * second);
        counters.note_change(minute, start + minute + 4 * second);
        assert_eq!(lag(start + minute + 5 * second), 4 * second, "what came last is older");
        assert_eq!(lag(start), Duration::ZERO, "a clock that was read a little earlier");
        counters.note_change(Duration::MAX, start);
    }

    #[test]
    fn a_status_says_all_that_is_known_of_a_transport() {
        let counters = TransportCounters::default();
        counters.add(TransportCounter::Gaps, 7);
        let status = counters.status("one", "One", Some(false), Instant::now());
        assert_eq!((status.name, status.title, status.connected), ("one", "One", Some(false)));
        assert_eq!(status.counts, TransportCounts { gaps: 7, ..TransportCounts::default() });
    }

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
