//! Announces, scrapes and statistics over HTTP (BEP 3, 7, 23, 48). In the order in which a request passes through:
//!
//! - `listener` accepts connections; `incoming` is one that can be used at once; `connection` drives one that has to
//!   wait; `worker` is what those of one thread share.
//! - [`request`], [`query`]: what a client sends, read where it stands.
//! - [`service`]: from a request to its reply; no socket, no clock.
//! - `walk` makes the pages that take longer; `page_cache` keeps them for all who wait.
//! - `announce_query`, `scrape_query`: what an announce or a scrape asks for.
//! - [`reply`]: what is sent back, every error included; `announced` is what most clients come for.
//! - [`flavour`]: the plug points that a build fills.

mod announce_query;
mod announce_reply;
mod connection;
mod decimal;
pub mod flavour;
mod incoming;
mod listener;
mod page_cache;
pub mod query;
pub mod reply;
pub mod request;
mod scrape_query;
pub mod service;
#[cfg(test)]
mod testing;
mod walk;
mod worker;

pub use flavour::HttpFlavour;
pub use incoming::Listener;
pub use listener::serve;
pub use service::{Service, Shared};
pub use worker::{ConnectionLimit, Worker};
