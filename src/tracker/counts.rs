//! How many peers a swarm has, and what a scrape tells of a torrent.

/// How many seeders and leechers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmCounts {
    /// Peers with everything.
    pub seeders: usize,
    /// Peers that are still downloading.
    pub leechers: usize,
}

impl SwarmCounts {
    /// Returns how many peers there are.
    pub fn peers(self) -> usize {
        self.seeders + self.leechers
    }
}

/// What a scrape tells of one torrent (BEP 48). Saturates at 2^32 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeCounts {
    /// Seeders: `complete`.
    pub seeders: u32,
    /// Leechers: `incomplete`.
    pub leechers: u32,
    /// Completed downloads: `downloaded`.
    pub downloaded: u32,
}
