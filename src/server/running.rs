//! The third stage: threads that answer, until a signal says stop.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use fastrand::Rng;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::config::Settings;
use crate::core::keyed_hash::Key;
use crate::core::{Clock as _, Flavour, Tracker};
use crate::stats::Board;
use crate::switches::{FEATURES, ThisBuild};
use crate::udp::{self, ConnectionIds};

use super::bound::Bound;
use super::clock::MonotonicClock;
use super::jailed::Jailed;
use super::notify::Notifier;
use super::plug::Plug as _;
use super::threads::Threads;
use super::{StartError, limits};

/// The tracker answers requests.
pub struct Running {
    tracker: Arc<Tracker<ThisBuild>>,
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
    pub fn start(self) -> Result<Running, StartError> {
        let Bound { settings, tcp, udp, notifier, connections, .. } = self.0;
        let clock = MonotonicClock::start();
        let tracker = Arc::new(new_tracker(&settings, clock)?);
        let board = Arc::new(Board::default());
        let runtime = new_runtime()?;
        let signals = runtime.block_on(async { Signals::listen() }).map_err(StartError::system("wait for signals"))?;

        let mut threads = Threads::new();
        let ids = ConnectionIds::new(random_words()?, settings.listen.udp_connection_id_minutes);
        for listener in udp {
            info!("listening on udp {}", listener.address);
            for socket in listener.sockets {
                let service = udp::Service::new(Arc::clone(&tracker), ids, board.tally(), new_rng()?);
                threads.answer_udp(socket, service, clock)?;
            }
        }
        threads.sweep(Arc::clone(&tracker), clock)?;
        info!("features: {}", if FEATURES.is_empty() { "none".into() } else { FEATURES.join(", ") });
        notifier.ready();
        Ok(Running { tracker, runtime, signals, threads, notifier })
    }
}

impl Running {
    /// Waits for SIGTERM or SIGINT, and ends: what is in flight is finished, within a bounded time. SIGHUP reads
    /// lists anew.
    pub fn wait(mut self) {
        loop {
            match self.runtime.block_on(self.signals.next()) {
                Told::Reload => self.reload(),
                Told::Stop(by) => {
                    info!("{by}: stopping");
                    self.notifier.stopping();
                    return self.threads.stop();
                }
            }
        }
    }

    fn reload(&self) {
        self.tracker.admission.reload();
        self.tracker.cluster.reload();
        self.tracker.network_log.reload();
    }
}

fn new_tracker(settings: &Settings, clock: MonotonicClock) -> Result<Tracker<ThisBuild>, StartError> {
    let mut key = [0; 48];
    random(&mut key)?;
    Ok(Tracker::new(
        Key::from_bytes(&key),
        limits::store(&settings.limits),
        clock.now(),
        <ThisBuild as Flavour>::Admission::plug(settings)?,
        <ThisBuild as Flavour>::Cluster::plug(settings)?,
        <ThisBuild as Flavour>::NetworkLog::plug(settings)?,
    ))
}

fn new_runtime() -> Result<Runtime, StartError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::system("make an event loop"))
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
enum Told {
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

    async fn next(&mut self) -> Told {
        poll_fn(|context| {
            if self.terminate.poll_recv(context).is_ready() {
                Poll::Ready(Told::Stop("SIGTERM"))
            } else if self.interrupt.poll_recv(context).is_ready() {
                Poll::Ready(Told::Stop("SIGINT"))
            } else {
                self.hangup.poll_recv(context).map(|_| Told::Reload)
            }
        })
        .await
    }
}
