//! One test environment for the tests of a module: the first test creates it, and the last one removes it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A slot for an expensive value that several tests use at the same time.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The existing value, or a new one from `make`.
    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = slot.upgrade() {
            return there;
        }
        let made = Arc::new(make());
        *slot = Arc::downgrade(&made);
        made
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}
