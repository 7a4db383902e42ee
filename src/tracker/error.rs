//! Why an announce is refused.

use thiserror::Error;

/// Why an announce is refused. The text is for the client, and for its user to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(usize)]
pub enum AnnounceError {
    /// The torrent is not served: see [`Admission`](super::Admission).
    #[error("Requested download is not authorized for use with this tracker.")]
    NotAdmitted,
    /// An IPv4 client at an IPv6 tracker, or the reverse.
    #[error("This tracker does not serve your address family.")]
    FamilyNotServed,
    /// There is no room for another torrent or peer: see [`Capacity`](super::Capacity).
    #[error("This tracker is full. Please try again later.")]
    Full,
    /// The client is not served: see [`Clients`](super::Clients).
    #[error("This tracker does not serve the BitTorrent client that you use. Please choose another one.")]
    ClientNotServed,
}

impl AnnounceError {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 4] = [Self::NotAdmitted, Self::FamilyNotServed, Self::Full, Self::ClientNotServed];
}

const _: () = {
    let mut n = 0;
    while n < AnnounceError::ALL.len() {
        #[expect(clippy::indexing_slicing, reason = "checked when this is compiled")]
        let variant = AnnounceError::ALL[n] as usize;
        assert!(variant == n, "each stands where its number says");
        n += 1;
    }
};
