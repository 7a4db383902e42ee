//! What the loaders of `ci/bench/run` share: their command line, and whom they pretend to be.

pub mod arguments;
pub mod hashes;
pub mod population;
