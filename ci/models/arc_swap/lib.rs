//! What the tracker uses of the crate of this name, slow and simple: whoever reads can be stopped at any point of it.

use std::ops::Deref;
use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread::yield_now;

/// A value that is swapped whole.
#[derive(Debug, Default)]
pub struct ArcSwap<T>(Mutex<Arc<T>>);

/// A value that is being read.
pub struct Guard<T>(Arc<T>);

impl<T> ArcSwap<T> {
    /// Returns the value, for a moment.
    pub fn load(&self) -> Guard<T> {
        let value = Arc::clone(&self.0.lock().unwrap());
        yield_now();
        Guard(value)
    }

    /// Puts a value in the place of another, which is returned.
    pub fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut self.0.lock().unwrap(), value)
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        yield_now();
        assert!(Arc::strong_count(&self.0) > 1, "a reader gives the memory of a list back");
    }
}
