//! A BitTorrent tracker that is configured at compile time: one small core, two front ends, and one module for each
//! switch. It is the C tracker of the same name by Dirk Engling ("the original" in these pages), written anew: its
//! command line, its configuration, its statistics and what it says to clients stay as they are known.
//!
//! What follows is the plan of the house.
#![doc = include_str!("architecture.md")]
#![cfg_attr(
    any(test, fuzzing),
    allow(clippy::cast_possible_truncation, reason = "tests cast small numbers that they made")
)]
#![cfg_attr(fuzzing, allow(dead_code, unused_imports, reason = "fuzzers use some of what tests use"))]
#![cfg_attr(
    any(test, fuzzing),
    allow(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test that panics has failed, as it should"
    )
)]

#[cfg(all(feature = "accesslist-black", feature = "accesslist-white"))]
compile_error!(
    "the features accesslist-black and accesslist-white exclude each other: a tracker serves either all torrents but \
     the listed ones or the listed ones only; choose one"
);

#[cfg(all(feature = "accesslist-dynamic", not(any(feature = "accesslist-black", feature = "accesslist-white"))))]
compile_error!(
    "the feature accesslist-dynamic needs accesslist-black or accesslist-white: without a list there is nothing to \
     change; choose one of them"
);

#[cfg(all(feature = "gzip-always", feature = "zstd-always"))]
compile_error!(
    "the features gzip-always and zstd-always exclude each other: a full scrape is sent in one coding; choose one"
);

mod atomic;
pub mod cli;
pub mod cluster;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod input;
pub mod log;
pub mod sandbox;
pub mod server;
pub mod sockets;
pub mod stats;
pub mod stop;
pub mod swarms;
pub mod switches;
pub mod tracker;
pub mod udp;
