//! What an accepted connection passes through before HTTP sees it, such as a proxy's greeting or encryption.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::byte_stream::ByteStream;

/// One stage on the way from a socket to HTTP.
pub trait Wrapper: Send + Sync + 'static {
    /// How long a connection may take to pass it. Whoever takes longer is cut off.
    const DEADLINE: Duration;

    /// What HTTP, or the next stage, gets instead of `S`.
    type Stream<S: ByteStream + 'static>: ByteStream + 'static;

    /// Takes a connection from `client` through the stage. Returns what to go on with, and who the client is: a proxy's
    /// greeting may name another one than the connection's other end.
    ///
    /// # Errors
    ///
    /// The connection is of no use, and is closed without an answer.
    fn wrap<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Stream<S>, SocketAddr)>>;
}

/// All stages of a build, the one next to the socket first: one stage, none, or a pair of such chains.
pub trait Wrappers: Send + Sync + 'static {
    /// False where there is no stage: then a connection can be answered before the event loop knows of it.
    const WRAPS: bool;

    /// What HTTP is spoken over, instead of `S`.
    type Stream<S: ByteStream + 'static>: ByteStream + 'static;

    /// Takes a connection through every stage, each within its deadline. Returns as [`Wrapper::wrap`] does.
    fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Stream<S>, SocketAddr)>>;
}

/// Stands where nothing wraps connections.
#[derive(Debug, Default)]
pub struct NoWrapper;

impl Wrappers for NoWrapper {
    const WRAPS: bool = false;

    type Stream<S: ByteStream + 'static> = S;

    async fn pass<S: ByteStream + 'static>(&self, stream: S, client: SocketAddr) -> io::Result<(S, SocketAddr)> {
        Ok((stream, client))
    }
}

impl<W: Wrapper> Wrappers for W {
    const WRAPS: bool = true;

    type Stream<S: ByteStream + 'static> = W::Stream<S>;

    async fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
    ) -> io::Result<(W::Stream<S>, SocketAddr)> {
        timeout(W::DEADLINE, self.wrap(stream, client)).await?
    }
}

impl<A: Wrappers, B: Wrappers> Wrappers for (A, B) {
    const WRAPS: bool = A::WRAPS || B::WRAPS;

    type Stream<S: ByteStream + 'static> = B::Stream<A::Stream<S>>;

    async fn pass<S: ByteStream + 'static>(
        &self,
        stream: S,
        client: SocketAddr,
    ) -> io::Result<(Self::Stream<S>, SocketAddr)> {
        let (stream, client) = self.0.pass(stream, client).await?;
        self.1.pass(stream, client).await
    }
}

#[cfg(test)]
mod tests;
