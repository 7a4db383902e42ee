//! The standard library, but for what threads have in common: that is shuttle's, which decides whose turn it is.

pub use ::std::*;

/// As in the standard library; `Arc` is its own, since nothing waits for it.
pub mod sync {
    pub use ::std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
}

pub mod thread {
    pub use shuttle::thread::{JoinHandle, spawn, yield_now};
}
