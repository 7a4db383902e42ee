use std::cell::RefCell;
use std::future::pending;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::connection::HEAD_TIME;
use crate::http::connection_limit::ConnectionLimit;
use crate::http::listener::accept_all;
use crate::http::testing::{Numbers, TestWith, run, with, worker};
use crate::http::worker::Worker;
use crate::stats::{AddressFamily, Counter, Protocol};
use crate::tracker::AnnounceError;

/// A line comes first: the client's address. Clients at 127.0.0.9 do without.
struct Line;

const PLAIN: &str = "127.0.0.9:1";

impl Wrapper for Line {
    const HAS_LAST_WORD: bool = false;

    type Stream<S: ByteStream + 'static> = S;

    fn wraps(&self, peer: SocketAddr) -> bool {
        peer != PLAIN.parse().unwrap()
    }

    async fn wrap<S: ByteStream + 'static>(
        &self,
        mut stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> io::Result<(S, SocketAddr)> {
        if !Wrapper::wraps(self, client) {
            return Ok((stream, client));
        }
        loop {
            if let Some(end) = received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = received.drain(..=end).collect();
                let client = String::from_utf8(line).ok().and_then(|line| line.trim_end().parse().ok());
                return Ok((stream, client.ok_or(ErrorKind::InvalidData)?));
            }
            if stream.read_buf(received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A greeting is said and answered, and then the connection is another type.
struct Greeting;

impl Wrapper for Greeting {
    const HAS_LAST_WORD: bool = true;

    type Stream<S: ByteStream + 'static> = BufStream<S>;

    fn wraps(&self, _: SocketAddr) -> bool {
        true
    }

    async fn wrap<S: ByteStream + 'static>(
        &self,
        mut stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> io::Result<(BufStream<S>, SocketAddr)> {
        stream.write_all(format!("hello {client}").as_bytes()).await?;
        if received.is_empty() {
            stream.read_buf(received).await?;
        }
        if received.drain(..received.len().min(1)).next() == Some(b'!') {
            Ok((BufStream::new(stream), client))
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }
}

type Wrapped<W> = Worker<TestWith<Numbers, W>, crate::http::testing::Still>;

/// Accepts one connection, and answers what comes over it.
fn accept<W: Wrappers>(worker: &Rc<Wrapped<W>>) -> DuplexStream {
    accept_from("127.0.0.1:1", worker)
}

fn accept_from<W: Wrappers>(from: &'static str, worker: &Rc<Wrapped<W>>) -> DuplexStream {
    let (client, server) = duplex(1000);
    let (worker, server) = (Rc::clone(worker), RefCell::new(Some(server)));
    spawn_local(async move {
        let accept = async || {
            let server = server.borrow_mut().take();
            match server {
                Some(server) => Ok((server, from.parse().unwrap())),
                None => pending().await,
            }
        };
        accept_all(&worker, accept).await;
    });
    client
}

fn wrapped<W: Wrappers>(wrappers: W) -> Rc<Wrapped<W>> {
    worker(with(Numbers, wrappers), &ConnectionLimit::new(1, usize::MAX))
}

async fn all(mut client: DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn http_begins_behind_the_line_and_sees_the_client_that_it_names() {
    run(true, async {
        let worker = wrapped(Line);
        let mut client = accept(&worker);
        client
            .write_all(b"[2001:db8::1]:2\nGET /announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=1 HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let reply = all(client).await;
        assert!(reply.contains("14:failure reason") && reply.contains("does not serve your address family"), "{reply}");
        worker.all_closed().await;
        let counters = std::sync::Arc::clone(&worker.service.borrow().shared().counters);
        let refusals = counters.refusals(Protocol::Http, AnnounceError::FamilyNotServed, AddressFamily::Ipv6);
        assert_eq!((counters.of(Counter::TcpAccepted, AddressFamily::Ipv4), refusals), (1, 1));
    });
}

#[test]
fn connections_that_need_no_wrapping_are_served_as_they_are() {
    run(true, async {
        let worker = wrapped(Line);
        for (request, status) in [("GET /nowhere HTTP/1.1\r\n\r\n", 404), ("10.0.0.1:2\nGET / HTTP/1.1\r\n\r\n", 400)] {
            let mut client = accept_from(PLAIN, &worker);
            client.write_all(request.as_bytes()).await.unwrap();
            assert!(all(client).await.starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
            worker.all_closed().await;
        }
        // If only one stage has something to do, the others hand on.
        let worker = wrapped((Line, Greeting));
        let mut client = accept_from(PLAIN, &worker);
        client.write_all(b"!GET /nowhere HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(all(client).await.starts_with("hello 127.0.0.9:1HTTP/1.1 404 "));
        worker.all_closed().await;
    });
}

fn malformed<W: Wrappers>(worker: &Wrapped<W>) -> u64 {
    worker.service.borrow().shared().counters.total(Counter::Http400Parse)
}

#[test]
fn who_is_too_slow_or_makes_no_sense_is_cut_off_without_an_answer_and_counted() {
    run(true, async {
        let worker = wrapped(Line);
        let mut slow = accept(&worker);
        let start = Instant::now();
        for byte in [b"1", b"2", b"7"] {
            slow.write_all(byte).await.unwrap();
            sleep(Duration::from_secs(9)).await;
        }
        assert_eq!(all(slow).await, "");
        assert_eq!((start.elapsed(), malformed(&worker)), (HEAD_TIME, 1));
        worker.all_closed().await;
        let mut mad = accept(&worker);
        mad.write_all(b"nonsense\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(all(mad).await, "");
        assert_eq!((start.elapsed(), malformed(&worker)), (HEAD_TIME, 2));
        worker.all_closed().await;
        // Who says nothing has said nothing malformed.
        drop(accept(&worker));
        worker.all_closed().await;
        let silent = accept(&worker);
        assert_eq!(all(silent).await, "");
        assert_eq!((start.elapsed(), malformed(&worker)), (HEAD_TIME * 2, 2));
        worker.all_closed().await;
    });
}

#[test]
fn two_wrappers_are_passed_one_after_the_other() {
    run(true, async {
        let worker = wrapped((Line, (NoWrapper, Greeting)));
        let mut client = accept(&worker);
        client.write_all(b"10.0.0.1:2\n").await.unwrap();
        let mut greeting = [0; 16];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello 10.0.0.1:2");
        client.write_all(b"!GET /nowhere HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(all(client).await.starts_with("HTTP/1.1 404 "));
        worker.all_closed().await;

        let mut client = accept(&worker);
        client.write_all(b"10.0.0.1:2\n!GET /nowhere HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(all(client).await.starts_with("hello 10.0.0.1:2HTTP/1.1 404 "), "it may all come at once");
        worker.all_closed().await;
    });
}

#[test]
fn all_wrappers_and_the_first_head_have_30_s_together_and_the_second_head_as_long_again() {
    const KEEP: &[u8] = b"GET /nowhere HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    run(true, async {
        let worker = wrapped((Line, Greeting));
        for (last, malformed_by_then) in [(&b""[..], 0), (b"GET /", 1)] {
            let mut client = accept(&worker);
            let start = Instant::now();
            sleep(Duration::from_secs(10)).await;
            client.write_all(b"10.0.0.1:2\n").await.unwrap();
            sleep(Duration::from_secs(10)).await;
            client.write_all(b"!").await.unwrap();
            sleep(Duration::from_secs(9)).await;
            client.write_all(last).await.unwrap();
            let answer = all(client).await;
            assert_eq!(answer.starts_with("hello 10.0.0.1:2HTTP/1.1 400 "), malformed_by_then == 1, "{answer}");
            assert_eq!((start.elapsed(), malformed(&worker)), (HEAD_TIME, malformed_by_then));
            worker.all_closed().await;
        }
        let mut client = accept(&worker);
        let start = Instant::now();
        sleep(Duration::from_secs(29)).await;
        client.write_all(&[b"10.0.0.1:2\n!", KEEP].concat()).await.unwrap();
        assert!(all(client).await.contains("HTTP/1.1 404 "));
        assert_eq!(start.elapsed(), Duration::from_secs(29) + HEAD_TIME);
        worker.all_closed().await;
    });
}

#[test]
fn a_worker_that_stops_waits_for_nobody_who_has_not_asked_yet() {
    run(true, async {
        let worker = wrapped((Line, Greeting));
        let client = accept(&worker);
        yield_now().await;
        let start = Instant::now();
        worker.stop();
        assert_eq!(all(client).await, "");
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn without_wrappers_there_is_nothing_to_pass() {
    const { assert!(!NoWrapper::WRAPS && !<(NoWrapper, NoWrapper)>::WRAPS && <(Line, NoWrapper)>::WRAPS) };
    const { assert!(<(Line, Greeting)>::HAS_LAST_WORD && !<(Line, NoWrapper)>::HAS_LAST_WORD) };
    run(true, async {
        let (_client, server) = duplex(1);
        let client: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let nothing = (NoWrapper, NoWrapper);
        assert!(!nothing.wraps(client));
        assert_eq!(nothing.pass(server, client, &mut Vec::new()).await.unwrap().1, client);
    });
}
