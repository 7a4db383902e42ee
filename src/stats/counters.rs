//! Counters that cost an announce next to nothing: each worker writes its own, and whoever reads adds them up.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::tracker::AnnounceError;
use crate::tracker::announce::AnnounceOutcome;
use crate::tracker::clock::PEER_LIFETIME;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// TCP connections accepted.
    TcpAccepted,
    /// Announces answered over HTTP.
    TcpAnnounced,
    /// Scrapes answered over HTTP.
    TcpScraped,
    /// Announces over HTTP without a torrent.
    TcpNoInfoHash,
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
    /// Datagrams that get no answer: malformed, or from port 0.
    UdpDropped,
    /// Announces over UDP that are too short.
    UdpTruncated,
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
    /// A page that takes a walk over all torrents, while others wait for theirs.
    Http503,
}

/// How many kinds of things are counted.
pub(crate) const COUNTS: usize = Counter::Http503 as usize + 1;
const RENEWALS: usize = PEER_LIFETIME as usize;

/// Protocols, for counts that are kept apart by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Protocol {
    /// HTTP over TCP.
    Http,
    /// The UDP tracker protocol (BEP 15).
    Udp,
}

/// How many protocols there are.
const PROTOCOLS: usize = Protocol::Udp as usize + 1;

/// Address families, for counts that are kept apart by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum AddressFamily {
    /// IPv4, and what is counted whatever the family.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// Returns the family of an address, which is not an IPv4 address in IPv6 form.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// The counters of one worker, which alone may add to them, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Apart for each family, so that a worker which sees one of them writes no more lines than it would without.
    families: [FamilyCounters; 2],
    renewals: [AtomicU64; RENEWALS],
}

/// What one worker counts of one address family.
#[derive(Debug)]
struct FamilyCounters {
    counts: [AtomicU64; COUNTS],
    refused: [[AtomicU64; AnnounceError::ALL.len()]; PROTOCOLS],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self { families: [const { FamilyCounters::NEW }; 2], renewals: [const { AtomicU64::new(0) }; RENEWALS] }
    }
}

impl FamilyCounters {
    #[expect(clippy::declare_interior_mutable_const, reason = "copied into each worker's counters, never used itself")]
    const NEW: Self = Self {
        counts: [const { AtomicU64::new(0) }; COUNTS],
        refused: [const { [const { AtomicU64::new(0) }; AnnounceError::ALL.len()] }; PROTOCOLS],
    };
}

impl WorkerCounters {
    /// Counts one, of whatever family.
    #[inline]
    pub fn count(&self, count: Counter) {
        self.add(count, 1);
    }

    /// Counts several, of whatever family.
    #[inline]
    pub fn add(&self, count: Counter, n: u64) {
        add(self.counter(count, AddressFamily::Ipv4), n);
    }

    /// Counts one that came from `address`.
    #[inline]
    pub fn count_from(&self, count: Counter, address: IpAddr) {
        add(self.counter(count, AddressFamily::of(address)), 1);
    }

    /// Counts an announce of the client at `address` that was answered, by the `count` of its protocol, and what it has
    /// done.
    #[inline]
    pub fn announced(&self, count: Counter, address: IpAddr, announced: &AnnounceOutcome) {
        self.count_from(count, address);
        self.outcome(address, announced);
    }

    /// Counts what an announce of the client at `address` has done, here or at another tracker of the cluster.
    #[inline]
    pub fn outcome(&self, address: IpAddr, announced: &AnnounceOutcome) {
        if announced.counted_download {
            self.count_from(Counter::Completed, address);
        }
        if let Some(minutes) = announced.back_after {
            add(self.renewals.get(minutes as usize).or(self.renewals.last()), 1);
        }
    }

    /// Counts an announce of the client at `address` that was refused.
    #[inline]
    pub fn refused(&self, protocol: Protocol, refusal: AnnounceError, address: IpAddr) {
        add(self.refusal_counter(protocol, refusal, AddressFamily::of(address)), 1);
    }

    #[inline]
    fn counter(&self, count: Counter, family: AddressFamily) -> Option<&AtomicU64> {
        self.families.get(family as usize)?.counts.get(count as usize)
    }

    #[inline]
    fn refusal_counter(&self, protocol: Protocol, refusal: AnnounceError, family: AddressFamily) -> Option<&AtomicU64> {
        self.families.get(family as usize)?.refused.get(protocol as usize)?.get(refusal as usize)
    }
}

/// Adds to a counter by a load and a store, not by an atomic addition, which would lock the cache line: there is one
/// writer.
#[inline]
pub(crate) fn add(counter: Option<&AtomicU64>, n: u64) {
    if let Some(counter) = counter {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// All workers' counters.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Vec<Arc<WorkerCounters>>>);

impl Counters {
    /// Makes counters for one more worker.
    pub fn for_worker(&self) -> Arc<WorkerCounters> {
        let worker_counters = Arc::new(WorkerCounters::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker_counters));
        worker_counters
    }

    /// Adds up what all workers have counted, of both families.
    pub fn total(&self, count: Counter) -> u64 {
        self.of(count, AddressFamily::Ipv4) + self.of(count, AddressFamily::Ipv6)
    }

    /// Adds up what all workers have counted, of one family. What is counted whatever the family is under IPv4.
    pub fn of(&self, count: Counter, family: AddressFamily) -> u64 {
        self.sum(|worker_counters| worker_counters.counter(count, family))
    }

    /// Adds up the announces of one family that all workers have refused for this reason.
    pub fn refused(&self, protocol: Protocol, refusal: AnnounceError, family: AddressFamily) -> u64 {
        self.sum(|worker_counters| worker_counters.refusal_counter(protocol, refusal, family))
    }

    /// Returns how many peers came back so many minutes after their previous announce.
    pub fn renewals(&self, minutes: usize) -> u64 {
        self.sum(|worker_counters| worker_counters.renewals.get(minutes))
    }

    fn sum(&self, counter: impl Fn(&WorkerCounters) -> Option<&AtomicU64>) -> u64 {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers
            .iter()
            .filter_map(|worker_counters| counter(worker_counters))
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn what_workers_count_adds_up() {
        let counters = Counters::default();
        let (one, two) = (counters.for_worker(), counters.for_worker());
        one.count_from(Counter::UdpAnnounced, V4);
        two.add(Counter::UdpAnnounced, 2);
        two.count(Counter::Http500);
        one.announced(
            Counter::TcpAnnounced,
            V4,
            &AnnounceOutcome { back_after: Some(44), ..AnnounceOutcome::default() },
        );
        let completed = AnnounceOutcome { back_after: Some(46), counted_download: true, ..AnnounceOutcome::default() };
        two.announced(Counter::UdpAnnounced, V6, &completed);
        assert_eq!(counters.total(Counter::UdpAnnounced), 4);
        assert_eq!(counters.total(Counter::Completed), 1);
        assert_eq!(counters.total(Counter::Http500), 1);
        assert_eq!(counters.total(Counter::TcpAccepted), 0);
        assert_eq!(counters.renewals(44), 2, "what is later than the last row belongs to it");
        assert_eq!(counters.renewals(45), 0);
    }

    #[test]
    fn families_are_counted_apart() {
        let counters = Counters::default();
        let worker_counters = counters.for_worker();
        worker_counters.count_from(Counter::Http503, V6);
        worker_counters.count_from(Counter::TcpAccepted, V6);
        worker_counters.count_from(Counter::TcpAccepted, V4);
        worker_counters.count_from(Counter::TcpAccepted, V6);
        worker_counters.announced(
            Counter::UdpAnnounced,
            V6,
            &AnnounceOutcome { counted_download: true, ..AnnounceOutcome::default() },
        );
        let both = |count| (counters.of(count, AddressFamily::Ipv4), counters.of(count, AddressFamily::Ipv6));
        assert_eq!(both(Counter::TcpAccepted), (1, 2));
        assert_eq!(both(Counter::UdpAnnounced), (0, 1));
        assert_eq!(both(Counter::Completed), (0, 1));
        assert_eq!(both(Counter::Http503), (0, 1), "the last of the row");
        assert_eq!(both(Counter::TcpAnnounced), (0, 0));
        assert_eq!(counters.total(Counter::TcpAccepted), 3);
    }

    #[test]
    fn every_refusal_of_every_protocol_and_family_has_a_counter_of_its_own() {
        let counters = Counters::default();
        let worker_counters = counters.for_worker();
        let all = || {
            let protocols = [Protocol::Http, Protocol::Udp];
            let of = |protocol| AnnounceError::ALL.map(|refusal| [V4, V6].map(|address| (protocol, refusal, address)));
            protocols.map(of).into_iter().flatten().flatten()
        };
        for ((protocol, refusal, address), times) in all().zip(1..) {
            (0..times).for_each(|_| worker_counters.refused(protocol, refusal, address));
        }
        for ((protocol, refusal, address), times) in all().zip(1..) {
            assert_eq!(
                counters.refused(protocol, refusal, AddressFamily::of(address)),
                times,
                "{protocol:?} {refusal}"
            );
        }
        assert_eq!(all().count(), 2 * 2 * AnnounceError::ALL.len());
    }
}
