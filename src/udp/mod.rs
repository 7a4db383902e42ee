//! The UDP front end (BEP 15).
//!
//! A datagram passes through [`socket`] (receives and sends in batches), [`service`] (datagrams to replies, pure) and
//! [`packet`] (bytes to values and back); [`connection_id`] keeps liars about their address from being answered.

pub mod connection_id;
pub mod packet;
pub mod service;
pub mod socket;

pub use connection_id::ConnectionIds;
pub use service::{Question, Service};
