//! A tracker: what a scrape and a passing minute do. What an announce does is in [`announce`](super::announce).

use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

use super::InfoHash;
use super::clock::Minute;
use super::family::{Family, Swarms};
use super::flavour::{Admission, Cluster, Flavour};
use super::keyed_hash::Key;
use super::limits::Limits;
use super::peer::Stamp;
use super::store::{Cursor, Full, GROUP, Store, Torrent};

/// Seconds until a client should announce again, in the middle of [`INTERVAL_SPREAD`].
pub const INTERVAL: u32 = 1800;
/// Seconds by which the interval differs at random, so that clients that came together do not come back together.
pub const INTERVAL_SPREAD: u32 = 180;

/// Torrents and peers that a sweep looks at before it gives the lock back. Some microseconds, or some ten of them where
/// all have expired.
const SWEEP_PORTION: usize = 1024;

/// The numbers of one torrent (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Seeders: `complete`.
    pub seeders: u32,
    /// Leechers: `incomplete`.
    pub leechers: u32,
    /// Completed downloads: `downloaded`.
    pub downloaded: u32,
}

/// Why an announce is refused. The text is for the client, and for its user to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// By the access list.
    #[error("Requested download is not authorized for use with this tracker.")]
    NotAdmitted,
    /// Port 0.
    #[error("Your client announced port 0, where nobody can reach it. Please check its settings.")]
    NoPort,
    /// An IPv4 client at an IPv6 tracker, or the reverse.
    #[error("This tracker does not serve your address family.")]
    FamilyNotServed,
    /// No room: see [`Limits`].
    #[error("This tracker is full. Please try again later.")]
    Full,
}

/// A tracker: torrents, and what this build plugs in around them.
pub struct Tracker<F: Flavour> {
    store: Store<F::Family>,
    last_sweep: AtomicU32,
    /// Which torrents are served.
    pub admission: F::Admission,
    /// Who else hears of a change.
    pub cluster: F::Cluster,
    /// Who counts the networks that ask.
    pub network_log: F::NetworkLog,
}

impl<F: Flavour> Tracker<F> {
    /// An empty tracker.
    pub fn new(
        key: Key,
        limits: Limits,
        now: Minute,
        admission: F::Admission,
        cluster: F::Cluster,
        network_log: F::NetworkLog,
    ) -> Self {
        Self { store: Store::new(key, limits), last_sweep: AtomicU32::new(now.0), admission, cluster, network_log }
    }

    /// All torrents.
    pub fn store(&self) -> &Store<F::Family> {
        &self.store
    }

    /// A random number of this run: the one that its cluster knows it by, if it is one of a cluster.
    pub fn id(&self) -> u32 {
        self.cluster.id().unwrap_or_else(|| self.store.id())
    }

    /// The numbers of one torrent; `None` if it is not known or not served.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Totals> {
        if !self.admission.admits(info_hash) {
            return None;
        }
        self.store.find(info_hash).torrent().map(totals)
    }

    /// Tells `show` of each torrent, in their order, what [`Self::scrape`] says of it: faster than one after the other,
    /// the more so the larger the tracker is.
    ///
    /// Calls `show` with torrents locked: it is not to ask this tracker anything.
    pub fn scrape_all(&self, info_hashes: impl IntoIterator<Item = InfoHash>, mut show: impl FnMut(Option<Totals>)) {
        let mut info_hashes = info_hashes.into_iter();
        loop {
            let mut group = [const { None }; GROUP];
            let hashed = (&mut info_hashes).map(|info_hash| (self.store.hash(&info_hash), info_hash));
            group.iter_mut().zip(hashed).for_each(|(place, sought)| *place = Some(sought));
            if let [Some((_, info_hash)), None, ..] = &group {
                return show(self.scrape(info_hash));
            }
            let mut rest = group.as_slice();
            while rest.first().is_some_and(Option::is_some) {
                let mut found = [const { None }; GROUP];
                let sought = |n: usize| rest.get(n)?.as_ref().map(|(hash, info_hash)| (*hash, info_hash));
                let many = self.store.find_group(sought, &mut found);
                for (found, (_, info_hash)) in found.iter().flatten().zip(rest.iter().flatten()) {
                    show(found.torrent().filter(|_| self.admission.admits(info_hash)).map(totals));
                }
                rest = rest.get(many..).unwrap_or_default();
            }
            if group.last().is_none_or(Option::is_none) {
                return;
            }
        }
    }

    /// Forgets peers and torrents that have been silent for too long, and torrents that are no longer served. Made to
    /// be called once a minute; calls `pause` between two portions, while no lock is held.
    pub fn sweep(&self, now: Minute, mut pause: impl FnMut()) {
        let before = Minute(self.last_sweep.swap(now.0, Ordering::Relaxed));
        let everybody = now.since(before) > Stamp::LONGEST_SWEEP_GAP;
        let keep = |info_hash: &InfoHash| !F::Admission::RESTRICTS || self.admission.admits(info_hash);
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.store.sweep(from, now, SWEEP_PORTION, everybody, keep);
            pause();
        }
    }

    /// Remembers a torrent from before a restart, with its downloads and when it was last heard of. What is known
    /// already is not changed, and what would have been forgotten by now is not remembered.
    ///
    /// # Errors
    ///
    /// There is no room, or the torrent is not served.
    pub fn restore(&self, info_hash: &InfoHash, downloaded: u32, touched: Minute, now: Minute) -> Result<(), Refusal> {
        if !self.admission.admits(info_hash) {
            return Err(Refusal::NotAdmitted);
        }
        let remember = |torrent: &mut Torrent<F::Family>, _: &Key, _| {
            if torrent.downloaded == 0 {
                torrent.downloaded = downloaded;
                torrent.swarms.set_empty_since(touched.min(now));
            }
        };
        self.store.find(info_hash).upsert(info_hash, now, remember).map_err(|Full| Refusal::Full)
    }
}

/// The numbers of a torrent.
pub(super) fn totals<F: Family>(torrent: &Torrent<F>) -> Totals {
    let counts = torrent.swarms.counts();
    let number = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
    Totals { seeders: number(counts.seeders), leechers: number(counts.leechers), downloaded: torrent.downloaded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::tracker;
    use crate::core::{Ipv4Only, Limits};

    #[test]
    fn many_are_scraped_as_one_by_one() {
        let tracker = tracker::<Ipv4Only>(Limits::NONE);
        let hash = |torrent: u8| InfoHash([torrent; 20]);
        for torrent in (0..100).filter(|torrent| torrent % 3 > 0) {
            tracker.restore(&hash(torrent), u32::from(torrent), Minute(29_000_191), Minute(29_000_191)).unwrap();
        }
        for many in (0..20).chain([63, 64, 65, 74]) {
            // Some of them twice.
            let asked: Vec<_> = (0..many).map(|n| hash(n % 50 * 2)).collect();
            let mut shown = Vec::new();
            tracker.scrape_all(asked.iter().copied(), |totals| shown.push(totals));
            assert_eq!(shown, asked.iter().map(|info_hash| tracker.scrape(info_hash)).collect::<Vec<_>>());
            assert!(many < 3 || shown.iter().any(Option::is_some) && shown.iter().any(Option::is_none));
        }
    }
}
