//! Streams of HTTP/2, each of which can be terminated alone.
//!
//! The library runs a stream as a task that waits for the client's window and polls nothing else in the meantime. If the client's
//! inactivity hides a termination from it, the task itself is dropped: the stream is reset, and the others on the connection
//! continue.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;

use crate::downlink::Downlink;

tokio::task_local! {
    static STREAM: Arc<Downlink>;
}

/// Runs the streams of one connection.
#[derive(Clone)]
pub(crate) struct StreamExecutor<E> {
    inner: E,
    connection: Arc<Downlink>,
    unread_timeout: Duration,
}

impl<E> StreamExecutor<E> {
    /// For a connection whose answers may stay unread for this long; `inner` runs the tasks.
    pub(crate) fn new(inner: E, connection: Arc<Downlink>, unread_timeout: Duration) -> Self {
        Self { inner, connection, unread_timeout }
    }

    /// Runs one stream to its end, or until it is terminated.
    async fn run<F: Future>(self, future: F) {
        let stream = Downlink::stream_of(&self.connection);
        let mut timer = None;
        let unread = poll_fn(|cx| {
            if !stream.is_own_answer() {
                return Poll::Pending;
            }
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.unread_timeout))).as_mut().poll(cx)
        });
        // Served before its timer is checked: an answer of ours that was just made starts the timer.
        tokio::select! {
            biased;
            () = stream.notified() => {}
            _ = STREAM.scope(stream.clone(), future) => {}
            () = unread => {}
        }
    }
}

impl<F, E> Executor<F> for StreamExecutor<E>
where
    F: Future + Send + 'static,
    E: Executor<Task> + Clone + Send + 'static,
{
    fn execute(&self, future: F) {
        // Owned by the connection: the library ends its streams with it.
        self.inner.execute(Box::pin(self.clone().run(future)));
    }
}

/// A stream as a task.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream that is being served here, if any.
pub(crate) fn current() -> Option<Arc<Downlink>> {
    STREAM.try_with(Arc::clone).ok()
}

/// The answer to this stream is one of ours: it has to be read within `unread_timeout`.
pub(crate) fn answers_itself() {
    // Outside of a stream there is nothing to terminate.
    let _outside = STREAM.try_with(|stream| stream.set_own_answer());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_ends_alone() {
        let executor = StreamExecutor::new((), Arc::default(), Duration::from_secs(60));
        let (say, told) = tokio::sync::oneshot::channel();
        let one = tokio::spawn(executor.clone().run(async {
            say.send(current().unwrap()).ok();
            std::future::pending::<()>().await;
        }));
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let other = tokio::spawn(executor.run(async { drop(finished.await) }));
        told.await.unwrap().notify_one();
        one.await.unwrap();
        assert!(!other.is_finished());
        drop(finish);
        other.await.unwrap();
        assert!(current().is_none());
    }

    #[tokio::test]
    async fn an_answer_of_ours_is_read_in_time_or_given_up() {
        let executor = StreamExecutor::new((), Arc::default(), Duration::from_millis(1));
        let forever = std::future::pending::<()>();
        executor
            .run(async {
                answers_itself();
                forever.await;
            })
            .await;
    }
}
