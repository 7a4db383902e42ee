//! Flavours for the tests of this room.

mod plugs;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::stats::Counters;
use crate::tracker::testing::{Ipv6Only, NotThatOne, NotXx, TestFlavour, key};
use crate::tracker::{
    AnnounceRequest, Capacity, Clock, Event, Flavour, InfoHash, Intervals, Ipv4Only, Minute, Open, PeerRequest,
    RefusalTerms, Second, Standalone, Tracker, Unlogged, WantedLog, WantedUnlogged,
};

use super::coding::{Codings, NoCoding};
use super::connection_limit::ConnectionLimit;
use super::exchange::{Next, Shared};
use super::flavour::{
    AbsentRoute, ClientAddress, Connected, Everyone, HttpFlavour, NoRoute, RequestLog, RequestTimes, RequestsUnlogged,
    RouteTarget, Routes, ScrapeLimit, StatsAccess, Unlimited, Untimed,
};
use super::incoming::Incoming;
use super::places::Turn;
use super::request::{Request, RequestTime};
use super::service::Service;
use super::worker::{ConnectionPermit, Worker};
use super::wrapper::{NoWrapper, Wrappers};

use plugs::{Counted, Kept, Loopback, Named, NotNine, Pieces, Unchanged};
pub(super) use plugs::{Numbers, PROXY};

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
    Q = RequestsUnlogged,
> {
    pub(crate) tracker: T,
    pub(crate) client_address: A,
    pub(crate) stats_access: S,
    pub(crate) routes: R,
    pub(crate) codings: C,
    pub(crate) scrape_limit: L,
    pub(crate) request_times: M,
    pub(crate) wrappers: W,
    pub(crate) request_log: Q,
}

impl<T: Flavour, A, S, R, C, L, M, W, Q> Flavour for TestHttp<T, A, S, R, C, L, M, W, Q>
where
    Self: Send + Sync + 'static,
{
    type Families = T::Families;
    type Admission = T::Admission;
    type Clients = T::Clients;
    type Cluster = T::Cluster;
    type NetworkLog = T::NetworkLog;
    type WantedLog = T::WantedLog;

    fn admission(&self) -> &T::Admission {
        self.tracker.admission()
    }

    fn clients(&self) -> &T::Clients {
        self.tracker.clients()
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

impl<
    T: Flavour,
    A: ClientAddress,
    S: StatsAccess,
    R: Routes,
    C: Codings,
    L: ScrapeLimit,
    M: RequestTimes,
    W: Wrappers,
    Q: RequestLog,
> HttpFlavour for TestHttp<T, A, S, R, C, L, M, W, Q>
{
    type ClientAddress = A;
    type StatsAccess = S;
    type Routes = R;
    type Codings = C;
    type ScrapeLimit = L;
    type RequestTimes = M;
    type RequestLog = Q;
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

    fn request_log(&self) -> &Q {
        &self.request_log
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
pub(super) type Fancy = TestHttp<
    TestFlavour<Ipv6Only, NotThatOne>,
    Named,
    Loopback,
    (Pieces, Numbers),
    Unchanged,
    NotNine,
    Counted,
    NoWrapper,
    Kept,
>;

/// Every switch is off, but that some clients are not served.
type Choosy = TestFlavour<Ipv4Only, Open, Standalone, Unlogged, WantedUnlogged, NotXx>;

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
        request_log: RequestsUnlogged,
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
        request_log: Kept::default(),
    };
    service(flavour, "secret/numbers", Some("https://a.example/"))
}

/// A service with this flavour.
pub(crate) fn service<F: HttpFlavour>(flavour: F, stats_path: &str, redirect_url: Option<&str>) -> Service<F> {
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let tracker = Arc::new(Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour));
    let shared =
        Shared { tracker, counters, stats_path: stats_path.into(), redirect_url: redirect_url.map(str::to_owned) };
    Service::new(Arc::new(shared), worker_counters, Rng::with_seed(1))
}

/// The reply to a head, and what is to be done then.
pub(crate) fn ask<F: HttpFlavour>(service: &mut Service<F>, from: &str, head: &str) -> (String, Next<F>) {
    let mut slots = Request::slots();
    let (request, _) = Request::parse(head.as_bytes(), &mut slots).unwrap().expect("a whole head");
    let now = RequestTime { minute: NOW, uptime: Duration::from_secs(7200) };
    let mut out = Vec::new();
    let next = service.answer(&request, from.parse().unwrap(), now, &mut out);
    // Peers are no text; what is not ASCII is not looked at.
    (out.iter().map(|&byte| char::from(byte)).collect(), next)
}

/// A service that serves only some clients: see [`NotXx`].
pub(super) fn choosy(terms: Option<RefusalTerms>) -> Service<TestHttp<Choosy>> {
    over(TestFlavour::with_plugs(Open, Standalone).with_clients(NotXx(terms)), NoRoute, NoWrapper)
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
