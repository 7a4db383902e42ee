//! The standard library, but for what threads have in common: that is shuttle's, which decides whose turn it is.

pub use ::std::*;

/// As in the standard library; `Arc` is its own, since nothing waits for it.
pub mod sync {
    pub use ::std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};

    /// Whoever looks at it, or is the first to fill it, can be stopped before.
    #[derive(Debug)]
    pub struct OnceLock<T> {
        value: ::std::sync::OnceLock<T>,
        is_set: atomic::AtomicBool,
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self { value: ::std::sync::OnceLock::new(), is_set: atomic::AtomicBool::new(false) }
        }
    }

    impl<T> OnceLock<T> {
        pub fn get(&self) -> Option<&T> {
            if self.is_set.load(atomic::Ordering::SeqCst) { self.value.get() } else { None }
        }

        pub fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.is_set.store(true, atomic::Ordering::SeqCst);
            Ok(())
        }
    }
}

pub mod thread {
    pub use shuttle::thread::{JoinHandle, Thread, current, park, spawn, yield_now};
}
