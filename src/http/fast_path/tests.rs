use std::io::{Read, Write};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::spawn_local;

use super::*;
use crate::http::connection::drive;
use crate::http::connection::tests::{KEEP, NOT_ALLOWED, SCRAPE, SCRAPED};
use crate::http::connection_limit::ConnectionLimit;
use crate::http::testing::{permit, plain, run, worker};

/// A connection over which `input` has come, and whose system has room for `room` bytes to be sent.
struct FakeIncoming<'a> {
    input: &'a [u8],
    room: usize,
    sent: Vec<u8>,
}

impl Incoming for FakeIncoming<'_> {
    type Stream = DuplexStream;

    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Read::read(&mut self.input, room) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Write::write(&mut self.sent, &bytes[..bytes.len().min(self.room)])
        }
    }

    fn into_stream(self) -> io::Result<DuplexStream> {
        unreachable!("it is only looked at")
    }
}

/// What the fast path sends, and what it leaves: to be answered, to be sent, and whether a request was answered.
fn fast_path(input: &str, room: usize) -> (String, Option<(String, String, bool)>) {
    let worker = worker(plain(), &ConnectionLimit::new(1, usize::MAX));
    let mut incoming = FakeIncoming { input: input.as_bytes(), room, sent: Vec::new() };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let left = FastPath::new().answer(&mut incoming, "::1".parse().unwrap(), &worker).map(|connection| {
        let OpenConnection { buffers: Buffers { input, output }, reply, .. } = connection;
        (text(input), text(output), reply.is_some())
    });
    (text(incoming.sent), left)
}

#[test]
fn the_fast_path_is_enough_for_a_request_that_is_there_and_a_reply_that_fits() {
    let (sent, left) = fast_path(&format!("{SCRAPE}\r\n"), 1000);
    assert!(sent.starts_with("HTTP/1.1 200 OK") && sent.ends_with(SCRAPED));
    assert_eq!(left, None);
}

#[test]
fn the_fast_path_leaves_what_has_to_be_waited_for() {
    let nothing = String::new;
    assert_eq!(fast_path("", 1000), (nothing(), Some((nothing(), nothing(), false))), "no request yet");
    assert_eq!(fast_path("GET /", 1000), (nothing(), Some(("GET /".into(), nothing(), false))), "half of one");

    let whole = fast_path(&format!("{SCRAPE}\r\n"), 1000).0;
    for room in [0, 7] {
        let (sent, left) = fast_path(&format!("{SCRAPE}\r\n"), room);
        let (input, unsent, answered) = left.unwrap();
        assert_eq!((sent.len(), input, answered), (room, nothing(), true));
        assert_eq!(sent + &unsent, whole, "a client that does not read");
    }
    // Those that stay are sent their reply once they have a permit.
    let (sent, left) = fast_path(&format!("{SCRAPE}{KEEP}GET /"), 1000);
    let (input, unsent, answered) = left.unwrap();
    assert_eq!((sent, input, answered), (nothing(), "GET /".into(), true), "the connection stays open, more has come");
    assert!(unsent.ends_with(SCRAPED));
    let (sent, left) = fast_path("POST / HTTP/1.1\r\n\r\nbody", 1000);
    let (_, unsent, answered) = left.unwrap();
    assert_eq!((sent, unsent.as_str(), answered), (nothing(), NOT_ALLOWED, true), "a body that is not read");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(INITIAL_INPUT - 18));
    assert!(fast_path(&long, 1000).1.is_some(), "perhaps more has come");
    assert!(fast_path(&long.replacen('a', "", 1), 1000).1.is_none());
}

#[test]
fn what_the_fast_path_could_not_send_is_sent_before_all_else() {
    run(true, async {
        let worker = worker(plain(), &ConnectionLimit::new(1, usize::MAX));
        let requests = format!("{SCRAPE}{KEEP}{SCRAPE}\r\n");
        let mut incoming = FakeIncoming { input: requests.as_bytes(), room: 7, sent: Vec::new() };
        let connection = FastPath::new().answer(&mut incoming, "::1".parse().unwrap(), &worker).unwrap();
        let (mut client, server) = duplex(1000);
        let driver = Rc::clone(&worker);
        spawn_local(async move {
            let from = "::1".parse().unwrap();
            drive(server, from, &permit(&driver, from).await, connection).await;
        });
        let mut replies = String::from_utf8(incoming.sent).unwrap();
        client.read_to_string(&mut replies).await.unwrap();
        assert!(replies.starts_with("HTTP/1.1 200 OK"));
        assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(replies.matches(SCRAPED).count(), 2);
    });
}
