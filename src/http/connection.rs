//! Drives the service over one connection.
//!
//! Whatever the client does or does not do, everything here ends: a head has 30 s to come, a piece of a reply has
//! 30 s to go, and what is kept meanwhile is bounded.

use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use crate::tracker::{Clock, Flavour};

use super::byte_stream::ByteStream;
use super::exchange::{Next, StreamedBody};
use super::flavour::{ClientAddress as _, HttpFlavour};
use super::places::Turn;
use super::reply::Error;
use super::request::{MAX_HEAD, Request};
use super::takeover::{TakenOver, Takeover};
use super::walk;
use super::worker::{ConnectionPermit, Worker, give_way};
use super::wrapper::Wrappers;

/// How long a head may take: from the accept, or from the previous reply, to its end. What a connection is wrapped in
/// is part of its first head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long the client may take to receive a reply, or one piece of a long one.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long an idle connection stays open when the worker is to stop: a request that is on its way is answered, and its
/// client told that it was the last one.
const LAST_CALL: Duration = Duration::from_millis(10);

/// How long a client that sends what nobody reads may take to notice that it has been answered.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Maximum number of bytes that are read from such a client.
const MAX_LINGER: u64 = 64 * 1024;

/// Bytes that are set aside for a head at first: most announces take less than half of it.
pub(super) const INITIAL_INPUT: usize = 1024;

/// Maximum number of bytes that a connection keeps for replies while it waits for a request: enough for most of them.
pub(super) const MAX_KEPT_OUTPUT: usize = 2048;

/// What follows a reply, or the beginning of one, that has been written to the output.
pub(super) struct Reply<F: Flavour> {
    pub(super) next: Next<F>,
    /// The client may send more, which is not going to be read.
    pub(super) unread: bool,
    /// Whose reply it is, if it is one that is still to be made.
    pub(super) client: Option<IpAddr>,
}

/// How far a connection has got that is to be driven on.
pub(super) struct OpenConnection<F: Flavour> {
    pub(super) buffers: Buffers,
    /// The reply to the request that was answered, if one was.
    pub(super) reply: Option<Reply<F>>,
    /// When the time for the first head ends, if it has begun.
    pub(super) deadline: Option<Instant>,
}

impl<F: Flavour> OpenConnection<F> {
    /// Returns the state of a connection over which nothing has come.
    pub(super) fn new() -> Self {
        Self { buffers: Buffers { input: Vec::new(), output: Vec::new() }, reply: None, deadline: None }
    }

    /// Returns the state of a connection over which `input` has come, and whose first head has time until `deadline`.
    pub(super) fn behind(input: Vec<u8>, deadline: Instant) -> Self {
        Self { buffers: Buffers { input, output: Vec::new() }, reply: None, deadline: Some(deadline) }
    }

    /// Returns whose turn it is.
    pub(super) fn turn(&self) -> Turn {
        match &self.reply {
            Some(Reply { client: Some(_), .. }) => Turn::Ours,
            Some(_) => Turn::Read,
            None => Turn::Ask,
        }
    }

    /// Returns how many bytes have come that are not answered yet.
    pub(super) fn said(&self) -> usize {
        self.buffers.input.len()
    }
}

pub(super) struct Buffers {
    /// Received and not yet answered.
    pub(super) input: Vec<u8>,
    /// Not yet sent.
    pub(super) output: Vec<u8>,
}

/// What ends the wait for a request. Both are made once for a connection: to move a deadline, or to go on waiting,
/// costs less than to make a new one.
struct Deadlines<'a, S> {
    deadline: Pin<&'a mut Sleep>,
    stopping: Pin<&'a mut S>,
}

/// Drives a connection to its end: answers one request, or several if the client asks for that, and closes it.
pub(super) async fn drive<F: HttpFlavour, C: Clock>(
    mut stream: impl ByteStream,
    from: IpAddr,
    permit: &ConnectionPermit<F, C>,
    connection: OpenConnection<F>,
) {
    let worker = &*permit.worker;
    let OpenConnection { mut buffers, mut reply, deadline } = connection;
    let deadline = deadline.unwrap_or_else(|| Instant::now() + HEAD_TIME);
    let (deadline, stopping) = (pin!(sleep_until(deadline)), pin!(worker.stopping()));
    let mut deadlines = Deadlines { deadline, stopping };
    loop {
        let Reply { next, unread, client } = match reply.take() {
            Some(reply) => reply,
            None => match receive(&mut stream, from, permit, &mut buffers, &mut deadlines).await {
                Some(reply) => reply,
                None => return,
            },
        };
        let Buffers { input, output } = &mut buffers;
        if client.is_some() {
            permit.lend(client);
            permit.works();
        }
        if write(&mut stream, output, permit).await.is_err() {
            return;
        }
        let keep_alive = next.keep_alive();
        let sent = match next {
            Next::Close | Next::KeepAlive => Ok(()),
            Next::Stream(body) => send_body(&mut stream, permit, output, body).await,
            Next::Walk(walk) => {
                walk::make(walk, from, worker, output).await;
                write(&mut stream, output, permit).await
            }
            Next::TakeOver(takeover) => {
                drop(buffers.output);
                return hand_over(&mut stream, worker, takeover, buffers.input, deadlines.stopping).await;
            }
        };
        if sent.is_err() {
            return;
        }
        if client.is_some() {
            permit.lend(None);
        }
        let now = Instant::now();
        permit.awaits_request(now, input.len());
        if !keep_alive {
            return close(stream, unread || !input.is_empty(), F::Wrappers::HAS_LAST_WORD).await;
        }
        deadlines.deadline.as_mut().reset(now + HEAD_TIME);
        output.clear();
        if input.is_empty() {
            input.shrink_to(INITIAL_INPUT);
            output.shrink_to(MAX_KEPT_OUTPUT);
        }
    }
}

/// Waits until the worker is to stop. Once it is, `stopping` may have said so, and must not be asked again.
async fn until_stopping<F: HttpFlavour, C: Clock>(
    worker: &Worker<F, C>,
    stopping: &mut Pin<&mut impl Future<Output = ()>>,
) {
    if !worker.is_stopping() {
        stopping.as_mut().await;
    }
}

/// Leaves the connection to a route, which speaks something else over it, until the route is done.
async fn hand_over<F: HttpFlavour, C: Clock>(
    stream: &mut impl ByteStream,
    worker: &Worker<F, C>,
    takeover: Box<dyn Takeover>,
    received: Vec<u8>,
    mut stopping: Pin<&mut impl Future<Output = ()>>,
) {
    let stopping = pin!(until_stopping(worker, &mut stopping));
    takeover.run(TakenOver { stream, received, now: &|| worker.now(), stopping }).await;
}

/// Reads one request, and no further if more have come with it, and answers it. Returns `None` if none has come and the
/// connection is to be closed.
async fn receive<F: HttpFlavour, C: Clock>(
    stream: &mut impl ByteStream,
    from: IpAddr,
    permit: &ConnectionPermit<F, C>,
    Buffers { input, output }: &mut Buffers,
    Deadlines { deadline, stopping }: &mut Deadlines<'_, impl Future<Output = ()>>,
) -> Option<Reply<F>> {
    let worker = &*permit.worker;
    loop {
        let has_begun = !input.is_empty();
        if has_begun {
            if let Some((reply, head_len)) = answer(from, worker, input, output) {
                input.drain(..head_len);
                return Some(reply);
            }
            permit.has_come(input.len());
        }
        let stop = async {
            if has_begun {
                pending().await
            } else {
                until_stopping(worker, stopping).await;
                sleep(LAST_CALL).await;
            }
        };
        match race(race(read(stream, input), deadline.as_mut()), stop).await {
            Ok(Ok(Ok(1..))) => (),
            Ok(Ok(Ok(0)) | Err(())) if has_begun => return Some(refuse(Error::Malformed, from, worker, output)),
            _ => return None,
        }
    }
}

/// Reads some bytes. The memory for them grows as they come, up to that for the longest head.
async fn read(stream: &mut impl ByteStream, input: &mut Vec<u8>) -> io::Result<usize> {
    if input.len() == input.capacity() {
        input.reserve_exact(input.len().clamp(INITIAL_INPUT, MAX_HEAD / 2));
    }
    stream.read_buf(input).await
}

/// Answers the request at the beginning of `input`. Returns what follows, with the length of the head in bytes; `None`
/// if the head is not complete.
pub(super) fn answer<F: HttpFlavour, C: Clock>(
    from: IpAddr,
    worker: &Worker<F, C>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Option<(Reply<F>, usize)> {
    let mut slots = Request::slots();
    match Request::parse(input, &mut slots) {
        Ok(Some((request, len))) => {
            worker.log(&request, input.get(..len).unwrap_or_default(), from);
            let next = worker.answer(&request, from, output);
            let client = if next.is_whole() { None } else { Some(client(from, worker, &request)) };
            Some((Reply { next, unread: request.has_body(), client }, len))
        }
        Ok(None) => None,
        Err(bad) => Some((refuse(bad.into(), from, worker, output), 0)),
    }
}

/// Returns who has sent a request that has been answered.
#[cold]
fn client<F: HttpFlavour, C>(from: IpAddr, worker: &Worker<F, C>, request: &Request<'_>) -> IpAddr {
    let service = worker.service.borrow();
    service.shared().tracker.flavour().client_address().of_page(from, request).unwrap_or(from)
}

/// Answers what is no request that is served.
fn refuse<F: HttpFlavour, C>(error: Error, from: IpAddr, worker: &Worker<F, C>, output: &mut Vec<u8>) -> Reply<F> {
    worker.service.borrow().refuse(error, from, output);
    Reply { next: Next::Close, unread: true, client: None }
}

/// Makes and sends a body piece by piece, until its lease ends. Others have their turn between two pieces.
async fn send_body<F: HttpFlavour, C: Clock>(
    stream: &mut impl ByteStream,
    permit: &ConnectionPermit<F, C>,
    output: &mut Vec<u8>,
    StreamedBody { stream: mut pieces, chunked, mut lease_end, bytes, .. }: StreamedBody<F>,
) -> io::Result<()> {
    let worker = &*permit.worker;
    let (shared, counters) = {
        let service = worker.service.borrow();
        (service.shared().clone(), service.counters().clone())
    };
    let mut more = true;
    while more {
        if lease_end.has_come() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        output.clear();
        output.extend_from_slice(CHUNK_HEAD);
        more = pieces.next(shared.tracker.store(), worker.now(), output);
        let len = output.len().saturating_sub(CHUNK_HEAD.len());
        // An empty chunk would be the last one.
        if len > 0 {
            let written = race(write(stream, piece(output, len, chunked), permit), lease_end.come()).await;
            written.unwrap_or(Err(ErrorKind::ConnectionAborted.into()))?;
            if let Some(bytes) = bytes {
                counters.add(bytes, len as u64);
            }
        }
        give_way().await;
    }
    if chunked { write(stream, b"0\r\n\r\n", permit).await } else { Ok(()) }
}

/// What stands before a piece until its length is known. Leading zeros are part of the grammar
/// (RFC 9112, section 7.1), so any length fits.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// Returns what is to be sent of `output`, where `len` bytes follow [`CHUNK_HEAD`].
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

/// Writes all of `bytes`, and sees that they go out.
async fn write<F: HttpFlavour, C: Clock>(
    stream: &mut impl ByteStream,
    bytes: &[u8],
    permit: &ConnectionPermit<F, C>,
) -> io::Result<()> {
    let rest = bytes.get(write_at_once(stream, bytes).await?..).unwrap_or_default();
    // Only who has to wait needs a timer.
    if rest.is_empty() && flush_at_once(stream).await? {
        return Ok(());
    }
    let wait = async {
        stream.write_all(rest).await?;
        stream.flush().await
    };
    permit.awaits_reader();
    timeout(WRITE_TIME, wait).await??;
    permit.works();
    Ok(())
}

/// Writes as much as there is room for. Returns how many bytes that is.
async fn write_at_once(stream: &mut impl ByteStream, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|context| {
        Poll::Ready(match bytes {
            [] => Ok(0),
            bytes => match Pin::new(&mut *stream).poll_write(context, bytes) {
                Poll::Ready(written) => written,
                Poll::Pending => Ok(0),
            },
        })
    })
    .await
}

/// Lets go of what a wrapper holds back; a socket holds nothing. Returns whether all of it has gone out.
async fn flush_at_once(stream: &mut impl ByteStream) -> io::Result<bool> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *stream).poll_flush(context) {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(false),
        })
    })
    .await
}

/// Closes a connection in such a way that what was sent last arrives: a system that closes one with something unread
/// tells the other end to forget all (RFC 9112, section 9.6). What wraps a connection may have a last word to say, too.
async fn close(mut stream: impl ByteStream, unread: bool, has_last_word: bool) {
    if unread || has_last_word || has_more(&mut stream).await {
        let linger = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(MAX_LINGER), &mut tokio::io::sink()).await
        };
        // Whatever comes of it, the client has had its time.
        let _ = timeout(LINGER_TIME, linger).await;
    }
}

/// Returns whether something has come already.
async fn has_more(stream: &mut impl ByteStream) -> bool {
    poll_fn(|context| {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        Poll::Ready(matches!(read, Poll::Ready(Ok(()))) && !buffer.filled().is_empty())
    })
    .await
}

/// Waits for the first of two, or for `one` if both are ready.
pub(super) async fn race<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> Result<A, B> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => other.as_mut().poll(context).map(Err),
    })
    .await
}

#[cfg(test)]
pub(super) mod tests;
