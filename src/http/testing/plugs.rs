//! Plugs of the HTTP side that are easy to see through.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::address::{BadAddress, address};
use crate::http::coding::{Coding, Encoder};
use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{
    Access, ClientAddress, HttpFlavour, RequestLog, RequestTimes, Route, RouteTarget, ScrapeLimit, StatsAccess,
    TimesSum, WorkerTimes,
};
use crate::http::listing::Listing;
use crate::http::query::Query;
use crate::http::reply::Refusal;
use crate::http::request::{Request, RequestTime};
use crate::http::stream::{Lease, Stream};
use crate::stats::Counter;
use crate::tracker::store::Store;
use crate::tracker::{AddressFamilies, Second};

use super::NOW;

/// The address of a proxy.
pub(in crate::http) const PROXY: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 8));

/// The address is the one in `ip=`, or in the header `X-Client`, or that of the connection. [`PROXY`] is one of a
/// proxy.
pub(in crate::http) struct Named;

impl ClientAddress for Named {
    const ASKS_QUERY: bool = true;

    fn of_announce<F: AddressFamilies>(
        &self,
        connection: IpAddr,
        port: u16,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<SocketAddr, BadAddress> {
        let ip = match query.last("ip") {
            Some(value) => address(value.decode(&mut [0; 45]).ok().flatten().ok_or(BadAddress)?)?,
            None => self.of_page(connection, request)?,
        };
        Ok(SocketAddr::new(ip, port))
    }

    fn of_page(&self, connection: IpAddr, request: &Request<'_>) -> Result<IpAddr, BadAddress> {
        request.header("x-client").next_back().map_or(Ok(connection), address)
    }

    fn is_proxy(&self, connection: IpAddr) -> bool {
        connection == PROXY
    }
}

/// Statistics are for clients at a loopback address.
pub(in crate::http) struct Loopback;

impl StatsAccess for Loopback {
    fn allows(&self, client: IpAddr) -> bool {
        client.is_loopback()
    }
}

/// Full scrapes that consist of these pieces, and end with their name; and the lease of the last one.
#[derive(Clone, Default)]
pub(in crate::http) struct Pieces(pub(in crate::http) Vec<Vec<u8>>, pub(in crate::http) Arc<Mutex<Option<Lease>>>);

impl Route for Pieces {
    type Page = Listing;

    const ACCESS: Access = Access::Everyone;

    fn find(target: RouteTarget<'_>) -> Option<Listing> {
        if let RouteTarget::Listing(listing) = target { Some(listing) } else { None }
    }

    fn answer<F: HttpFlavour>(&self, listing: Listing, exchange: &mut Exchange<'_, F>) -> Answer<F> {
        exchange.flavour().scrape_limit().admit(exchange.client()?, exchange.now)?;
        if exchange.wants_header_only() {
            return exchange.respond_stream_header();
        }
        let coding = exchange.stream_coding()?;
        let mut stream = self.clone();
        stream.0.push(format!("{listing:?}").into());
        let (lease, lease_end) = Lease::new();
        *self.1.lock().unwrap() = Some(lease);
        Ok(exchange.stream(stream, coding, lease_end, Counter::FullScraped, Counter::FullScrapeBytes))
    }
}

impl<F: AddressFamilies> Stream<F> for Pieces {
    fn next(&mut self, _: &Store<F>, _: RequestTime, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.0.remove(0));
        !self.0.is_empty()
    }
}

/// A coding called `same` that changes nothing.
pub(in crate::http) struct Unchanged;

impl Coding for Unchanged {
    fn names(&self) -> &'static [&'static str] {
        &["same"]
    }

    fn encoder(&self) -> Option<Box<dyn Encoder>> {
        Some(Box::new(Self))
    }
}

impl Encoder for Unchanged {
    fn encode(&mut self, piece: &[u8], _: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(piece);
    }
}

/// Gives no full scrape to `::9`.
pub(in crate::http) struct NotNine;

impl ScrapeLimit for NotNine {
    type Permit = ();

    fn check(&self, client: IpAddr, now: RequestTime) -> Result<(), Refusal> {
        self.admit(client, now)
    }

    fn admit(&self, client: IpAddr, now: RequestTime) -> Result<(), Refusal> {
        assert_eq!(now.minute, NOW);
        let refusal = Refusal {
            status: "402 Payment Required",
            reason: "nine pays",
            retry_after: Some(60),
            counter: Some(Counter::Http402),
        };
        if client == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 9]) { Err(refusal) } else { Ok(()) }
    }
}

/// A page that says how many requests were measured, for those who may read the statistics.
pub(in crate::http) struct Numbers;

impl Route for Numbers {
    type Page = ();

    const ACCESS: Access = Access::Statistics;

    fn find(target: RouteTarget<'_>) -> Option<()> {
        target.is_path("numbers").then_some(())
    }

    fn answer<F: HttpFlavour>(&self, (): (), exchange: &mut Exchange<'_, F>) -> Answer<F> {
        let measured = exchange.flavour().request_times().sum().unwrap_or_default().seconds;
        let accepted = exchange.shared.counters.total(Counter::TcpAccepted);
        Ok(exchange.respond("text/numbers", format!("{measured} {accepted}\n").as_bytes()))
    }
}

/// Counts a second for each request.
#[derive(Clone, Default)]
pub(in crate::http) struct Counted(Arc<AtomicUsize>);

impl RequestTimes for Counted {
    type OfWorker = Self;

    const LISTENS: bool = true;

    fn for_worker(&self) -> Self {
        self.clone()
    }

    fn sum(&self) -> Option<TimesSum> {
        Some(TimesSum { seconds: self.0.load(Ordering::Relaxed) as f64, buckets: Vec::new() })
    }
}

impl WorkerTimes for Counted {
    fn add(&self, time: Duration) {
        assert!(time < Duration::from_secs(60));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the requests of `::7` and `::1`.
#[derive(Default)]
pub(in crate::http) struct Kept(Mutex<String>);

impl RequestLog for Kept {
    const LISTENS: bool = true;

    fn is_on(&self) -> bool {
        true
    }

    fn keeps(&self, client: IpAddr) -> bool {
        matches!(client, IpAddr::V6(ip) if matches!(ip.to_bits(), 1 | 7))
    }

    fn keep(&self, client: IpAddr, now: Second, head: &[u8]) {
        assert_eq!(now, NOW.into());
        *self.0.lock().unwrap() += &format!("{client} {}\n", head.escape_ascii());
    }

    fn end(&self) -> u64 {
        0
    }

    fn take(&self, _: u64, out: &mut Vec<u8>) -> bool {
        out.append(&mut std::mem::take(&mut *self.0.lock().unwrap()).into_bytes());
        false
    }
}
