//! What a client is told besides the reason that it, or its torrent, is not served.

use std::num::NonZeroU16;

/// How a client is refused that is not served, or whose torrent is not: see [`Clients`](super::Clients) and
/// [`Admission`](super::Admission). Many clients come back at once from a mere error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalTerms {
    /// When it may ask again.
    pub retry: Retry,
    /// False: it is told the reason in any case. True: where an error has no field for [`Self::retry`] (BEP 15), it is
    /// told that nobody has the torrent, in a reply that has one.
    pub as_empty: bool,
}

/// When a client may ask again that was refused (BEP 31).
///
/// Without a spread, as intervals have one: who is refused has come at a time of his own, and comes back at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After so many minutes.
    InMinutes(NonZeroU16),
    /// It should not.
    Never,
}

impl Retry {
    /// Returns the interval in seconds that says the same; a day stands for never, since no interval does.
    pub fn interval(self) -> u32 {
        match self {
            Self::InMinutes(minutes) => u32::from(minutes.get()) * 60,
            Self::Never => 24 * 60 * 60,
        }
    }
}
