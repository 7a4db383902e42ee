//! Drives the service over one connection.
//!
//! Whatever the client does or does not do, everything here ends: a head has 30 s to come, a piece of a reply has
//! 30 s to go, and what is kept meanwhile is bounded.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::future::{pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::Clock;
use crate::stats::Count;

use super::flavour::{HttpFlavour, Stream};
use super::reply::Error;
use super::request::{HEAD_MOST, Malformed, Request};
use super::service::{Body, Next, StreamOf};
use super::worker::Worker;

/// From the accept, or from the previous reply, to the end of a head.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// For a reply, or for one piece of a long one, to be taken by the client.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

/// For a client that sends what nobody reads to notice that it has been answered.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Bytes that are read from such a client.
const LINGER_MOST: u64 = 64 * 1024;

/// Room for a head at first: most announces have less than half of it.
const INPUT_FIRST: usize = 1024;

/// Room that a connection keeps while it waits for another request: enough for most replies.
const OUTPUT_KEPT: usize = 2048;

/// A request has been read and its reply, or the beginning of it, written to the output.
struct Turn<S> {
    next: Next<S>,
    /// More may come that nobody is going to read.
    unread: bool,
}

/// Answers one request, or several if the client asks for that, and closes the connection.
pub(super) async fn drive<F: HttpFlavour, C: Clock>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: IpAddr,
    worker: &Worker<F, C>,
) {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        let Some(turn) = receive(&mut stream, from, worker, &mut input, &mut output).await else { return };
        if send(&mut stream, worker, &mut output, turn.next.body).await.is_err() {
            return;
        }
        if !turn.next.keep_alive || worker.is_stopping() {
            return close(stream, turn.unread || !input.is_empty()).await;
        }
        output.clear();
        if input.is_empty() {
            input.shrink_to(INPUT_FIRST);
            output.shrink_to(OUTPUT_KEPT);
        }
    }
}

/// Reads one request, and no further if more have come with it. `None` when there is nobody to answer.
async fn receive<F: HttpFlavour, C: Clock>(
    stream: &mut (impl AsyncRead + Unpin),
    from: IpAddr,
    worker: &Worker<F, C>,
    input: &mut Vec<u8>,
    output: &mut Vec<u8>,
) -> Option<Turn<StreamOf<F>>> {
    let deadline = Instant::now() + HEAD_TIME;
    loop {
        let begun = !input.is_empty();
        if begun {
            if let Some(turn) = answer(from, worker, input, output) {
                return Some(turn);
            }
        }
        let stop = async { if begun { pending().await } else { worker.stopping().await } };
        match race(timeout_at(deadline, read(stream, input)), stop).await {
            Ok(Ok(Ok(1..))) => (),
            Ok(Ok(Ok(0)) | Err(_)) if begun => return Some(refuse(worker, output)),
            _ => return None,
        }
    }
}

/// Reads some bytes. The room for them grows as they come, up to that for the longest head.
async fn read(stream: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>) -> io::Result<usize> {
    if input.len() == input.capacity() {
        input.reserve_exact(input.len().clamp(INPUT_FIRST, HEAD_MOST / 2));
    }
    stream.read_buf(input).await
}

/// Answers the request at the beginning of `input`, if it is complete.
fn answer<F: HttpFlavour, C: Clock>(
    from: IpAddr,
    worker: &Worker<F, C>,
    input: &mut Vec<u8>,
    output: &mut Vec<u8>,
) -> Option<Turn<StreamOf<F>>> {
    let mut room = Request::room();
    let (turn, len) = match Request::parse(input, &mut room) {
        Ok(Some((request, len))) => {
            let next = worker.service.borrow_mut().answer(&request, from, worker.now(), output);
            (Turn { next, unread: request.has_body() }, len)
        }
        Ok(None) => return None,
        Err(Malformed) => return Some(refuse(worker, output)),
    };
    input.drain(..len);
    Some(turn)
}

fn refuse<F: HttpFlavour, C>(worker: &Worker<F, C>, output: &mut Vec<u8>) -> Turn<StreamOf<F>> {
    worker.service.borrow_mut().refuse(Error::Malformed, false, output);
    Turn { next: Next { body: None, keep_alive: false }, unread: true }
}

/// Sends what is in `output`, and then the body that is made piece by piece. Others have their turn between two
/// pieces.
async fn send<F: HttpFlavour, C: Clock>(
    stream: &mut (impl AsyncWrite + Unpin),
    worker: &Worker<F, C>,
    output: &mut Vec<u8>,
    body: Option<Body<StreamOf<F>>>,
) -> io::Result<()> {
    write(stream, output).await?;
    let Some(Body { stream: mut pieces, chunked }) = body else { return Ok(()) };
    let (shared, tally) = {
        let service = worker.service.borrow();
        (service.shared().clone(), service.tally().clone())
    };
    let mut more = true;
    while more {
        output.clear();
        output.extend_from_slice(CHUNK_HEAD);
        more = pieces.next(shared.tracker.store(), worker.now().minute, output);
        let len = output.len().saturating_sub(CHUNK_HEAD.len());
        // An empty chunk would be the last one.
        if len > 0 {
            write(stream, piece(output, len, chunked)).await?;
            tally.add(Count::FullScrapeBytes, len as u64);
        }
        yield_now().await;
    }
    if chunked { write(stream, b"0\r\n\r\n").await } else { Ok(()) }
}

/// Room before a piece for its length, which is known only afterwards. Leading zeros are part of the grammar
/// (RFC 9112, section 7.1), so the room is always of the right size.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// What is to be sent of `output`, where `len` bytes follow the room for a chunk's head.
fn piece(output: &mut Vec<u8>, len: usize, chunked: bool) -> &[u8] {
    if !chunked {
        return output.get(CHUNK_HEAD.len()..).unwrap_or_default();
    }
    output.extend_from_slice(b"\r\n");
    let digits = format!("{len:08x}");
    for (place, digit) in output.iter_mut().zip(digits.bytes()) {
        *place = digit;
    }
    output
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIME, stream.write_all(bytes)).await?
}

/// Closes a connection in such a way that what was sent last arrives: a system that closes one with something unread
/// tells the other end to forget all (RFC 9112, section 9.6).
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin, unread: bool) {
    if unread || has_more(&mut stream).await {
        let linger = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(LINGER_MOST), &mut tokio::io::sink()).await
        };
        // Whatever comes of it, the client has had its time.
        let _ = timeout(LINGER_TIME, linger).await;
    }
}

/// Has something come already?
async fn has_more(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    poll_fn(|context| {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        Poll::Ready(matches!(read, Poll::Ready(Ok(()))) && !buffer.filled().is_empty())
    })
    .await
}

/// Waits for the first of two. Where both are there, it is `one`.
pub(super) async fn race<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> Result<A, B> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => other.as_mut().poll(context).map(Err),
    })
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
