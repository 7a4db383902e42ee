//! The small core: torrents, their peers, and what an announce does to them.
//!
//! No I/O, no async, no clock of its own, no `cfg`. From the bottom up:
//!
//! - [`info_hash`], [`peer`], [`clock`]: the values.
//! - `prefetch`, `blocks`: memory that is fetched before it is needed, and that stays where it is.
//! - [`select`], [`table`], `hashed`, [`swarm`]: the peers of one torrent, in a form that fits their number.
//! - [`family`]: which address families a torrent keeps.
//! - `index`, [`store`]: all torrents, in shards.
//! - [`flavour`]: the plug points that a build fills.
//! - [`tracker`], [`announce`]: scrape, sweep and announce, over a store and a flavour.

#[cfg(test)]
pub(crate) mod model;

mod blocks;
mod hashed;
mod index;
mod prefetch;

pub mod announce;
pub mod clock;
pub mod family;
pub mod flavour;
pub mod info_hash;
pub mod keyed_hash;
pub mod limits;
pub mod peer;
pub mod select;
pub mod store;
pub mod swarm;
pub mod table;
pub mod tracker;

pub use announce::{Announce, Asked, Event};
pub use clock::{Clock, Minute};
pub use family::{Family, Handout, Ipv4Only, Swarms};
pub use flavour::{Admission, Change, Cluster, Flavour, NetworkLog, Open, Standalone, Unlogged};
pub use info_hash::InfoHash;
pub use limits::Limits;
pub use tracker::{Refusal, Totals, Tracker};
