//! A BitTorrent tracker that is configured at compile time.
pub mod core;
pub mod stats;
