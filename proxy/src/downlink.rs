//! One exchange's path back to its client, a connection or one stream of HTTP/2: closes it from outside, and carries the informational
//! responses that arrive before the answer.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::message::Response;

/// The bytes of informational responses that one exchange passes on; one has at most 64 KiB by default.
const MAX_INTERIM_BYTES: usize = 64 << 10;

/// Receives the request to close, and reports whether its client left an answer unread.
#[derive(Debug, Default)]
pub(crate) struct Downlink {
    close: Notify,
    unread: AtomicBool,
    /// Whether the answer on it is one of ours, without an exchange that checks its progress.
    own_answer: AtomicBool,
    /// Informational responses that the client has not got yet. They are added in a poll of the task that sends them.
    interim: Mutex<Vec<Response<()>>>,
    /// The bytes of all of them.
    interim_bytes: AtomicUsize,
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

    /// Another exchange begins on it.
    pub(crate) fn begin_exchange(&self) {
        self.interim_bytes.store(0, Ordering::Relaxed);
    }

    /// Passes an informational response on to the client, up to a number of bytes: no client needs more.
    pub(crate) fn inform(&self, interim: Response<()>) {
        let bytes: usize = interim.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if self.interim_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_INTERIM_BYTES {
            model::sync::lock(&self.interim).push(interim);
        }
    }

    /// The informational responses since the last call.
    pub(crate) fn take_interim(&self) -> Vec<Response<()>> {
        std::mem::take(&mut model::sync::lock(&self.interim))
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

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn interim(length: usize) -> Response<()> {
        let mut interim = Response::new(());
        interim.fields.append(header::LINK, HeaderValue::from_bytes(&vec![b'a'; length]).unwrap());
        interim
    }

    #[test]
    fn informational_responses_of_one_exchange_are_bounded_in_bytes() {
        let downlink = Downlink::default();
        for exchange in 0..2 {
            downlink.begin_exchange();
            (0..32).for_each(|_| downlink.inform(interim(20_000)));
            assert_eq!(downlink.take_interim().len(), 3, "exchange {exchange}");
        }
    }
}
