//! Snapshots over NATS: a tracker that starts takes over what another one of its cluster knows.
//!
//! - [`message`]: what the two sides tell each other.
//! - [`party`]: what both need.
//! - [`take()`]: the side of the joiner.
//! - [`give()`]: the side of the donors.
//!
//! The joiner asks all; donors answer, and the one that has been up for longest is asked for its snapshot. That comes
//! in numbered pieces, of which a bounded number is on the way. NATS delivers each once or not at all, and in their
//! order: a piece that is missing ends the snapshot, and the next donor is asked. Either side is a task of its own,
//! which nothing else in the thread has to wait for any longer than for one piece.

mod give;
mod message;
mod party;
mod take;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tracing::warn;

use crate::server::Joining;
use crate::tracker::{Clock, Flavour};

use give::give;
pub(super) use party::Party;
use take::take;

/// Starts tasks that give snapshots and, with `joining`, one that takes one if it is needed: see [`give()`] and
/// [`take()`]. They end with the event loop.
pub(super) fn start<F: Flavour, C: Clock>(party: Party<F, C>, joining: Option<Joining>) {
    let joiner = Arc::new(party);
    let donor = Arc::clone(&joiner);
    tokio::spawn(async move {
        if let Err(error) = give(&donor).await {
            warn!("no snapshots are given over NATS: {error}");
        }
    });
    if let Some(joining) = joining {
        tokio::spawn(async move {
            if let Some(unready) = joining.begin().await {
                joiner.shared.set_snapshot(true);
                take(&joiner, unready).await;
            }
        });
    }
}
