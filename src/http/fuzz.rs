//! Any bytes over a connection, from the first one to the last reply, however they come.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, ErrorKind, Read as _};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::spawn_local;

use super::connection_limit::ConnectionLimit;
use super::flavour::HttpFlavour;
use super::incoming::Incoming;
use super::listener::accept_all;
use super::service::Service;
use super::testing::{run, worker};

/// A connection over which some bytes have come when it is accepted.
struct Arrived {
    received: VecDeque<u8>,
    stream: DuplexStream,
    /// What was sent before the event loop knew of the connection.
    sent: Rc<RefCell<Vec<u8>>>,
    /// Bytes that the system takes at once.
    room: usize,
}

impl Incoming for Arrived {
    type Stream = DuplexStream;

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.received.read(buffer) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.get(..self.room).unwrap_or(bytes);
        if taken.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= taken.len();
        self.sent.borrow_mut().extend(taken);
        Ok(taken.len())
    }

    fn into_stream(self) -> io::Result<DuplexStream> {
        Ok(self.stream)
    }
}

/// Sends `pieces` over a new connection, one after the other, and then no more; the first are there when it is
/// accepted. Returns all replies, in one. Panics if the connection is not closed in the end.
pub(crate) fn converse<F: HttpFlavour>(
    service: Service<F>,
    from: SocketAddr,
    pieces: &[&[u8]],
    room: usize,
) -> Vec<u8> {
    let (&first, later) = pieces.split_first().expect("at least one piece");
    // What does not fit into what is looked at at first is still in the system.
    let at_first = first.len().min(1024);
    let (received, behind) = first.split_at(at_first);
    let mut later: VecDeque<Vec<u8>> = later.iter().map(|piece| piece.to_vec()).collect();
    later.push_front(behind.to_vec());
    let replies = Rc::new(RefCell::new(Vec::new()));
    let sent = Rc::clone(&replies);
    run(true, async move {
        let (client, server) = duplex(64 * 1024);
        let mut arrived = Some(Arrived {
            received: received.iter().copied().collect(),
            stream: server,
            sent: Rc::clone(&sent),
            room,
        });
        let worker = worker(service, &ConnectionLimit::new(1, usize::MAX));
        let accepting = Rc::clone(&worker);
        spawn_local(async move {
            accept_all(&accepting, async || match arrived.take() {
                Some(arrived) => Ok((arrived, from)),
                None => pending().await,
            })
            .await;
        });
        let (mut reader, mut writer) = tokio::io::split(client);
        spawn_local(async move {
            for piece in later {
                // The tracker may have closed the connection by then.
                let _ = writer.write_all(&piece).await;
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            let _ = writer.shutdown().await;
        });
        let mut rest = Vec::new();
        // Time passes at once where everything waits for it, so this ends, or never.
        let ended = tokio::time::timeout(std::time::Duration::from_secs(600), reader.read_to_end(&mut rest)).await;
        ended.expect("a connection that stays open for ever").expect("memory can be read");
        sent.borrow_mut().extend(rest);
    });
    Rc::try_unwrap(replies).expect("all is over").into_inner()
}
