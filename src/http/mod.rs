//! Announces, scrapes and statistics over HTTP (BEP 3, 7, 23, 24, 48). In the order in which a request passes through:
//!
//! - `listener` accepts connections; `incoming` is one that can be used at once; [`wrapper`] is what it passes through
//!   first, and [`byte_stream`] what comes of that; `fast_path` answers it if that takes no waiting, `connection`
//!   drives it if it does; `worker` is what those of one thread share. `connection_limit` is what all share: `places`
//!   says who makes room.
//! - [`request`], [`method`], `path`, [`query`]: what a client sends, read where it stands; [`address`]: addresses in
//!   it.
//! - [`service`]: from a request to its reply; no socket, no clock. [`exchange`] is what each handler is given and
//!   gives back, `answering` what handlers have in common.
//! - `announce_query`, `scrape_query`, [`listing`]: what an announce, a scrape or a full scrape asks for.
//! - [`reply`]: what is sent back, every error included. `announce_reply` is what most clients come for, and
//!   `scrape_reply` what others do.
//! - [`stream`]: replies that are made while they are sent, and [`coding`], in which content coding; [`weights`] is how
//!   clients say what they would like. `walk` makes the statistics that take longer; `page_cache` keeps them for all
//!   who wait. [`takeover`]: when HTTP ends with a reply.
//! - [`flavour`]: the plug points that a build fills.

pub mod address;
mod announce_query;
mod announce_reply;
mod answering;
pub mod byte_stream;
pub mod coding;
mod connection;
mod connection_limit;
pub mod decimal;
pub mod exchange;
mod fast_path;
pub mod flavour;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod incoming;
mod listener;
pub mod listing;
pub mod method;
mod page_cache;
mod path;
mod places;
pub mod query;
pub mod reply;
pub mod request;
mod scrape_query;
mod scrape_reply;
pub mod service;
pub mod stream;
pub mod takeover;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
mod walk;
pub mod weights;
mod worker;
pub mod wrapper;

pub use connection_limit::ConnectionLimit;
pub use exchange::Shared;
pub use flavour::HttpFlavour;
pub use incoming::Listener;
pub use listener::serve;
pub use service::Service;
pub use worker::Worker;
