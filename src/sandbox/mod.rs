//! What the process can still do once strangers are answered, were it broken into: as little as the system lets us leave
//! it.
//!
//! - [`descriptors`]: no open file of whoever started it.
//! - [`rights`]: no capability, no way to a new one, and no look into its memory.

pub mod descriptors;
pub mod rights;
