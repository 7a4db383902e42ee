//! The bodies of `/stats`. Monitors parse them byte for byte, by line number and by position.

use std::time::Duration;

use crate::core::{Flavour, Minute, NetworkLog as _, Tracker};

use super::counters::{Board, Count};

/// What a page is made from.
pub struct Report<'a, F: Flavour> {
    /// The torrents.
    pub tracker: &'a Tracker<F>,
    /// The counters.
    pub board: &'a Board,
    /// The minute in which it is asked for.
    pub now: Minute,
    /// Since the start.
    pub uptime: Duration,
}

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPage {
    /// There is no such mode.
    Unknown,
    /// The mode is that of a feature which this build does not have.
    Needs(&'static str),
}

impl<F: Flavour> Report<'_, F> {
    /// The page of a mode.
    ///
    /// # Errors
    ///
    /// There is no such page, in this build or in any.
    pub fn page(&self, mode: &str) -> Result<String, NoPage> {
        match mode {
            "peer" => Ok(self.peers()),
            "torr" => Ok(self.torrents()),
            "conn" => Ok(self.connections("connections", self.tcp(), self.udp())),
            "tcp4" => Ok(self.connections("tcp4 stats", self.tcp(), (0, 0))),
            "udp4" => Ok(self.connections("udp4 stats", (0, 0), self.udp())),
            "completed" => Ok(self.completed()),
            "version" => Ok(concat!("opentracker ", env!("CARGO_PKG_VERSION"), "\n").into()),
            "busy" => self.tracker.network_log.busy(self.now).ok_or(NoPage::Needs("log-networks")),
            _ => Err(NoPage::Unknown),
        }
    }

    fn peers(&self) -> String {
        let census = self.tracker.store().census();
        let (peers, seeders, torrents) = (census.peers.peers(), census.peers.seeders, census.torrents);
        format!("{peers}\n{seeders}\nopentracker serving {torrents} torrents\nopentracker")
    }

    fn torrents(&self) -> String {
        let torrents = self.tracker.store().census().torrents;
        format!("{torrents}\n0\nopentracker serving {torrents} torrents\nopentracker")
    }

    /// Accepted and successful, over TCP.
    fn tcp(&self) -> (u64, u64) {
        let answered = self.board.total(Count::TcpAnnounced) + self.board.total(Count::TcpScraped);
        (self.board.total(Count::TcpAccepted), answered)
    }

    /// Accepted and successful, over UDP, where the connect stands for the connection.
    fn udp(&self) -> (u64, u64) {
        let answered = self.board.total(Count::UdpAnnounced) + self.board.total(Count::UdpScraped);
        (self.board.total(Count::UdpConnected), answered)
    }

    fn connections(&self, what: &str, tcp: (u64, u64), udp: (u64, u64)) -> String {
        let (accepted, successful) = (tcp.0 + udp.0, tcp.1 + udp.1);
        let (seconds, hours) = self.age();
        let (per_second, success) = (accepted / seconds.max(1), successful / seconds.max(1));
        format!(
            "{accepted}\n{successful}\n{seconds} seconds ({hours} hours)\n\
             opentracker {what}, {per_second} conns/s :: {success} success/s."
        )
    }

    fn completed(&self) -> String {
        let completed = self.board.total(Count::Completed);
        let (seconds, hours) = self.age();
        let per_hour = completed.saturating_mul(3600) / seconds.max(1);
        format!("{completed}\n0\n{seconds} seconds ({hours} hours)\nopentracker, {per_hour} completed/h.")
    }

    fn age(&self) -> (u64, u64) {
        (self.uptime.as_secs(), self.uptime.as_secs() / 3600)
    }
}
