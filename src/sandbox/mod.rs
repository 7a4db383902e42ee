//! What the process can still do once strangers are answered, were it broken into: as little as the system lets us leave
//! it.
//!
//! - [`descriptors`]: no open file of whoever started it.

pub mod descriptors;
