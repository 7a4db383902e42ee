//! The bodies of `/stats`. Monitors parse them byte for byte, by line number and by position.

use std::time::Duration;

use crate::core::{Flavour, Tracker};

use super::counters::{Board, Count};

/// What a page is made from.
pub struct Report<'a, F: Flavour> {
    /// The torrents.
    pub tracker: &'a Tracker<F>,
    /// The counters.
    pub board: &'a Board,
    /// Since the start.
    pub uptime: Duration,
}

impl<F: Flavour> Report<'_, F> {
    /// The page of a mode; `None` if there is no such mode.
    pub fn page(&self, mode: &str) -> Option<String> {
        match mode {
            "peer" => Some(self.peers()),
            "torr" => Some(self.torrents()),
            "conn" => Some(self.connections("connections", self.tcp(), self.udp())),
            "tcp4" => Some(self.connections("tcp4 stats", self.tcp(), (0, 0))),
            "udp4" => Some(self.connections("udp4 stats", (0, 0), self.udp())),
            "completed" => Some(self.completed()),
            "version" => Some(concat!("opentracker ", env!("CARGO_PKG_VERSION"), "\n").into()),
            _ => None,
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
