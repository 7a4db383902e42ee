//! Counters that cost an announce next to nothing: each worker writes its own, and whoever reads adds them up.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::Refusal;
use crate::core::announce::Announced;
use crate::core::clock::PEER_LIFETIME;

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
    /// Announces over HTTP without a torrent.
    TcpNoInfoHash,
    /// Announces over HTTP that are refused: see [`Refusal`].
    TcpNotAdmitted,
    /// The same, for port 0.
    TcpNoPort,
    /// The same, for the address family.
    TcpFamilyNotServed,
    /// The same, because there is no room.
    TcpFull,
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
    /// Announces over UDP that are refused: see [`Refusal`].
    UdpNotAdmitted,
    /// The same, for port 0.
    UdpNoPort,
    /// The same, for the address family.
    UdpFamilyNotServed,
    /// The same, because there is no room.
    UdpFull,
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

/// How many kinds of things are counted.
pub(crate) const COUNTS: usize = Count::SyncRecordsRefused as usize + 1;
const RENEWALS: usize = PEER_LIFETIME as usize;

impl Count {
    /// Where an announce over HTTP that is refused is counted.
    pub fn refused_over_http(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAdmitted => Self::TcpNotAdmitted,
            Refusal::NoPort => Self::TcpNoPort,
            Refusal::FamilyNotServed => Self::TcpFamilyNotServed,
            Refusal::Full => Self::TcpFull,
        }
    }

    /// The same over UDP.
    pub fn refused_over_udp(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAdmitted => Self::UdpNotAdmitted,
            Refusal::NoPort => Self::UdpNoPort,
            Refusal::FamilyNotServed => Self::UdpFamilyNotServed,
            Refusal::Full => Self::UdpFull,
        }
    }
}

/// Address families, for counts that are kept apart by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Family {
    /// IPv4, and what is counted whatever the family.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address, which is not an IPv4 address in IPv6 form.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// The counters of one worker, which alone may add to them, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// A row for each family, so that a worker which sees one of them writes no more lines than it would without.
    counts: [[AtomicU64; COUNTS]; 2],
    renewals: [AtomicU64; RENEWALS],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: [const { [const { AtomicU64::new(0) }; COUNTS] }; 2],
            renewals: [const { AtomicU64::new(0) }; RENEWALS],
        }
    }
}

impl Tally {
    /// Counts one, of whatever family.
    #[inline]
    pub fn count(&self, count: Count) {
        self.add(count, 1);
    }

    /// Counts several, of whatever family.
    #[inline]
    pub fn add(&self, count: Count, n: u64) {
        add(self.counter(count, Family::Ipv4), n);
    }

    /// Counts one that came from `address`.
    #[inline]
    pub fn count_from(&self, count: Count, address: IpAddr) {
        add(self.counter(count, Family::of(address)), 1);
    }

    /// Counts an announce of the client at `address` that was answered, by the protocol's own `count`, and what it has
    /// done.
    #[inline]
    pub fn announced(&self, count: Count, address: IpAddr, announced: &Announced) {
        self.count_from(count, address);
        if announced.counted_download {
            self.count_from(Count::Completed, address);
        }
        if let Some(minutes) = announced.back_after {
            add(self.renewals.get(minutes as usize).or(self.renewals.last()), 1);
        }
    }

    #[inline]
    fn counter(&self, count: Count, family: Family) -> Option<&AtomicU64> {
        self.counts.get(family as usize)?.get(count as usize)
    }
}

/// A load and a store, not an atomic addition, which would lock the cache line: there is one writer.
#[inline]
pub(crate) fn add(counter: Option<&AtomicU64>, n: u64) {
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

    /// The sum over all workers and both families.
    pub fn total(&self, count: Count) -> u64 {
        self.of(count, Family::Ipv4) + self.of(count, Family::Ipv6)
    }

    /// The sum over all workers, of one family. What is counted whatever the family is under IPv4.
    pub fn of(&self, count: Count, family: Family) -> u64 {
        self.sum(|tally| tally.counter(count, family))
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn what_workers_count_adds_up() {
        let board = Board::default();
        let (one, two) = (board.tally(), board.tally());
        one.count_from(Count::UdpAnnounced, V4);
        two.add(Count::UdpAnnounced, 2);
        two.count(Count::Http500);
        one.announced(Count::TcpAnnounced, V4, &Announced { back_after: Some(44), ..Announced::default() });
        let completed = Announced { back_after: Some(46), counted_download: true, ..Announced::default() };
        two.announced(Count::UdpAnnounced, V6, &completed);
        assert_eq!(board.total(Count::UdpAnnounced), 4);
        assert_eq!(board.total(Count::Completed), 1);
        assert_eq!(board.total(Count::Http500), 1);
        assert_eq!(board.total(Count::TcpAccepted), 0);
        assert_eq!(board.renewals(44), 2, "what is later than the last row belongs to it");
        assert_eq!(board.renewals(45), 0);
    }

    #[test]
    fn families_are_counted_apart() {
        let board = Board::default();
        let tally = board.tally();
        tally.count_from(Count::SyncRecordsRefused, V6);
        tally.count_from(Count::TcpAccepted, V6);
        tally.count_from(Count::TcpAccepted, V4);
        tally.count_from(Count::TcpAccepted, V6);
        tally.announced(Count::UdpAnnounced, V6, &Announced { counted_download: true, ..Announced::default() });
        let both = |count| (board.of(count, Family::Ipv4), board.of(count, Family::Ipv6));
        assert_eq!(both(Count::TcpAccepted), (1, 2));
        assert_eq!(both(Count::UdpAnnounced), (0, 1));
        assert_eq!(both(Count::Completed), (0, 1));
        assert_eq!(both(Count::SyncRecordsRefused), (0, 1), "the last of the row");
        assert_eq!(both(Count::TcpAnnounced), (0, 0));
        assert_eq!(board.total(Count::TcpAccepted), 3);
    }

    #[test]
    fn every_refusal_has_a_counter_of_its_own() {
        use Refusal::{FamilyNotServed, Full, NoPort, NotAdmitted};
        let refusals = [NotAdmitted, NoPort, FamilyNotServed, Full];
        let counts = refusals.map(|refusal| [Count::refused_over_http(refusal), Count::refused_over_udp(refusal)]);
        for (at, count) in counts.iter().flatten().enumerate() {
            assert_eq!(counts.iter().flatten().position(|other| other == count), Some(at), "{count:?}");
        }
    }
}
