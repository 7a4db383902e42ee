//! All swarms as one stream of bytes, by which one tracker takes over what another knows.
//!
//! - [`mod@format`]: what the stream is made of.
//! - [`Writer`]: writes all swarms of a tracker in pieces, while announces go on; then what has changed meanwhile.
//! - [`Reader`]: reads a stream, however it is cut, and merges it into a running tracker.
//! - [`StreamError`]: why a stream is not read any further.
//! - [`Report`]: what the log says of all that was merged.
//!
//! Trackers of every flavour read each other's streams: what the reader does not serve is left out and counted.
//!
//! ```text
//! let mut writer = Writer::new(tracker, generation, now);    // from now on, those who leave are noted
//! while writer.write(now, &mut bytes) == Progress::More {}   // while announces go on
//! // nobody is answered any more: then it is all; or announces go on, see write_changes
//! while writer.write_changes(now, &mut bytes) == Progress::More {}
//! ```

pub mod format;

mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod header;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod reader;
mod report;
#[cfg(test)]
mod tests;
mod writer;

pub use error::StreamError;
pub use format::Totals;
pub use header::Header;
pub use reader::Reader;
pub use report::Report;
pub use writer::{Progress, Writer};
