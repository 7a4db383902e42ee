//! What an accepted connection passes through before HTTP sees it, such as a proxy's greeting or encryption.
//!
//! All stages and the first head have 30 s together, from the accept on.

use std::io;
use std::net::SocketAddr;

use super::byte_stream::ByteStream;

/// One stage on the way from a socket to HTTP.
pub trait Wrapper: Send + Sync + 'static {
    /// True where the stage has a last word to say, as encryption does: then a connection is shut down before it is
    /// closed.
    const HAS_LAST_WORD: bool;

    /// What HTTP, or the next stage, gets instead of `S`.
    type Stream<S: ByteStream + 'static>: ByteStream + 'static;

    /// Returns whether the stage has anything to do for a connection from `peer`. A connection for which no stage has
    /// can be answered before the event loop knows of it.
    fn wraps(&self, peer: SocketAddr) -> bool;

    /// Takes a connection from `client` through the stage, or hands it on unchanged if only another stage wraps it.
    /// Returns what to go on with, and who the client is: a proxy's greeting may name another one than the connection's
    /// other end.
    ///
    /// `received` has been read from the stream already and goes before the rest of it. The stage takes its part of
    /// that away, appends what it reads, and leaves what it has read too much. It decides how much that may be.
    ///
    /// # Errors
    ///
    /// The connection is of no use, and is closed without an answer. [`io::ErrorKind::InvalidData`] says that what came
    /// is malformed, and is counted. It is also counted if time ends while something is in `received`.
    fn wrap<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> impl Future<Output = io::Result<(Self::Stream<S>, SocketAddr)>>;
}

/// All stages of a build, the one next to the socket first: one stage, none, or a pair of such chains.
pub trait Wrappers: Send + Sync + 'static {
    /// False where there is no stage: then nobody asks [`Self::wraps`].
    const WRAPS: bool;

    /// As [`Wrapper::HAS_LAST_WORD`], of any stage.
    const HAS_LAST_WORD: bool;

    /// What HTTP is spoken over, instead of `S`.
    type Stream<S: ByteStream + 'static>: ByteStream + 'static;

    /// Returns whether any stage has something to do for a connection from `peer`.
    fn wraps(&self, peer: SocketAddr) -> bool;

    /// Takes a connection through every stage, as [`Wrapper::wrap`] does through one.
    fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> impl Future<Output = io::Result<(Self::Stream<S>, SocketAddr)>>;
}

/// Stands where nothing wraps connections.
#[derive(Debug, Default)]
pub struct NoWrapper;

impl Wrappers for NoWrapper {
    const WRAPS: bool = false;

    const HAS_LAST_WORD: bool = false;

    type Stream<S: ByteStream + 'static> = S;

    fn wraps(&self, _: SocketAddr) -> bool {
        false
    }

    async fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
        _: &mut Vec<u8>,
    ) -> io::Result<(S, SocketAddr)> {
        Ok((stream, client))
    }
}

impl<W: Wrapper> Wrappers for W {
    const WRAPS: bool = true;

    const HAS_LAST_WORD: bool = W::HAS_LAST_WORD;

    type Stream<S: ByteStream + 'static> = W::Stream<S>;

    fn wraps(&self, peer: SocketAddr) -> bool {
        Wrapper::wraps(self, peer)
    }

    fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> impl Future<Output = io::Result<(W::Stream<S>, SocketAddr)>> {
        self.wrap(stream, client, received)
    }
}

impl<A: Wrappers, B: Wrappers> Wrappers for (A, B) {
    const WRAPS: bool = A::WRAPS || B::WRAPS;

    const HAS_LAST_WORD: bool = A::HAS_LAST_WORD || B::HAS_LAST_WORD;

    type Stream<S: ByteStream + 'static> = B::Stream<A::Stream<S>>;

    fn wraps(&self, peer: SocketAddr) -> bool {
        self.0.wraps(peer) || self.1.wraps(peer)
    }

    async fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> io::Result<(Self::Stream<S>, SocketAddr)> {
        let (stream, client) = self.0.pass(stream, client, received).await?;
        self.1.pass(stream, client, received).await
    }
}

#[cfg(test)]
mod tests;
