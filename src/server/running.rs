//! The third stage: threads that answer, until a signal says stop.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::config::Settings;
use crate::http;
use crate::stats::Counters;
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::{Clock as _, Tracker};
use crate::udp::{self, ConnectionIds};

use super::bound::{Bound, Listener};
use super::clock::MonotonicClock;
use super::jailed::Jailed;
use super::notify::Notifier;
use super::plug::{Beginning, Build, Plug as _};
use super::threads::{Threads, new_runtime};
use super::{StartError, limits};

/// How long threads may take to end: a little more than requests in flight may take.
const GRACE: Duration = Duration::from_secs(5);

/// The tracker answers requests.
pub struct Running<B: Build> {
    tracker: Arc<Tracker<B>>,
    http: Arc<http::Shared<B>>,
    /// Waits for signals.
    runtime: Runtime,
    signals: Signals,
    threads: Threads,
    notifier: Notifier,
}

impl Jailed {
    /// Plugs in what this build has, and starts the threads.
    ///
    /// # Errors
    ///
    /// A file that a switch needs and cannot read; a system without random numbers or threads.
    pub fn start<B: Build>(self) -> Result<Running<B>, StartError> {
        let Bound { settings, tcp, udp, notifier, connections, memory, .. } = self.0;
        // Before anything that takes time: a signal that nobody listens for ends the process.
        let runtime = new_runtime()?;
        let signals = runtime.block_on(async { Signals::listen() }).map_err(StartError::system("wait for signals"))?;
        let clock = MonotonicClock::start();
        let ids = ConnectionIds::new(random_words()?, settings.listen.udp_connection_id_minutes);
        let tracker = Arc::new(new_tracker::<B>(&settings, clock, memory)?);
        let counters = Arc::new(Counters::default());
        let http = Arc::new(new_http(&settings, &tracker, &counters)?);

        let mut threads = Threads::default();
        let mut beginning =
            Beginning { settings: &settings, tracker: &tracker, counters: &counters, clock, threads: &mut threads };
        tracker.admission.begin(&mut beginning)?;
        tracker.cluster.begin(&mut beginning)?;
        tracker.network_log.begin(&mut beginning)?;
        http.client_address.begin(&mut beginning)?;
        http.stats_access.begin(&mut beginning)?;
        http.full_scrape.begin(&mut beginning)?;
        http.metrics.begin(&mut beginning)?;

        for listener in udp {
            info!("listening on udp {}", listener.address);
            for socket in listener.sockets {
                let service = udp::Service::new(Arc::clone(&tracker), ids, counters.for_worker(), new_rng()?);
                threads.answer_udp(socket, service, clock)?;
            }
        }
        let connection_limit = http::ConnectionLimit::new(connections);
        for listeners in one_for_each_worker(tcp) {
            let service = http::Service::new(Arc::clone(&http), counters.for_worker(), new_rng()?);
            threads.answer_http(listeners, service, clock, Arc::clone(&connection_limit))?;
        }
        threads.sweep(Arc::clone(&tracker), clock)?;
        info!("features: {}", if B::FEATURES.is_empty() { "none".into() } else { B::FEATURES.join(", ") });
        notifier.ready();
        Ok(Running { tracker, http, runtime, signals, threads, notifier })
    }
}

impl<B: Build> Running<B> {
    /// Waits for SIGTERM or SIGINT, and ends: what is in flight is finished, within a bounded time. SIGHUP reads
    /// lists anew.
    pub fn wait(mut self) {
        loop {
            match self.runtime.block_on(self.signals.next()) {
                Instruction::Reload => self.reload(),
                Instruction::Stop(by) => {
                    info!("{by}: stopping");
                    self.notifier.stopping();
                    return self.threads.stop(Instant::now() + GRACE);
                }
            }
        }
    }

    fn reload(&self) {
        self.tracker.admission.reload();
        self.tracker.cluster.reload();
        self.tracker.network_log.reload();
        self.http.client_address.reload();
        self.http.stats_access.reload();
        self.http.full_scrape.reload();
        self.http.metrics.reload();
    }
}

fn new_tracker<B: Build>(settings: &Settings, clock: MonotonicClock, memory: u64) -> Result<Tracker<B>, StartError> {
    let mut key = [0; 48];
    random(&mut key)?;
    Ok(Tracker::new(
        HashKey::from_bytes(&key),
        limits::store::<B::Families>(&settings.limits, memory),
        clock.now(),
        B::Admission::plug(settings)?,
        B::Cluster::plug(settings)?,
        B::NetworkLog::plug(settings)?,
    ))
}

fn new_http<B: Build>(
    settings: &Settings,
    tracker: &Arc<Tracker<B>>,
    counters: &Arc<Counters>,
) -> Result<http::Shared<B>, StartError> {
    Ok(http::Shared {
        tracker: Arc::clone(tracker),
        counters: Arc::clone(counters),
        client_address: B::ClientAddress::plug(settings)?,
        stats_access: B::StatsAccess::plug(settings)?,
        full_scrape: B::FullScrape::plug(settings)?,
        metrics: B::Metrics::plug(settings)?,
        stats_path: settings.access.stats_path.clone(),
        redirect_url: settings.tracker.redirect_url.clone(),
    })
}

/// From one socket a worker for each address to one socket an address for each worker.
fn one_for_each_worker(addresses: Vec<Listener<TcpListener>>) -> Vec<Vec<TcpListener>> {
    let mut workers = Vec::new();
    for listener in addresses {
        info!("listening on tcp {}", listener.address);
        workers.resize_with(listener.sockets.len().max(workers.len()), Vec::new);
        workers.iter_mut().zip(listener.sockets).for_each(|(worker, socket)| worker.push(socket));
    }
    workers
}

fn random(bytes: &mut [u8]) -> Result<(), StartError> {
    getrandom::fill(bytes).map_err(StartError::system("get random numbers"))
}

fn new_rng() -> Result<Rng, StartError> {
    Ok(Rng::with_seed(random_words()?.0))
}

fn random_words() -> Result<(u64, u64), StartError> {
    let (mut one, mut two) = ([0; 8], [0; 8]);
    random(&mut one)?;
    random(&mut two)?;
    Ok((u64::from_ne_bytes(one), u64::from_ne_bytes(two)))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
enum Instruction {
    Stop(&'static str),
    Reload,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Instruction {
        poll_fn(|context| {
            if self.terminate.poll_recv(context).is_ready() {
                Poll::Ready(Instruction::Stop("SIGTERM"))
            } else if self.interrupt.poll_recv(context).is_ready() {
                Poll::Ready(Instruction::Stop("SIGINT"))
            } else {
                self.hangup.poll_recv(context).map(|_| Instruction::Reload)
            }
        })
        .await
    }
}
