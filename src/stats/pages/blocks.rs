//! Pages of four lines, as MRTG reads them: two numbers, how long they have been counted, and what they are. The last
//! line has no end.
//!
//! What counts as accepted and as successful is what counted as such in the original, so that its graphs go on.

use crate::tracker::Flavour;

use super::{Counter, Report};

impl<F: Flavour> Report<'_, F> {
    pub(super) fn peers(&self) -> String {
        let census = self.tracker.store().census();
        let (peers, seeders, torrents) = (census.peers.peers(), census.peers.seeders, census.torrents);
        format!("{peers}\n{seeders}\nopentracker serving {torrents} torrents\nopentracker")
    }

    pub(super) fn torrents(&self) -> String {
        let torrents = self.tracker.store().census().torrents;
        format!("{torrents}\n0\nopentracker serving {torrents} torrents\nopentracker")
    }

    pub(super) fn connections(&self) -> String {
        let ((tcp_in, tcp_well), (udp_in, udp_well)) = (self.tcp(), self.udp());
        let (accepted, successful) = (tcp_in + udp_in, tcp_well + udp_well);
        self.block(accepted, successful, &self.rates("connections", accepted, successful))
    }

    pub(super) fn tcp_connections(&self) -> String {
        let (accepted, successful) = self.tcp();
        self.block(accepted, successful, &self.rates("tcp4 stats", accepted, successful))
    }

    pub(super) fn udp_connections(&self) -> String {
        let (accepted, successful) = self.udp();
        self.block(accepted, successful, &self.rates("udp4 stats", accepted, successful))
    }

    pub(super) fn scrapes(&self) -> String {
        let (tcp, udp) = (self.counters.total(Counter::TcpScraped), self.counters.total(Counter::UdpScraped));
        let rate = self.each_second(tcp + udp);
        self.block(tcp, udp, &format!("opentracker scrape stats, {rate} scrape/s (tcp and udp)"))
    }

    pub(super) fn full_scrapes(&self) -> String {
        let (count, bytes) = (self.counters.total(Counter::FullScraped), self.counters.total(Counter::FullScrapeBytes));
        let (count_rate, byte_rate) = (self.each_second(count), self.each_second(bytes));
        let last = format!("opentracker full scrape stats, {count_rate} conns/s :: {byte_rate} bytes/s.");
        // Graphs of rates have no room for what is so rare.
        self.block(count.saturating_mul(1000), bytes, &last)
    }

    pub(super) fn completed(&self) -> String {
        let completed = self.counters.total(Counter::Completed);
        let each_hour = self.each_second(completed.saturating_mul(3600));
        self.block(completed, 0, &format!("opentracker, {each_hour} completed/h."))
    }

    /// The sentence is that of the connections, which monitors know.
    pub(super) fn syncs(&self) -> String {
        let ((tcp_in, tcp_well), (udp_in, udp_well)) = (self.tcp(), self.udp());
        self.block(self.synced(), 0, &self.rates("connections", tcp_in + udp_in, tcp_well + udp_well))
    }

    /// Returns how many connections there were, and how many announces that were answered.
    fn tcp(&self) -> (u64, u64) {
        (self.counters.total(Counter::TcpAccepted), self.counters.total(Counter::TcpAnnounced))
    }

    /// Returns how many datagrams there were, and how many announces and connects that were answered.
    fn udp(&self) -> (u64, u64) {
        let answered = self.counters.total(Counter::UdpAnnounced) + self.counters.total(Counter::UdpConnected);
        (self.counters.total(Counter::UdpReceived), answered)
    }

    fn rates(&self, what: &str, accepted: u64, successful: u64) -> String {
        let (accepted, successful) = (self.each_second(accepted), self.each_second(successful));
        format!("opentracker {what}, {accepted} conns/s :: {successful} success/s.")
    }

    fn block(&self, first: u64, second: u64, last: &str) -> String {
        let seconds = self.uptime.as_secs();
        format!("{first}\n{second}\n{seconds} seconds ({} hours)\n{last}", seconds / 3600)
    }

    fn each_second(&self, count: u64) -> u64 {
        count / self.uptime.as_secs().max(1)
    }
}
