//! What HTTP is spoken over.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes in both directions: a socket, or what wraps one.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}
