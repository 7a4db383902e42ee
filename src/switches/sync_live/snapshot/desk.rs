//! What both sides of snapshots work with.

use std::io;
use std::sync::Arc;

use tokio::time::timeout;

use super::super::packet::TrackerId;
use super::super::shared::Shared;
use crate::cluster::snapshot::{PATIENCE, SnapshotError, Snapshots};
use crate::tracker::{Flavour, Tracker};

/// A member of the cluster, its tracker and its clock.
pub(super) struct Desk<F: Flavour, C> {
    pub(super) shared: Arc<Shared>,
    pub(super) tracker: Arc<Tracker<F>>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) clock: C,
}

impl<F: Flavour, C> Desk<F, C> {
    /// Returns what this tracker is known by.
    pub(super) fn id(&self) -> TrackerId {
        self.shared.inbox.own
    }
}

/// Waits for what the other side does, but no longer than [`PATIENCE`].
pub(super) async fn patiently<T>(act: impl Future<Output = io::Result<T>>) -> Result<T, SnapshotError> {
    timeout(PATIENCE, act).await.map_err(|_| SnapshotError::Silent)?.map_err(SnapshotError::Io)
}
