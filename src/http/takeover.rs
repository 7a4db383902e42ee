//! Connections that a route keeps for itself once its reply is sent, as WebSocket does (RFC 6455).

use std::pin::Pin;

use super::byte_stream::ByteStream;
use super::request::RequestTime;

/// What goes on over a connection after a reply that ended HTTP on it.
pub trait Takeover {
    /// Speaks whatever comes after HTTP, and returns when the connection is to be closed.
    ///
    /// The connection keeps its permit until then, so a takeover must come to an end: it gives up on a client that does
    /// not send or take something in time, and it ends when the worker is to stop.
    fn run<'a>(self: Box<Self>, connection: TakenOver<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

/// A connection that has been taken over.
pub struct TakenOver<'a> {
    /// The connection. The reply has been sent.
    pub stream: &'a mut (dyn ByteStream + 'a),
    /// What the client has sent behind its request already; the rest comes from `stream`.
    pub received: Vec<u8>,
    /// Tells the time.
    pub now: &'a dyn Fn() -> RequestTime,
    /// Returns when the worker is to stop. What is still open 3 s later is cut.
    pub stopping: Pin<&'a mut (dyn Future<Output = ()> + 'a)>,
}

#[cfg(test)]
mod tests;
