//! What a build can differ in on the HTTP side, with the off twin of each plug point.
//!
//! Two plug points are files of their own: [`coding`](super::coding) and [`wrapper`](super::wrapper).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::tracker::{AddressFamilies, Flavour, Second};

use super::address::BadAddress;
use super::coding::Codings;
use super::exchange::{Answer, Exchange};
use super::listing::Listing;
use super::query::Query;
use super::reply::Refusal;
use super::request::{Request, RequestTime};
use super::wrapper::Wrappers;

/// One plug for each plug point of the HTTP side, beside those of the tracker.
pub trait HttpFlavour: Flavour {
    /// Says whose announce a request is, and who asks for a page.
    type ClientAddress: ClientAddress;
    /// Says who may read the statistics.
    type StatsAccess: StatsAccess;
    /// The pages that switches bring.
    type Routes: Routes;
    /// The content codings of full scrapes.
    type Codings: Codings;
    /// Says who gets a full scrape, and when.
    type ScrapeLimit: ScrapeLimit;
    /// Measures how long requests took.
    type RequestTimes: RequestTimes;
    /// Keeps whole requests.
    type RequestLog: RequestLog;
    /// What connections pass through before HTTP.
    type Wrappers: Wrappers;

    /// Pages of switches that this build does not have.
    const ABSENT: &'static [AbsentRoute] = &[];

    /// Returns the plug that says whose announce a request is, and who asks for a page.
    fn client_address(&self) -> &Self::ClientAddress;
    /// Returns the plug that says who may read the statistics.
    fn stats_access(&self) -> &Self::StatsAccess;
    /// Returns the pages that switches bring.
    fn routes(&self) -> &Self::Routes;
    /// Returns the content codings.
    fn codings(&self) -> &Self::Codings;
    /// Returns the plug that says who gets a full scrape.
    fn scrape_limit(&self) -> &Self::ScrapeLimit;
    /// Returns the plug that measures how long requests took.
    fn request_times(&self) -> &Self::RequestTimes;
    /// Returns the plug that keeps whole requests.
    fn request_log(&self) -> &Self::RequestLog;
    /// Returns what connections pass through.
    fn wrappers(&self) -> &Self::Wrappers;
}

/// Says whose announce a request is, and who asks for a page. `connection` is the address at the other end of the
/// connection.
pub trait ClientAddress: Send + Sync + 'static {
    /// True where the query can say so: then the address need not be one that the tracker has seen.
    const ASKS_QUERY: bool = false;

    /// Returns the endpoint of the peer whose announce this is, in a build that keeps the families `F`. `port` is the
    /// one that is announced.
    ///
    /// # Errors
    ///
    /// The request should say where the peer is, and cannot be understood.
    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress>;

    /// Returns the address of the client that asks for a page. The query has no say in that: an address in it is that
    /// of a peer.
    ///
    /// # Errors
    ///
    /// The request should say for whom it asks, and cannot be understood.
    fn of_page(&self, connection: IpAddr, request: &Request<'_>) -> Result<IpAddr, BadAddress>;

    /// Returns whether the other end of the connection is a proxy, which asks for many clients: HTTP/1.1 connections
    /// with it stay open without being asked to.
    fn is_proxy(&self, connection: IpAddr) -> bool;
}

/// Stands where `ip-from-query` and `ip-from-proxy` are off: the client is the other end of the connection.
#[derive(Debug, Default)]
pub struct Connected;

impl ClientAddress for Connected {
    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        _: &Request<'_>,
        _: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress> {
        Ok(SocketAddr::new(connection, port))
    }

    fn of_page(&self, connection: IpAddr, _: &Request<'_>) -> Result<IpAddr, BadAddress> {
        Ok(connection)
    }

    fn is_proxy(&self, _: IpAddr) -> bool {
        false
    }
}

/// Says who may read the statistics.
pub trait StatsAccess: Send + Sync + 'static {
    /// Returns whether a client at this address may.
    fn allows(&self, client: IpAddr) -> bool;
}

/// Stands where `restrict-stats` is off: everyone may.
#[derive(Debug, Default)]
pub struct Everyone;

impl StatsAccess for Everyone {
    fn allows(&self, _: IpAddr) -> bool {
        true
    }
}

/// A page, or a few that belong together, which a switch brings.
pub trait Route: Send + Sync + 'static {
    /// Which of its pages a request asks for.
    type Page;

    /// Who may see its pages.
    const ACCESS: Access;

    /// Returns the page that a request asks for, if it is one of these. The tracker's own pages go before.
    fn find(target: RouteTarget<'_>) -> Option<Self::Page>;

    /// Answers a request for a page from a client who may see it.
    ///
    /// # Errors
    ///
    /// Why there is no such page for this request. Nothing of the reply has been written then.
    fn answer<F: HttpFlavour>(&self, page: Self::Page, exchange: &mut Exchange<'_, F>) -> Answer<F>;
}

/// Who may see a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Everyone,
    /// Those who may read the statistics.
    Statistics,
}

/// What a request asks for, if it is not one of the tracker's own pages.
#[derive(Debug, Clone, Copy)]
pub enum RouteTarget<'a> {
    /// The path of this request.
    Path(&'a Request<'a>),
    /// A page that names every torrent. If it is one of the statistics, the client has been found to be one who may
    /// read them.
    Listing(Listing),
}

impl RouteTarget<'_> {
    /// Returns whether it is this path, given without slashes around it.
    pub fn is_path(self, path: &str) -> bool {
        matches!(self, Self::Path(request) if request.path_is(path))
    }
}

/// The pages that switches bring: one route, none, or a pair of such tables.
pub trait Routes: Send + Sync + 'static {
    /// Answers a request if the page that it asks for is one of these.
    fn route<F: HttpFlavour>(&self, target: RouteTarget<'_>, exchange: &mut Exchange<'_, F>) -> Option<Answer<F>>;
}

/// Stands where a switch that brings a page is off.
#[derive(Debug, Default)]
pub struct NoRoute;

impl Routes for NoRoute {
    fn route<F: HttpFlavour>(&self, _: RouteTarget<'_>, _: &mut Exchange<'_, F>) -> Option<Answer<F>> {
        None
    }
}

impl<R: Route> Routes for R {
    fn route<F: HttpFlavour>(&self, target: RouteTarget<'_>, exchange: &mut Exchange<'_, F>) -> Option<Answer<F>> {
        let page = R::find(target)?;
        Some(exchange.check(R::ACCESS).and_then(|()| self.answer(page, exchange)))
    }
}

impl<A: Routes, B: Routes> Routes for (A, B) {
    fn route<F: HttpFlavour>(&self, target: RouteTarget<'_>, exchange: &mut Exchange<'_, F>) -> Option<Answer<F>> {
        self.0.route(target, exchange).or_else(|| self.1.route(target, exchange))
    }
}

/// Pages of a switch that a build does not have.
#[derive(Debug, Clone, Copy)]
pub struct AbsentRoute {
    /// Returns whether one of them is asked for.
    pub covers: fn(RouteTarget<'_>) -> bool,
    /// What the 404 says beside `Not Found`.
    pub reason: &'static str,
}

/// Says who gets a full scrape, and when. Asked when the page is known and nothing of it is sent yet.
pub trait ScrapeLimit: Send + Sync + 'static {
    /// What a full scrape holds until its end.
    type Permit: ScrapePermit;

    /// Checks whether the client could have a full scrape, for one that asks for its header alone.
    ///
    /// # Errors
    ///
    /// The client gets none now, for the reason that is returned.
    fn check(&self, client: IpAddr, now: RequestTime) -> Result<(), Refusal>;

    /// Lets the client have a full scrape. One whose permit is dropped before it is begun counts for nothing: there was
    /// no seat for it, or no place for the connection.
    ///
    /// # Errors
    ///
    /// The client gets none now, for the reason that is returned.
    fn admit(&self, client: IpAddr, now: RequestTime) -> Result<Self::Permit, Refusal>;
}

/// What a full scrape holds until its end, such as one of a bounded number.
pub trait ScrapePermit: 'static {
    /// Hears that the page is being made: told before each piece.
    fn begin(&mut self);
}

impl ScrapePermit for () {
    fn begin(&mut self) {}
}

/// Stands where nobody limits full scrapes.
#[derive(Debug, Default)]
pub struct Unlimited;

impl ScrapeLimit for Unlimited {
    type Permit = ();

    fn check(&self, _: IpAddr, _: RequestTime) -> Result<(), Refusal> {
        Ok(())
    }

    fn admit(&self, _: IpAddr, _: RequestTime) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Measures how long requests took.
pub trait RequestTimes: Send + Sync + 'static {
    /// The part of one worker, to which it alone adds.
    type OfWorker: WorkerTimes;

    /// False where nobody wants to know: then the clock is not read.
    const LISTENS: bool;

    /// Returns the part of one more worker.
    fn for_worker(&self) -> Self::OfWorker;

    /// Returns the times of all workers so far; `None` where they are not kept.
    fn sum(&self) -> Option<TimesSum>;
}

/// Measures how long the requests of one worker took.
pub trait WorkerTimes: 'static {
    /// Adds the time that one more request took to answer: from its whole head to its reply, or to the beginning of one
    /// that is made while it is sent.
    fn add(&self, time: Duration);
}

/// How long requests took, as a histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimesSum {
    /// The sum of all times, in seconds.
    pub seconds: f64,
    /// For each bucket its upper bound in seconds, of which the last is infinite, and how many requests lie below it
    /// and above the bound before.
    pub buckets: Vec<(f64, u64)>,
}

impl TimesSum {
    /// Returns how many requests there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// Stands where nobody wants to know how long requests took.
#[derive(Debug, Default)]
pub struct Untimed;

impl RequestTimes for Untimed {
    type OfWorker = Self;

    const LISTENS: bool = false;

    fn for_worker(&self) -> Self {
        Self
    }

    fn sum(&self) -> Option<TimesSum> {
        None
    }
}

impl WorkerTimes for Untimed {
    fn add(&self, _: Duration) {}
}

/// Two that measure: both are told of each time, and the sum is that of the first that keeps one.
impl<A: RequestTimes, B: RequestTimes> RequestTimes for (A, B) {
    type OfWorker = (A::OfWorker, B::OfWorker);

    const LISTENS: bool = A::LISTENS || B::LISTENS;

    fn for_worker(&self) -> Self::OfWorker {
        (self.0.for_worker(), self.1.for_worker())
    }

    fn sum(&self) -> Option<TimesSum> {
        self.0.sum().or_else(|| self.1.sum())
    }
}

impl<A: WorkerTimes, B: WorkerTimes> WorkerTimes for (A, B) {
    fn add(&self, time: Duration) {
        self.0.add(time);
        self.1.add(time);
    }
}

/// Keeps whole requests of some clients, for who may read the statistics.
pub trait RequestLog: Send + Sync + 'static {
    /// False where nothing is ever kept: then nothing else is called.
    const LISTENS: bool;

    /// Returns whether requests of anybody are kept.
    fn is_on(&self) -> bool;

    /// Returns whether requests of the client at this address are kept.
    fn keeps(&self, client: IpAddr) -> bool;

    /// Keeps a request of such a client: its head, as it came.
    fn keep(&self, client: IpAddr, now: Second, head: &[u8]);

    /// Returns how many requests have been kept so far: those that a reader is given who begins now end there.
    fn end(&self) -> u64;

    /// Appends the oldest requests of those before `end` to `out`, a piece of bounded size, and keeps them no longer.
    /// Returns whether there are more.
    fn take(&self, end: u64, out: &mut Vec<u8>) -> bool;
}

/// Stands where `fulllog-networks` is off: no request is kept.
#[derive(Debug, Default)]
pub struct RequestsUnlogged;

impl RequestLog for RequestsUnlogged {
    const LISTENS: bool = false;

    fn is_on(&self) -> bool {
        false
    }

    fn keeps(&self, _: IpAddr) -> bool {
        false
    }

    fn keep(&self, _: IpAddr, _: Second, _: &[u8]) {}

    fn end(&self) -> u64 {
        0
    }

    fn take(&self, _: u64, _: &mut Vec<u8>) -> bool {
        false
    }
}
