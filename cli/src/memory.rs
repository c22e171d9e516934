//! Returns freed memory to the system. The C library retains freed memory for the next allocation, so after a burst of
//! connections the process would stay as large as during the burst. SQLite caches pages of the index, up to 12 MiB of them.
#![expect(
    unsafe_code,
    reason = "two calls of the C library, of which one fills a value of ours and the other takes none"
)]

use std::sync::Arc;
use std::time::Duration;

use audit::Index;

/// How often to check for memory to return.
const PERIOD: Duration = Duration::from_secs(1);

/// The process is quiet if it used less than a quarter of one core in a period.
const QUIET: Duration = Duration::from_millis(250);

/// The least work that may have left freed memory behind: for less, the scan of the whole heap, which takes milliseconds, is
/// not worthwhile.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// After this many periods without load, less work is worthwhile too.
const IDLE_PERIODS: u32 = 3;

/// Below this, a period counts as without load.
const IDLE: Duration = Duration::from_millis(20);

/// Decides when freed memory is returned, by the CPU time of the process.
#[derive(Debug, Default)]
struct Judge {
    /// CPU time since memory was last returned.
    worked: Duration,
    idle_periods: u32,
}

impl Judge {
    /// Whether to return memory after a period with this CPU time.
    fn is_time(&mut self, worked: Duration) -> bool {
        self.worked += worked;
        self.idle_periods = if worked < IDLE { self.idle_periods + 1 } else { 0 };
        let idle = self.is_idle() && self.worked >= IDLE;
        let time = idle || (worked < QUIET && self.worked >= WORTHWHILE);
        if time {
            self.worked = Duration::ZERO;
        }
        time
    }

    /// Whether there is no load at all.
    fn is_idle(&self) -> bool {
        self.idle_periods >= IDLE_PERIODS
    }
}

/// Returns memory whenever the process is quiet after work, for as long as it is polled.
///
/// # Cancellation
/// No more memory is returned.
pub(crate) async fn give_back(index: Arc<Index>) {
    let mut judge = Judge::default();
    let mut seen = process_time();
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = process_time();
        if judge.is_time(now.saturating_sub(seen)) {
            // Under a light load it would only read the same pages again.
            if judge.is_idle() {
                index.release_memory();
            }
            trim();
        }
        // The time of this call does not count as work.
        seen = process_time();
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes no pointer, and locks each arena of the heap while it works there (malloc_trim(3)).
    let given_back = unsafe { libc::malloc_trim(0) };
    tracing::debug!(given_back, "looked for memory to give back");
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// The CPU time of all threads of the process.
fn process_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this type that lives until the call returns.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The periods, of these milliseconds of work each, after which memory is returned.
    fn times(periods: &[u64]) -> Vec<usize> {
        let mut judge = Judge::default();
        let worked = periods.iter().map(|period| judge.is_time(Duration::from_millis(*period)));
        worked.enumerate().filter_map(|(period, time)| time.then_some(period)).collect()
    }

    #[test]
    fn memory_is_given_back_after_work_and_only_then() {
        assert_eq!(times(&[0, 1, 2, 3, 0, 0, 0]), [0; 0], "nothing was done");
        assert_eq!(times(&[900, 900, 900, 100, 0, 0, 0, 0]), [3], "after a burst, once it is quiet");
        assert_eq!(times(&[0, 300, 5, 0, 0, 0]), [4], "after little work, once it is idle");
        assert_eq!(times(&[900; 20]), [0; 0], "not under load");
        assert_eq!(times(&[100; 22]), [9, 19], "now and then under a light load");
    }

    #[test]
    fn the_time_of_the_process_goes_on() {
        let before = process_time();
        while process_time() == before {}
    }
}
