//! Both directions with values, at instants that the tests choose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const IDLE: Duration = Duration::from_secs(600);
const UNREAD: Duration = Duration::from_secs(60);
const RATE: MinimumRate = MinimumRate { bytes: 240, grace: Duration::from_secs(30) };
const FIRST_BYTE: Duration = Duration::from_secs(300);
const PACE: Pace = Pace { first_byte: FIRST_BYTE, idle: IDLE, unread: Some(UNREAD), rate: Some(RATE) };

/// A flow whose request is about to be sent.
fn prepared(pace: Pace, bodiless: bool, now: Instant) -> Flow {
    let flow = Flow::new(now);
    flow.prepare(pace, bodiless, now);
    flow
}

/// A flow, and the instants of its events in seconds.
fn flow(pace: Pace) -> (Flow, impl Fn(u64) -> Instant) {
    let start = Instant::now();
    (prepared(pace, false, start), move |seconds| start + Duration::from_secs(seconds))
}

/// One byte a second from the client: the second in which it ends.
fn trickle(flow: &Flow, at: impl Fn(u64) -> Instant, from: u64) -> Option<u64> {
    (from..from + 200).find(|second| {
        flow.upload_waits(at(*second));
        let came = flow.upload_came(1, at(second + 1));
        flow.upload_passed(1, at(second + 1));
        came == Err(Timer::UploadRate)
    })
}

#[test]
fn t130_an_upload_of_a_byte_a_second_ends() {
    let (flow, at) = flow(PACE);
    flow.begin(at(0));
    assert_eq!(trickle(&flow, at, 0), Some(30));
    assert_eq!(flow.sent(), 31);
}

#[test]
fn a_rule_that_sets_idle_allows_any_pace() {
    let (flow, at) = flow(Pace { rate: None, ..PACE });
    flow.begin(at(0));
    assert_eq!(trickle(&flow, at, 0), None);
}

#[test]
fn once_a_response_has_begun_both_sides_may_pause() {
    let (flow, at) = flow(PACE);
    flow.begin(at(0));
    flow.head_came(false, at(1));
    flow.download_waits(at(1));
    assert_eq!(trickle(&flow, &at, 1), None);
    // Progress of the request excuses the silent response.
    assert_eq!(flow.fired(at(201 + 600)), None);
    assert_eq!(flow.fired(at(201 + 601)), Some(Timer::Idle));
}

#[test]
fn whose_turn_it_was_tells_whose_fault_it_is() {
    let (flow, at) = flow(PACE);
    assert_eq!(flow.fired(at(10_000)), None, "dialing has its own timer");
    flow.begin(at(0));
    assert_eq!((flow.fired(at(600)), flow.fired(at(601))), (None, Some(Timer::Idle)));
    flow.upload_waits(at(10));
    assert_eq!((flow.fired(at(610)), flow.fired(at(611))), (None, Some(Timer::ClientIdle)));
    flow.end_upload(UploadEnd::Whole, at(15));
    assert_eq!((flow.fired(at(315)), flow.fired(at(316))), (None, Some(Timer::FirstByte)));
    flow.head_came(false, at(20));
    assert_eq!((flow.fired(at(80)), flow.fired(at(81))), (None, Some(Timer::Unread)));
    flow.download_waits(at(30));
    assert_eq!((flow.fired(at(630)), flow.fired(at(631))), (None, Some(Timer::Idle)));
    flow.download_ended();
    assert_eq!(flow.fired(at(100_000)), None);
}

#[test]
fn a_request_without_a_body_waits_for_the_first_byte_from_its_beginning() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let flow = prepared(PACE, true, start);
    assert_eq!(flow.fired(at(10_000)), None, "dialing has its own timer");
    flow.begin(at(100));
    assert_eq!((flow.fired(at(400)), flow.fired(at(401))), (None, Some(Timer::FirstByte)));
    // Sent again on another connection.
    flow.begin(at(350));
    assert_eq!((flow.fired(at(650)), flow.fired(at(651))), (None, Some(Timer::FirstByte)));
    flow.head_came(true, at(651));
    assert_eq!(flow.fired(at(651)), None);
}

#[test]
fn a_response_of_known_length_may_not_trickle_and_a_stream_may() {
    for (sized, ends) in [(true, true), (false, false)] {
        let (flow, at) = flow(PACE);
        flow.begin(at(0));
        flow.end_upload(UploadEnd::Whole, at(0));
        flow.head_came(sized, at(1));
        let trickled = (1..100).any(|second| {
            flow.download_waits(at(second));
            let came = flow.download_came(1, at(second + 1));
            flow.download_passed(at(second + 1));
            came == Err(Timer::DownloadRate)
        });
        assert_eq!(trickled, ends);
    }
}

#[test]
fn a_client_that_is_slow_is_not_taken_for_a_slow_upstream() {
    let (flow, at) = flow(PACE);
    flow.begin(at(0));
    flow.end_upload(UploadEnd::Whole, at(0));
    flow.head_came(true, at(1));
    for second in 0..40 {
        // The client needs 50 s for each piece, and the next one is available at once.
        assert_eq!(flow.download_came(1, at(1 + 50 * second)), Ok(()));
        flow.download_passed(at(1 + 50 * second));
        assert_eq!(flow.fired(at(50 + 50 * second)), None);
    }
}

#[test]
fn what_closes_the_record_waits_for_the_end_of_the_request() {
    let (flow, at) = flow(PACE);
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    flow.when_upload_ends(move |end| {
        assert_eq!(end, UploadEnd::Whole);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    flow.end_upload(UploadEnd::Whole, at(0));
    flow.stop();
    assert_eq!(closed.load(Ordering::SeqCst), 1, "the first end counts, and once");
    let counter = closed.clone();
    flow.when_upload_ends(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(closed.load(Ordering::SeqCst), 2, "at once where it has ended");
}

#[test]
fn after_a_stop_nothing_passes_and_the_task_is_woken() {
    let (flow, _) = flow(PACE);
    let cx = Context::from_waker(Waker::noop());
    assert!(!flow.poll_stopped(&cx));
    flow.stop();
    assert!(flow.poll_stopped(&cx) && flow.upload_end().is_some() && !flow.is_sent_whole());
}

#[test]
fn a_request_that_waits_to_be_written_has_not_ended() {
    let (flow, at) = flow(PACE);
    flow.begin(at(0));
    flow.report_writing();
    flow.upload_passed(10, at(1));
    flow.end_upload(UploadEnd::Whole, at(1));
    // The body is dropped after the hand-over.
    flow.end_upload(UploadEnd::Stopped, at(1));
    assert!(flow.is_taken_whole() && !flow.is_sent_whole() && flow.upload_end().is_none());
    assert_eq!((flow.fired(at(601)), flow.fired(at(602))), (None, Some(Timer::Idle)), "the upstream does not take it");
    flow.upload_written(at(20));
    assert!(flow.is_sent_whole());
    assert_eq!((flow.fired(at(320)), flow.fired(at(321))), (None, Some(Timer::FirstByte)));
}

#[test]
fn a_request_that_waits_to_be_written_can_be_stopped_and_can_fail() {
    for fails in [true, false] {
        let (flow, at) = flow(PACE);
        flow.begin(at(0));
        flow.report_writing();
        flow.end_upload(UploadEnd::Whole, at(1));
        if fails {
            flow.upload_failed(at(2))
        } else {
            flow.stop()
        }
        assert_eq!(flow.upload_end(), Some(UploadEnd::Stopped));
        flow.upload_written(at(3));
        assert!(!flow.is_sent_whole(), "the first end counts");
    }
}

#[test]
fn so_many_names_of_removed_trailers_are_recorded() {
    let flow = Flow::new(Instant::now());
    (0..MAX_REMOVED_TRAILERS + 5).for_each(|n| flow.note_removed_trailer(&format!("x-{n}")));
    let taken = flow.take_removed_trailers();
    assert_eq!((taken.len(), taken[0].as_str()), (MAX_REMOVED_TRAILERS, "trailer x-0"));
    assert!(flow.take_removed_trailers().is_empty(), "they are taken once");
}

#[test]
fn what_is_terminated_before_it_is_sent_is_never_sent() {
    let start = Instant::now();
    let flow = Flow::new(start);
    flow.terminate(Timer::Idle.into());
    flow.terminate(Timer::Unread.into());
    flow.prepare(PACE, true, start);
    assert_eq!(flow.upload_end(), Some(UploadEnd::Stopped));
    assert!(flow.poll_stopped(&Context::from_waker(Waker::noop())));
    assert_eq!(flow.termination().map(Termination::reason), Some(Timer::Idle.reason()), "the first reason counts");
}
