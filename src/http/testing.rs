//! Flavours for the tests of this room.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::http::worker::ConnectionLimit;
use fastrand::Rng;
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::stats::{Counter, Counters};
use crate::tracker::store::Store;
use crate::tracker::testing::{Ipv6Only, NotThatOne, TestFlavour, key};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Clock, Event, Flavour, InfoHash, Minute, Open, PeerRequest, Standalone,
    Tracker,
};

use super::flavour::{
    BadAddress, ClientAddress, Connected, Durations, Everyone, FullScrape, HttpFlavour, Listing, Metrics, NoFullScrape,
    NoMetrics, StatsAccess, Stream,
};
use super::incoming::Incoming;
use super::query::Query;
use super::request::Request;
use super::service::{Service, Shared};
use super::worker::Worker;

/// The minute of all these tests.
pub(super) const NOW: Minute = Minute(29_000_000);

/// A flavour whose plug points on the HTTP side are what its parameters say; without them, every switch is off.
pub(super) struct TestHttp<T = TestFlavour, A = Connected, S = Everyone, P = NoFullScrape, M = NoMetrics> {
    tracker: T,
    client_address: A,
    stats_access: S,
    full_scrape: P,
    metrics: M,
}

impl<T: Flavour, A: ClientAddress, S: StatsAccess, P: FullScrape, M: Metrics> Flavour for TestHttp<T, A, S, P, M> {
    type Families = T::Families;
    type Admission = T::Admission;
    type Cluster = T::Cluster;
    type NetworkLog = T::NetworkLog;

    fn admission(&self) -> &T::Admission {
        self.tracker.admission()
    }

    fn cluster(&self) -> &T::Cluster {
        self.tracker.cluster()
    }

    fn network_log(&self) -> &T::NetworkLog {
        self.tracker.network_log()
    }
}

impl<T: Flavour, A: ClientAddress, S: StatsAccess, P: FullScrape, M: Metrics> HttpFlavour for TestHttp<T, A, S, P, M> {
    type ClientAddress = A;
    type StatsAccess = S;
    type FullScrape = P;
    type Metrics = M;

    fn client_address(&self) -> &A {
        &self.client_address
    }

    fn stats_access(&self) -> &S {
        &self.stats_access
    }

    fn full_scrape(&self) -> &P {
        &self.full_scrape
    }

    fn metrics(&self) -> &M {
        &self.metrics
    }
}

/// Every switch is off.
pub(super) type Plain = TestHttp;

/// Something stands at every plug point of the HTTP side, for IPv6.
pub(super) type Fancy = TestHttp<TestFlavour<Ipv6Only, NotThatOne>, Named, Loopback, Pieces, Counted>;

/// The address is the one in `ip=`, or in the header `X-Client`, or that of the connection.
pub(super) struct Named;

impl ClientAddress for Named {
    fn of(&self, connection: IpAddr, request: &Request<'_>, query: &Query<'_>) -> Result<IpAddr, BadAddress> {
        let mut room = [0; 45];
        let told = match query.last("ip") {
            Some(value) => value.decode(&mut room).ok().flatten().ok_or(BadAddress)?,
            None => match request.header("x-client").next_back() {
                Some(value) => value,
                None => return Ok(connection),
            },
        };
        std::str::from_utf8(told).ok().and_then(|text| text.parse().ok()).ok_or(BadAddress)
    }
}

pub(super) struct Loopback;

impl StatsAccess for Loopback {
    fn allows(&self, client: IpAddr) -> bool {
        client.is_loopback()
    }
}

/// Pages that consist of these pieces, and end with the name of the page.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) encoding: Option<&'static str>,
}

impl FullScrape for Pieces {
    type Stream = Self;

    const NEGOTIATES: bool = true;

    fn open(&self, listing: Listing, _: &Request<'_>) -> Option<Self> {
        let mut stream = self.clone();
        stream.pieces.push(format!("{listing:?}").into());
        Some(stream)
    }
}

impl Stream for Pieces {
    fn content_encoding(&self) -> Option<&'static str> {
        self.encoding
    }

    fn next<F: AddressFamilies>(&mut self, _: &Store<F>, _: Minute, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.pieces.remove(0));
        !self.pieces.is_empty()
    }
}

/// A page that says how many requests were measured.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Metrics for Counted {
    type Durations = Self;

    fn durations(&self) -> Self {
        self.clone()
    }

    fn page<F: Flavour>(&self, _: &Tracker<F>, counters: &Counters) -> Option<String> {
        Some(format!("{} {}\n", self.0.load(Ordering::Relaxed), counters.total(Counter::TcpAccepted)))
    }
}

impl Durations for Counted {
    fn add(&self, took: impl FnOnce() -> Duration) {
        assert!(took() < Duration::from_secs(60));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn plain() -> Service<Plain> {
    let flavour = TestHttp {
        tracker: TestFlavour::with_plugs(Open, Standalone),
        client_address: Connected,
        stats_access: Everyone,
        full_scrape: NoFullScrape,
        metrics: NoMetrics,
    };
    service(flavour, "stats", None)
}

pub(super) fn fancy(full_scrape: Pieces) -> Service<Fancy> {
    let flavour = TestHttp {
        tracker: TestFlavour::with_plugs(NotThatOne, Standalone),
        client_address: Named,
        stats_access: Loopback,
        full_scrape,
        metrics: Counted::default(),
    };
    service(flavour, "secret/numbers", Some("https://a.example/"))
}

fn service<F: HttpFlavour>(flavour: F, stats_path: &str, redirect_url: Option<&str>) -> Service<F> {
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let tracker = Arc::new(Tracker::new(key(), Capacity::NONE, NOW, flavour));
    let shared =
        Shared { tracker, counters, stats_path: stats_path.into(), redirect_url: redirect_url.map(str::to_owned) };
    Service::new(Arc::new(shared), worker_counters, Rng::with_seed(1))
}

/// A peer that the tracker knows already.
pub(super) fn add_peer<F: HttpFlavour>(service: &Service<F>, info_hash: InfoHash, endpoint: &str, seeder: bool) {
    let endpoint: SocketAddr = endpoint.parse().unwrap();
    let announce = AnnounceRequest { info_hash, endpoint, seeder, event: Event::Update };
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
    fn now(self) -> Minute {
        NOW
    }
}

/// A worker whose connections, like those of any other worker with these `connection_limit`, find a place there.
pub(super) fn worker<F: HttpFlavour>(
    service: Service<F>,
    connection_limit: &Arc<ConnectionLimit>,
) -> Rc<Worker<F, Still>> {
    Rc::new(Worker::new(service, Still, Instant::now(), Arc::clone(connection_limit)))
}

/// Runs a test as a worker is run. With `paused`, time passes at once whenever everything waits for it; that suits
/// tests without sockets.
pub(super) fn run(paused: bool, test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
