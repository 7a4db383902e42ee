//! The fourth stage: threads that answer, until a signal says stop.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tracing::{error, info};

use crate::cluster::snapshot::Snapshots;
use crate::http;
use crate::log::Log;
use crate::sandbox::rights;
use crate::stats::Counters;
use crate::tracker::{Clock as _, Intervals, Tracker};
use crate::udp::{ConnectionIds, ErrorLimit, SharedSecret};

use super::answering::{Answering, AnsweringThreads};
use super::bound::Bound;
use super::clock::{MonotonicClock, wall_clock};
use super::confined::Confined;
use super::error::StartError;
use super::handover::{Handing, Handover as _, Identity, Step};
use super::inheriting::Fill;
use super::jailed::Jailed;
use super::limits;
use super::notify::ServiceManager;
use super::plug::{Beginning, Build};
use super::plug_sockets::PlugSockets;
use super::random::{new_hash_key, random_words};
use super::readiness::{Readiness, Ready};
use super::threads::{Threads, new_runtime};

/// How long the threads that answer may take to end: a little more than requests in flight may take.
const GRACE: Duration = Duration::from_secs(5);

/// How long the other threads may take to end after that. The last batches take 3 s at most over NATS.
const END_TIME: Duration = Duration::from_secs(4);

/// How long plugs may take to finish then.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// How long it may take, after that, to leave the swarms to the successor: ten million peers take some seconds.
const LEAVE_TIME: Duration = Duration::from_secs(60);

/// A tracker that answers requests.
pub struct Running<B: Build> {
    tracker: Arc<Tracker<B>>,
    /// Waits for signals, and for a successor.
    runtime: Runtime,
    signals: Signals,
    answering: Answering<B>,
    /// Those that answer nobody.
    threads: Threads,
    ready: Ready,
    log: &'static Log,
    manager: ServiceManager,
    handover: B::Handover,
    plug_sockets: PlugSockets,
    /// The secret of the connection ids.
    secret: (u64, u64),
    /// The memory that this process may use, in bytes.
    memory: u64,
}

impl<B: Build> Confined<B> {
    /// Plugs in what this build has, takes over the swarms of the predecessor, and starts the threads, first that of
    /// the log: it never has more rights than those that answer strangers.
    ///
    /// # Errors
    ///
    /// A file that a switch needs and cannot read; a system without random numbers or threads; a process before that
    /// does not hand over.
    pub fn start(self, log: &'static Log) -> Result<Running<B>, StartError> {
        let Self(Jailed { bound, sight }) = self;
        let Bound {
            settings,
            interruptible,
            sockets,
            plug_sockets,
            manager,
            mut handover,
            identity,
            shared_secret,
            opened,
            connections,
            memory,
            ..
        } = bound;
        // Before the end is an orderly one, which a write that blocks would hold up.
        log.start_thread().map_err(StartError::system("start a thread"))?;
        // Before anything that takes time: a SIGHUP that nobody listens for ends the process.
        let runtime = new_runtime()?;
        let signals = runtime.block_on(async { Signals::listen() }).map_err(StartError::system("wait for signals"))?;
        let clock = identity.map_or_else(MonotonicClock::start, |before| MonotonicClock::going_on(before.clock));
        let secret = connection_id_secret(shared_secret, identity)?;
        let error_limit = NonZero::new(settings.limits.udp_errors_per_address);
        let error_limit = error_limit.map(|each| Ok(Arc::new(ErrorLimit::new(random_words()?, each)))).transpose()?;
        let flavour = B::plug(opened, &settings).map_err(|error| sight.explain(error))?;
        let capacity = limits::capacity::<B::Families>(&settings.limits, memory);
        let intervals = Intervals::new(settings.tracker.interval, settings.tracker.min_interval);
        let tracker = Arc::new(Tracker::new(new_hash_key()?, capacity, intervals, clock.now(), flavour));
        let counters = Arc::<Counters>::default();

        let mut threads = Threads::default();
        let (readiness, fill) = (Readiness::new(), Fill::new());
        let mut beginning = Beginning {
            settings: &settings,
            tracker: &tracker,
            counters: &counters,
            memory,
            clock,
            threads: &mut threads,
            readiness: &readiness,
            inherits: identity.map(|_| fill.inheriting()),
            snapshots: &Snapshots::new(limits::snapshots(&settings.sync), clock.started()),
        };
        tracker.flavour().begin(&mut beginning).map_err(|error| sight.explain(error))?;
        // From here on there are secrets to keep.
        rights::hide_memory().map_err(StartError::system("hide the memory of the process"))?;
        let ids_last_for = settings.listen.udp_connection_id_minutes;
        let connections_per_address = limits::connections_per_address(&settings.limits);
        let mut answering = Answering {
            sockets,
            clock,
            ids: match shared_secret {
                None => ConnectionIds::new(secret, ids_last_for),
                Some(secret) => ConnectionIds::shared(secret, ids_last_for, Arc::new(wall_clock)),
            },
            error_limit,
            http: Arc::new(http::Shared {
                tracker: Arc::clone(&tracker),
                counters,
                stats_path: settings.access.stats_path,
                redirect_url: settings.tracker.redirect_url,
            }),
            connection_limit: http::ConnectionLimit::new(connections, connections_per_address),
            threads: AnsweringThreads::default(),
        };
        fill.end(handover.fill(&tracker, clock, &manager)?, || readiness.begin());

        // From the first reply on the end is an orderly one.
        drop(interruptible);
        answering.start()?;
        threads.sweep(Arc::clone(&tracker), clock)?;
        answering.sockets.udp.iter().for_each(|listener| info!("listening on udp {}", listener.address));
        answering.sockets.tcp.iter().for_each(|listener| info!("listening on tcp {}", listener.address));
        info!("features: {}", if B::FEATURES.is_empty() { "none".into() } else { B::FEATURES.join(", ") });
        let running = Running {
            tracker,
            runtime,
            signals,
            answering,
            threads,
            ready: readiness.close(),
            log,
            manager,
            handover,
            plug_sockets,
            secret,
            memory,
        };
        if !running.ready.is_awaited() {
            running.say_ready();
        }
        Ok(running)
    }
}

impl<B: Build> Running<B> {
    /// Waits for SIGTERM or SIGINT, or for a successor, and ends: what is in flight is finished, within a bounded time.
    /// SIGHUP has every plug reloaded.
    pub fn wait(mut self) {
        loop {
            match self.next_event() {
                Event::Signal(Signal::Reload) => self.tracker.flavour().reload(&mut self.threads),
                Event::Signal(Signal::Stop(by)) => {
                    info!("{by}: stopping");
                    self.manager.stopping();
                    return self.finish(true);
                }
                Event::Ready => {
                    info!("ready");
                    self.say_ready();
                }
                Event::Handover(Step::Pause) => {
                    self.tracker.flavour().pause();
                    self.answering.pause();
                }
                Event::Handover(Step::Resume) => {
                    self.tracker.flavour().resume();
                    if let Err(error) = self.answering.start() {
                        // Some of the threads may have been started.
                        error!("cannot go on answering after a handover that failed: {error}; stopping");
                        return self.finish(false);
                    }
                }
                Event::Handover(Step::End) => {
                    info!("another process has taken over: stopping");
                    self.manager.stopping();
                    return self.finish(false);
                }
            }
        }
    }

    /// Tells the service manager that the tracker is ready.
    fn say_ready(&self) {
        // Whoever hears of it finds in the log where the tracker listens.
        self.log.flush();
        self.manager.ready();
    }

    fn next_event(&mut self) -> Event {
        let Self {
            tracker, runtime, signals, answering, ready, manager, handover, secret, memory, plug_sockets, ..
        } = self;
        let sockets = answering.sockets.list();
        let clock = answering.clock;
        let plug_sockets = plug_sockets.open();
        let handing =
            Handing { tracker, clock, secret: *secret, sockets: &sockets, plug_sockets, manager, memory: *memory };
        runtime.block_on(async {
            let mut signal = pin!(signals.next());
            let mut ready = pin!(ready.wait());
            let mut step = pin!(handover.next(&handing));
            poll_fn(|context| {
                if let Poll::Ready(signal) = signal.as_mut().poll(context) {
                    Poll::Ready(Event::Signal(signal))
                } else if ready.as_mut().poll(context).is_ready() {
                    Poll::Ready(Event::Ready)
                } else {
                    step.as_mut().poll(context).map(Event::Handover)
                }
            })
            .await
        })
    }

    /// Ends what is in flight, and leaves the swarms to the successor, if there is one and it has not got them yet.
    fn finish(self, leaves: bool) {
        let Self { tracker, answering, threads, manager, handover, plug_sockets, secret, memory, .. } = self;
        // The system takes the memory back at once; to free all swarms one by one would keep a successor's CPU for
        // seconds.
        mem::forget(Arc::clone(&tracker));
        let deadline = Instant::now() + GRACE;
        let Answering { sockets, clock, threads: answering, .. } = answering;
        answering.tell();
        // Whoever comes while connections are finished is refused, if nobody else has these sockets.
        drop((sockets, plug_sockets));
        answering.stop(deadline);
        // What the last clients have announced is theirs to tell.
        threads.stop(Instant::now() + END_TIME);
        tracker.flavour().finish(Instant::now() + FINISH_TIME);
        if leaves {
            let (tracker, manager) = (&tracker, &manager);
            let handing = Handing { tracker, clock, secret, sockets: &[], plug_sockets: &[], manager, memory };
            handover.leave(&handing, Instant::now() + LEAVE_TIME);
        }
    }
}

/// Returns the secret of the connection ids: that which other trackers have as well, or else that of the process
/// before, or a new one.
///
/// # Errors
///
/// A system without random numbers.
fn connection_id_secret(shared: Option<SharedSecret>, before: Option<Identity>) -> Result<(u64, u64), StartError> {
    let Some(shared) = shared.map(SharedSecret::words) else {
        return before.map_or_else(random_words, |before| Ok(before.secret));
    };
    info!("UDP connection ids are those of listen.udp_connection_id_key_file");
    if before.is_some_and(|before| before.secret != shared) {
        info!("the process before had others: its clients are refused once over UDP, and connect anew");
    }
    Ok(shared)
}

/// What the first thread waits for.
enum Event {
    /// Nobody is waited for any more before the tracker says that it is ready.
    Ready,
    Signal(Signal),
    Handover(Step),
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
