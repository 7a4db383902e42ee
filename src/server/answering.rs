//! The threads that answer, and what each of them is made of: they can be paused, and go on with the same sockets.

use std::mem;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::http;
use crate::udp::{self, ConnectionIds, ErrorLimit};

use super::clock::MonotonicClock;
use super::error::StartError;
use super::listening::{Listener, Sockets};
use super::plug::Build;
use super::random::new_rng;
use super::threads::Threads;

/// How long connections over HTTP are waited for when answering is paused. Whatever comes over those that take longer
/// is answered, but a successor does not hear of it.
const LINGER: Duration = Duration::from_millis(200);

/// How long threads that answer over UDP may take to end: a system call, and what it brought.
const UDP_PAUSE: Duration = Duration::from_secs(1);

/// Everything that answers strangers.
pub(super) struct Answering<B: Build> {
    pub(super) sockets: Sockets<B::Driver>,
    pub(super) clock: MonotonicClock,
    pub(super) ids: ConnectionIds,
    pub(super) error_limit: Option<Arc<ErrorLimit>>,
    pub(super) http: Arc<http::Shared<B>>,
    pub(super) connection_limit: Arc<http::ConnectionLimit>,
    pub(super) threads: AnsweringThreads,
}

/// The threads of [`Answering`].
#[derive(Default)]
pub(super) struct AnsweringThreads {
    udp: Threads,
    http: Threads,
    /// Those that have been told to end.
    ending: Vec<Threads>,
}

impl<B: Build> Answering<B> {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// A system without random numbers, threads or room for an event loop.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        let (tracker, counters) = (&self.http.tracker, &self.http.counters);
        for driver in self.sockets.udp.iter().flat_map(|listener| &listener.sockets) {
            let service = udp::Service::new(Arc::clone(tracker), self.ids.clone(), counters.for_worker(), new_rng()?);
            let service = service.with_error_limit(self.error_limit.clone());
            self.threads.udp.answer_udp(Arc::clone(driver), service, self.clock)?;
        }
        for listeners in by_worker(&self.sockets.tcp, self.sockets.tcp_workers) {
            let service = http::Service::new(Arc::clone(&self.http), counters.for_worker(), new_rng()?);
            let limit = Arc::clone(&self.connection_limit);
            self.threads.http.answer_http(listeners, service, self.clock, limit)?;
        }
        Ok(())
    }

    /// Has the threads end, but keeps the sockets open: what comes to them waits there. Over UDP all go on until those
    /// of HTTP have ended, or for as long as that may take. Connections that are under way then are finished by their
    /// threads.
    pub(super) fn pause(&mut self) {
        let AnsweringThreads { udp, http, ending } = &mut self.threads;
        http.tell();
        http.wait(Instant::now() + LINGER);
        udp.tell();
        if !udp.wait(Instant::now() + UDP_PAUSE) {
            warn!("a thread that answers over UDP does not end: what it answers now is lost to the successor");
        }
        ending.extend([mem::take(udp), mem::take(http)]);
        ending.retain_mut(|threads| !threads.wait(Instant::now()));
    }
}

impl AnsweringThreads {
    /// Tells every thread to end.
    pub(super) fn tell(&self) {
        [&self.udp, &self.http].into_iter().chain(&self.ending).for_each(Threads::tell);
    }

    /// Tells every thread to end, and waits until all have, but not beyond `deadline`.
    pub(super) fn stop(self, deadline: Instant) {
        self.tell();
        [self.udp, self.http].into_iter().chain(self.ending).for_each(|threads| threads.stop(deadline));
    }
}

/// Regroups the sockets of all addresses: returns for each worker its sockets, one of every address or more.
fn by_worker(addresses: &[Listener<Arc<TcpListener>>], workers: usize) -> Vec<Vec<Arc<TcpListener>>> {
    let mut grouped = vec![Vec::new(); workers];
    for listener in addresses {
        for (at, socket) in listener.sockets.iter().enumerate() {
            if let Some(group) = grouped.get_mut(at % workers.max(1)) {
                group.push(Arc::clone(socket));
            }
        }
    }
    grouped.retain(|group| !group.is_empty());
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_socket_of_each_address_and_none_is_left_over() {
        let listener = |sockets: usize| {
            let socket = |_| Arc::new(TcpListener::bind(("127.0.0.1", 0)).unwrap());
            Listener::new(([127, 0, 0, 1], 0).into(), (0..sockets).map(socket).collect())
        };
        let lens = |addresses: &[_], workers| by_worker(addresses, workers).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lens(&[listener(3), listener(3)], 3), [2, 2, 2]);
        assert_eq!(lens(&[listener(5), listener(2)], 2), [4, 3], "inherited from more workers");
        assert_eq!(lens(&[], 2), [0; 0]);
    }
}
