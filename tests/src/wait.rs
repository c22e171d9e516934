//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Repeats until `found` returns a value; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, &mut found).unwrap_or_else(|| panic!("gave up waiting: {what}"))
}

/// As [`until`], with a timeout from the caller and `None` when it expires.
pub fn within<T>(patience: Duration, _what: &str, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return Some(value);
        }
        if started.elapsed() > patience {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(4));
    }
}
