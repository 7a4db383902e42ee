//! The numbers of a swarm and of a torrent.

/// How many peers of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmCounts {
    /// Peers with everything.
    pub seeders: usize,
    /// Peers that are still downloading.
    pub leechers: usize,
}

impl SwarmCounts {
    /// All peers.
    pub fn peers(self) -> usize {
        self.seeders + self.leechers
    }
}

/// The numbers of one torrent (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeCounts {
    /// Seeders: `complete`.
    pub seeders: u32,
    /// Leechers: `incomplete`.
    pub leechers: u32,
    /// Completed downloads: `downloaded`.
    pub downloaded: u32,
}
