//! The fourth stage: threads that answer, until a signal says stop.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tracing::info;

use crate::http;
use crate::log::Log;
use crate::sandbox::rights;
use crate::stats::Counters;
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::{Clock as _, Intervals, Tracker};
use crate::udp::{self, ConnectionIds, ErrorLimit};

use super::bound::{Bound, Listener};
use super::clock::MonotonicClock;
use super::confined::Confined;
use super::error::StartError;
use super::jailed::Jailed;
use super::limits;
use super::notify::ServiceManager;
use super::plug::{Beginning, Build};
use super::threads::{Threads, new_runtime};

/// How long threads may take to end: a little more than requests in flight may take.
const GRACE: Duration = Duration::from_secs(5);

/// How long plugs may take, after that, to finish.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// A tracker that answers requests.
pub struct Running<B: Build> {
    tracker: Arc<Tracker<B>>,
    /// Waits for signals.
    runtime: Runtime,
    signals: Signals,
    threads: Threads,
    manager: ServiceManager,
}

impl<B: Build> Confined<B> {
    /// Plugs in what this build has, and starts the threads, first that of the log: it never has more rights than those
    /// that answer strangers.
    ///
    /// # Errors
    ///
    /// A file that a switch needs and cannot read; a system without random numbers or threads.
    pub fn start(self, log: &'static Log) -> Result<Running<B>, StartError> {
        let Self(Jailed { bound, sight }) = self;
        let Bound { settings, interruptible, tcp, udp, manager, opened, connections, memory, .. } = bound;
        // Before the end is an orderly one, which a write that blocks would hold up.
        log.start_thread().map_err(StartError::system("start a thread"))?;
        // Before anything that takes time: a SIGHUP that nobody listens for ends the process.
        let runtime = new_runtime()?;
        let signals = runtime.block_on(async { Signals::listen() }).map_err(StartError::system("wait for signals"))?;
        let clock = MonotonicClock::start();
        let ids = ConnectionIds::new(random_words()?, settings.listen.udp_connection_id_minutes);
        let error_limit = NonZero::new(settings.limits.udp_errors_per_address);
        let error_limit = error_limit.map(|each| Ok(Arc::new(ErrorLimit::new(random_words()?, each)))).transpose()?;
        let flavour = B::plug(opened, &settings).map_err(|error| sight.explain(error))?;
        let capacity = limits::capacity::<B::Families>(&settings.limits, memory);
        let intervals = Intervals::new(settings.tracker.interval, settings.tracker.min_interval);
        let tracker = Arc::new(Tracker::new(new_hash_key()?, capacity, intervals, clock.now(), flavour));
        let counters = Arc::<Counters>::default();

        let mut threads = Threads::default();
        let mut beginning =
            Beginning { settings: &settings, tracker: &tracker, counters: &counters, clock, threads: &mut threads };
        tracker.flavour().begin(&mut beginning).map_err(|error| sight.explain(error))?;
        let http = Arc::new(http::Shared {
            tracker: Arc::clone(&tracker),
            counters: Arc::clone(&counters),
            stats_path: settings.access.stats_path,
            redirect_url: settings.tracker.redirect_url,
        });

        // From the first reply on there are secrets to keep, and the end is an orderly one.
        rights::hide_memory().map_err(StartError::system("hide the memory of the process"))?;
        drop(interruptible);
        for listener in udp {
            info!("listening on udp {}", listener.address);
            for driver in listener.sockets {
                let service = udp::Service::new(Arc::clone(&tracker), ids.clone(), counters.for_worker(), new_rng()?);
                threads.answer_udp(Arc::new(driver), service.with_error_limit(error_limit.clone()), clock)?;
            }
        }
        let connection_limit =
            http::ConnectionLimit::new(connections, limits::connections_per_address(&settings.limits));
        tcp.iter().for_each(|listener| info!("listening on tcp {}", listener.address));
        for listeners in by_worker(tcp) {
            let service = http::Service::new(Arc::clone(&http), counters.for_worker(), new_rng()?);
            threads.answer_http(listeners, service, clock, Arc::clone(&connection_limit))?;
        }
        threads.sweep(Arc::clone(&tracker), clock)?;
        info!("features: {}", if B::FEATURES.is_empty() { "none".into() } else { B::FEATURES.join(", ") });
        // Whoever hears that the tracker is ready finds in the log where it listens.
        log.flush();
        manager.ready();
        Ok(Running { tracker, runtime, signals, threads, manager })
    }
}

impl<B: Build> Running<B> {
    /// Waits for SIGTERM or SIGINT, and ends: what is in flight is finished, within a bounded time. SIGHUP has every
    /// plug reloaded.
    pub fn wait(mut self) {
        loop {
            match self.runtime.block_on(self.signals.next()) {
                Signal::Reload => self.tracker.flavour().reload(&mut self.threads),
                Signal::Stop(by) => {
                    info!("{by}: stopping");
                    self.manager.stopping();
                    self.threads.stop(Instant::now() + GRACE);
                    return self.tracker.flavour().finish(Instant::now() + FINISH_TIME);
                }
            }
        }
    }
}

/// Regroups the sockets of all addresses: returns for each worker its socket of every address.
fn by_worker(addresses: Vec<Listener<TcpListener>>) -> Vec<Vec<Arc<TcpListener>>> {
    let mut workers = Vec::new();
    for listener in addresses {
        workers.resize_with(listener.sockets.len().max(workers.len()), Vec::new);
        workers.iter_mut().zip(listener.sockets).for_each(|(worker, socket)| worker.push(Arc::new(socket)));
    }
    workers
}

fn fill_with_random(bytes: &mut [u8]) -> Result<(), StartError> {
    getrandom::fill(bytes).map_err(StartError::system("get random numbers"))
}

fn new_hash_key() -> Result<HashKey, StartError> {
    let mut bytes = [0; 48];
    fill_with_random(&mut bytes)?;
    Ok(HashKey::from_bytes(&bytes))
}

fn new_rng() -> Result<Rng, StartError> {
    Ok(Rng::with_seed(random_words()?.0))
}

fn random_words() -> Result<(u64, u64), StartError> {
    let (mut one, mut two) = ([0; 8], [0; 8]);
    fill_with_random(&mut one)?;
    fill_with_random(&mut two)?;
    Ok((u64::from_ne_bytes(one), u64::from_ne_bytes(two)))
}

/// The signals that the tracker heeds.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

/// What a signal asks for.
enum Signal {
    /// To end; with the name of the signal.
    Stop(&'static str),
    /// To reload the plugs.
    Reload,
}

impl Signals {
    /// Listens from now on. To be called within an event loop.
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            if self.terminate.poll_recv(context).is_ready() {
                Poll::Ready(Signal::Stop("SIGTERM"))
            } else if self.interrupt.poll_recv(context).is_ready() {
                Poll::Ready(Signal::Stop("SIGINT"))
            } else {
                self.hangup.poll_recv(context).map(|_| Signal::Reload)
            }
        })
        .await
    }
}
