//! What the process can still do once strangers are answered, were it broken into: as little as the system lets us
//! leave it.
//!
//! - [`descriptors`]: no open file of whoever started it, but for what a service manager hands over.
//! - [`rights`]: no capability, no way to a new one, and no look into its memory.
//! - [`files`]: no file but those that are read again, and no connection to anywhere.
//!
//! Rights belong to threads, and a new thread begins with those of the one that starts it: a process is confined while
//! it has one thread.

pub mod descriptors;
pub mod files;
pub mod rights;
