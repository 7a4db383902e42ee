//! What a scrape asks: the numbers of torrents (BEP 48).

use super::flavour::{Admission as _, Flavour};
use super::store::{GROUP, Torrent};
use super::{InfoHash, ScrapeCounts, Tracker};

impl<F: Flavour> Tracker<F> {
    /// The numbers of one torrent; `None` if it is not known or not served.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<ScrapeCounts> {
        if !self.flavour().admission().admits(info_hash) {
            return None;
        }
        self.store.find(info_hash).torrent().map(Torrent::scrape_counts)
    }

    /// Tells `visit` of each torrent, in their order, what [`Self::scrape`] says of it: faster than one after the
    /// other, the more so the larger the tracker is.
    ///
    /// Calls `visit` with torrents locked: it is not to ask this tracker anything.
    pub fn scrape_all(
        &self,
        info_hashes: impl IntoIterator<Item = InfoHash>,
        mut visit: impl FnMut(Option<ScrapeCounts>),
    ) {
        let mut info_hashes = info_hashes.into_iter();
        loop {
            let mut group = [const { None }; GROUP];
            let hashed = (&mut info_hashes).map(|info_hash| (self.store.hash(&info_hash), info_hash));
            group.iter_mut().zip(hashed).for_each(|(place, sought)| *place = Some(sought));
            if let [Some((_, info_hash)), None, ..] = &group {
                return visit(self.scrape(info_hash));
            }
            let mut rest = group.as_slice();
            while rest.first().is_some_and(Option::is_some) {
                let mut found = [const { None }; GROUP];
                let sought = |n: usize| rest.get(n)?.as_ref().map(|(hash, info_hash)| (*hash, info_hash));
                let many = self.store.find_group(sought, &mut found);
                for (found, (_, info_hash)) in found.iter().flatten().zip(rest.iter().flatten()) {
                    visit(
                        found
                            .torrent()
                            .filter(|_| self.flavour().admission().admits(info_hash))
                            .map(Torrent::scrape_counts),
                    );
                }
                rest = rest.get(many..).unwrap_or_default();
            }
            if group.last().is_none_or(Option::is_none) {
                return;
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

    #[test]
    fn many_are_scraped_as_one_by_one() {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW);
        let hash = |torrent: u8| InfoHash([torrent; 20]);
        for torrent in (0..100).filter(|torrent| torrent % 3 > 0) {
            tracker.restore(&hash(torrent), u32::from(torrent), NOW, NOW).unwrap();
        }
        for many in (0..20).chain([63, 64, 65, 74]) {
            // Some of them twice.
            let asked: Vec<_> = (0..many).map(|n| hash(n % 50 * 2)).collect();
            let mut shown = Vec::new();
            tracker.scrape_all(asked.iter().copied(), |counts| shown.push(counts));
            assert_eq!(shown, asked.iter().map(|info_hash| tracker.scrape(info_hash)).collect::<Vec<_>>());
            assert!(many < 3 || shown.iter().any(Option::is_some) && shown.iter().any(Option::is_none));
        }
    }
}
