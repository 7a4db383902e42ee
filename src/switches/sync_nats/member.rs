//! A tracker as a member of the cluster: what the thread that exchanges batches and the workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::counts::TransportCounters;
use crate::cluster::members::Members;
use crate::cluster::outbox::Outbox;
use crate::stats::WorkerCounters;
use crate::tracker::{Change, Flavour, Tracker, TransportStatus};

use super::batch::{BatchCodec, NAME, Sender};

/// A batch that is not full goes out when the one before it is so old.
const DELAY: Duration = Duration::from_secs(1);

/// For how long another tracker is remembered that is not heard any more. Who is connected says something every 5 s.
const MEMORY: Duration = Duration::from_secs(20);

/// What the thread and the workers share.
pub(super) struct Shared {
    /// The name of the cluster: the subject that all of its subjects begin with.
    pub(super) cluster: String,
    /// The number of this tracker, drawn at the start.
    pub(super) sender: Sender,
    pub(super) outbox: Outbox<BatchCodec>,
    /// The others in the cluster that are on live sync too, by their ids there.
    pub(super) members: Arc<Members>,
    pub(super) counters: TransportCounters,
    /// Whether there is a connection at present, as far as the thread knows.
    connected: AtomicBool,
    /// Whether what others said before the first connection is known from a snapshot, or is about to be.
    snapshot: AtomicBool,
    /// When the tracker began.
    pub(super) began: Instant,
    /// Whether a change has found no room since the thread last looked.
    refused: AtomicBool,
}

impl Shared {
    /// Makes what a tracker with this number in this cluster begins with.
    pub(super) fn new(cluster: String, sender: Sender, now: Instant) -> Self {
        let members = Arc::new(Members::new(MEMORY, now));
        Self {
            cluster,
            sender,
            outbox: Outbox::new(BatchCodec, DELAY, now).among(Arc::clone(&members)),
            members,
            counters: TransportCounters::default(),
            connected: AtomicBool::new(false),
            snapshot: AtomicBool::new(false),
            began: now,
            refused: AtomicBool::new(false),
        }
    }

    /// Adds a change to those that are to be sent. Returns false if there is no room for it. Holds a lock for as long
    /// as it takes to write a record.
    pub(super) fn publish(&self, change: &Change, now: Instant) -> bool {
        let added = self.outbox.add(change, now);
        if !added {
            self.refused.store(true, Ordering::Relaxed);
        }
        added
    }

    /// Returns whether a change has found no room since the last call.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    /// Returns what monitors are told.
    pub(super) fn status(&self, now: Instant) -> TransportStatus {
        self.counters.status(NAME, "NATS", Some(self.is_connected()), now)
    }

    /// Says whether what others said before the first connection is known from a snapshot, or is about to be.
    pub(super) fn set_snapshot(&self, snapshot: bool) {
        self.snapshot.store(snapshot, Ordering::Relaxed);
    }

    /// Returns what was last [set](Self::set_snapshot); at first false.
    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.load(Ordering::Relaxed)
    }

    /// Says whether there is a connection.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
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
    /// Whether peers come from a predecessor.
    pub(super) inherits: bool,
}
