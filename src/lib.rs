//! A BitTorrent tracker that is configured at compile time: one small core, two front ends, and one module for each
//! switch.
//!
//! The house, from the top down; arrows between rooms point down only:
//!
//! - [`cli`], [`config`]: arguments and files become [`config::Settings`].
//! - [`switches`]: one file for each Cargo feature, and the table that plugs them in.
//! - [`server`]: settings become a running tracker, in stages; signals. It is told which build it runs.
//! - [`http`], [`udp`]: the front ends: bytes to requests, replies to bytes.
//! - [`stats`]: counters, and the pages that read them.
//! - [`cluster`]: what every transport of a cluster needs.
//! - [`tracker`]: torrents, peers, and what an announce does.
//!
//! The way of an announce over UDP: `udp::socket` receives it with others, `udp::packet` reads it, `udp::service` checks
//! its connection id, `tracker::announce` carries it out with those others, `tracker::store` locks the torrent's shard,
//! `tracker::swarm` keeps the peer and `tracker::select` chooses others; back the same way. Over HTTP:
//! `http::connection`, `http::request`, `http::service`, then likewise, but alone.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests cast small numbers that they made"))]
#![cfg_attr(
    test,
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

pub mod cli;
pub mod cluster;
pub mod config;
pub mod http;
pub mod server;
pub mod stats;
pub mod stop;
pub mod switches;
pub mod tracker;
pub mod udp;
