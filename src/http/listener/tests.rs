use std::cell::RefCell;
use std::future::pending;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;

use super::*;
use crate::http::connection_limit::ConnectionLimit;
use crate::http::flavour::NoRoute;
use crate::http::places::Turn;
use crate::http::testing::{Plain, Still, fancy, plain, run, with, worker};
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

    async fn wrap<S: ByteStream + 'static>(&self, _: S, _: SocketAddr, _: &mut Vec<u8>) -> io::Result<(S, SocketAddr)> {
        unreachable!("nobody is wrapped")
    }
}

const REQUEST: &[u8] = b"GET /nowhere HTTP/1.1\r\n\r\n";

fn listening() -> (Arc<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Arc::new(listener), address)
}

fn listener() -> (Listener, SocketAddr) {
    let (listener, address) = listening();
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
fn no_event_loop_is_blocked_by_a_listener_that_blocked_before() {
    run(false, async {
        let (listening, _) = listening();
        assert!(!SockRef::from(&*listening).nonblocking().unwrap());
        let listener = Listener::new(listening).unwrap();
        assert!(SockRef::from(listener.socket()).nonblocking().unwrap());
    });
}

#[test]
fn a_client_has_its_own_address_whatever_the_socket_calls_it() {
    run(false, async {
        let ipv4 = IpAddr::from([127, 0, 0, 1]);
        for (address, clients) in [
            ("[::]:0", &[ipv4, IpAddr::V6(Ipv6Addr::LOCALHOST)][..]),
            ("[::ffff:127.0.0.1]:0", &[ipv4]),
            ("127.0.0.1:0", &[ipv4]),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            if address.is_ipv6() {
                socket.set_only_v6(false).unwrap();
            }
            socket.bind(&address.into()).unwrap();
            socket.listen(8).unwrap();
            let listener = Listener::new(Arc::new(socket.into())).unwrap();
            let port = listener.socket().local_addr().unwrap().port();
            for client in clients {
                let client = TcpStream::connect((*client, port)).await.unwrap();
                let (_accepted, from) = listener.accept().await.unwrap();
                assert_eq!(from, client.local_addr().unwrap());
            }
        }
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
        let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
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
fn when_as_many_are_open_as_may_be_one_makes_room_for_another() {
    run(true, async {
        let connection_limit = ConnectionLimit::new(1, usize::MAX);
        let (one, two) = (worker(plain(), &connection_limit), worker(plain(), &connection_limit));
        let (mut idle, accepted) = connection();
        accept_in_background(&one, vec![accepted]);
        yield_now().await;
        let (waiting, accepted) = connection();
        accept_in_background(&two, vec![accepted]);
        let start = Instant::now();
        assert!(reply(waiting).await.starts_with("HTTP/1.1 404"));
        assert_eq!(start.elapsed().as_secs(), 0);
        let mut nothing = String::new();
        idle.read_to_string(&mut nothing).await.unwrap();
        assert_eq!((start.elapsed().as_secs(), nothing.as_str()), (0, ""), "the idle one was closed");
        one.all_closed().await;
        two.all_closed().await;
    });
}

#[test]
fn who_is_answered_at_once_takes_no_permit_and_needs_none() {
    takes_no_permit(NoWrapper);
    takes_no_permit(Idle);
}

fn takes_no_permit(wrappers: impl Wrappers) {
    run(false, async {
        let worker = worker(with(NoRoute, wrappers), &ConnectionLimit::new(1, usize::MAX));
        let (listener, address) = listener();
        let (_permit, mut lease_end) = worker.permit(address.ip(), Turn::Ask, 0).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        let (incoming, from) = listener.accept().await.unwrap();
        take_in(&worker, incoming, from, &mut FastPath::new()).await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 404"));
        assert!(!lease_end.has_come());
    });
}

#[test]
fn who_stays_waits_until_the_one_that_makes_room_is_gone() {
    run(true, async {
        let worker = worker(plain(), &ConnectionLimit::new(1, usize::MAX));
        let (permit, mut lease_end) = worker.permit([127, 0, 0, 1].into(), Turn::Ask, 0).await.unwrap();
        let (_client, accepted) = connection();
        let (incoming, from) = accepted.unwrap();
        let mut fast_path = FastPath::new();
        let mut taken_in = pin!(take_in(&worker, incoming, from, &mut fast_path));
        assert!(timeout(Duration::from_secs(1), taken_in.as_mut()).await.is_err());
        assert!(lease_end.has_come());
        drop(permit);
        taken_in.await.unwrap();
    });
}

#[test]
fn when_more_wait_than_there_are_places_each_makes_room_for_the_next() {
    run(true, async {
        let worker = worker(plain(), &ConnectionLimit::new(1, usize::MAX));
        let permit = async || worker.permit([127, 0, 0, 1].into(), Turn::Ask, 0).await.unwrap();
        let hold = async |(permit, mut lease_end): (_, LeaseEnd)| {
            lease_end.come().await;
            drop(permit);
        };
        let first = permit().await;
        let silent = async || hold(permit().await).await;
        let (mut one, mut other) = (pin!(silent()), pin!(silent()));
        let mut last = pin!(permit());
        for waiting in [one.as_mut(), other.as_mut()] {
            assert!(timeout(Duration::ZERO, waiting).await.is_err());
        }
        assert!(timeout(Duration::ZERO, last.as_mut()).await.is_err());
        hold(first).await;
        timeout(Duration::from_secs(1), one).await.unwrap();
        timeout(Duration::from_secs(1), other).await.unwrap();
        let (_permit, mut lease_end) = timeout(Duration::from_secs(1), last).await.unwrap();
        assert!(!lease_end.has_come(), "nobody waits any more");
    });
}

#[test]
fn who_would_only_wait_for_us_gives_way_to_all_for_whom_we_work_and_is_told_to_come_again() {
    run(false, async {
        let worker = worker(fancy(vec![vec![b'x'; 10]; 3]), &ConnectionLimit::new(1, usize::MAX));
        let (listener, address) = listener();
        for (other, is_refused) in [(Turn::Ours, true), (Turn::Read, false), (Turn::Ask, false)] {
            let (permit, mut lease_end) = worker.permit(address.ip(), other, 0).await.unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET /scrape HTTP/1.1\r\n\r\n").await.unwrap();
            let (incoming, from) = listener.accept().await.unwrap();
            spawn_local(async move {
                lease_end.come().await;
                drop(permit);
            });
            take_in(&worker, incoming, from, &mut FastPath::new()).await.unwrap();
            let mut reply = String::new();
            client.read_to_string(&mut reply).await.unwrap();
            let expected = if is_refused { "HTTP/1.1 503 Service Unavailable\r\n" } else { "HTTP/1.1 200 OK\r\n" };
            assert!(reply.starts_with(expected), "{other:?}: {reply}");
        }
    });
}

#[test]
fn a_listener_serves_until_it_is_told_to_stop() {
    run(false, async {
        let (listener, address) = listener();
        let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
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
fn who_comes_while_nobody_serves_a_listener_is_answered_by_the_next_who_does() {
    let (listening, address) = listening();
    let mut waiting = Vec::new();
    for round in 0..3 {
        run(false, async {
            let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
            let stop = StopToken::default();
            let listener = Listener::new(Arc::clone(&listening)).unwrap();
            let served = spawn_local(serve(listener, worker, stop.clone()));
            for client in waiting.drain(..) {
                let mut client = TcpStream::from_std(client).unwrap();
                let mut reply = String::new();
                client.read_to_string(&mut reply).await.unwrap();
                assert!(reply.starts_with("HTTP/1.1 404"), "{round}: {reply}");
            }
            let reply = reply(TcpStream::connect(address).await.unwrap()).await;
            assert!(reply.starts_with("HTTP/1.1 404"), "{round}: {reply}");
            stop.stop();
            served.await.unwrap();
            for _ in 0..3 {
                let mut client = TcpStream::connect(address).await.unwrap();
                client.write_all(REQUEST).await.unwrap();
                waiting.push(client.into_std().unwrap());
            }
        });
    }
}

#[test]
fn a_request_that_is_never_finished_does_not_hold_up_the_end() {
    run(true, async {
        let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
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
