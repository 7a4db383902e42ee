//! Flavours for the tests of this room.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::stats::{Counter, Counters};
use crate::tracker::store::Store;
use crate::tracker::testing::{Ipv6Only, NotThatOne, TestFlavour, key};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Clock, Event, Flavour, InfoHash, Intervals, Ipv4Only, Minute, Open,
    PeerRequest, Second, Standalone, Tracker, Unlogged, WantedLog,
};

use super::address::{BadAddress, address};
use super::coding::{Coding, Codings, Encoder, NoCoding};
use super::connection_limit::ConnectionLimit;
use super::exchange::{Answer, Exchange, Shared};
use super::flavour::{
    AbsentRoute, Access, ClientAddress, Connected, Everyone, HttpFlavour, NoRoute, RequestTimes, Route, RouteTarget,
    Routes, ScrapeLimit, StatsAccess, TimesSum, Unlimited, Untimed, WorkerTimes,
};
use super::incoming::Incoming;
use super::listing::Listing;
use super::places::Turn;
use super::query::Query;
use super::reply::Refusal;
use super::request::{Request, RequestTime};
use super::service::Service;
use super::stream::{Lease, Stream};
use super::worker::{ConnectionPermit, Worker};
use super::wrapper::{NoWrapper, Wrappers};

/// The minute of all these tests.
pub(super) const NOW: Minute = Minute(29_000_000);

/// A flavour whose plug points on the HTTP side are what its parameters say; without them, every switch is off.
pub(crate) struct TestHttp<
    T = TestFlavour,
    A = Connected,
    S = Everyone,
    R = NoRoute,
    C = NoCoding,
    L = Unlimited,
    M = Untimed,
    W = NoWrapper,
> {
    pub(crate) tracker: T,
    pub(crate) client_address: A,
    pub(crate) stats_access: S,
    pub(crate) routes: R,
    pub(crate) codings: C,
    pub(crate) scrape_limit: L,
    pub(crate) request_times: M,
    pub(crate) wrappers: W,
}

impl<T: Flavour, A, S, R, C, L, M, W> Flavour for TestHttp<T, A, S, R, C, L, M, W>
where
    Self: Send + Sync + 'static,
{
    type Families = T::Families;
    type Admission = T::Admission;
    type Cluster = T::Cluster;
    type NetworkLog = T::NetworkLog;
    type WantedLog = T::WantedLog;

    fn admission(&self) -> &T::Admission {
        self.tracker.admission()
    }

    fn cluster(&self) -> &T::Cluster {
        self.tracker.cluster()
    }

    fn network_log(&self) -> &T::NetworkLog {
        self.tracker.network_log()
    }

    fn wanted_log(&self) -> &T::WantedLog {
        self.tracker.wanted_log()
    }
}

impl<T: Flavour, A: ClientAddress, S: StatsAccess, R: Routes, C: Codings, L: ScrapeLimit, M: RequestTimes, W: Wrappers>
    HttpFlavour for TestHttp<T, A, S, R, C, L, M, W>
{
    type ClientAddress = A;
    type StatsAccess = S;
    type Routes = R;
    type Codings = C;
    type ScrapeLimit = L;
    type RequestTimes = M;
    type Wrappers = W;

    const ABSENT: &'static [AbsentRoute] = &[
        AbsentRoute { covers: |target| matches!(target, RouteTarget::Listing(_)), reason: "no full scrape" },
        AbsentRoute { covers: |target| target.is_path("absent"), reason: "no such page" },
    ];

    fn client_address(&self) -> &A {
        &self.client_address
    }

    fn stats_access(&self) -> &S {
        &self.stats_access
    }

    fn routes(&self) -> &R {
        &self.routes
    }

    fn codings(&self) -> &C {
        &self.codings
    }

    fn scrape_limit(&self) -> &L {
        &self.scrape_limit
    }

    fn request_times(&self) -> &M {
        &self.request_times
    }

    fn wrappers(&self) -> &W {
        &self.wrappers
    }
}

/// Every switch is off but for routes and wrappers, and what stands in the tracker.
pub(super) type TestWith<R, W, T = TestFlavour> = TestHttp<T, Connected, Everyone, R, NoCoding, Unlimited, Untimed, W>;

/// Every switch is off, but for what counts how many peers are asked for.
type Counting<W> = TestFlavour<Ipv4Only, Open, Standalone, Unlogged, W>;

/// Every switch is off.
pub(super) type Plain = TestHttp;

/// Something stands at every plug point of the HTTP side but that of wrappers, for IPv6.
pub(super) type Fancy =
    TestHttp<TestFlavour<Ipv6Only, NotThatOne>, Named, Loopback, (Pieces, Numbers), Unchanged, NotNine, Counted>;

/// The address of a proxy.
pub(super) const PROXY: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 8));

/// The address is the one in `ip=`, or in the header `X-Client`, or that of the connection. [`PROXY`] is one of a
/// proxy.
pub(super) struct Named;

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
pub(super) struct Loopback;

impl StatsAccess for Loopback {
    fn allows(&self, client: IpAddr) -> bool {
        client.is_loopback()
    }
}

/// Full scrapes that consist of these pieces, and end with their name; and the lease of the last one.
#[derive(Clone, Default)]
pub(super) struct Pieces(pub(super) Vec<Vec<u8>>, pub(super) Arc<Mutex<Option<Lease>>>);

impl Route for Pieces {
    type Page = Listing;

    const ACCESS: Access = Access::Everyone;

    fn find(target: RouteTarget<'_>) -> Option<Listing> {
        if let RouteTarget::Listing(listing) = target { Some(listing) } else { None }
    }

    fn answer<F: HttpFlavour>(&self, listing: Listing, exchange: &mut Exchange<'_, F>) -> Answer<F> {
        exchange.flavour().scrape_limit().admit(exchange.client()?, exchange.now)?;
        if exchange.wants_header_only() {
            return Ok(exchange.respond_stream_header());
        }
        let mut stream = self.clone();
        stream.0.push(format!("{listing:?}").into());
        let (lease, lease_end) = Lease::new();
        *self.1.lock().unwrap() = Some(lease);
        Ok(exchange.stream(stream, lease_end, Counter::FullScraped, Counter::FullScrapeBytes))
    }
}

impl<F: AddressFamilies> Stream<F> for Pieces {
    fn next(&mut self, _: &Store<F>, _: RequestTime, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.0.remove(0));
        !self.0.is_empty()
    }
}

/// A coding called `same` that changes nothing.
pub(super) struct Unchanged;

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
pub(super) struct NotNine;

impl ScrapeLimit for NotNine {
    type Permit = ();

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
pub(super) struct Numbers;

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
pub(super) struct Counted(Arc<AtomicUsize>);

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

/// A service in which every switch is off.
pub(super) fn plain() -> Service<Plain> {
    with(NoRoute, NoWrapper)
}

/// A service in which every switch is off but for these routes and wrappers.
pub(super) fn with<R: Routes, W: Wrappers>(routes: R, wrappers: W) -> Service<TestWith<R, W>> {
    over(TestFlavour::with_plugs(Open, Standalone), routes, wrappers)
}

/// A service in which every switch is off, but for what counts how many peers are asked for.
pub(super) fn counting<W: WantedLog>(wanted_log: W) -> Service<TestHttp<Counting<W>>> {
    over(TestFlavour::with_logs(Open, Standalone, Unlogged, wanted_log), NoRoute, NoWrapper)
}

/// A service over such a tracker, with these routes and wrappers.
fn over<T: Flavour, R: Routes, W: Wrappers>(tracker: T, routes: R, wrappers: W) -> Service<TestWith<R, W, T>> {
    let flavour = TestHttp {
        tracker,
        client_address: Connected,
        stats_access: Everyone,
        routes,
        codings: NoCoding,
        scrape_limit: Unlimited,
        request_times: Untimed,
        wrappers,
    };
    service(flavour, "stats", None)
}

/// A service with something at every plug point, whose full scrapes consist of these pieces.
pub(super) fn fancy(pieces: Vec<Vec<u8>>) -> Service<Fancy> {
    let flavour = TestHttp {
        tracker: TestFlavour::with_plugs(NotThatOne, Standalone),
        client_address: Named,
        stats_access: Loopback,
        routes: (Pieces(pieces, Arc::default()), Numbers),
        codings: Unchanged,
        scrape_limit: NotNine,
        request_times: Counted::default(),
        wrappers: NoWrapper,
    };
    service(flavour, "secret/numbers", Some("https://a.example/"))
}

fn service<F: HttpFlavour>(flavour: F, stats_path: &str, redirect_url: Option<&str>) -> Service<F> {
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let tracker = Arc::new(Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour));
    let shared =
        Shared { tracker, counters, stats_path: stats_path.into(), redirect_url: redirect_url.map(str::to_owned) };
    Service::new(Arc::new(shared), worker_counters, Rng::with_seed(1))
}

/// A peer that the tracker knows already.
pub(super) fn add_peer<F: HttpFlavour>(service: &Service<F>, info_hash: InfoHash, endpoint: &str, seeder: bool) {
    let endpoint: SocketAddr = endpoint.parse().unwrap();
    let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event: Event::Update };
    service.shared().tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
}

/// A connection where nothing can be done at once.
impl Incoming for DuplexStream {
    type Stream = Self;

    fn receive(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn into_stream(self) -> io::Result<Self> {
        Ok(self)
    }
}

/// A clock that stands still.
#[derive(Clone, Copy)]
pub(super) struct Still;

impl Clock for Still {
    fn second(self) -> Second {
        NOW.into()
    }
}

/// A worker whose connections share this limit with those of every other worker that has it.
pub(super) fn worker<F: HttpFlavour>(
    service: Service<F>,
    connection_limit: &Arc<ConnectionLimit>,
) -> Rc<Worker<F, Still>> {
    Rc::new(Worker::new(service, Still, Instant::now(), Arc::clone(connection_limit)))
}

/// A permit for a connection from `from`, over which nothing has come.
pub(super) async fn permit<F: HttpFlavour>(worker: &Rc<Worker<F, Still>>, from: IpAddr) -> ConnectionPermit<F, Still> {
    worker.permit(from, Turn::Ask, 0).await.unwrap().0
}

/// Runs a test as a worker is run. With `paused`, time passes at once whenever everything waits for it; that suits
/// tests without sockets.
pub(super) fn run(paused: bool, test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
