//! The time by which ends are judged: of sessions, grants, credentials and rules.
//!
//! Two clocks are read together: the wall clock, which anyone with the right to set it can move, and the time since boot,
//! which counts through sleep (CLOCK_BOOTTIME) and which cannot be set. The judging time is the time since boot plus the
//! largest difference between the two that was ever seen. So it never runs backwards and never stops: a wall clock
//! that is set forward takes effect at once, one that is set back changes nothing, and a machine that slept has aged.
//!
//! What has ended therefore stays ended. Records and certificates show the wall clock, as other machines see it.

use std::sync::atomic::{AtomicI64, Ordering};

use model::Timestamp;

/// A smaller change of the wall clock is a correction, not a step; 2 seconds.
pub const STEP_MICROS: i64 = 2_000_000;

/// No difference was seen yet.
const UNKNOWN: i64 = i64::MIN;

/// Both clocks at one moment, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Since 1970, by the wall clock.
    pub wall: i64,
    /// Since boot, sleep included.
    pub boot: i64,
}

/// A wall clock that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The wall clock as if it had never been set.
    pub expected: Timestamp,
    /// What it shows.
    pub wall: Timestamp,
}

impl Step {
    /// How far it was set, in microseconds; negative where it was set back.
    pub fn micros(&self) -> i64 {
        self.wall.as_microsecond() - self.expected.as_microsecond()
    }
}

/// The largest difference between the clocks, and the one that was observed last.
#[derive(Debug)]
pub struct Clock {
    largest: AtomicI64,
    observed: AtomicI64,
}

impl Clock {
    /// A clock that has seen nothing yet.
    pub const fn new() -> Self {
        Self { largest: AtomicI64::new(UNKNOWN), observed: AtomicI64::new(UNKNOWN) }
    }

    /// The judging time at a reading; never earlier than at a reading before.
    pub fn judge(&self, reading: Reading) -> Timestamp {
        let difference = reading.wall - reading.boot;
        let largest = self.largest.fetch_max(difference, Ordering::AcqRel).max(difference);
        timestamp(reading.boot.saturating_add(largest))
    }

    /// From now on the judging time is not earlier than `floor`: the latest time that an earlier run is known to have seen.
    pub fn raise(&self, floor: Timestamp, reading: Reading) {
        self.largest.fetch_max(floor.as_microsecond() - reading.boot, Ordering::AcqRel);
    }

    /// Whether the wall clock was set since this was last called; the first call returns nothing.
    pub fn step(&self, reading: Reading) -> Option<Step> {
        let difference = reading.wall - reading.boot;
        let before = self.observed.swap(difference, Ordering::AcqRel);
        let stepped = before != UNKNOWN && (difference - before).abs() > STEP_MICROS;
        stepped.then(|| Step { expected: timestamp(reading.boot + before), wall: timestamp(reading.wall) })
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The clock of this process.
static CLOCK: Clock = Clock::new();

/// The time by which ends are judged now.
pub fn now() -> Timestamp {
    CLOCK.judge(read())
}

/// See [`Clock::raise`].
pub fn raise(floor: Timestamp) {
    CLOCK.raise(floor, read());
}

/// See [`Clock::step`].
pub fn step() -> Option<Step> {
    let reading = read();
    // A wall clock that was set forward counts from here on, even if it is set back before anything is judged.
    CLOCK.judge(reading);
    CLOCK.step(reading)
}

/// Reads both clocks. The wall clock first: a thread that is held up between the two then sees too small a difference, and
/// never one that stays too large.
fn read() -> Reading {
    let wall = Timestamp::now().as_microsecond();
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Reading { wall, boot: boot.tv_sec.saturating_mul(1_000_000).saturating_add(boot.tv_nsec / 1_000) }
}

fn timestamp(micros: i64) -> Timestamp {
    let bound = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;

    fn at(wall: i64, boot: i64) -> Reading {
        Reading { wall: START + wall, boot }
    }

    fn after(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(START + micros).unwrap()
    }

    #[test]
    fn t215_an_end_stays_when_the_clock_is_set_back() {
        let clock = Clock::new();
        assert_eq!(clock.judge(at(0, 0)), after(0));
        assert_eq!(clock.judge(at(2 * HOUR, 10)), after(2 * HOUR), "set forward: at once");
        assert_eq!(clock.judge(at(20, 20)), after(2 * HOUR + 10), "set back: it goes on from where it was");
        assert_eq!(clock.judge(at(-HOUR, HOUR + 20)), after(3 * HOUR + 10), "and does not stand still meanwhile");
    }

    #[test]
    fn t215_sleep_counts() {
        let clock = Clock::new();
        clock.judge(at(0, 0));
        assert_eq!(clock.judge(at(0, HOUR)), after(HOUR), "the wall clock was set back during an hour of sleep");
    }

    #[test]
    fn t179_a_step_shows_both_times_once() {
        let clock = Clock::new();
        assert_eq!(clock.step(at(0, 0)), None);
        assert_eq!(clock.step(at(1_000_000, 500_000)), None, "a correction");
        let step = clock.step(at(-HOUR, 1_000_000)).unwrap();
        assert_eq!((step.expected, step.wall), (after(1_500_000), after(-HOUR)));
        assert_eq!(step.micros(), -HOUR - 1_500_000);
        assert_eq!(clock.step(at(-HOUR + 1, 1_000_001)), None);
    }

    #[test]
    fn t179_no_difference_of_the_extremes_overflows() {
        let clock = Clock::new();
        clock.raise(Timestamp::MAX, at(0, 0));
        assert!(clock.judge(at(0, i64::MAX / 2)) >= after(0));
    }

    #[test]
    fn t215_a_later_run_begins_where_the_earlier_one_ended() {
        let clock = Clock::new();
        clock.raise(after(2 * HOUR), at(0, 5_000));
        assert_eq!(clock.judge(at(10, 5_010)), after(2 * HOUR + 10));
    }

    #[test]
    fn the_process_has_one_clock() {
        let before = now();
        assert!(now() >= before);
        assert!(now() >= Timestamp::now() - model_second(), "it is the wall clock where nobody set it");
    }

    fn model_second() -> std::time::Duration {
        std::time::Duration::from_secs(1)
    }
}
