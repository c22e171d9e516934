//! One world for the tests of a module: made by the first that asks, taken down by the last that leaves.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A slot for something expensive that several tests use at the same time.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// What is there, or what `make` gives.
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
