//! Scrapes: how many seeders, leechers and downloads torrents have (BEP 48).

use super::flavour::{Admission as _, Flavour};
use super::store::{GROUP, Torrent};
use super::{InfoHash, ScrapeCounts, Tracker};

/// A torrent that is scraped together with others: see [`Tracker::scrape_group`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PendingScrape {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its counts; `None` until it has been scraped, and if it is not known or not served.
    pub counts: Option<ScrapeCounts>,
}

impl<F: Flavour> Tracker<F> {
    /// Returns the counts of one torrent; `None` if it is not known or not served. Locks its shard.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<ScrapeCounts> {
        if !self.flavour().admission().admits(info_hash) {
            return None;
        }
        self.store.lock(info_hash).torrent().map(Torrent::scrape_counts)
    }

    /// Scrapes each torrent as [`Self::scrape`] does, and stores its counts in it. Faster than one after the other, the
    /// more so the larger the tracker is.
    ///
    /// Locks at most [`GROUP`] shards at a time, and none when it returns.
    pub fn scrape_group(&self, scrapes: &mut [PendingScrape]) {
        if let [one] = scrapes {
            one.counts = self.scrape(&one.info_hash);
            return;
        }
        for group in scrapes.chunks_mut(GROUP) {
            let mut hashes = [const { None }; GROUP];
            hashes.iter_mut().zip(&*group).for_each(|(hash, one)| *hash = Some(self.store.hash(&one.info_hash)));
            let mut done = 0;
            while done < group.len() {
                let rest = group.get_mut(done..).unwrap_or_default();
                let mut locked = [const { None }; GROUP];
                let sought = |n: usize| Some(((*hashes.get(done + n)?)?, &rest.get(n)?.info_hash));
                let many = self.store.lock_group(sought, &mut locked);
                for (locked, one) in locked.iter().flatten().zip(rest) {
                    let served = locked.torrent().filter(|_| self.flavour().admission().admits(&one.info_hash));
                    one.counts = served.map(Torrent::scrape_counts);
                }
                debug_assert!(many > 0, "it waits for the first");
                done += many.max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, Ipv4Only, Minute};

    const NOW: Minute = Minute(29_000_191);
    /// Counts that no torrent has: to be overwritten.
    const WRONG: ScrapeCounts = ScrapeCounts { seeders: 7, leechers: 7, downloaded: 7 };

    #[test]
    fn a_group_is_scraped_as_one_by_one() {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW);
        let hash = |torrent: u8| InfoHash([torrent; 20]);
        for torrent in (0..100).filter(|torrent| torrent % 3 > 0) {
            tracker.restore(&hash(torrent), u32::from(torrent), NOW, NOW).unwrap();
        }
        for many in (0..20).chain([63, 64, 65, 74]) {
            // Some of them twice.
            let asked: Vec<_> = (0..many).map(|n| hash(n % 50 * 2)).collect();
            let mut group: Vec<_> =
                asked.iter().map(|&info_hash| PendingScrape { info_hash, counts: Some(WRONG) }).collect();
            tracker.scrape_group(&mut group);
            let counts: Vec<_> = group.iter().map(|one| one.counts).collect();
            assert_eq!(counts, asked.iter().map(|info_hash| tracker.scrape(info_hash)).collect::<Vec<_>>());
            assert!(many < 3 || counts.iter().any(Option::is_some) && counts.iter().any(Option::is_none));
        }
    }
}
