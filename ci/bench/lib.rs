//! Benchmarks only: see `announce.rs`.
