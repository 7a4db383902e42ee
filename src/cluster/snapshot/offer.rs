//! What a tracker says that can give a snapshot.

use std::cmp::Ordering;
use std::fmt;

/// A tracker can give a snapshot, of so much. The best of several is the greatest: that of who has been up for longest,
/// of two that started in the same second that of the higher id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What the tracker is known by on its transport.
    pub id: u64,
    /// For how long its process has been up: the longer, the more it has heard. After a handover it begins anew.
    pub uptime_seconds: u32,
    /// Torrents that it knows.
    pub torrents: u64,
    /// Peers that it knows.
    pub peers: u64,
}

impl Offer {
    fn rank(&self) -> (u32, u64, u64, u64) {
        (self.uptime_seconds, self.id, self.peers, self.torrents)
    }
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uptime_seconds, torrents, peers, .. } = self;
        write!(f, "{torrents} torrents, {peers} peers, up for {uptime_seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_of_who_has_been_up_for_longest() {
        let offer = |id, uptime_seconds, peers| Offer { id, uptime_seconds, torrents: 1, peers };
        let offers = [offer(1, 50, 0), offer(2, 70, 3), offer(9, 60, 1000), offer(3, 70, 2)];
        assert_eq!(offers.iter().max(), Some(&offer(3, 70, 2)));
        assert!(offer(2, 70, 3) < offer(3, 70, 2));
        assert_eq!(offer(2, 70, 3).to_string(), "1 torrents, 3 peers, up for 70 s");
    }
}
