//! Counters that cost an announce next to nothing: each worker writes its own, and whoever reads adds them up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::clock::PEER_LIFETIME;
use crate::core::tracker::Announced;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// TCP connections accepted.
    TcpAccepted,
    /// Announces answered over HTTP.
    TcpAnnounced,
    /// Scrapes answered over HTTP.
    TcpScraped,
    /// Full scrapes begun.
    FullScraped,
    /// Bytes of full scrapes, as sent.
    FullScrapeBytes,
    /// Datagrams received.
    UdpReceived,
    /// UDP connects answered.
    UdpConnected,
    /// Announces answered over UDP.
    UdpAnnounced,
    /// Scrapes answered over UDP.
    UdpScraped,
    /// Datagrams with a wrong or expired connection id.
    UdpMismatched,
    /// Completed downloads.
    Completed,
    /// HTTP errors, as `/stats?mode=herr` lists them.
    Http302,
    /// A head that is not HTTP, or too long, or too slow.
    Http400Parse,
    /// A parameter that is missing or malformed.
    Http400Parameter,
    /// `compact=0`, which the original refused; always 0.
    Http400Compact,
    /// Always 0, kept for monitors that count rows.
    Http400NotModest,
    /// Always 0, kept for monitors that count rows.
    Http402,
    /// Statistics asked for from where they are not allowed.
    Http403,
    /// No such page.
    Http404,
    /// A defect of ours.
    Http500,
    /// Live sync packets that were believed.
    SyncPacketsIn,
    /// Live sync packets sent.
    SyncPacketsOut,
    /// Live sync packets that changed nothing: from strangers, from ourselves, or malformed.
    SyncPacketsRefused,
    /// Live sync packets that could not be sent.
    SyncPacketsLost,
    /// Changes that other trackers of the cluster told, and that were taken over.
    SyncRecordsIn,
    /// Changes told to the cluster.
    SyncRecordsOut,
    /// Changes in believed packets that the tracker would not take from the peer itself either.
    SyncRecordsRefused,
}

const COUNTS: usize = Count::SyncRecordsRefused as usize + 1;
const RENEWALS: usize = PEER_LIFETIME as usize;

/// The counters of one worker, which alone may add to them, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    counts: [AtomicU64; COUNTS],
    renewals: [AtomicU64; RENEWALS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; COUNTS], renewals: [const { AtomicU64::new(0) }; RENEWALS] }
    }
}

impl Tally {
    /// Counts one.
    #[inline]
    pub fn count(&self, count: Count) {
        self.add(count, 1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&self, count: Count, n: u64) {
        add(self.counts.get(count as usize), n);
    }

    /// Counts an announce that was answered, by the protocol's own `count`, and what it has done.
    #[inline]
    pub fn announced(&self, count: Count, announced: &Announced) {
        self.count(count);
        if announced.counted_download {
            self.count(Count::Completed);
        }
        if let Some(minutes) = announced.back_after {
            add(self.renewals.get(minutes as usize).or(self.renewals.last()), 1);
        }
    }
}

/// A load and a store, not an atomic addition, which would lock the cache line: there is one writer.
#[inline]
fn add(counter: Option<&AtomicU64>, n: u64) {
    if let Some(counter) = counter {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// All workers' counters.
#[derive(Debug, Default)]
pub struct Board(Mutex<Vec<Arc<Tally>>>);

impl Board {
    /// Counters for one more worker.
    pub fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        tally
    }

    /// The sum over all workers.
    pub fn total(&self, count: Count) -> u64 {
        self.sum(|tally| tally.counts.get(count as usize))
    }

    /// How many peers came back so many minutes after their previous announce.
    pub fn renewals(&self, minutes: usize) -> u64 {
        self.sum(|tally| tally.renewals.get(minutes))
    }

    fn sum(&self, counter: impl Fn(&Tally) -> Option<&AtomicU64>) -> u64 {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().filter_map(|tally| counter(tally)).map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_adds_up() {
        let board = Board::default();
        let (one, two) = (board.tally(), board.tally());
        one.count(Count::UdpAnnounced);
        two.add(Count::UdpAnnounced, 2);
        two.count(Count::Http500);
        one.announced(Count::TcpAnnounced, &Announced { back_after: Some(44), ..Announced::default() });
        let completed = Announced { back_after: Some(46), counted_download: true, ..Announced::default() };
        two.announced(Count::UdpAnnounced, &completed);
        assert_eq!(board.total(Count::UdpAnnounced), 4);
        assert_eq!(board.total(Count::Completed), 1);
        assert_eq!(board.total(Count::Http500), 1);
        assert_eq!(board.total(Count::TcpAccepted), 0);
        assert_eq!(board.renewals(44), 2, "what is later than the last row belongs to it");
        assert_eq!(board.renewals(45), 0);
    }
}
