//! Completed downloads, one by one.

use std::fmt::Display;
use std::net::SocketAddr;

use tracing::info;

/// The target of these lines. They are logged only where it is named: there may be as many as strangers like.
pub const COMPLETED: &str = "completed";

/// Logs that the client at `endpoint` has completed a download, which is counted. Costs next to nothing unless that is
/// asked for.
#[inline(never)] // Few announces come here, and what they do all the time stays short.
pub fn completed(info_hash: impl Display, endpoint: SocketAddr) {
    info!(target: COMPLETED, event = %"completed", %info_hash, ip = %endpoint.ip(), port = endpoint.port());
}
