//! `mode=everything`: XML whose order and nesting are an interface. Some monitors go by position: additions go at the
//! end.

use std::fmt::Write as _;

use crate::tracker::Flavour;

use super::{Counter, RENEWAL_ROWS, Report, version};

/// The attribute `code` of each count of errors, in the original's words.
const HTTP_ERRORS: [(&str, Counter); 9] = [
    ("302 Redirect", Counter::Http302),
    ("400 Parse Error", Counter::Http400Parse),
    ("400 Invalid Parameter", Counter::Http400Parameter),
    ("400 Invalid Parameter (compact=0)", Counter::Http400Compact),
    ("400 Not Modest", Counter::Http400NotModest),
    ("402 Payment Required", Counter::Http402),
    ("403 Access Denied", Counter::Http403),
    ("404 Not found", Counter::Http404),
    ("500 Internal Server Error", Counter::Http500),
];

/// The original counted how often it waited for a lock, but has not done so since its locks are the system's. Nor is it
/// counted here.
const MUTEX_STALLS: u64 = 0;

impl<F: Flavour> Report<'_, F> {
    /// Returns the page. `walked` is how many torrents a walk over all of them has come by: they can be more or less
    /// than the store has at one time.
    pub(super) fn everything(&self, walked: u64) -> String {
        let census = self.tracker.store().census();
        let total = |count| self.counters.total(count);
        let mut page = Xml(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<stats>\n"));
        page.line(1, "tracker_id", self.tracker.id());
        page.nested(1, "version", |page| page.0 += &version());
        page.line(1, "uptime", self.uptime.as_secs());
        page.nested(1, "torrents", |page| {
            page.line(2, "count_mutex", census.torrents);
            page.line(2, "count_iterator", walked);
        });
        page.nested(1, "peers", |page| page.line(2, "count", census.peers.peers()));
        page.nested(1, "seeds", |page| page.line(2, "count", census.peers.seeders));
        page.nested(1, "completed", |page| page.line(2, "count", total(Counter::Completed)));
        page.nested(1, "connections", |page| {
            page.nested(2, "tcp", |page| {
                page.line(3, "accept", total(Counter::TcpAccepted));
                page.line(3, "announce", total(Counter::TcpAnnounced));
                page.line(3, "scrape", total(Counter::TcpScraped));
            });
            page.nested(2, "udp", |page| {
                page.line(3, "overall", total(Counter::UdpReceived));
                page.line(3, "connect", total(Counter::UdpConnected));
                page.line(3, "announce", total(Counter::UdpAnnounced));
                page.line(3, "scrape", total(Counter::UdpScraped));
                page.line(3, "missmatch", total(Counter::UdpMismatched));
            });
            page.nested(2, "livesync", |page| page.line(3, "count", self.synced()));
        });
        page.nested(1, "debug", |page| {
            page.nested(2, "renew", |page| {
                (0..RENEWAL_ROWS).for_each(|minutes| {
                    page.count(3, "interval", format_args!("{minutes:02}"), self.counters.renewals(minutes));
                });
            });
            page.nested(2, "http_error", |page| {
                HTTP_ERRORS.iter().for_each(|(code, count)| page.count(3, "code", code, total(*count)));
            });
            page.nested(2, "mutex_stall", |page| page.line(3, "count", MUTEX_STALLS));
        });
        // Here the original's page ends.
        let (torrents, peers) = self.tracker.taken();
        page.nested(1, "taken_for_room", |page| {
            page.line(2, "torrents", torrents);
            page.line(2, "peers", peers);
        });
        page.0 + "</stats>"
    }
}

/// A page under construction. Writing to a string does not fail. Nothing that is written needs escaping.
struct Xml(String);

impl Xml {
    /// Adds an element with a value.
    fn line(&mut self, depth: usize, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{:1$}<{name}>{value}</{name}>", "", 2 * depth);
    }

    /// Adds an element `count` whose attribute says what is counted.
    fn count(&mut self, depth: usize, attribute: &str, what: impl std::fmt::Display, value: u64) {
        let _ = writeln!(self.0, "{:1$}<count {attribute}=\"{what}\">{value}</count>", "", 2 * depth);
    }

    /// Adds an element with others inside.
    fn nested(&mut self, depth: usize, name: &str, inside: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.0, "{:1$}<{name}>", "", 2 * depth);
        inside(self);
        let _ = writeln!(self.0, "{:1$}</{name}>", "", 2 * depth);
    }
}
