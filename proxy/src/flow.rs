//! The progress of both directions of one exchange: the bytes that passed, the peer that is waited for and since when, the end of
//! both, and their termination. Created when the exchange begins.
//!
//! The bodies report here; `active` checks four times a second whether a timer has fired. Each direction waits either for the
//! sending peer (`Source`) or for the receiving peer (`Sink`). This shows which peer causes a standstill, so that a slow
//! client is not mistaken for a slow upstream. This file depends neither on HTTP/1, HTTP/2 nor on any library.
//!
//! An exchange is over when both directions are. If a response is complete while the request is in progress, the closing of the record
//! waits here for the end of the request (`when_upload_ends`). After `stop` no byte passes any more, so the count is final.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::meter::{Meter, MinimumRate};
use crate::limits::timer::Timer;
use crate::termination::Termination;

/// How many names of removed trailers are recorded for one request.
const MAX_REMOVED_TRAILERS: usize = 32;

/// The timeouts of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From the end of the request to the head of the response.
    pub(crate) first_byte: Duration,
    /// No byte moves in either direction.
    pub(crate) idle: Duration,
    /// A client leaves an answer unread; `None` if its connection checks that.
    pub(crate) unread: Option<Duration>,
    /// The minimum rate; `None` if a rule sets `idle` and thereby allows any rate.
    pub(crate) rate: Option<MinimumRate>,
}

impl Pace {
    /// The timeouts of an exchange that sends nothing yet.
    const UNBOUNDED: Self = Self { first_byte: Duration::MAX, idle: Duration::MAX, unread: None, rate: None };
}

/// How a request body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadEnd {
    /// The whole body was sent.
    Whole,
    /// The client closed the connection or stream within the body.
    Client,
    /// The client broke the framing.
    Malformed,
    /// It was stopped, or the upstream accepted no more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is expected yet.
    Before,
    /// Waiting for the sending peer.
    Source,
    /// Waiting for the receiving peer to accept the bytes.
    Sink,
    Ended,
}

/// One direction.
#[derive(Debug)]
struct Direction {
    bytes: u64,
    phase: Phase,
    since: Instant,
    meter: Meter,
}

/// The state of a request whose body was handed over to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// Its connection does not report: a body that was handed over counts as sent.
    Unreported,
    /// More of the body follows.
    Taking,
    /// The whole body was handed over, and a part waits to be written.
    Taken,
}

type AtEnd = Box<dyn FnOnce(UploadEnd) + Send>;

struct State {
    pace: Pace,
    /// Whether the pace and the existence of the body are known.
    prepared: bool,
    /// The names of trailers that were removed from the request.
    removed: Vec<String>,
    up: Direction,
    down: Direction,
    /// Whether the length of the response is known, so that it has no reason to pause.
    sized: bool,
    end: Option<UploadEnd>,
    /// Whether the request is being sent or was sent.
    begun: bool,
    /// How far the connection has written the end of the request, if it reports that.
    writing: Writing,
    stopped: bool,
    waker: Option<Waker>,
    at_end: Option<AtEnd>,
}

/// Both directions of one exchange.
pub(crate) struct Flow {
    state: Mutex<State>,
    termination: OnceLock<Termination>,
    /// The waker for the termination.
    terminated: Mutex<Option<Waker>>,
}

impl Flow {
    /// An exchange that begins: nothing is sent yet.
    pub(crate) fn new(now: Instant) -> Self {
        let direction = || Direction { bytes: 0, phase: Phase::Before, since: now, meter: Meter::default() };
        let state = State {
            pace: Pace::UNBOUNDED,
            prepared: false,
            removed: Vec::new(),
            up: direction(),
            down: direction(),
            sized: false,
            end: None,
            begun: false,
            writing: Writing::Unreported,
            stopped: false,
            waker: None,
            at_end: None,
        };
        Self { state: Mutex::new(state), termination: OnceLock::new(), terminated: Mutex::default() }
    }

    /// The request is about to be sent at this pace; with `bodiless` it has no body.
    pub(crate) fn prepare(&self, pace: Pace, bodiless: bool, now: Instant) {
        let mut state = self.lock();
        (state.pace, state.prepared, state.up.since, state.down.since) = (pace, true, now, now);
        // An exchange that was terminated in the meantime has already ended.
        if bodiless && state.end.is_none() {
            (state.up.phase, state.end) = (Phase::Ended, Some(UploadEnd::Whole));
        }
    }

    /// Why the exchange is terminated, if it is.
    pub(crate) fn termination(&self) -> Option<&Termination> {
        self.termination.get()
    }

    /// Ready once it is terminated; for one waiter at a time.
    pub(crate) fn poll_terminated(&self, cx: &Context<'_>) -> Poll<Termination> {
        let termination = || self.termination.get().map_or(Poll::Pending, |why| Poll::Ready(why.clone()));
        if termination().is_pending() {
            let mut waker = model::sync::lock(&self.terminated);
            match &*waker {
                Some(own) if own.will_wake(cx.waker()) => {}
                Some(_) | None => *waker = Some(cx.waker().clone()),
            }
        }
        // It may have been terminated before the waker was set.
        termination()
    }

    /// Terminates the exchange, in both directions. The first reason counts.
    pub(crate) fn terminate(&self, termination: Termination) {
        if self.termination.set(termination).is_err() {
            return;
        }
        // Runs without holding the lock: the callback may access this exchange.
        let waker = model::sync::lock(&self.terminated).take();
        self.stop();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes the name of a trailer that was removed from the request, up to a bound.
    pub(crate) fn note_removed_trailer(&self, name: &str) {
        let removed = &mut self.lock().removed;
        if removed.len() < MAX_REMOVED_TRAILERS {
            removed.push(format!("trailer {name}"));
        }
    }

    /// Takes the names that were noted so far.
    pub(crate) fn take_removed_trailers(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().removed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        model::sync::lock(&self.state)
    }

    /// Bytes of the request body that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.lock().up.bytes
    }

    /// Whether the request was about to be sent, or was sent.
    pub(crate) fn is_prepared(&self) -> bool {
        self.lock().prepared
    }

    /// How the request body ended, once it has.
    pub(crate) fn upload_end(&self) -> Option<UploadEnd> {
        self.lock().end
    }

    /// Whether all of the request body was sent.
    pub(crate) fn is_sent_whole(&self) -> bool {
        self.lock().end == Some(UploadEnd::Whole)
    }

    /// The request is being sent from now on: the upstream has to accept it.
    pub(crate) fn begin(&self, now: Instant) {
        let mut state = self.lock();
        (state.begun, state.writing) = (true, Writing::Unreported);
        match state.up.phase {
            Phase::Before => state.up.wait(Phase::Sink, now),
            Phase::Ended => state.up.since = now,
            Phase::Source | Phase::Sink => {}
        }
    }

    /// The connection reports when the request was written to its end ([`Flow::upload_written`], [`Flow::upload_failed`]).
    pub(crate) fn report_writing(&self) {
        self.lock().writing = Writing::Taking;
    }

    /// Whether the whole request body was handed over to its connection.
    pub(crate) fn is_taken_whole(&self) -> bool {
        let state = self.lock();
        state.writing == Writing::Taken || state.end == Some(UploadEnd::Whole)
    }

    /// The request was written to its end.
    pub(crate) fn upload_written(&self, now: Instant) {
        self.finish(UploadEnd::Whole, now);
    }

    /// The connection abandoned the request before its end.
    pub(crate) fn upload_failed(&self, now: Instant) {
        self.finish(UploadEnd::Stopped, now);
    }

    /// Waits for more of the request body.
    pub(crate) fn upload_waits(&self, now: Instant) {
        self.lock().up.wait(Phase::Source, now);
    }

    /// Counts bytes of the request body that came from the client.
    ///
    /// # Errors
    /// [`Timer::UploadRate`] if they came too slowly. Once a response has begun, the exchange is a conversation and may pause freely.
    pub(crate) fn upload_came(&self, bytes: usize, now: Instant) -> Result<(), Timer> {
        let mut state = self.lock();
        let rate = state.pace.rate.filter(|_| state.down.phase == Phase::Before);
        if state.up.came(bytes, rate, now) { Err(Timer::UploadRate) } else { Ok(()) }
    }

    /// Counts bytes of the request body that were handed to the upstream's connection.
    pub(crate) fn upload_passed(&self, bytes: usize, now: Instant) {
        let mut state = self.lock();
        state.up.bytes += bytes as u64;
        state.up.wait(Phase::Sink, now);
    }

    /// Whether no more may be sent; otherwise the task is woken at that moment.
    pub(crate) fn poll_stopped(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.stopped && !state.waker.as_ref().is_some_and(|own| own.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.stopped
    }

    /// The request body has ended. The first end counts. A body that was handed over completely ends when the connection has
    /// written it.
    pub(crate) fn end_upload(&self, end: UploadEnd, now: Instant) {
        {
            let mut state = self.lock();
            match state.writing {
                Writing::Taken => return,
                Writing::Taking if end == UploadEnd::Whole && state.end.is_none() => {
                    state.writing = Writing::Taken;
                    state.up.wait(Phase::Sink, now);
                    return;
                }
                Writing::Unreported | Writing::Taking => {}
            }
        }
        self.finish(end, now);
    }

    fn finish(&self, end: UploadEnd, now: Instant) {
        let at_end = {
            let mut state = self.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            (state.up.phase, state.up.since) = (Phase::Ended, now);
            state.at_end.take()
        };
        if let Some(at_end) = at_end {
            at_end(end);
        }
    }

    /// Runs `at_end` when the request body has ended; at once if it already has.
    pub(crate) fn when_upload_ends(&self, at_end: impl FnOnce(UploadEnd) + Send + 'static) {
        let mut state = self.lock();
        match state.end {
            None => state.at_end = Some(Box::new(at_end)),
            Some(end) => {
                drop(state);
                at_end(end);
            }
        }
    }

    /// Ends the request body at its current position. No byte passes after it.
    pub(crate) fn stop(&self) {
        let waker = {
            let mut state = self.lock();
            state.stopped = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.finish(UploadEnd::Stopped, Instant::now());
    }

    /// The response head has arrived; with `sized` the length of its body is known.
    pub(crate) fn head_came(&self, sized: bool, now: Instant) {
        let mut state = self.lock();
        state.sized = sized;
        state.down.wait(Phase::Sink, now);
    }

    /// The client accepted the available part of the response; waits for more of it.
    pub(crate) fn download_waits(&self, now: Instant) {
        self.lock().down.wait(Phase::Source, now);
    }

    /// Counts bytes of the response body that came from the upstream.
    ///
    /// # Errors
    /// [`Timer::DownloadRate`] if they came too slowly.
    pub(crate) fn download_came(&self, bytes: usize, now: Instant) -> Result<(), Timer> {
        let mut state = self.lock();
        let rate = state.pace.rate.filter(|_| state.sized);
        if state.down.came(bytes, rate, now) { Err(Timer::DownloadRate) } else { Ok(()) }
    }

    /// A piece of the response was handed to the client's connection.
    pub(crate) fn download_passed(&self, now: Instant) {
        self.lock().down.wait(Phase::Sink, now);
    }

    /// The response has ended.
    pub(crate) fn download_ended(&self) {
        self.lock().down.phase = Phase::Ended;
    }

    /// The timer that has fired by now, if any.
    pub(crate) fn fired(&self, now: Instant) -> Option<Timer> {
        let state = self.lock();
        let State { pace, up, down, begun, stopped, .. } = &*state;
        let is_over = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if *stopped {
            return None;
        }
        match (down.phase, up.phase) {
            (Phase::Before | Phase::Ended, Phase::Source) => is_over(up.since, pace.idle).then_some(Timer::ClientIdle),
            (Phase::Before | Phase::Ended, Phase::Sink) => is_over(up.since, pace.idle).then_some(Timer::Idle),
            (Phase::Before, Phase::Ended) if *begun => is_over(up.since, pace.first_byte).then_some(Timer::FirstByte),
            // Dialing has a timer of its own.
            (Phase::Before | Phase::Ended, Phase::Before | Phase::Ended) => None,
            // Progress of the request excuses a silent response.
            (Phase::Source, _) => is_over(down.since.max(up.since), pace.idle).then_some(Timer::Idle),
            (Phase::Sink, _) => pace.unread.filter(|unread| is_over(down.since, *unread)).map(|_| Timer::Unread),
        }
    }
}

impl Direction {
    /// Waits for this peer from now on, unless it already does.
    fn wait(&mut self, phase: Phase, now: Instant) {
        if self.phase != Phase::Ended && (self.phase != phase || phase == Phase::Sink) {
            (self.phase, self.since) = (phase, now);
        }
    }

    /// The sending peer sent a piece; returns whether its rate is too low.
    fn came(&mut self, bytes: usize, rate: Option<MinimumRate>, now: Instant) -> bool {
        let waited = match self.phase {
            Phase::Source => now.saturating_duration_since(self.since),
            Phase::Before | Phase::Sink | Phase::Ended => Duration::ZERO,
        };
        if self.phase == Phase::Source {
            self.since = now;
        }
        rate.is_some_and(|rate| self.meter.moved(rate, waited, bytes as u64))
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Flow").field("up", &state.up).field("down", &state.down).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
