//! The UDP front end (BEP 15).
//!
//! A datagram passes through a [`driver`] (receives and sends in batches; [`socket`] is one), [`service`] (datagrams to
//! replies, pure) and [`packet`] (bytes to values and back); [`connection_id`] tells apart who receives what is sent to
//! his address and who only claims it, and [`error_limit`] how many errors those are sent who have not shown it. A
//! worker that waits for datagrams is stopped by `interrupt`.

pub mod connection_id;
pub mod driver;
pub mod error_limit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod interrupt;
pub mod packet;
pub mod service;
pub mod socket;

pub use connection_id::ConnectionIds;
pub use connection_id::shared::SharedSecret;
pub use driver::{Driver, UdpFlavour, run};
pub use error_limit::ErrorLimit;
pub use service::{Question, Service};
pub use socket::Socket;
