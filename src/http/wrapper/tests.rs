use std::cell::RefCell;
use std::future::pending;
use std::io::ErrorKind;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::listener::accept_all;
use crate::http::testing::{Numbers, TestWith, run, with, worker};
use crate::http::worker::{ConnectionLimit, Worker};
use crate::stats::{AddressFamily, Counter, Protocol};
use crate::tracker::AnnounceError;

/// A line comes first: the client's address.
struct Line;

impl Wrapper for Line {
    const DEADLINE: Duration = Duration::from_secs(5);

    type Stream<S: ByteStream + 'static> = S;

    async fn wrap<S: ByteStream + 'static>(&self, mut stream: S, _: SocketAddr) -> io::Result<(S, SocketAddr)> {
        let mut line = String::new();
        while !line.ends_with('\n') {
            line.push(char::from(stream.read_u8().await?));
        }
        let client = line.trim_end().parse().map_err(|_| ErrorKind::InvalidData)?;
        Ok((stream, client))
    }
}

/// A greeting is said and answered, and then the connection is another type.
struct Greeting;

impl Wrapper for Greeting {
    const DEADLINE: Duration = Duration::from_secs(7);

    type Stream<S: ByteStream + 'static> = BufStream<S>;

    async fn wrap<S: ByteStream + 'static>(
        &self,
        mut stream: S,
        client: SocketAddr,
    ) -> io::Result<(BufStream<S>, SocketAddr)> {
        stream.write_all(format!("hello {client}").as_bytes()).await?;
        if stream.read_u8().await? == b'!' {
            Ok((BufStream::new(stream), client))
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }
}

type Wrapped<W> = Worker<TestWith<Numbers, W>, crate::http::testing::Still>;

/// Accepts one connection, and answers what comes over it.
fn accept<W: Wrappers>(worker: &Rc<Wrapped<W>>) -> DuplexStream {
    let (client, server) = duplex(1000);
    let (worker, server) = (Rc::clone(worker), RefCell::new(Some(server)));
    spawn_local(async move {
        let accept = async || {
            let server = server.borrow_mut().take();
            match server {
                Some(server) => Ok((server, "127.0.0.1:1".parse().unwrap())),
                None => pending().await,
            }
        };
        accept_all(&worker, accept).await;
    });
    client
}

fn wrapped<W: Wrappers>(wrappers: W) -> Rc<Wrapped<W>> {
    worker(with(Numbers, wrappers), &ConnectionLimit::new(1))
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
fn who_is_too_slow_or_makes_no_sense_is_cut_off_without_an_answer() {
    run(true, async {
        let worker = wrapped(Line);
        let mut slow = accept(&worker);
        let start = Instant::now();
        for byte in [b"1", b"2", b"7"] {
            slow.write_all(byte).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(all(slow).await, "");
        assert_eq!(start.elapsed(), Line::DEADLINE);
        worker.all_closed().await;
        let mut mad = accept(&worker);
        mad.write_all(b"nonsense\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(all(mad).await, "");
        assert_eq!(start.elapsed(), Line::DEADLINE);
        worker.all_closed().await;
    });
}

#[test]
fn two_wrappers_are_passed_one_after_the_other_each_in_its_own_time() {
    run(true, async {
        let worker = wrapped((Line, (NoWrapper, Greeting)));
        let mut client = accept(&worker);
        let start = Instant::now();
        sleep(Duration::from_secs(4)).await;
        client.write_all(b"10.0.0.1:2\n").await.unwrap();
        let mut greeting = [0; 16];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello 10.0.0.1:2");
        sleep(Duration::from_secs(6)).await;
        client.write_all(b"!GET /nowhere HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(all(client).await.starts_with("HTTP/1.1 404 "));
        worker.all_closed().await;

        let mut client = accept(&worker);
        client.write_all(b"10.0.0.1:2\n").await.unwrap();
        assert_eq!(all(client).await, "hello 10.0.0.1:2");
        assert_eq!(start.elapsed().as_secs(), 4 + 6 + Greeting::DEADLINE.as_secs());
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
    run(true, async {
        let (_client, server) = duplex(1);
        let client: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!((NoWrapper, NoWrapper).pass(server, client).await.unwrap().1, client);
    });
}
