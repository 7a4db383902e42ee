mod streams;

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::*;
use crate::http::connection_limit::ConnectionLimit;
use crate::http::service::Service;
use crate::http::testing::{PROXY, Still, fancy, permit, plain, run, worker};
use crate::stats::Counter;

const BAD_REQUEST: &str = "HTTP/1.1 400 Invalid Request\r\nContent-Type: text/html\r\nContent-Length: 35\r\n\
                           Connection: close\r\n\r\n<title>400 Invalid Request</title>\n";
pub(in crate::http) const NOT_ALLOWED: &str = "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Type: text/html\r\n\
     Content-Length: 38\r\nConnection: close\r\n\r\n<title>405 Method Not Allowed</title>\n";
pub(in crate::http) const SCRAPED: &str =
    "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e10:incompletei0eeee";
pub(in crate::http) const SCRAPE: &str = "GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n";
pub(in crate::http) const KEEP: &str = "Connection: keep-alive\r\n\r\n";

/// A connection that is driven, with room for `buffer` bytes on its way in each direction.
struct Driven<F: HttpFlavour> {
    client: DuplexStream,
    worker: Rc<Worker<F, Still>>,
    end: JoinHandle<()>,
    start: Instant,
}

impl<F: HttpFlavour> Driven<F> {
    fn new(service: Service<F>, buffer: usize) -> Self {
        Self::from("::1".parse().unwrap(), service, buffer)
    }

    fn from(address: IpAddr, service: Service<F>, buffer: usize) -> Self {
        let (client, server) = duplex(buffer);
        let worker = worker(service, &ConnectionLimit::new(1, usize::MAX));
        let driver = Rc::clone(&worker);
        let end = spawn_local(async move {
            let permit = permit(&driver, address).await;
            drive(server, address, &permit, OpenConnection::new()).await;
        });
        Self { client, worker, end, start: Instant::now() }
    }

    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// All replies until the connection is closed.
    async fn read_to_end(&mut self) -> String {
        let mut replies = String::new();
        self.client.read_to_string(&mut replies).await.unwrap();
        replies
    }

    /// One reply, which ends with `end`.
    async fn read_until(&mut self, end: &str) -> String {
        let mut reply = String::new();
        while !reply.ends_with(end) {
            reply.push(char::from(self.client.read_u8().await.unwrap()));
        }
        reply
    }

    /// Seconds from the beginning to the end of the drive.
    async fn seconds(self) -> u64 {
        self.end.await.unwrap();
        self.start.elapsed().as_secs()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.worker.service.borrow().shared().counters.total(counter)
    }
}

#[test]
fn one_request_is_answered_and_no_more() {
    run(true, async {
        let mut driven = Driven::new(plain(), 10_000);
        driven.send(&format!("{SCRAPE}\r\n{SCRAPE}\r\n")).await;
        let reply = driven.read_to_end().await;
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
        assert!(reply.ends_with(&format!("\r\nConnection: close\r\n\r\n{SCRAPED}")), "{reply}");
        assert_eq!(driven.count(Counter::TcpScraped), 1);
    });
}

#[test]
fn a_head_may_come_in_pieces_of_any_size() {
    run(true, async {
        let mut driven = Driven::new(plain(), 1);
        driven.send(&format!("GET /{}?a HTTP/1.1\r\n\r\n", "x".repeat(5000))).await;
        assert!(driven.read_to_end().await.starts_with("HTTP/1.1 404 Not Found"));
        assert_eq!(driven.seconds().await, 0);
    });
}

#[test]
fn old_and_untidy_clients_are_answered() {
    run(true, async {
        for head in [
            "GET /scrape ?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\r\n",
            "\r\nGET ///scrape/?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.0\n\n",
            "GET http://a.example:6969/scr%61pe?info_hash=aaaaaaaaaaaaaaaaaa a HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut driven = Driven::new(plain(), 10_000);
            driven.send(head).await;
            let reply = driven.read_to_end().await;
            assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.contains("d8:completei0e"), "{head}");
        }
    });
}

#[test]
fn a_connection_is_kept_open_and_pipelined_requests_are_answered_in_order() {
    run(true, async {
        let mut driven = Driven::new(plain(), 10_000);
        driven.send(&format!("{SCRAPE}{KEEP}")).await;
        let reply = driven.read_until(SCRAPED).await;
        assert!(reply.contains("\r\nConnection: keep-alive\r\n"));
        driven
            .send(&format!("GET /1 HTTP/1.1\r\n{KEEP}{SCRAPE}{KEEP}GET /stats?mode=x HTTP/1.1\r\n{KEEP}{SCRAPE}"))
            .await;
        let replies = driven.read_to_end().await;
        let statuses: Vec<_> = replies.split("HTTP/1.1 ").skip(1).map(|reply| &reply[..3]).collect();
        assert_eq!(statuses, ["404", "200", "400"], "{replies}");
        assert_eq!(driven.count(Counter::TcpScraped), 2);
    });
}

#[test]
fn requests_are_kept_as_they_came_for_who_may_read_them_and_his_own_is_not() {
    const READ: &str = "GET /secret/numbers?mode=fulllog HTTP/1.0\r\n\r\n";
    /// The page, if one came.
    fn page(reply: &str) -> Option<&str> {
        reply.strip_prefix("HTTP/1.1 200 OK\r\n")?.split_once("\r\n\r\n").map(|(_, page)| page)
    }
    run(true, async {
        let worker = worker(fancy(Vec::new()), &ConnectionLimit::new(9, usize::MAX));
        let ask = async |from: &str, text: &str| {
            let (mut client, server) = duplex(10_000);
            let permit = permit(&worker, from.parse().unwrap()).await;
            client.write_all(text.as_bytes()).await.unwrap();
            drive(server, from.parse().unwrap(), &permit, OpenConnection::new()).await;
            let mut replies = String::new();
            client.read_to_string(&mut replies).await.unwrap();
            replies
        };
        let unread = "HEAD /secret/numbers?mode=fulllog HTTP/1.1\r\n\r\n";
        // Two over one connection, one of another client, one that no page is for, one that is none.
        ask("::7", &format!("\r\n{SCRAPE}{KEEP}{READ}")).await;
        ask("::8", &format!("{SCRAPE}\r\n")).await;
        ask("::8", &format!("{SCRAPE}X-Client: ::7\r\n\r\n")).await;
        ask("::1", "GET /1 HTTP/1.0\n\nbody").await;
        ask("::1", "GET nonsense\r\n\r\n").await;
        assert!(ask("::7", READ).await.starts_with("HTTP/1.1 403"), "who may not read it does not empty it");
        assert_eq!(page(&ask("::1", unread).await), Some(""), "nor who wants the header alone");
        let (scrape, read) = (SCRAPE.escape_default(), READ.escape_default());
        let expected = format!(
            "::7 \\r\\n{scrape}{}\n::7 {read}\n::7 {scrape}X-Client: ::7\\r\\n\\r\\n\n\
             ::1 GET /1 HTTP/1.0\\n\\n\n::7 {read}\n",
            KEEP.escape_default()
        );
        assert_eq!(page(&ask("::1", READ).await), Some(&*expected));
        assert_eq!(page(&ask("::1", READ).await), Some(""));
    });
}

#[test]
fn a_proxys_connection_stays_open_until_one_side_closes_it_or_it_is_idle_for_30_s() {
    run(true, async {
        for (last, connection) in [
            ("HTTP/1.1\r\nConnection: close\r\n\r\n", "close"),
            ("HTTP/1.0\r\n\r\n", "close"),
            ("HTTP/1.1\r\n\r\n", "keep-alive"),
            ("HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"),
        ] {
            let mut driven = Driven::from(PROXY, fancy(Vec::new()), 10_000);
            for _ in 0..3 {
                driven.send("GET /nowhere HTTP/1.1\r\n\r\n").await;
                let reply = driven.read_until("</title>\n").await;
                assert!(reply.contains("\r\nConnection: keep-alive\r\n"), "{reply}");
            }
            driven.send(&format!("GET /nowhere {last}")).await;
            let reply = driven.read_to_end().await;
            assert!(reply.contains(&format!("\r\nConnection: {connection}\r\n")), "{last} {reply}");
            assert_eq!(driven.seconds().await, if connection == "close" { 0 } else { 30 }, "{last}");
        }
        let mut driven = Driven::from(PROXY, fancy(Vec::new()), 10_000);
        driven.send("GET /secret/numbers?mode=x HTTP/1.1\r\nX-Client: ::1\r\n\r\n").await;
        let reply = driven.read_to_end().await;
        assert!(reply.contains("\r\nConnection: close\r\n"), "the statistics close: {reply}");
        assert_eq!(driven.seconds().await, 0);
    });
}

#[test]
fn only_the_header_of_a_reply_to_head_is_sent_and_the_next_request_is_understood() {
    run(true, async {
        let mut driven = Driven::new(fancy(vec![vec![b'x'; 10]; 3]), 10_000);
        let heads = ["/scrape", "/nowhere", "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=1", "/metrics?", "/"];
        let heads: String = heads.iter().map(|target| format!("HEAD {target} HTTP/1.1\r\n{KEEP}")).collect();
        driven.send(&format!("{heads}{SCRAPE}{KEEP}HEAD /secret/numbers?mode=top10 HTTP/1.1\r\n{KEEP}{SCRAPE}")).await;
        let replies = driven.read_to_end().await;
        let (heads, rest) = replies.split_once(SCRAPED).unwrap();
        let statuses: Vec<_> = heads.split("HTTP/1.1 ").skip(1).map(|reply| &reply[..3]).collect();
        assert_eq!(statuses, ["200", "404", "200", "404", "302", "200"], "{heads}");
        assert_eq!(heads.matches("\r\n\r\n").count(), 6);
        assert_eq!(heads.matches("\r\n\r\nHTTP/1.1 ").count(), 5, "there is nothing between them: {heads}");
        assert_eq!(rest, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n");
        assert_eq!((driven.count(Counter::FullScraped), driven.count(Counter::FullScrapeBytes)), (0, 0));
        assert_eq!((driven.count(Counter::TcpScraped), driven.count(Counter::TcpAnnounced)), (1, 0));
    });
}

#[test]
fn who_asks_in_another_way_is_told_that_and_the_connection_is_closed() {
    run(true, async {
        let not_implemented = "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/html\r\nContent-Length: 35\r\n\
                               Connection: close\r\n\r\n<title>501 Not Implemented</title>\n";
        for (method, expected) in [("POST", NOT_ALLOWED), ("OPTIONS", NOT_ALLOWED), ("get", not_implemented)] {
            let mut driven = Driven::new(plain(), 10_000);
            driven.send(&format!("{method} /announce HTTP/1.1\r\n{KEEP}{SCRAPE}{KEEP}")).await;
            assert_eq!(driven.read_to_end().await, expected);
            let counters = [Counter::HttpMethod, Counter::Http400Parse, Counter::TcpScraped];
            assert_eq!(counters.map(|counter| driven.count(counter)), [1, 0, 0]);
        }
    });
}

#[test]
fn a_connection_without_a_request_is_closed_after_30_s() {
    run(true, async {
        let mut silent = Driven::new(plain(), 100);
        assert_eq!(silent.read_to_end().await, "");
        assert_eq!(silent.count(Counter::Http400Parse), 0);
        assert_eq!(silent.seconds().await, 30);

        let mut idle = Driven::new(plain(), 1000);
        tokio::time::sleep(Duration::from_secs(20)).await;
        idle.send(&format!("{SCRAPE}{KEEP}")).await;
        assert!(idle.read_to_end().await.ends_with(SCRAPED));
        assert_eq!(idle.seconds().await, 50);
    });
}

#[test]
fn a_head_that_comes_too_slowly_is_refused_after_30_s() {
    run(true, async {
        let mut driven = Driven::new(plain(), 1000);
        for letter in ["G", "E", "T"] {
            driven.send(letter).await;
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        driven.send(" /").await;
        assert_eq!(driven.read_to_end().await, BAD_REQUEST);
        assert_eq!(driven.start.elapsed().as_secs(), 30);
        assert_eq!(driven.count(Counter::Http400Parse), 1);
    });
}

#[test]
fn a_head_that_ends_too_early_is_refused() {
    run(true, async {
        let mut driven = Driven::new(plain(), 1000);
        driven.send("GET / HTTP/1.1\r\n").await;
        driven.client.shutdown().await.unwrap();
        assert_eq!(driven.read_to_end().await, BAD_REQUEST);
        assert_eq!(driven.seconds().await, 0);
    });
}

#[test]
fn a_head_of_more_than_8_kib_is_refused() {
    run(true, async {
        for (len, expected) in [(MAX_HEAD, "HTTP/1.1 404"), (MAX_HEAD + 1, "HTTP/1.1 400 Invalid Request")] {
            let mut driven = Driven::new(plain(), 100_000);
            driven.send(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(len - 18))).await;
            let reply = driven.read_to_end().await;
            assert!(reply.starts_with(expected), "{len}: {reply}");
        }
    });
}

#[test]
fn a_reader_that_stalls_is_cut_off_after_30_s() {
    run(true, async {
        let mut driven = Driven::new(plain(), 100);
        driven.send(&format!("{SCRAPE}{KEEP}")).await;
        assert_eq!(driven.seconds().await, 30);
    });
}

#[test]
fn when_the_worker_stops_what_is_idle_is_closed_and_what_is_begun_is_finished() {
    run(true, async {
        let mut idle = Driven::new(plain(), 1000);
        idle.send(&format!("{SCRAPE}{KEEP}")).await;
        idle.read_until(SCRAPED).await;
        idle.worker.stop();
        assert_eq!(idle.read_to_end().await, "");
        assert_eq!(idle.seconds().await, 0);

        let mut begun = Driven::new(plain(), 1000);
        begun.send(SCRAPE).await;
        yield_now().await;
        begun.worker.stop();
        yield_now().await;
        begun.send(KEEP).await;
        assert!(begun.read_to_end().await.ends_with(SCRAPED));
        assert_eq!(begun.seconds().await, 0);
    });
}

#[test]
fn a_request_that_is_on_its_way_when_the_worker_stops_is_answered() {
    run(true, async {
        let mut idle = Driven::new(plain(), 1000);
        idle.send(&format!("{SCRAPE}{KEEP}")).await;
        idle.read_until(SCRAPED).await;
        idle.worker.stop();
        yield_now().await;
        idle.send(&format!("{SCRAPE}{KEEP}")).await;
        let reply = idle.read_to_end().await;
        assert!(reply.ends_with(&format!("\r\nConnection: close\r\n\r\n{SCRAPED}")), "{reply}");
        assert_eq!(idle.seconds().await, 0);
    });
}

#[test]
fn who_was_told_that_there_would_be_another_reply_gets_it_when_the_worker_stops() {
    run(true, async {
        // There is no room for the whole of the first reply.
        let mut busy = Driven::new(plain(), 150);
        busy.send(&format!("{SCRAPE}{KEEP}")).await;
        yield_now().await;
        busy.send(&format!("{SCRAPE}{KEEP}")).await;
        busy.worker.stop();
        let replies = busy.read_to_end().await;
        let connections: Vec<_> = replies.split("\r\nConnection: ").skip(1).map(|rest| &rest[..5]).collect();
        assert_eq!(connections, ["keep-", "close"], "{replies}");
        assert!(replies.ends_with(SCRAPED), "{replies}");
        assert_eq!(busy.seconds().await, 0);
    });
}

/// Only a real connection can be reset, and so lose a reply that was sent.
#[test]
fn who_sends_more_than_is_read_still_gets_the_reply() {
    let body = format!("{SCRAPE}Content-Length: 50000\r\n{KEEP}{}", "x".repeat(50_000));
    for (request, expected) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(50_000)), BAD_REQUEST),
        (format!("POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n{}", "a".repeat(50_000)), NOT_ALLOWED),
        (body, &format!("\r\nConnection: close\r\n\r\n{SCRAPED}")),
    ] {
        run(false, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, from) = listener.accept().await.unwrap();
            let worker = worker(plain(), &ConnectionLimit::new(1, usize::MAX));
            let end = spawn_local(async move {
                drive(server, from.ip(), &permit(&worker, from.ip()).await, OpenConnection::new()).await;
            });
            client.write_all(request.as_bytes()).await.unwrap();
            // The client reads only when it has written everything; the reply must be there still.
            client.readable().await.unwrap();
            yield_now().await;
            let mut reply = String::new();
            client.read_to_string(&mut reply).await.unwrap();
            assert!(reply.ends_with(expected), "{reply}");
            drop(client);
            end.await.unwrap();
        });
    }
}
