//! The threads of a running tracker, and how they end.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::task::LocalSet;
use tracing::warn;

use crate::http::{self, HttpFlavour};
use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour, Tracker};
use crate::udp;

use super::clock::MonotonicClock;
use super::error::StartError;
use super::sweeping;

/// Makes an event loop that runs in the thread that drives it.
///
/// # Errors
///
/// The system's.
pub fn new_runtime() -> Result<Runtime, StartError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::system("make an event loop"))
}

/// Threads that one stop token ends.
#[derive(Default)]
pub struct Threads {
    running: Vec<JoinHandle<()>>,
    stop: StopToken,
}

impl Threads {
    /// Starts a worker that answers what one driver brings over UDP. When it has ended, whoever else holds the driver
    /// can start another.
    pub(super) fn answer_udp<F: Flavour>(
        &mut self,
        driver: Arc<impl udp::Driver>,
        service: udp::Service<F>,
        clock: impl Clock,
    ) -> Result<(), StartError> {
        self.spawn("udp", move |stop| udp::run(&*driver, service, clock, &stop))
    }

    /// Starts a worker that answers what comes to its TCP sockets. They listen until the last who holds them is gone.
    pub(super) fn answer_http<F: HttpFlavour>(
        &mut self,
        listeners: Vec<Arc<TcpListener>>,
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
        self.spawn("http", move |stop| {
            let worker = Rc::new(http::Worker::new(service, clock, clock.started(), connection_limit));
            let tasks = LocalSet::new();
            let serve = |listener| tasks.spawn_local(http::serve(listener, Rc::clone(&worker), stop.clone()));
            let serving: Vec<_> = listeners.into_iter().map(serve).collect();
            runtime.block_on(tasks.run_until(async {
                for listener in serving {
                    let _ = listener.await;
                }
            }));
        })
    }

    /// Starts the thread that forgets, once a minute, who has been silent for too long, makes room when it runs short,
    /// and gives back the memory.
    pub(super) fn sweep<F: Flavour>(
        &mut self,
        tracker: Arc<Tracker<F>>,
        clock: MonotonicClock,
    ) -> Result<(), StartError> {
        self.spawn("sweep", move |stop| sweeping::run(&tracker, clock, &stop))
    }

    /// Starts a thread, whose `work` is handed the stop token and has to return soon after that is stopped.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce(StopToken) + Send + 'static) -> Result<(), StartError> {
        // Those that did one thing, such as to read a list again, have ended by now.
        self.running.retain(|thread| !thread.is_finished());
        let stop = self.stop.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || work(stop));
        self.running.push(thread.map_err(StartError::system("start a thread"))?);
        Ok(())
    }

    /// Tells every thread to end.
    pub(super) fn tell(&self) {
        self.stop.stop();
    }

    /// Waits until every thread has ended, but not beyond `deadline`. Returns whether all have.
    pub(super) fn wait(&mut self, deadline: Instant) -> bool {
        loop {
            self.running.retain(|thread| !thread.is_finished());
            if self.running.is_empty() || Instant::now() >= deadline {
                return self.running.is_empty();
            }
            // The standard library joins a thread without a deadline or not at all.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells every thread to end, and waits until all have, but not beyond `deadline`.
    pub(super) fn stop(mut self, deadline: Instant) {
        self.tell();
        if !self.wait(deadline) {
            let names: Vec<_> = self.running.iter().filter_map(|thread| thread.thread().name()).collect();
            warn!("threads do not end; leaving them: {}", names.join(", "));
        }
    }
}
