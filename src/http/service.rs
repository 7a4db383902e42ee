//! From a request to its reply. No socket, no clock: whatever drives it passes both in.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::stats::pages::{NoPage, Page, Report, Walk};
use crate::stats::{Counter, Counters, Protocol, WorkerCounters};
use crate::tracker::clock::{INTERVAL, INTERVAL_SPREAD};
use crate::tracker::peer::{Peer as _, PeerV4, PeerV6};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Flavour, Minute, NetworkLog, PeerBuffer, PeerBuffers, PeerRequest, Tracker,
};

use super::announce_query::{AnnounceQuery, MAX_WANTED};
use super::announce_reply::AnnounceReply;
use super::flavour::{
    BadAddress, ClientAddress, FullScrape, HttpFlavour, Listing, Metrics, StatsAccess, Stream, TpbsFormat,
};
use super::query::{Encoded, Query};
use super::reply::{self, Error};
use super::request::{Request, Version};
use super::scrape_query::ScrapeQuery;

/// What all workers share.
pub struct Shared<F: HttpFlavour> {
    /// The torrents.
    pub tracker: Arc<Tracker<F>>,
    /// The counters of all workers.
    pub counters: Arc<Counters>,
    /// The path of the statistics, without the slash before it.
    pub stats_path: String,
    /// Where `/` leads; a 404 without.
    pub redirect_url: Option<String>,
}

/// When a request came.
#[derive(Debug, Clone, Copy)]
pub struct RequestTime {
    /// The minute, for the core.
    pub minute: Minute,
    /// Since the process started, for the statistics.
    pub uptime: Duration,
}

/// What is to be done once the bytes of a reply are sent.
#[derive(Debug)]
pub struct Next<S> {
    /// Send this as well.
    pub body: Option<Body<S>>,
    /// Wait for another request.
    pub keep_alive: bool,
}

/// What takes too long to be made at once.
#[derive(Debug)]
pub enum Body<S> {
    /// Made while it is sent. The head is in the reply.
    Stream {
        /// What makes it.
        stream: S,
        /// It goes out in chunks (RFC 9112, section 7.1); else the end of the connection is its end.
        chunked: bool,
    },
    /// A page of the statistics, sent with its head when it is made.
    Page(Walk),
}

/// What a build's full scrapes come from.
pub type StreamOf<F> = <<F as HttpFlavour>::FullScrape as FullScrape>::Stream;

type Answer<F> = Result<Next<StreamOf<F>>, Error>;

/// One worker's part of the HTTP side.
pub struct Service<F: HttpFlavour> {
    shared: Arc<Shared<F>>,
    worker_counters: Arc<WorkerCounters>,
    rng: Rng,
    /// Where the peers of a reply are put together.
    ipv4: Box<[u8]>,
    ipv6: Box<[u8]>,
}

impl<F: HttpFlavour> Service<F> {
    /// A worker's part. `worker_counters` is that worker's own.
    pub fn new(shared: Arc<Shared<F>>, worker_counters: Arc<WorkerCounters>, rng: Rng) -> Self {
        let buffer = |each| vec![0; MAX_WANTED * each + PeerBuffer::SPARE].into_boxed_slice();
        Self { shared, worker_counters, rng, ipv4: buffer(PeerV4::COMPACT), ipv6: buffer(PeerV6::COMPACT) }
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared<F>> {
        &self.shared
    }

    /// The counters of this worker.
    pub fn for_worker(&self) -> &Arc<WorkerCounters> {
        &self.worker_counters
    }

    /// Appends the reply to `request`, which came from `from`, to `out`.
    pub fn answer(
        &mut self,
        request: &Request<'_>,
        from: IpAddr,
        now: RequestTime,
        out: &mut Vec<u8>,
    ) -> Next<StreamOf<F>> {
        let stats = request.path_is(&self.shared.stats_path);
        // Some monitors read the statistics to the end of the connection. A body is not read, so nothing that comes
        // after it can be understood.
        let keep_alive = request.keep_alive() && !stats && !request.has_body();
        let answer = if request.path_is("announce") {
            self.announce(request, from, now.minute, keep_alive, out)
        } else if request.path_is("scrape") {
            self.scrape(request, from, now.minute, keep_alive, out)
        } else if stats {
            self.stats(request, from, now, out)
        } else if request.path_is("metrics") {
            self.metrics(request, from, keep_alive, out)
        } else if request.path_is("") {
            self.redirect(from, keep_alive, out)
        } else {
            Err(Error::NotFound)
        };
        answer.unwrap_or_else(|error| {
            self.refuse(error, from, keep_alive, out);
            Next { body: None, keep_alive }
        })
    }

    /// Appends the reply that says what is wrong, and counts it as that of a connection from `from`.
    pub fn refuse(&mut self, error: Error, from: IpAddr, keep_alive: bool, out: &mut Vec<u8>) {
        if let Some(count) = error.count() {
            self.worker_counters.count_from(count, from);
        }
        error.write(keep_alive, out);
    }

    fn announce(
        &mut self,
        request: &Request<'_>,
        from: IpAddr,
        now: Minute,
        keep_alive: bool,
        out: &mut Vec<u8>,
    ) -> Answer<F> {
        let Self { shared, worker_counters, rng, ipv4, ipv6 } = self;
        let query = request.query().unwrap_or(Query::EMPTY);
        let wants = AnnounceQuery::read(query)?;
        let client = shared.tracker.flavour().client_address().of(from, request, &query)?;
        let announce = AnnounceRequest {
            info_hash: wants.info_hash,
            endpoint: SocketAddr::new(client, wants.port),
            seeder: wants.seeder,
            event: wants.event,
        };
        let into = PeerBuffers::Both { ipv4: PeerBuffer::new(ipv4), ipv6: PeerBuffer::new(ipv6) };
        let mut peers = PeerRequest { wanted: wants.wanted, into };
        let announced = shared.tracker.announce(&announce, now, rng, &mut peers).inspect_err(|refusal| {
            worker_counters.refused(Protocol::Http, *refusal, client);
        })?;
        let [ipv4, ipv6] = peers.into.written();

        let interval = rng.u32(INTERVAL - INTERVAL_SPREAD..=INTERVAL + INTERVAL_SPREAD);
        let serves_ipv6 = <F as Flavour>::Families::IPV6;
        let reply = AnnounceReply {
            counts: announced.counts,
            interval,
            min_interval: interval / 2,
            peers: ipv4,
            peers6: serves_ipv6.then_some(ipv6),
        };
        reply.write(keep_alive, out);
        worker_counters.announced(Counter::TcpAnnounced, client, &announced);
        Ok(Next { body: None, keep_alive })
    }

    fn scrape(
        &mut self,
        request: &Request<'_>,
        from: IpAddr,
        now: Minute,
        keep_alive: bool,
        out: &mut Vec<u8>,
    ) -> Answer<F> {
        let client = self.client(request, from)?;
        let tracker = &self.shared.tracker;
        tracker.flavour().network_log().record(client, now, &mut self.rng);
        let Some(query) = request.query() else { return self.list(Listing::Scrape, request, keep_alive, out) };
        let wants = ScrapeQuery::read(query)?;
        let known = wants.info_hashes().filter_map(|info_hash| Some((info_hash, tracker.scrape(info_hash)?)));
        reply::write(reply::OK, reply::TEXT, keep_alive, &reply::scraped(known)?, out);
        self.worker_counters.count_from(Counter::TcpScraped, client);
        Ok(Next { body: None, keep_alive })
    }

    fn stats(&mut self, request: &Request<'_>, from: IpAddr, now: RequestTime, out: &mut Vec<u8>) -> Answer<F> {
        let Shared { tracker, counters, .. } = &*self.shared;
        if !tracker.flavour().stats_access().allows(self.client(request, from)?) {
            return Err(Error::StatsDenied);
        }
        let query = request.query().unwrap_or(Query::EMPTY);
        let mut room = [0; MAX_WORD];
        let mode = word(query.last("mode"), "peer", &mut room)?;
        let listing = match mode {
            "tpbs" => Listing::Tpbs(tpbs_format(query)?),
            "statedump" => Listing::Statedump,
            _ => {
                let page = Report { tracker, counters, now: now.minute, uptime: now.uptime }.page(mode)?;
                let walk = match page {
                    Page::Ready(page) => {
                        reply::write(reply::OK, reply::TEXT, false, page.as_bytes(), out);
                        None
                    }
                    Page::Walk(walk) => Some(Body::Page(walk)),
                };
                return Ok(Next { body: walk, keep_alive: false });
            }
        };
        self.list(listing, request, false, out)
    }

    /// The page for Prometheus is guarded like the statistics, and has one path in every tracker, as scrapers expect.
    fn metrics(&self, request: &Request<'_>, from: IpAddr, keep_alive: bool, out: &mut Vec<u8>) -> Answer<F> {
        let Shared { tracker, counters, .. } = &*self.shared;
        if !tracker.flavour().stats_access().allows(self.client(request, from)?) {
            return Err(Error::StatsDenied);
        }
        let page = tracker.flavour().metrics().page(tracker, counters).ok_or(Error::NeedsFeature("metrics"))?;
        reply::write(reply::OK, reply::OPENMETRICS, keep_alive, page.as_bytes(), out);
        Ok(Next { body: None, keep_alive })
    }

    /// Begins a page that names every torrent.
    fn list(&self, listing: Listing, request: &Request<'_>, keep_alive: bool, out: &mut Vec<u8>) -> Answer<F> {
        let stream = self.shared.tracker.flavour().full_scrape().open(listing, request).ok_or(Error::NoFullScrape)?;
        self.worker_counters.count(Counter::FullScraped);
        let chunked = request.version() >= Version::Http11;
        let keep_alive = keep_alive && chunked;
        let varies = F::FullScrape::NEGOTIATES;
        reply::write_stream_head(chunked, stream.content_encoding(), varies, keep_alive, out);
        Ok(Next { body: Some(Body::Stream { stream, chunked }), keep_alive })
    }

    fn redirect(&self, from: IpAddr, keep_alive: bool, out: &mut Vec<u8>) -> Answer<F> {
        let url = self.shared.redirect_url.as_ref().ok_or(Error::NotFound)?;
        self.worker_counters.count_from(Counter::Http302, from);
        reply::write_redirect(url, keep_alive, out);
        Ok(Next { body: None, keep_alive })
    }

    /// Who asks, where that is not for the query to say: an address in it is that of a peer.
    fn client(&self, request: &Request<'_>, from: IpAddr) -> Result<IpAddr, BadAddress> {
        self.shared.tracker.flavour().client_address().of(from, request, &Query::EMPTY)
    }
}

impl From<NoPage> for Error {
    fn from(none: NoPage) -> Self {
        match none {
            NoPage::Unknown => Self::Parameter,
            NoPage::Needs(feature) => Self::NeedsFeature(feature),
        }
    }
}

impl From<BadAddress> for Error {
    fn from(_: BadAddress) -> Self {
        Self::Parameter
    }
}

/// More bytes than any mode or format of the statistics has.
const MAX_WORD: usize = 16;

fn word<'a>(value: Option<Encoded<'a>>, default: &'a str, room: &'a mut [u8]) -> Result<&'a str, Error> {
    let Some(value) = value else { return Ok(default) };
    let decoded = value.decode(room)?.ok_or(Error::Parameter)?;
    std::str::from_utf8(decoded).map_err(|_| Error::Parameter)
}

fn tpbs_format(query: Query<'_>) -> Result<TpbsFormat, Error> {
    let mut room = [0; MAX_WORD];
    match word(query.last("format"), "ben", &mut room)? {
        "ben" => Ok(TpbsFormat::Ben),
        "bin" => Ok(TpbsFormat::Bin),
        "url" => Ok(TpbsFormat::Url),
        "txt" => Ok(TpbsFormat::Txt),
        "txtp" => Ok(TpbsFormat::Txtp),
        _ => Err(Error::Parameter),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
