//! Counts of what has happened, and the pages that show them.
//!
//! - [`counters`]: each worker counts for itself; whoever reads adds the workers' counts up.
//! - [`pages`]: the bodies of `/stats`, which monitors parse.

pub mod counters;
pub mod pages;

pub use counters::{AddressFamily, Counter, Counters, Protocol, WorkerCounters};
