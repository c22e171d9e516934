//! How often one place in the code may log, for everything that a peer can cause.
//!
//! A peer that can write a line for each byte it sends fills a disk. Each place therefore has a budget of lines in a window of
//! time; what exceeds it is counted, and the next line that is written contains the count.

use std::sync::{Mutex, PoisonError};

use crate::Timestamp;

/// Lines of one place in one window.
const MAX_LINES: u32 = 10;

/// The length of a window in seconds.
const WINDOW_SECONDS: i64 = 60;

/// The budget of one place in the code; a `static` beside the line it limits.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Timestamp>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// A full budget.
    pub const fn new() -> Self {
        Self(Mutex::new(Window { since: None, lines: 0, suppressed: 0 }))
    }

    /// Whether a line may be written now: the number of lines that were suppressed before it, or `None`.
    pub fn admit(&self, now: Timestamp) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins a new window: otherwise it would silence the place until it is there again.
        let is_open =
            window.since.is_some_and(|since| (0..WINDOW_SECONDS).contains(&(now.as_second() - since.as_second())));
        if !is_open {
            window.since = Some(now);
            window.lines = 0;
        }
        if window.lines >= MAX_LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// Logs at `error`, `warn` or `info` within the budget of this place; the field `suppressed` is the number of lines that
/// were left out before it. The crate that uses it needs `tracing`.
#[macro_export]
macro_rules! log_limited {
    ($level:ident, $($rest:tt)+) => {{
        static LIMIT: $crate::LogLimit = $crate::LogLimit::new();
        if let Some(suppressed) = LIMIT.admit($crate::Timestamp::now()) {
            ::tracing::$level!(suppressed, $($rest)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn ten_lines_pass_in_a_minute_and_the_next_one_has_the_count() {
        let limit = LogLimit::new();
        let passed = (0..1_000_000).filter(|_| limit.admit(at(1)).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(limit.admit(at(60)), None);
        assert_eq!(limit.admit(at(61)), Some(999_991));
        assert_eq!(limit.admit(at(62)), Some(0));
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let limit = LogLimit::new();
        assert!((0..20).filter(|_| limit.admit(at(5_000)).is_some()).count() == 10);
        assert_eq!(limit.admit(at(0)), Some(10));
    }
}
