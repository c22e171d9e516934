//! Compares the clocks in parallel with the data path. An end that no timer detected takes effect within a quarter of a
//! second. A wall clock that was set is recorded, and the latest time is stored for the next run.

use std::sync::Arc;
use std::time::Duration;

use audit::{Journal, Kind, Record};
use clock::Step;
use control::Control;
use jiff::SignedDuration;
use model::{Reason, Timestamp};
use tokio::time::MissedTickBehavior;

/// How often the clocks are compared.
const PERIOD: Duration = Duration::from_millis(250);
/// After how many periods the latest time is written to disk, if no record contains it.
const NOTE_PERIODS: u32 = 4 * 10;

/// Compares the clocks until it is dropped.
///
/// # Cancellation
/// Ends that only a clock shows are no longer detected.
pub(crate) async fn watch(control: Arc<Control>) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut periods = 0;
    loop {
        tick.tick().await;
        let step = clock::step();
        if let Some(step) = &step {
            tracing::warn!(detail = describe(step), "the wall clock was set; ends are judged by the later time");
            control.journal.append(record(step));
        }
        control.sessions.wake_ended(clock::now());
        periods += 1;
        if step.is_some() || periods >= NOTE_PERIODS {
            periods = 0;
            note(control.journal.clone()).await;
        }
    }
}

/// Writes the latest time to a file next to the journal.
async fn note(journal: Journal) {
    let noted = tokio::task::spawn_blocking(move || journal.note_time(clock::now())).await;
    // It is written again later.
    tracing::trace!(noted = noted.is_ok(), "the latest time");
}

/// The time for judging ends does not start before the latest time of the last run; prints a message if the wall clock
/// does.
pub(crate) fn begin(journal: &Journal, latest: Timestamp) {
    let wall = Timestamp::now();
    clock::raise(latest);
    let step = Step { expected: latest, wall };
    if step.micros() >= -clock::STEP_MICROS {
        return;
    }
    tracing::warn!(
        "the wall clock shows {wall}, and the journal has seen {latest}: ends are judged by the later time. \
         If the clock is right now, start once with `egret serve --accept-clock`"
    );
    journal.append(record(&step));
}

/// The wall clock is right, and a later time was wrong: records it, and returns by how much the clock was ahead. Until the
/// time is noted, a start without the acceptance still judges by the later one.
pub(crate) fn accept(journal: &Journal, latest: Timestamp) -> SignedDuration {
    let step = Step { expected: latest, wall: Timestamp::now() };
    if step.micros() >= -clock::STEP_MICROS {
        return SignedDuration::ZERO;
    }
    let detail = format!("accepted: {}", describe(&step));
    tracing::warn!(detail, "the wall clock is taken as right; ends of sessions are set back by as much");
    journal.append(Record { detail: Some(detail.into()), ..record(&step) });
    SignedDuration::from_micros(-step.micros())
}

fn record(step: &Step) -> Record {
    Record {
        code: Some(Reason::ClockStep),
        detail: Some(describe(step).into()),
        first: Some(step.expected),
        last: Some(step.wall),
        ..Record::new(Kind::SidecarClockStep)
    }
}

fn describe(step: &Step) -> String {
    let micros = step.micros();
    let direction = if micros < 0 { "back" } else { "forward" };
    // Both clocks are read one after the other, so a step of two hours is measured as a few microseconds less or more.
    format!("set {direction} by {} seconds", micros.unsigned_abs().saturating_add(500_000) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t179_a_record_of_a_step_has_both_times() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let record = record(&Step { expected: at(10_000), wall: at(6_400) });
        assert_eq!((record.kind, record.code), (Kind::SidecarClockStep, Some(Reason::ClockStep)));
        assert_eq!((record.first, record.last), (Some(at(10_000)), Some(at(6_400))));
        assert_eq!(record.detail.as_deref(), Some("set back by 3600 seconds"));
        assert_eq!(describe(&Step { expected: at(0), wall: at(7_200) }), "set forward by 7200 seconds");
        let almost = Timestamp::from_microsecond(7_199_999_990).unwrap();
        assert_eq!(describe(&Step { expected: at(0), wall: almost }), "set forward by 7200 seconds");
    }
}
