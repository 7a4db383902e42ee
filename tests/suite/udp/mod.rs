//! UDP: BEP 15, and what this tracker adds to it.

pub(crate) mod capacity;
pub(crate) mod crowds;
pub(crate) mod exchange;
pub(crate) mod hostile;
pub(crate) mod peers;
pub(crate) mod room;
pub(crate) mod shared_ids;
pub(crate) mod sockets;
pub(crate) mod unproved;
