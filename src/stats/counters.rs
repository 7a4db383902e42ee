//! Counters that cost an announce next to nothing: each worker writes its own, and whoever reads adds them up.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::atomic::AtomicU64;
use crate::tracker::AnnounceError;
use crate::tracker::announce::AnnounceOutcome;

/// What is counted. A counter that is always 0 is there for monitors, which go by the position of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// TCP connections accepted.
    TcpAccepted,
    /// Announces answered over HTTP.
    TcpAnnounced,
    /// Scrapes answered over HTTP.
    TcpScraped,
    /// Announces over HTTP that name no torrent.
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
    /// Those of them that get no answer, because their address has had enough.
    UdpWithheld,
    /// Datagrams that get no answer: malformed, or from port 0.
    UdpDropped,
    /// Announces over UDP that are too short.
    UdpTruncated,
    /// Completed downloads.
    Completed,
    /// Redirects of who asks for `/`.
    Http302,
    /// A head that is not HTTP, or too long, or too slow; what is wrong before it, where a connection is wrapped.
    Http400Parse,
    /// A parameter that is missing or malformed.
    Http400Parameter,
    /// `compact=0`, which the original refused. Always 0.
    Http400Compact,
    /// Always 0.
    Http400NotModest,
    /// A full scrape that comes too soon after the last one of the same address.
    Http402,
    /// Statistics asked for from where they are not allowed.
    Http403,
    /// No such page.
    Http404,
    /// The tracker made a mistake.
    Http500,
    /// A page that takes a walk over all torrents, while others wait for theirs; a full scrape, while there are too
    /// many.
    Http503,
    /// A method that is not served: 405 if it is known, 501 if it is not.
    HttpMethod,
}

/// Number of variants of [`Counter`].
pub(crate) const COUNTS: usize = Counter::HttpMethod as usize + 1;
/// Number of rows that renewals are counted in, one for each minute: as many as the original has, for monitors go by
/// their position. Where peers live for longer, the last one holds all the rest.
pub(super) const RENEWAL_ROWS: usize = 45;

/// Protocols, for counts that are kept apart by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Protocol {
    /// HTTP over TCP.
    Http,
    /// The UDP tracker protocol (BEP 15).
    Udp,
}

/// Number of variants of [`Protocol`].
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

/// The counters of one worker, which alone may add to them. They stand on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Apart for each family, so that a worker which sees only one of them writes no more cache lines than if there
    /// were no other.
    families: [FamilyCounters; 2],
    /// Announces of peers that were in the swarm already, by the minutes since the previous announce of each.
    renewals: [AtomicU64; RENEWAL_ROWS],
}

/// What one worker counts of one address family.
#[derive(Debug)]
struct FamilyCounters {
    counts: [AtomicU64; COUNTS],
    refusals: [[AtomicU64; AnnounceError::ALL.len()]; PROTOCOLS],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self { families: [const { FamilyCounters::NEW }; 2], renewals: [const { AtomicU64::new(0) }; RENEWAL_ROWS] }
    }
}

impl FamilyCounters {
    #[expect(clippy::declare_interior_mutable_const, reason = "copied into each worker's counters, never used itself")]
    const NEW: Self = Self {
        counts: [const { AtomicU64::new(0) }; COUNTS],
        refusals: [const { [const { AtomicU64::new(0) }; AnnounceError::ALL.len()] }; PROTOCOLS],
    };
}

impl WorkerCounters {
    /// Counts one, without regard to the family.
    #[inline]
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `n`, without regard to the family.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        add(self.cell(counter, AddressFamily::Ipv4), n);
    }

    /// Counts one that came from `address`.
    #[inline]
    pub fn count_from(&self, counter: Counter, address: IpAddr) {
        add(self.cell(counter, AddressFamily::of(address)), 1);
    }

    /// Counts an announce of the client at `address` that was answered, and its outcome. `counter` is the one for
    /// announces of its protocol.
    #[inline]
    pub fn count_announce(&self, counter: Counter, address: IpAddr, outcome: &AnnounceOutcome) {
        self.count_from(counter, address);
        self.count_outcome(address, outcome);
    }

    /// Counts the outcome of an announce of the client at `address`, which came here or to another tracker of the
    /// cluster.
    #[inline]
    pub fn count_outcome(&self, address: IpAddr, outcome: &AnnounceOutcome) {
        if outcome.counted_download {
            self.count_from(Counter::Completed, address);
        }
        if let Some(minutes) = outcome.back_after {
            add(self.renewals.get(minutes as usize).or(self.renewals.last()), 1);
        }
    }

    /// Counts an announce of the client at `address` that was refused for `reason`.
    #[inline]
    pub fn count_refusal(&self, protocol: Protocol, reason: AnnounceError, address: IpAddr) {
        add(self.refusal_cell(protocol, reason, AddressFamily::of(address)), 1);
    }

    #[inline]
    fn cell(&self, counter: Counter, family: AddressFamily) -> Option<&AtomicU64> {
        self.families.get(family as usize)?.counts.get(counter as usize)
    }

    #[inline]
    fn refusal_cell(&self, protocol: Protocol, reason: AnnounceError, family: AddressFamily) -> Option<&AtomicU64> {
        self.families.get(family as usize)?.refusals.get(protocol as usize)?.get(reason as usize)
    }
}

/// Adds to a cell that has one writer: by a load and a store, not by an atomic addition, which would lock the cache
/// line. Does nothing without a cell, which spares callers that look one up by its index a panic.
#[inline]
pub(crate) fn add(cell: Option<&AtomicU64>, n: u64) {
    if let Some(cell) = cell {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// The counters of all workers.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Vec<Arc<WorkerCounters>>>);

impl Counters {
    /// Makes counters for one more worker.
    pub fn for_worker(&self) -> Arc<WorkerCounters> {
        let worker_counters = Arc::new(WorkerCounters::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker_counters));
        worker_counters
    }

    /// Returns what all workers have counted, of both families.
    pub fn total(&self, counter: Counter) -> u64 {
        self.of(counter, AddressFamily::Ipv4) + self.of(counter, AddressFamily::Ipv6)
    }

    /// Returns what all workers have counted of one family. What is counted without regard to the family is under IPv4.
    pub fn of(&self, counter: Counter, family: AddressFamily) -> u64 {
        self.sum(|worker_counters| worker_counters.cell(counter, family))
    }

    /// Returns how many announces of one family all workers have refused for `reason`.
    pub fn refusals(&self, protocol: Protocol, reason: AnnounceError, family: AddressFamily) -> u64 {
        self.sum(|worker_counters| worker_counters.refusal_cell(protocol, reason, family))
    }

    /// Returns how many announces came `minutes` after the previous one of the same peer. The last row, `minutes` = 44,
    /// holds all that came later as well.
    pub fn renewals(&self, minutes: usize) -> u64 {
        self.sum(|worker_counters| worker_counters.renewals.get(minutes))
    }

    /// Adds up one cell of each worker.
    fn sum(&self, cell: impl Fn(&WorkerCounters) -> Option<&AtomicU64>) -> u64 {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers
            .iter()
            .filter_map(|worker_counters| cell(worker_counters))
            .map(|cell| cell.load(Ordering::Relaxed))
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
        one.count_announce(
            Counter::TcpAnnounced,
            V4,
            &AnnounceOutcome { back_after: Some(44), ..AnnounceOutcome::default() },
        );
        let completed = AnnounceOutcome { back_after: Some(46), counted_download: true, ..AnnounceOutcome::default() };
        two.count_announce(Counter::UdpAnnounced, V6, &completed);
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
        worker_counters.count_from(Counter::HttpMethod, V6);
        worker_counters.count_from(Counter::TcpAccepted, V6);
        worker_counters.count_from(Counter::TcpAccepted, V4);
        worker_counters.count_from(Counter::TcpAccepted, V6);
        worker_counters.count_announce(
            Counter::UdpAnnounced,
            V6,
            &AnnounceOutcome { counted_download: true, ..AnnounceOutcome::default() },
        );
        let both = |counter| (counters.of(counter, AddressFamily::Ipv4), counters.of(counter, AddressFamily::Ipv6));
        assert_eq!(both(Counter::TcpAccepted), (1, 2));
        assert_eq!(both(Counter::UdpAnnounced), (0, 1));
        assert_eq!(both(Counter::Completed), (0, 1));
        assert_eq!(both(Counter::HttpMethod), (0, 1), "the last of the row");
        assert_eq!(both(Counter::TcpAnnounced), (0, 0));
        assert_eq!(counters.total(Counter::TcpAccepted), 3);
    }

    #[test]
    fn every_refusal_of_every_protocol_and_family_has_a_counter_of_its_own() {
        let counters = Counters::default();
        let worker_counters = counters.for_worker();
        let all = || {
            let protocols = [Protocol::Http, Protocol::Udp];
            let of = |protocol| AnnounceError::ALL.map(|reason| [V4, V6].map(|address| (protocol, reason, address)));
            protocols.map(of).into_iter().flatten().flatten()
        };
        for ((protocol, reason, address), times) in all().zip(1..) {
            (0..times).for_each(|_| worker_counters.count_refusal(protocol, reason, address));
        }
        for ((protocol, reason, address), times) in all().zip(1..) {
            assert_eq!(counters.refusals(protocol, reason, AddressFamily::of(address)), times, "{protocol:?} {reason}");
        }
        assert_eq!(all().count(), 2 * 2 * AnnounceError::ALL.len());
    }
}
