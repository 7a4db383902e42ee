//! What bounds snapshots.

use std::time::Duration;

/// Most bytes of a piece.
pub const MAX_PIECE: usize = 64 * 1024;

/// Most snapshots that a tracker gives at a time, over all its transports.
pub const MAX_GIVEN: usize = 2;

/// How long the other side may neither send nor take anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a snapshot may take. Nearly every peer has announced itself anew by then.
pub const MAX_TIME: Duration = Duration::from_secs(30 * 60);

/// What the configuration says (`[sync]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// For how long the tracker may say that it is not ready; zero: it asks for no snapshot.
    pub wait: Duration,
    /// Bytes a second that are given at most, over all transports; 0: none is given.
    pub rate: u64,
    /// Most bytes of a snapshot that is taken; 0: none is asked for.
    pub max: u64,
}
