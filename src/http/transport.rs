//! What HTTP is spoken over.

use tokio::io::{AsyncRead, AsyncWrite};

/// A socket, or what wraps one.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for S {}
