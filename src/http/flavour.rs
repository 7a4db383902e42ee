//! What a build can differ in on the HTTP side, with the off twin of each plug point.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::stats::Counters;
use crate::tracker::Tracker;
use crate::tracker::clock::Minute;
use crate::tracker::families::AddressFamilies;
use crate::tracker::flavour::Flavour;
use crate::tracker::store::Store;

use super::query::Query;
use super::request::Request;

/// One plug for each plug point of the HTTP side, beside those of the tracker.
pub trait HttpFlavour: Flavour {
    /// Whose announce is it?
    type ClientAddress: ClientAddress;
    /// Who may read the statistics?
    type StatsAccess: StatsAccess;
    /// Is there a page with everything?
    type FullScrape: FullScrape;
    /// Is there a page for Prometheus?
    type Metrics: Metrics;

    /// Says whose announce a request is.
    fn client_address(&self) -> &Self::ClientAddress;
    /// Says who may read the statistics.
    fn stats_access(&self) -> &Self::StatsAccess;
    /// Opens the pages with everything.
    fn full_scrape(&self) -> &Self::FullScrape;
    /// Makes the page for Prometheus.
    fn metrics(&self) -> &Self::Metrics;
}

/// The request names an address, or should, and it cannot be understood: it is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress;

/// The address in a text from outside. IPv6 may stand in brackets, and IPv4-mapped IPv6 is IPv4.
pub fn address(text: &[u8]) -> Result<IpAddr, BadAddress> {
    let text = std::str::from_utf8(text).map_err(|_| BadAddress)?;
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => text.parse(),
    };
    address.map(|address| address.to_canonical()).map_err(|_| BadAddress)
}

/// Whose announce is it?
pub trait ClientAddress: Send + Sync + 'static {
    /// The address of the client behind `connection`, the other end of the TCP connection.
    fn of(&self, connection: IpAddr, request: &Request<'_>, query: &Query<'_>) -> Result<IpAddr, BadAddress>;
}

/// Stands where `ip-from-query` and `ip-from-proxy` are off: the client is the other end of the connection.
#[derive(Debug, Default)]
pub struct Connected;

impl ClientAddress for Connected {
    fn of(&self, connection: IpAddr, _: &Request<'_>, _: &Query<'_>) -> Result<IpAddr, BadAddress> {
        Ok(connection)
    }
}

/// Who may read the statistics?
pub trait StatsAccess: Send + Sync + 'static {
    /// May a client at this address?
    fn allows(&self, client: IpAddr) -> bool;
}

/// Stands where `restrict-stats` is off.
#[derive(Debug, Default)]
pub struct Everyone;

impl StatsAccess for Everyone {
    fn allows(&self, _: IpAddr) -> bool {
        true
    }
}

/// The pages that name every torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `GET /scrape` without a query.
    Scrape,
    /// `/stats?mode=tpbs`, in one of its formats.
    Tpbs(TpbsFormat),
    /// `/stats?mode=statedump`.
    Statedump,
}

/// `format=` of `mode=tpbs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TpbsFormat {
    /// Bencode, as `GET /scrape` gives it.
    #[default]
    Ben,
    /// 20 bytes, then seeders and leechers as 32-bit big-endian numbers.
    Bin,
    /// The info hash in percent-encoding.
    Url,
    /// `HEX:seeders:leechers`
    Txt,
    /// `HEX:seeders:leechers:downloaded`
    Txtp,
}

/// Is there a page with everything, and how is it coded?
pub trait FullScrape: Send + Sync + 'static {
    /// A page under way.
    type Stream: Stream;

    /// Does the client's `Accept-Encoding` have a say in how a page is coded?
    const NEGOTIATES: bool;

    /// Begins a page; `None` where there is none.
    fn open(&self, listing: Listing, request: &Request<'_>) -> Option<Self::Stream>;
}

/// A page that names every torrent, made piece by piece while it is sent.
pub trait Stream: Send + 'static {
    /// The value of the header `Content-Encoding`, if one is needed.
    fn content_encoding(&self) -> Option<&'static str>;

    /// Appends the next piece, of bounded size and perhaps empty, to `out`; says whether there is more. Locks one shard
    /// at a time, each for some microseconds.
    fn next<F: AddressFamilies>(&mut self, store: &Store<F>, now: Minute, out: &mut Vec<u8>) -> bool;
}

/// Stands where `fullscrape` is off.
#[derive(Debug, Default)]
pub struct NoFullScrape;

/// The stream that there is none of.
#[derive(Debug)]
pub enum NoStream {}

impl FullScrape for NoFullScrape {
    type Stream = NoStream;

    const NEGOTIATES: bool = false;

    fn open(&self, _: Listing, _: &Request<'_>) -> Option<NoStream> {
        None
    }
}

impl Stream for NoStream {
    fn content_encoding(&self) -> Option<&'static str> {
        match *self {}
    }

    fn next<F: AddressFamilies>(&mut self, _: &Store<F>, _: Minute, _: &mut Vec<u8>) -> bool {
        match *self {}
    }
}

/// Is there a page for Prometheus, and who measures what only it shows?
pub trait Metrics: Send + Sync + 'static {
    /// How long the requests of one worker took.
    type Durations: Durations;

    /// For one more worker.
    fn durations(&self) -> Self::Durations;

    /// The page; `None` where there is none.
    fn page<F: Flavour>(&self, tracker: &Tracker<F>, counters: &Counters) -> Option<String>;
}

/// How long the requests of one worker took.
pub trait Durations: 'static {
    /// One more was answered. Whoever is not interested does not ask how long it `took`, which reads the clock.
    fn add(&self, took: impl FnOnce() -> Duration);
}

/// Stands where `metrics` is off.
#[derive(Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    type Durations = NoDurations;

    fn durations(&self) -> NoDurations {
        NoDurations
    }

    fn page<F: Flavour>(&self, _: &Tracker<F>, _: &Counters) -> Option<String> {
        None
    }
}

/// Nobody is interested.
#[derive(Debug)]
pub struct NoDurations;

impl Durations for NoDurations {
    fn add(&self, _: impl FnOnce() -> Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_in_brackets_or_be_mapped() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:c000:201]", "192.0.2.1"),
        ] {
            assert_eq!(address(text.as_bytes()).unwrap().to_string(), expected);
        }
        for text in ["", "[]", "[192.0.2.1]", "[::1", "::1]", " ::1", "192.0.2.1:80", "\u{ff11}92.0.2.1", "::1%1"] {
            assert_eq!(address(text.as_bytes()), Err(BadAddress), "{text}");
        }
        assert_eq!(address(b"192.0.2.\xff"), Err(BadAddress));
    }
}
