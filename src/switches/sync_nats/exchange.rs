//! What a tracker says to the others of its cluster over NATS, and what it hears from them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_nats::Client;

use crate::cluster::counts::TransportCounters;
use crate::stats::WorkerCounters;
use crate::stop::StopToken;
use crate::tracker::{Change, Clock, Flavour, Tracker};

/// What the thread and the workers share.
pub(super) struct Shared {
    pub(super) counters: TransportCounters,
    /// Whether there is a connection at present, as far as the thread knows.
    connected: AtomicBool,
}

impl Shared {
    /// Makes what a tracker with this number in this cluster begins with.
    pub(super) fn new(_cluster: String, _sender: u64, _now: Instant) -> Self {
        Self { counters: TransportCounters::default(), connected: AtomicBool::new(false) }
    }

    /// Adds a change to those that are to be sent. Returns false if there is no room for it.
    #[expect(clippy::unused_self, reason = "nothing is sent yet")]
    pub(super) fn publish(&self, _change: &Change, _now: Instant) -> bool {
        true
    }

    /// Returns whether there is a connection at present.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

/// The tracker whose part of the exchange it is, and where that is counted.
pub(super) struct Member<'a, F: Flavour> {
    pub(super) shared: &'a Shared,
    pub(super) tracker: &'a Tracker<F>,
    pub(super) worker_counters: &'a WorkerCounters,
}

/// Tells the cluster what happens here, and takes over what it tells, until `stop` is told.
pub(super) async fn run<F: Flavour>(
    client: &Client,
    member: &Member<'_, F>,
    clock: impl Clock,
    stop: &StopToken,
) -> Result<(), async_nats::Error> {
    let _ = (client, member.tracker, member.worker_counters, clock);
    member.shared.connected.store(true, Ordering::Relaxed);
    stop.stopped().await;
    Ok(())
}
