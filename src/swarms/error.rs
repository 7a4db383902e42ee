//! Why a stream is not read any further.

use thiserror::Error;

use super::format::{Totals, VERSION};

/// What is wrong with a stream. All that came before has been taken over. For the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// It does not begin as a stream of swarms does.
    #[error("these are not the swarms of a tracker")]
    NotSwarms,
    /// It is of a version that this program does not know.
    #[error("the swarms are written in version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// Its header names no address families, or unknown ones.
    #[error("{0:#04x} does not name address families")]
    Families(u8),
    /// What follows is no record.
    #[error("no record begins with {0}")]
    Record(u8),
    /// A peer has flags that mean nothing.
    #[error("a peer's flags {0:#04x} mean nothing")]
    Flags(u8),
    /// A record has a peer of a family that the header does not name.
    #[error("a peer is of an address family that the writer does not keep")]
    FamilyNotNamed,
    /// The end mark does not tell of what came before it.
    #[error("{told} are announced at the end, and {found} have come")]
    Totals {
        /// What the end mark says.
        told: Totals,
        /// What has been read.
        found: Totals,
    },
    /// The bytes are not those that were written.
    #[error("the checksum is wrong")]
    Checksum,
    /// Something comes behind the end mark.
    #[error("something follows the end")]
    BehindEnd,
}
