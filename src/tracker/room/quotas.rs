//! How many are to go, of whom, and which ones: counted first, then taken by that count.

use super::network::Network;

/// Ranks of a torrent or a peer of a network: 256 of them.
pub(super) type Rank = u8;

/// So many of each rank: first how many there are, then how many of them are to go.
#[derive(Debug)]
pub(super) struct Ranks(Vec<u32>);

impl Ranks {
    /// Makes an empty count of so many ranks.
    pub(super) fn new(ranks: usize) -> Self {
        Self(vec![0; ranks])
    }

    /// Counts one.
    pub(super) fn count(&mut self, rank: usize) {
        if let Some(count) = self.0.get_mut(rank) {
            *count = count.saturating_add(1);
        }
    }

    /// Ends the count. Of all together at most `most` are to go, those of the highest ranks first. Returns how many
    /// that is.
    pub(super) fn allot(&mut self, most: u64) -> u64 {
        let mut left = most;
        for rank in (0..self.0.len()).rev() {
            left -= self.allot_of(rank, left);
        }
        most - left
    }

    /// Of one rank at most `most` are to go. Returns how many that is.
    fn allot_of(&mut self, rank: usize, most: u64) -> u64 {
        let Some(count) = self.0.get_mut(rank) else { return 0 };
        *count = (*count).min(u32::try_from(most).unwrap_or(u32::MAX));
        u64::from(*count)
    }

    /// Returns whether one of this rank is to go, and takes it off their number.
    pub(super) fn take(&mut self, rank: usize) -> bool {
        let left = self.0.get_mut(rank).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// What networks hold, each by its ranks.
#[derive(Debug)]
pub(super) struct Quotas(Vec<Holding>);

#[derive(Debug)]
struct Holding {
    network: Network,
    held: u64,
    ranks: Ranks,
}

impl Quotas {
    /// Makes a count of what these networks hold: 1 KiB for each of them.
    pub(super) fn new(networks: impl Iterator<Item = Network>) -> Self {
        let holding = |network| Holding { network, held: 0, ranks: Ranks::new(usize::from(Rank::MAX) + 1) };
        let mut holdings: Vec<_> = networks.map(holding).collect();
        holdings.sort_unstable_by_key(|holding| holding.network);
        Self(holdings)
    }

    /// Counts one of a network. Does nothing if the network is none of those that are counted.
    pub(super) fn count(&mut self, network: Network, rank: Rank) {
        if let Some(holding) = self.holding(network) {
            holding.held += 1;
            holding.ranks.count(rank.into());
        }
    }

    /// Ends the count. Of all networks together at most `most` are to go, those of the highest ranks first; but each
    /// network keeps `share`. Returns how many are to go.
    pub(super) fn allot(&mut self, share: u64, most: u64) -> u64 {
        self.0.retain(|holding| holding.held > share);
        let mut left = most;
        for rank in (0..=Rank::MAX).rev() {
            for holding in &mut self.0 {
                let goes = holding.ranks.allot_of(rank.into(), left.min(holding.held - share));
                holding.held -= goes;
                left -= goes;
            }
        }
        most - left
    }

    /// Returns whether one of this network and rank is to go, and takes it off their number.
    pub(super) fn take(&mut self, network: Network, rank: Rank) -> bool {
        self.holding(network).is_some_and(|holding| holding.ranks.take(rank.into()))
    }

    fn holding(&mut self, network: Network) -> Option<&mut Holding> {
        let at = self.0.binary_search_by_key(&network, |holding| holding.network).ok()?;
        self.0.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;

    fn network(n: u8) -> Network {
        Network::of([10, 0, n, 0].into())
    }

    proptest! {
        #[test]
        fn the_highest_ranks_go_and_every_network_keeps_its_share(
            held in prop::collection::vec((0..6_u8, 0..40_u8), 0..200),
            share in 0..60_u64,
            most in 0..200_u64,
        ) {
            // Network 5 is not a candidate.
            let mut quotas = Quotas::new((0..5).rev().map(network));
            held.iter().for_each(|&(n, rank)| quotas.count(network(n), rank));
            let goes = quotas.allot(share, most);
            let taken: Vec<_> = held.iter().copied().filter(|&(n, rank)| quotas.take(network(n), rank)).collect();

            // One after the other, by rank and then by network.
            let mut order: Vec<_> = held.iter().copied().filter(|(n, _)| *n < 5).collect();
            order.sort_unstable_by_key(|&(n, rank)| (Reverse(rank), n));
            let mut keeps = [0; 5].map(|_: u64| 0);
            order.iter().for_each(|&(n, _)| keeps[usize::from(n)] += 1);
            let mut expected = Vec::new();
            for (n, rank) in order {
                let keeps = &mut keeps[usize::from(n)];
                if (expected.len() as u64) < most && *keeps > share {
                    *keeps -= 1;
                    expected.push((n, rank));
                }
            }
            prop_assert_eq!(goes, expected.len() as u64);
            let sorted = |mut all: Vec<(u8, Rank)>| {
                all.sort_unstable();
                all
            };
            prop_assert_eq!(sorted(taken), sorted(expected));
        }

        #[test]
        fn of_ranks_without_networks_the_highest_go(
            held in prop::collection::vec(0..30_usize, 0..100), most in 0..120_u64,
        ) {
            let mut ranks = Ranks::new(30);
            held.iter().for_each(|&rank| ranks.count(rank));
            prop_assert_eq!(ranks.allot(most), most.min(held.len() as u64));
            let mut taken: Vec<_> = held.iter().copied().filter(|&rank| ranks.take(rank)).collect();
            let mut expected = held;
            expected.sort_unstable_by_key(|rank| Reverse(*rank));
            expected.truncate(most as usize);
            taken.sort_unstable_by_key(|rank| Reverse(*rank));
            prop_assert_eq!(taken, expected);
        }
    }

    #[test]
    fn what_is_no_rank_is_not_counted_and_not_taken() {
        let mut ranks = Ranks::new(2);
        ranks.count(2);
        assert_eq!(ranks.allot(u64::MAX), 0);
        assert!(!ranks.take(2) && !ranks.take(1));
    }
}
