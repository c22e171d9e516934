//! Futures that are rarely ready, beside one that is polled often: the end of a session beside the requests of a connection.
//!
//! A task that waits for several events is polled as a whole for each of them. Each poll of a wait on a session's `Notify` takes a lock
//! that all cores share. A gate polls its future only if that future itself was woken.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use model::sync::lock;

/// Polls `future` first, and then only when it was woken.
pub(crate) struct WakeGate<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
    /// The waker of the task in `bell`.
    task: Option<Waker>,
}

/// Whether the future was woken, and the task to wake then.
struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is woken: it may be polled at once.
        self.rang.store(true, Ordering::Release);
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future + Unpin> WakeGate<F> {
    /// A gate before `future`.
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rang: AtomicBool::new(true), task: Mutex::new(None) });
        let waker = Waker::from(bell.clone());
        Self { future, bell, waker, task: None }
    }
}

impl<F: Future + Unpin> Future for WakeGate<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let gate = self.get_mut();
        if !gate.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            gate.task = Some(cx.waker().clone());
            // Then look whether it rang: a ring in between woke the former task.
            lock(&gate.bell.task).clone_from(&gate.task);
        }
        if !gate.bell.rang.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut gate.future).poll(&mut Context::from_waker(&gate.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    /// Counts how often its task is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_is_polled_only_when_it_was_woken() {
        let (notify, polls) = (Notify::new(), Cell::new(0));
        let mut notified = pin!(notify.notified());
        let counted = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(cx)
        });
        let mut gate = WakeGate::new(counted);
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        let mut poll = |task: &Arc<Task>| {
            let waker = Waker::from(task.clone());
            Pin::new(&mut gate).poll(&mut Context::from_waker(&waker)).is_ready()
        };
        assert!(!poll(&tasks[0]) && !poll(&tasks[0]) && !poll(&tasks[1]));
        assert_eq!(polls.get(), 1, "other polls of the task do not reach it");
        notify.notify_one();
        let woken = tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1], "the task that polled last is woken");
        assert!(poll(&tasks[1]));
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn a_future_that_is_ready_at_once_or_from_another_thread_is_seen() {
        assert_eq!(WakeGate::new(pin!(async { 7 })).await, 7);
        let notify = Arc::new(Notify::new());
        let remote = notify.clone();
        let thread = std::thread::spawn(move || remote.notify_one());
        WakeGate::new(pin!(notify.notified())).await;
        thread.join().unwrap();
    }
}
