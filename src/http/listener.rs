//! Accepts connections.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
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
use super::connection::{FastPath, HEAD_TIME, OpenConnection, WRITE_TIME, drive, race};
use super::flavour::HttpFlavour;
use super::incoming::{Incoming, Listener};
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

/// Accepts connections and has them answered. Returns only when there will never be a permit again.
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
            Ok(ControlFlow::Continue(())) => (),
            Ok(ControlFlow::Break(())) => return,
            Err(error) if concerns_one_connection(&error) => (),
            Err(error) => {
                complaints.say(|| tracing::warn!("no TCP connection can be accepted for now, trying again: {error}"));
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers a connection at once if it can, else in a task of its own. Only a connection that stays takes a permit, but
/// while there is none, no connection is answered. One that is wrapped stays, since it may have to be waited for more
/// than once. Breaks when there will never be a permit again.
///
/// # Errors
///
/// The event loop has no room for the connection.
async fn take_in<F: HttpFlavour, C: Clock, I: Incoming>(
    worker: &Rc<Worker<F, C>>,
    mut incoming: I,
    from: SocketAddr,
    fast_path: &mut FastPath,
) -> io::Result<ControlFlow<()>> {
    worker.service.borrow().counters().count_from(Counter::TcpAccepted, from.ip());
    let mut permit = None;
    if worker.is_full() {
        permit = worker.permit().await;
    }
    let is_wrapped = F::Wrappers::WRAPS && worker.service.borrow().shared().tracker.flavour().wrappers().wraps(from);
    let connection = if is_wrapped {
        OpenConnection::new()
    } else {
        let Some(connection) = fast_path.answer(&mut incoming, from.ip(), worker) else {
            return Ok(ControlFlow::Continue(()));
        };
        connection
    };
    if permit.is_none() {
        permit = worker.permit().await;
    }
    let Some(permit) = permit else { return Ok(ControlFlow::Break(())) };
    let stream = incoming.into_stream()?;
    // With the constant, a build without wrappers has none of this.
    if F::Wrappers::WRAPS && is_wrapped {
        spawn_local(async move {
            if let Some((stream, client, connection)) = pass(stream, from, &permit.worker).await {
                drive(stream, client.ip(), &permit.worker, connection).await;
            }
        });
    } else {
        spawn_local(async move { drive(stream, from.ip(), &permit.worker, connection).await });
    }
    Ok(ControlFlow::Continue(()))
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
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;

    use super::*;
    use crate::http::flavour::NoRoute;
    use crate::http::testing::{Plain, Still, plain, run, with, worker};
    use crate::http::worker::ConnectionLimit;
    use crate::http::wrapper::{NoWrapper, Wrapper};

    type Connection = io::Result<(DuplexStream, SocketAddr)>;

    /// A stage with nothing to do for anybody.
    struct Idle;

    impl Wrapper for Idle {
        const HAS_LAST_WORD: bool = false;

        type Stream<S: ByteStream + 'static> = S;

        fn wraps(&self, _: SocketAddr) -> bool {
            false
        }

        async fn wrap<S: ByteStream + 'static>(
            &self,
            _: S,
            _: SocketAddr,
            _: &mut Vec<u8>,
        ) -> io::Result<(S, SocketAddr)> {
            unreachable!("nobody is wrapped")
        }
    }

    const REQUEST: &[u8] = b"GET /nowhere HTTP/1.1\r\n\r\n";

    fn listener() -> (Listener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (Listener::new(listener).unwrap(), address)
    }

    fn connection() -> (DuplexStream, Connection) {
        let (client, server) = duplex(1000);
        (client, Ok((server, "127.0.0.1:1".parse().unwrap())))
    }

    async fn reply(mut client: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
        client.write_all(REQUEST).await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        reply
    }

    /// Has connections accepted, from the last one on.
    fn accept_in_background(worker: &Rc<Worker<Plain, Still>>, connections: Vec<Connection>) {
        let (worker, connections) = (Rc::clone(worker), RefCell::new(connections));
        spawn_local(async move {
            let accept = async || {
                let next = connections.borrow_mut().pop();
                match next {
                    Some(connection) => connection,
                    None => pending().await,
                }
            };
            accept_all(&worker, accept).await;
        });
    }

    #[test]
    fn accepted_sockets_have_what_the_listener_was_given() {
        run(false, async {
            let (listener, address) = listener();
            tune(listener.socket());
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&accepted);
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_UNSENT);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(WRITE_TIME));
        });
    }

    #[test]
    fn a_connection_is_accepted_with_its_first_bytes() {
        run(false, async {
            loop {
                let (listener, address) = listener();
                tune(listener.socket());
                let start = Instant::now();
                let _silent = TcpStream::connect(address).await.unwrap();
                let mut client = TcpStream::connect(address).await.unwrap();
                client.write_all(REQUEST).await.unwrap();
                // Else the machine was too busy: by now the silent one is accepted as well.
                if start.elapsed() < Duration::from_millis(500) {
                    let (mut accepted, from) = listener.accept().await.unwrap();
                    assert_eq!(from, client.local_addr().unwrap());
                    assert_eq!(accepted.receive(&mut [0; 100]).unwrap(), REQUEST.len());
                    return;
                }
            }
        });
    }

    #[test]
    fn no_failure_ends_the_accepting() {
        run(true, async {
            let worker = worker(plain(), &ConnectionLimit::new(9));
            let (client, accepted) = connection();
            let full = || Err(io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32));
            let aborted = Err(ErrorKind::ConnectionAborted.into());
            accept_in_background(&worker, vec![accepted, full(), aborted, full(), full()]);
            let start = Instant::now();
            assert!(reply(client).await.starts_with("HTTP/1.1 404"));
            assert_eq!(start.elapsed().as_millis() / 100, 3, "a pause after each time that there was no room");
            assert_eq!(worker.service.borrow().shared().counters.total(Counter::TcpAccepted), 1);
        });
    }

    #[test]
    fn when_as_many_are_open_as_may_be_others_wait_for_one() {
        run(true, async {
            let connection_limit = ConnectionLimit::new(1);
            let (one, two) = (worker(plain(), &connection_limit), worker(plain(), &connection_limit));
            let (idle, accepted) = connection();
            accept_in_background(&one, vec![accepted]);
            yield_now().await;
            let (waiting, accepted) = connection();
            accept_in_background(&two, vec![accepted]);
            let start = Instant::now();
            assert!(reply(waiting).await.starts_with("HTTP/1.1 404"));
            assert_eq!(start.elapsed().as_secs(), 30, "until the idle one was closed");
            drop(idle);
            one.all_closed().await;
            two.all_closed().await;
        });
    }

    #[test]
    fn who_is_answered_at_once_takes_no_permit() {
        takes_no_permit(NoWrapper);
        takes_no_permit(Idle);
    }

    fn takes_no_permit(wrappers: impl Wrappers) {
        run(false, async {
            let worker = worker(with(NoRoute, wrappers), &ConnectionLimit::new(1));
            let (listener, address) = listener();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            let (incoming, from) = listener.accept().await.unwrap();
            assert!(take_in(&worker, incoming, from, &mut FastPath::new()).await.unwrap().is_continue());
            let mut reply = String::new();
            client.read_to_string(&mut reply).await.unwrap();
            assert!(reply.starts_with("HTTP/1.1 404"));
            worker.all_closed().await;
            assert!(!worker.is_full());

            let _permit = worker.permit().await;
            let (mut client, accepted) = connection();
            client.write_all(REQUEST).await.unwrap();
            let mut fast_path = FastPath::new();
            let second = take_in(&worker, accepted.unwrap().0, address, &mut fast_path);
            let waited = timeout(Duration::ZERO, second).await;
            assert!(waited.is_err(), "but waits where there is none");
            assert_eq!(worker.service.borrow().shared().counters.total(Counter::Http404), 1);
        });
    }

    #[test]
    fn a_listener_serves_until_it_is_told_to_stop() {
        run(false, async {
            let (listener, address) = listener();
            let worker = worker(plain(), &ConnectionLimit::new(9));
            let stop = StopToken::default();
            let served = spawn_local(serve(listener, Rc::clone(&worker), stop.clone()));
            for _ in 0..3 {
                let reply = reply(TcpStream::connect(address).await.unwrap()).await;
                assert!(reply.starts_with("HTTP/1.1 404"));
            }
            let mut idle = TcpStream::connect(address).await.unwrap();
            idle.write_all(b"GET /nowhere HTTP/1.1\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
            idle.readable().await.unwrap();
            stop.stop();
            served.await.unwrap();
            let mut reply = String::new();
            idle.read_to_string(&mut reply).await.unwrap();
            assert!(reply.contains("\r\nConnection: keep-alive\r\n"), "and yet it is closed");
            assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
        });
    }

    #[test]
    fn a_request_that_is_never_finished_does_not_hold_up_the_end() {
        run(true, async {
            let worker = worker(plain(), &ConnectionLimit::new(9));
            let (mut client, accepted) = connection();
            accept_in_background(&worker, vec![accepted]);
            client.write_all(b"GET /").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let start = Instant::now();
            let stop = StopToken::default();
            stop.stop();
            serve(listener().0, worker, stop).await;
            assert_eq!(start.elapsed(), FINISH_TIME);
        });
    }
}
