//! What every transport of a cluster needs, whatever it writes on the wire.
//!
//! - [`election`]: which of several bridges forwards.
//! - [`members`]: who has been heard lately.
//! - [`outbox`]: gathers changes into packets, which a thread of the transport sends.
//! - [`record`]: how a change is written.
//! - [`trust`]: decides whose packets are believed.
//! - [`inbox`]: takes over the changes of packets that are believed.
//! - [`counts`]: the counters of a transport.
//! - [`snapshot`]: a tracker that starts takes over all that another one knows.
//! - [`watch`]: what the log says of them, while something is wrong.
//!
//! A transport is a [`Cluster`](crate::tracker::Cluster): a switch that brings a [`Codec`](outbox::Codec), a socket,
//! and threads that send and receive.

#[cfg(test)]
mod bridges;
pub mod counts;
pub mod election;
pub mod inbox;
pub mod members;
pub mod outbox;
pub mod record;
pub mod snapshot;
pub mod trust;
pub mod watch;
