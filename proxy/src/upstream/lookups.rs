//! How many name lookups one session may have in progress, over all cores. More of them wait, within the timeout of one lookup.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use model::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The lookups in progress.
#[derive(Debug)]
pub(crate) struct Lookups {
    max: usize,
    sessions: Mutex<HashMap<SessionId, Arc<Semaphore>>>,
}

impl Lookups {
    /// At most `max` at once for each session.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, sessions: Mutex::default() }
    }

    /// Waits for a slot; dropping it frees it.
    ///
    /// # Cancellation
    /// Gives up the position in the queue.
    pub(crate) async fn enter(&self, session: &SessionId) -> Option<OwnedSemaphorePermit> {
        let slots = {
            let mut sessions = model::sync::lock(&self.sessions);
            sessions.entry(session.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.max))).clone()
        };
        slots.acquire_owned().await.ok()
    }

    /// Free slots of the session.
    #[cfg(test)]
    pub(crate) fn free(&self, session: &SessionId) -> usize {
        let sessions = model::sync::lock(&self.sessions);
        sessions.get(session).map_or(self.max, |slots| slots.available_permits())
    }

    /// Removes sessions without lookups.
    pub(crate) fn sweep(&self) {
        let mut sessions = model::sync::lock(&self.sessions);
        sessions.retain(|_, slots| Arc::strong_count(slots) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_has_so_many_lookups_and_no_more() {
        let lookups = Lookups::new(2);
        let (a, b) = ("a".into(), "b".into());
        let held = (lookups.enter(&a).await.unwrap(), lookups.enter(&a).await.unwrap());
        let mut third = std::pin::pin!(lookups.enter(&a));
        assert!(futures_pending(third.as_mut()).await);
        assert!(lookups.enter(&b).await.is_some(), "another session does not wait");
        lookups.sweep();
        assert!(futures_pending(third.as_mut()).await, "a sweep frees nothing that is in use");
        drop(held.0);
        let third = third.await.unwrap();
        drop((held.1, third));
        lookups.sweep();
        assert!(lookups.sessions.lock().unwrap().is_empty());
    }

    async fn futures_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
