//! Finds the networks that may hold more than their share, in one pass and bounded memory.

use std::collections::HashMap;

use super::network::Network;

/// Networks that are kept in sight. No more than 63 can hold more than a sixty-fourth each.
const MAX_CANDIDATES: usize = 128;

/// The networks that came most often (Misra and Gries, Finding repeated elements, 1982). Whoever is one of N in more
/// than N / 129 cases is among them; others may be as well.
#[derive(Debug, Default)]
pub(super) struct Candidates(HashMap<Network, u64>);

impl Candidates {
    /// Counts one torrent or peer of a network.
    pub(super) fn count(&mut self, network: Network) {
        if let Some(count) = self.0.get_mut(&network) {
            *count += 1;
        } else if self.0.len() < MAX_CANDIDATES {
            self.0.insert(network, 1);
        } else {
            // One of each network goes, so each of these passes has been paid for by 128 counts.
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// Returns the networks, in no particular order.
    pub(super) fn networks(self) -> impl Iterator<Item = Network> {
        self.0.into_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn whoever_holds_more_than_a_sixty_fourth_is_a_candidate(
            runs in prop::collection::vec((0..400_u16, 1..60_usize), 1..300),
        ) {
            let mut candidates = Candidates::default();
            let (mut held, mut all) = (BTreeMap::<_, usize>::new(), 0);
            for (n, many) in runs {
                let network = Network::of([10, (n >> 8) as u8, n as u8, 1].into());
                (0..many).for_each(|_| candidates.count(network));
                *held.entry(network).or_default() += many;
                all += many;
            }
            let found: BTreeSet<_> = candidates.networks().collect();
            prop_assert!(found.len() <= MAX_CANDIDATES);
            for (network, many) in held {
                prop_assert!(many * 64 <= all || found.contains(&network), "{} has {} of {}", network, many, all);
            }
        }
    }
}
