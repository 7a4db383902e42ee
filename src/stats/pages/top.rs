//! `mode=top10` and `mode=top100`: the torrents with the most peers, seeders and leechers.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::tracker::store::Torrent;
use crate::tracker::{AddressFamilies, InfoHash, TorrentPeers as _};

/// The lists so far. They hold no more torrents than the page has rows.
#[derive(Debug)]
pub(super) struct Top {
    by_peers: List,
    by_seeds: List,
    by_leechers: List,
}

impl Top {
    /// No torrent has been seen; `rows` are wanted of each list.
    pub(super) fn new(rows: usize) -> Self {
        let list = || List { most: rows, rows: Vec::new() };
        Self { by_peers: list(), by_seeds: list(), by_leechers: list() }
    }

    /// Takes a torrent where it belongs.
    pub(super) fn offer<F: AddressFamilies>(&mut self, torrent: &Torrent<F>) {
        let counts = torrent.peers.counts();
        self.by_peers.offer(counts.peers(), &torrent.info_hash);
        self.by_seeds.offer(counts.seeders, &torrent.info_hash);
        self.by_leechers.offer(counts.leechers, &torrent.info_hash);
    }

    /// The page.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        for (list, by) in [(&self.by_peers, "peers"), (&self.by_seeds, "seeds"), (&self.by_leechers, "leechers")] {
            // Writing to a string does not fail.
            let _ = writeln!(page, "Top {} torrents by {by}:", list.most);
            for (Reverse(number), info_hash) in &list.rows {
                let _ = writeln!(page, "\t{number}\t{info_hash}");
            }
        }
        page
    }
}

/// From most to least; where numbers are equal, in the order of info hashes. Nobody is listed with nothing.
#[derive(Debug)]
struct List {
    most: usize,
    rows: Vec<(Reverse<usize>, InfoHash)>,
}

impl List {
    fn offer(&mut self, number: usize, info_hash: &InfoHash) {
        let row = (Reverse(number), *info_hash);
        let is_full = self.rows.len() == self.most;
        if number == 0 || is_full && self.rows.last().is_some_and(|last| row >= *last) {
            return;
        }
        // A walk can come by a torrent twice: it is listed once, by its last number that had a place on the list.
        self.rows.retain(|(_, listed)| listed != info_hash);
        let at = self.rows.partition_point(|other| *other < row);
        self.rows.insert(at, row);
        self.rows.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(most: usize, offers: &[(usize, u8)]) -> Vec<(usize, u8)> {
        let mut list = List { most, rows: Vec::new() };
        offers.iter().for_each(|&(number, name)| list.offer(number, &InfoHash([name; 20])));
        list.rows.into_iter().map(|(Reverse(number), info_hash)| (number, info_hash.0[0])).collect()
    }

    #[test]
    fn equal_numbers_are_in_the_order_of_info_hashes_and_nothing_is_not_listed() {
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
        fn it_lists_what_sorting_all_would(numbers in prop::collection::vec(0..9_usize, 0..200), most in 1..20_usize) {
            let offers: Vec<_> = numbers.into_iter().zip(0..=u8::MAX).collect();
            let mut expected: Vec<_> = offers.iter().copied().filter(|(number, _)| *number > 0).collect();
            expected.sort_by_key(|&(number, name)| (Reverse(number), name));
            expected.truncate(most);
            prop_assert_eq!(list(most, &offers), expected);
        }
    }
}
