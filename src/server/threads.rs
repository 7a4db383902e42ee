//! The threads of a running tracker, and how each is told to end.

use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::warn;

use crate::http::{self, HttpFlavour};
use crate::tracker::{Clock, Flavour, Tracker};
use crate::udp;
use crate::udp::socket::Socket;

use super::StartError;
use super::clock::MonotonicClock;

/// How long threads may take to end: a little more than requests in flight may take.
const GRACE: Duration = Duration::from_secs(5);

/// An event loop of one thread.
pub(super) fn new_runtime() -> Result<Runtime, StartError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::system("make an event loop"))
}

/// All threads but the first, which waits for signals.
pub struct Threads {
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    udp: Vec<Arc<Socket>>,
    http: watch::Sender<bool>,
    sweep: Vec<Sender<()>>,
}

impl Threads {
    pub(super) fn new() -> Self {
        Self {
            running: Vec::new(),
            stop: Arc::default(),
            udp: Vec::new(),
            http: watch::Sender::new(false),
            sweep: Vec::new(),
        }
    }

    /// Answers what comes to one UDP socket.
    pub(super) fn answer_udp<F: Flavour>(
        &mut self,
        socket: UdpSocket,
        service: udp::Service<F>,
        clock: impl Clock,
    ) -> Result<(), StartError> {
        let socket = Arc::new(Socket::new(socket).map_err(StartError::system("prepare a UDP socket"))?);
        self.udp.push(Arc::clone(&socket));
        let stop = Arc::clone(&self.stop);
        self.spawn("udp", move || socket.run(service, clock, &stop))
    }

    /// Answers what comes to the TCP sockets of one worker.
    pub(super) fn answer_http<F: HttpFlavour>(
        &mut self,
        listeners: Vec<TcpListener>,
        service: http::Service<F>,
        clock: MonotonicClock,
        connection_limit: Arc<http::ConnectionLimit>,
    ) -> Result<(), StartError> {
        let runtime = new_runtime()?;
        let listeners = {
            let _entered = runtime.enter();
            let listeners = listeners.into_iter().map(http::Listener::new).collect::<Result<Vec<_>, _>>();
            listeners.map_err(StartError::system("prepare a TCP socket"))?
        };
        let shutdown = self.http.subscribe();
        self.spawn("http", move || {
            let worker = Rc::new(http::Worker::new(service, clock, clock.started(), connection_limit));
            let tasks = LocalSet::new();
            let serve = |listener| tasks.spawn_local(http::serve(listener, Rc::clone(&worker), shutdown.clone()));
            let serving: Vec<_> = listeners.into_iter().map(serve).collect();
            runtime.block_on(tasks.run_until(async {
                for listener in serving {
                    let _ = listener.await;
                }
            }));
        })
    }

    /// Forgets, once a minute, who has been silent for too long.
    pub(super) fn sweep<F: Flavour>(
        &mut self,
        tracker: Arc<Tracker<F>>,
        clock: MonotonicClock,
    ) -> Result<(), StartError> {
        let (stop, stopped) = mpsc::channel();
        self.sweep.push(stop);
        self.spawn("sweep", move || {
            while stopped.recv_timeout(clock.until_next_minute()) == Err(RecvTimeoutError::Timeout) {
                tracker.sweep(clock.now(), thread::yield_now);
            }
        })
    }

    /// Tells every thread to end, and waits until all have or [`GRACE`] is over.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.http.send_replace(true);
        drop(self.sweep);
        self.udp.iter().for_each(|socket| socket.wake());
        let deadline = Instant::now() + GRACE;
        for thread in self.running {
            while !thread.is_finished() {
                if Instant::now() > deadline {
                    warn!("thread {} does not end; leaving it", thread.thread().name().unwrap_or_default());
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Becomes true when threads are to end.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Starts a thread that ends soon after [`Self::stop_flag`] has become true.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = thread::Builder::new().name(name.into()).spawn(work);
        self.running.push(thread.map_err(StartError::system("start a thread"))?);
        Ok(())
    }
}
