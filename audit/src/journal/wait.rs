//! Waiting for one record, and writing for all waiting tasks.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::journal::Unavailable;
use crate::journal::queue::{Progress, Queue};
use crate::journal::shared::Shared;
use crate::journal::unclosed::IN_FLIGHT;

/// Whether a waiting task also writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    No,
    /// After the others of its runtime had their turn.
    Will,
    Now,
}

/// Waits for one record.
pub(super) struct Wait<'a> {
    pub(super) shared: &'a Shared,
    pub(super) queue: &'a Queue,
    pub(super) waiter: Option<u32>,
    pub(super) lead: Lead,
    pub(super) opened_in: &'a mut u32,
}

impl Future for Wait<'_> {
    type Output = Result<(), Unavailable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.lead {
            Lead::Will => {
                self.lead = Lead::Now;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Lead::Now => {
                self.lead = Lead::No;
                self.shared.flush(std::slice::from_ref(self.queue));
            }
            Lead::No => {}
        }
        let waiter = self.waiter.expect("a future is not polled after it was ready");
        let result = match self.queue.poll(waiter, context.waker()) {
            Progress::Waiting | Progress::Taken => return Poll::Pending,
            Progress::Written(number) => {
                *self.opened_in = number;
                Ok(())
            }
            Progress::Failed => Err(Unavailable),
            Progress::Lapsed => {
                *self.opened_in = IN_FLIGHT;
                Err(Unavailable)
            }
        };
        self.waiter = None;
        Poll::Ready(result)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let progress = self.waiter.map(|waiter| self.queue.abandon(waiter));
        match progress {
            Some(Progress::Written(number)) => *self.opened_in = number,
            Some(Progress::Taken | Progress::Lapsed) => *self.opened_in = IN_FLIGHT,
            Some(Progress::Waiting | Progress::Failed) | None => {}
        }
        // Others may rely on it.
        if self.lead != Lead::No {
            self.shared.flush(std::slice::from_ref(self.queue));
        }
    }
}
