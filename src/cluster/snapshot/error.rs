//! Why a snapshot comes to nothing.

use std::io;

use thiserror::Error;

use crate::swarms::StreamError;

use super::limits::{MAX_TIME, PATIENCE};

/// Why a snapshot is given up, by whoever gives or takes it. What has come of it is kept. For the operator.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// What has come is not what a tracker writes.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It has more bytes than are taken.
    #[error("it has more than {0} bytes (sync.snapshot_max)")]
    TooLarge(u64),
    /// It ended before its end, or a piece of it is missing.
    #[error("it stopped in the middle")]
    Cut,
    /// The other side has refused it before it began, as it gives others already.
    #[error("the other gives as many as it can already")]
    Busy,
    /// The other side has neither sent nor taken anything for [`PATIENCE`].
    #[error("nothing has come or gone for {} s", PATIENCE.as_secs())]
    Silent,
    /// It is not over after [`MAX_TIME`].
    #[error("it takes longer than {} minutes", MAX_TIME.as_secs() / 60)]
    TooSlow,
    /// The way between the two is broken.
    #[error(transparent)]
    Io(#[from] io::Error),
}
