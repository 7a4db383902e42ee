//! Counts of what has happened, and the pages that show them.
//!
//! - [`counters`]: each worker counts for itself; whoever reads adds the workers' counts up.
//! - [`errors`]: the kinds of what goes wrong, for pages that name them.
//! - [`pages`]: the bodies of `/stats`, which monitors parse.

pub mod counters;
pub mod errors;
pub mod pages;

pub use counters::{AddressFamily, Counter, Counters, Protocol, WorkerCounters};
