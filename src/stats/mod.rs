//! What has happened, and the pages that tell of it.
//!
//! - [`counters`]: each worker counts for itself; whoever reads adds up.
//! - [`pages`]: the bodies of `/stats`, which monitors parse.

pub mod counters;
pub mod pages;

pub use counters::{AddressFamily, Counter, Counters, Protocol, WorkerCounters};
