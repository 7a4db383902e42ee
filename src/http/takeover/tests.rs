use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::http::connection::{OpenConnection, drive, race};
use crate::http::connection_limit::ConnectionLimit;
use crate::http::exchange::{Answer, Exchange, Next};
use crate::http::flavour::{Access, HttpFlavour, Route, RouteTarget};
use crate::http::reply::Error;
use crate::http::testing::{NOW, permit, run, with, worker};
use crate::http::wrapper::NoWrapper;

/// How long a client of [`Echo`] may say nothing.
const SILENCE: Duration = Duration::from_secs(40);

/// A page that says back, once it is asked politely, whatever the client says.
struct Echo;

/// What is said first, and then whatever has been said.
struct Echoes {
    greeting: String,
}

impl Route for Echo {
    type Page = ();

    const ACCESS: Access = Access::Everyone;

    fn find(target: RouteTarget<'_>) -> Option<()> {
        target.is_path("echo").then_some(())
    }

    fn answer<F: HttpFlavour>(&self, (): (), exchange: &mut Exchange<'_, F>) -> Answer<F> {
        let protocol = exchange.request.header("upgrade").next().ok_or(Error::Parameter)?;
        exchange.out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        let greeting = format!("{} for {}:", protocol.escape_ascii(), exchange.client()?);
        Ok(Next::TakeOver(Box::new(Echoes { greeting })))
    }
}

impl Takeover for Echoes {
    fn run<'a>(self: Box<Self>, connection: TakenOver<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            let TakenOver { stream, received, now, mut stopping } = connection;
            assert_eq!(now().minute, NOW);
            let mut said = received;
            stream.write_all(self.greeting.as_bytes()).await.unwrap();
            while stream.write_all(&said).await.is_ok() {
                said.clear();
                let next = race(timeout(SILENCE, stream.read_buf(&mut said)), stopping.as_mut());
                match next.await {
                    Ok(Ok(Ok(1..))) => (),
                    Ok(_) => break,
                    Err(()) => return stream.write_all(b"goodbye").await.unwrap(),
                }
            }
        })
    }
}

type Worker = crate::http::worker::Worker<crate::http::testing::TestWith<Echo, NoWrapper>, crate::http::testing::Still>;

/// A connection to a worker that has the page, and the end of what drives it.
fn connect() -> (DuplexStream, Rc<Worker>, JoinHandle<()>) {
    let (client, server) = duplex(1000);
    let worker = worker(with(Echo, NoWrapper), &ConnectionLimit::new(1, usize::MAX));
    let driver = Rc::clone(&worker);
    let end = spawn_local(async move {
        let from = "::1".parse().unwrap();
        drive(server, from, &permit(&driver, from).await, OpenConnection::new()).await;
    });
    (client, worker, end)
}

async fn hears(client: &mut DuplexStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), expected);
}

const ASK: &str = "GET /echo HTTP/1.1\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\r\necho for ::1:";

#[test]
fn a_route_keeps_the_connection_and_what_came_behind_the_request() {
    run(true, async {
        let (mut client, _worker, end) = connect();
        client.write_all(format!("{ASK}one").as_bytes()).await.unwrap();
        hears(&mut client, &format!("{ANSWER}one")).await;
        client.write_all(b"two").await.unwrap();
        hears(&mut client, "two").await;
        // It is no HTTP any more.
        client.write_all(ASK.as_bytes()).await.unwrap();
        hears(&mut client, ASK).await;
        client.shutdown().await.unwrap();
        end.await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
}

#[test]
fn no_deadline_of_http_holds_but_that_of_the_takeover() {
    run(true, async {
        let (mut client, _worker, end) = connect();
        let start = Instant::now();
        client.write_all(ASK.as_bytes()).await.unwrap();
        hears(&mut client, ANSWER).await;
        sleep(Duration::from_secs(35)).await;
        client.write_all(b"still here").await.unwrap();
        hears(&mut client, "still here").await;
        end.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 35 + SILENCE.as_secs());
    });
}

#[test]
fn when_the_worker_stops_the_takeover_is_told() {
    run(true, async {
        let (mut client, worker, end) = connect();
        client.write_all(ASK.as_bytes()).await.unwrap();
        hears(&mut client, ANSWER).await;
        yield_now().await;
        worker.stop();
        hears(&mut client, "goodbye").await;
        end.await.unwrap();
    });
}

#[test]
fn who_is_not_polite_stays_with_http() {
    run(true, async {
        let (mut client, _worker, end) = connect();
        client.write_all(b"GET /echo HTTP/1.1\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
        end.await.unwrap();
    });
}

#[test]
fn a_takeover_that_is_asked_for_when_the_worker_has_stopped_is_told_too() {
    run(true, async {
        let (mut client, worker, end) = connect();
        worker.stop();
        // The connection has heard that the worker stops.
        yield_now().await;
        client.write_all(ASK.as_bytes()).await.unwrap();
        hears(&mut client, &format!("{ANSWER}goodbye")).await;
        end.await.unwrap();
    });
}
