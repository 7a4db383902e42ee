//! `mode=top10` and `mode=top100`: the torrents with the most peers, seeders and leechers.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::tracker::store::Torrent;
use crate::tracker::{AddressFamilies, InfoHash, TorrentPeers as _};

/// The lists of the page, as far as a walk has got. They hold no more torrents than the page has rows.
#[derive(Debug)]
pub(super) struct TopLists {
    by_peers: List,
    by_seeders: List,
    by_leechers: List,
}

impl TopLists {
    /// Returns empty lists that will have `max_rows` rows each, or less.
    pub(super) fn new(max_rows: usize) -> Self {
        let list = || List { max_rows, rows: Vec::new() };
        Self { by_peers: list(), by_seeders: list(), by_leechers: list() }
    }

    /// Puts a torrent on the lists that it belongs on.
    pub(super) fn offer<F: AddressFamilies>(&mut self, torrent: &Torrent<F>) {
        let counts = torrent.peers.counts();
        self.by_peers.offer(counts.peers(), &torrent.info_hash);
        self.by_seeders.offer(counts.seeders, &torrent.info_hash);
        self.by_leechers.offer(counts.leechers, &torrent.info_hash);
    }

    /// Returns the page.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        for (list, by) in [(&self.by_peers, "peers"), (&self.by_seeders, "seeds"), (&self.by_leechers, "leechers")] {
            // Writing to a string does not fail.
            let _ = writeln!(page, "Top {} torrents by {by}:", list.max_rows);
            for (Reverse(number), info_hash) in &list.rows {
                let _ = writeln!(page, "\t{number}\t{info_hash}");
            }
        }
        page
    }
}

/// The torrents with the highest numbers, from the highest on; where numbers are equal, in the order of info hashes. No
/// torrent is listed with 0.
#[derive(Debug)]
struct List {
    max_rows: usize,
    rows: Vec<(Reverse<usize>, InfoHash)>,
}

impl List {
    fn offer(&mut self, number: usize, info_hash: &InfoHash) {
        let row = (Reverse(number), *info_hash);
        let is_full = self.rows.len() == self.max_rows;
        if number == 0 || is_full && self.rows.last().is_some_and(|last| row >= *last) {
            return;
        }
        // A walk can come by a torrent twice: it is listed once, with the last of its numbers that was high enough.
        self.rows.retain(|(_, listed)| listed != info_hash);
        let at = self.rows.partition_point(|other| *other < row);
        self.rows.insert(at, row);
        self.rows.truncate(self.max_rows);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(max_rows: usize, offers: &[(usize, u8)]) -> Vec<(usize, u8)> {
        let mut list = List { max_rows, rows: Vec::new() };
        offers.iter().for_each(|&(number, name)| list.offer(number, &InfoHash([name; 20])));
        list.rows.into_iter().map(|(Reverse(number), info_hash)| (number, info_hash.0[0])).collect()
    }

    #[test]
    fn equal_numbers_are_in_the_order_of_info_hashes_and_0_is_not_listed() {
        assert_eq!(list(3, &[(5, 9), (5, 2), (0, 1), (5, 7), (6, 8), (5, 3)]), [(6, 8), (5, 2), (5, 3)]);
        assert_eq!(list(10, &[(0, 1), (1, 2)]), [(1, 2)]);
    }

    #[test]
    fn a_torrent_that_comes_twice_is_listed_once() {
        assert_eq!(list(3, &[(5, 1), (4, 2), (7, 1)]), [(7, 1), (4, 2)]);
        assert_eq!(list(3, &[(5, 1), (4, 2), (3, 1)]), [(4, 2), (3, 1)]);
    }

    proptest! {
        #[test]
        fn a_list_is_what_sorting_all_offers_would_make(
            numbers in prop::collection::vec(0..9_usize, 0..200), max_rows in 1..20_usize,
        ) {
            let offers: Vec<_> = numbers.into_iter().zip(0..=u8::MAX).collect();
            let mut expected: Vec<_> = offers.iter().copied().filter(|(number, _)| *number > 0).collect();
            expected.sort_by_key(|&(number, name)| (Reverse(number), name));
            expected.truncate(max_rows);
            prop_assert_eq!(list(max_rows, &offers), expected);
        }
    }
}
