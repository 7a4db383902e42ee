//! Pages of four lines, as MRTG reads them: two numbers, how long they have been counted for, and what they are.
//! Nothing ends the last line. Each function says which two numbers its page shows.
//!
//! What counts as accepted and as successful is what counted as such in the original, so that its graphs go on.

use crate::tracker::Flavour;

use super::{Counter, Report};

impl<F: Flavour> Report<'_, F> {
    /// `mode=peer`: peers, and the seeders among them.
    pub(super) fn peers(&self) -> String {
        let census = self.tracker.store().census();
        let (peers, seeders, torrents) = (census.peers.peers(), census.peers.seeders, census.torrents);
        format!("{peers}\n{seeders}\nopentracker serving {torrents} torrents\nopentracker")
    }

    /// `mode=torr`: torrents, and 0.
    pub(super) fn torrents(&self) -> String {
        let torrents = self.tracker.store().census().torrents;
        format!("{torrents}\n0\nopentracker serving {torrents} torrents\nopentracker")
    }

    /// `mode=conn`: what was accepted and what was successful, over TCP and UDP together.
    pub(super) fn connections(&self) -> String {
        let (accepted, successful) = self.tcp_and_udp();
        self.block(accepted, successful, &self.rates("connections", accepted, successful))
    }

    /// `mode=tcp4`: the same over TCP, of both address families in spite of its name.
    pub(super) fn tcp_connections(&self) -> String {
        let (accepted, successful) = self.tcp();
        self.block(accepted, successful, &self.rates("tcp4 stats", accepted, successful))
    }

    /// `mode=udp4`: the same over UDP, of both address families in spite of its name.
    pub(super) fn udp_connections(&self) -> String {
        let (accepted, successful) = self.udp();
        self.block(accepted, successful, &self.rates("udp4 stats", accepted, successful))
    }

    /// `mode=scrp`: scrapes over TCP, and over UDP.
    pub(super) fn scrapes(&self) -> String {
        let (tcp, udp) = (self.counters.total(Counter::TcpScraped), self.counters.total(Counter::UdpScraped));
        let rate = self.per_second(tcp + udp);
        self.block(tcp, udp, &format!("opentracker scrape stats, {rate} scrape/s (tcp and udp)"))
    }

    /// `mode=fscr`: a thousand times the full scrapes, and their bytes.
    pub(super) fn full_scrapes(&self) -> String {
        let (count, bytes) = (self.counters.total(Counter::FullScraped), self.counters.total(Counter::FullScrapeBytes));
        let (count_rate, byte_rate) = (self.per_second(count), self.per_second(bytes));
        let last = format!("opentracker full scrape stats, {count_rate} conns/s :: {byte_rate} bytes/s.");
        // Full scrapes are so rare that a graph of their rate would show nothing.
        self.block(count.saturating_mul(1000), bytes, &last)
    }

    /// `mode=completed`: completed downloads, and 0.
    pub(super) fn completed(&self) -> String {
        let completed = self.counters.total(Counter::Completed);
        // The first hour counts as a whole one, as in the original: one download after a second is not 3,600 an hour.
        let per_hour = completed.saturating_mul(3600) / self.uptime.as_secs().max(3600);
        self.block(completed, 0, &format!("opentracker, {per_hour} completed/h."))
    }

    /// `mode=syncs`: changes that other trackers of the cluster have sent, and 0. The last line is that of `mode=conn`,
    /// which monitors know.
    pub(super) fn syncs(&self) -> String {
        let (accepted, successful) = self.tcp_and_udp();
        self.block(self.synced(), 0, &self.rates("connections", accepted, successful))
    }

    /// Returns what counts as accepted and as successful over TCP: connections, and announces that were answered.
    fn tcp(&self) -> (u64, u64) {
        (self.counters.total(Counter::TcpAccepted), self.counters.total(Counter::TcpAnnounced))
    }

    /// Returns what counts as accepted and as successful over UDP: datagrams, and announces and connects that were
    /// answered.
    fn udp(&self) -> (u64, u64) {
        let answered = self.counters.total(Counter::UdpAnnounced) + self.counters.total(Counter::UdpConnected);
        (self.counters.total(Counter::UdpReceived), answered)
    }

    fn tcp_and_udp(&self) -> (u64, u64) {
        let ((tcp_accepted, tcp_successful), (udp_accepted, udp_successful)) = (self.tcp(), self.udp());
        (tcp_accepted + udp_accepted, tcp_successful + udp_successful)
    }

    fn rates(&self, what: &str, accepted: u64, successful: u64) -> String {
        let (accepted, successful) = (self.per_second(accepted), self.per_second(successful));
        format!("opentracker {what}, {accepted} conns/s :: {successful} success/s.")
    }

    fn block(&self, first: u64, second: u64, last: &str) -> String {
        let seconds = self.uptime.as_secs();
        format!("{first}\n{second}\n{seconds} seconds ({} hours)\n{last}", seconds / 3600)
    }

    /// Returns the average since the start, rounded down.
    fn per_second(&self, count: u64) -> u64 {
        count / self.uptime.as_secs().max(1)
    }
}
