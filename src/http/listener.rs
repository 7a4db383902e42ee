//! Accepts connections.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::SockRef;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::log::Complaints;
use crate::stats::Counter;
use crate::stop::StopToken;
use crate::tracker::Clock;

use super::byte_stream::ByteStream;
use super::connection::{HEAD_TIME, OpenConnection, WRITE_TIME, drive, race};
use super::fast_path::FastPath;
use super::flavour::HttpFlavour;
use super::incoming::{Incoming, Listener};
use super::stream::LeaseEnd;
use super::worker::Worker;
use super::wrapper::Wrappers;

/// How long to wait before the next attempt when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of bytes that the system holds for a client and has not sent yet: enough to keep it busy.
const MAX_UNSENT: u32 = 128 * 1024;

/// How long requests under way may take to be finished when the tracker stops.
const FINISH_TIME: Duration = Duration::from_secs(3);

/// Serves what comes to `listener` until `stop` says that the process ends; then accepts no more, and returns when all
/// connections of the worker are closed, or after 3 s.
///
/// Runs in a [`LocalSet`](tokio::task::LocalSet), with time enabled; connections that are still open after the 3 s
/// are cut when that is dropped. Several listeners can share a worker.
pub async fn serve<F: HttpFlavour, C: Clock>(listener: Listener, worker: Rc<Worker<F, C>>, stop: StopToken) {
    tune(listener.socket());
    let _ = race(stop.stopped(), accept_all(&worker, async || listener.accept().await)).await;
    drop(listener);
    worker.stop();
    let _ = timeout(FINISH_TIME, worker.all_closed()).await;
}

// nix has this macro for options that it does not know itself; nor does socket2 know this one.
sockopt_impl!(
    /// Seconds for which a connection is left to the system, or until its first bytes have come.
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    usize
);

/// Seconds that connections are left to the system: the minimum, since a request follows its connection at once. One
/// over which nothing has come by then is accepted all the same, and has as much time as all others.
const DEFERRED: usize = 1;

/// Sets when connections are accepted, and what their sockets take over. A system that does not know an option does
/// without.
fn tune(listener: &TcpListener) {
    // Else many are accepted just before their request comes, and have to wait for it in the event loop, which takes
    // about twice as many system calls.
    let _ = setsockopt(listener, DeferAccept, &DEFERRED);
    let listener = SockRef::from(listener);
    // A reply is written at once, so there is nothing to wait for and collect.
    let _ = listener.set_tcp_nodelay(true);
    // Else the system takes megabytes of a full scrape from us that the client does not take from it.
    let _ = listener.set_tcp_notsent_lowat(MAX_UNSENT);
    // Else the system keeps, for minutes after the close, what a client that was cut off has not taken.
    let _ = listener.set_tcp_user_timeout(Some(WRITE_TIME));
}

/// Maximum number of connections that are answered one after the other before those that wait have a turn.
const MAX_AT_ONCE: usize = 16;

/// Accepts connections and has them answered, without end.
pub(super) async fn accept_all<F: HttpFlavour, C: Clock, I: Incoming>(
    worker: &Rc<Worker<F, C>>,
    mut accept: impl AsyncFnMut() -> io::Result<(I, SocketAddr)>,
) {
    let complaints = Complaints::default();
    let mut fast_path = FastPath::new();
    for accepted in 1_usize.. {
        if accepted % MAX_AT_ONCE == 0 {
            yield_now().await;
        }
        let taken_in = match accept().await {
            Ok((incoming, from)) => take_in(worker, incoming, from, &mut fast_path).await,
            Err(error) => Err(error),
        };
        match taken_in {
            Ok(()) => (),
            Err(error) if concerns_one_connection(&error) => (),
            Err(error) => {
                complaints.say(|| tracing::warn!("no TCP connection can be accepted for now, trying again: {error}"));
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers a connection at once if it can, else in a task of its own. Only a connection that stays takes a permit, for
/// which another may have to make room. One that is wrapped stays, since it may have to be waited for more than once.
///
/// # Errors
///
/// The event loop has no room for the connection.
async fn take_in<F: HttpFlavour, C: Clock, I: Incoming>(
    worker: &Rc<Worker<F, C>>,
    mut incoming: I,
    from: SocketAddr,
    fast_path: &mut FastPath,
) -> io::Result<()> {
    worker.service.borrow().counters().count_from(Counter::TcpAccepted, from.ip());
    let is_wrapped = F::Wrappers::WRAPS && worker.service.borrow().shared().tracker.flavour().wrappers().wraps(from);
    let connection = if is_wrapped {
        OpenConnection::new()
    } else {
        let Some(connection) = fast_path.answer(&mut incoming, from.ip(), worker) else { return Ok(()) };
        connection
    };
    let Ok((permit, lease_end)) = worker.permit(from.ip(), connection.turn(), connection.said()).await else {
        fast_path.refuse(&mut incoming, from.ip(), worker);
        return Ok(());
    };
    let stream = incoming.into_stream()?;
    // With the constant, a build without wrappers has none of this.
    if F::Wrappers::WRAPS && is_wrapped {
        spawn_local(hold(lease_end, async move {
            if let Some((stream, client, connection)) = pass(stream, from, &permit.worker).await {
                permit.settle(client.ip());
                drive(stream, client.ip(), &permit, connection).await;
            }
        }));
    } else {
        spawn_local(hold(lease_end, async move { drive(stream, from.ip(), &permit, connection).await }));
    }
    Ok(())
}

/// Lets a connection go on until it ends, or has to make room for another.
async fn hold(mut lease_end: LeaseEnd, connection: impl Future<Output = ()>) {
    let _ = race(connection, lease_end.come()).await;
}

/// Takes a connection through what this build wraps connections in, in the time that its first head has too. Returns
/// `None` if that fails, or if the worker is to stop meanwhile: no request is lost then. Counts what is malformed.
async fn pass<F: HttpFlavour, C: Clock, S: ByteStream + 'static>(
    stream: S,
    from: SocketAddr,
    worker: &Worker<F, C>,
) -> Option<(<F::Wrappers as Wrappers>::Stream<S>, SocketAddr, OpenConnection<F>)> {
    let shared = Arc::clone(worker.service.borrow().shared());
    let (deadline, mut received) = (Instant::now() + HEAD_TIME, Vec::new());
    let passing = timeout_at(deadline, shared.tracker.flavour().wrappers().pass(stream, from, &mut received));
    let passed = race(passing, worker.stopping()).await.ok()?;
    let is_malformed = match passed {
        Ok(Ok((stream, client))) => return Some((stream, client, OpenConnection::behind(received, deadline))),
        Ok(Err(error)) => error.kind() == ErrorKind::InvalidData,
        Err(_) => !received.is_empty(),
    };
    if is_malformed {
        worker.service.borrow().counters().count_from(Counter::Http400Parse, from.ip());
    }
    None
}

/// Returns whether an error concerns only the connection that was to be accepted, as some do that accept(2) returns on
/// Linux. The next connection may be all right.
fn concerns_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests;
