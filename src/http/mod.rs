//! Announces, scrapes and statistics over HTTP (BEP 3, 23, 7, 48).
//!
//! - [`request`], [`query`]: what a client sends.
//! - [`parameters`]: what an announce or a scrape asks for.
//! - [`reply`]: what is sent back, errors included.
//! - [`service`]: from a request to its reply; no socket, no clock.
//! - [`connection`], [`listener`]: what drives it.
//! - [`flavour`]: the plug points that a build fills.

pub mod flavour;
pub mod query;
pub mod request;
