//! Closes one exchange's path back to its client from outside: a connection, or one stream of HTTP/2.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Receives the request to close, and reports whether its client left an answer unread.
#[derive(Debug, Default)]
pub(crate) struct Downlink {
    close: Notify,
    unread: AtomicBool,
    /// Whether the answer on it is one of ours, without an exchange that checks its progress.
    own_answer: AtomicBool,
    /// The connection that a stream is on.
    connection: Option<Arc<Self>>,
}

impl Downlink {
    /// A stream of this connection.
    pub(crate) fn stream_of(connection: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { connection: Some(connection.clone()), ..Self::default() })
    }

    /// The answer on it is one of ours.
    pub(crate) fn set_own_answer(&self) {
        self.own_answer.store(true, Ordering::Relaxed);
    }

    /// Whether the answer on it is one of ours.
    pub(crate) fn is_own_answer(&self) -> bool {
        self.own_answer.load(Ordering::Relaxed)
    }

    /// Its client left an answer unread.
    pub(crate) fn set_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether its client left an answer unread, on this stream or on its connection.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.connection.as_ref().is_some_and(|own| own.is_unread())
    }
}

impl Deref for Downlink {
    type Target = Notify;

    fn deref(&self) -> &Notify {
        &self.close
    }
}
