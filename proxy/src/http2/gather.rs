//! Gathers the small pieces of a body into frames: the library keeps each frame that it cannot send yet, at some hundred bytes, and
//! counts only its payload.
//!
//! A piece is sent at once if nothing follows it. While the peer reads nothing, small pieces wait for others for a moment.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use tokio::time::Sleep;

/// A piece of this length is a frame of its own.
const LARGE: usize = 4 << 10;

/// Gathered pieces of this length are sent without waiting for more.
const FULL: usize = 16 << 10;

/// How long small pieces wait for others while the peer reads nothing.
const WAIT: Duration = Duration::from_millis(50);

/// Whether the socket of a connection accepts no more bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocked(Arc<AtomicBool>);

impl Blocked {
    /// Notes the result of a write.
    pub(super) fn note<T>(&self, written: &Poll<T>) {
        let is_blocked = written.is_pending();
        if self.is_blocked() != is_blocked {
            self.0.store(is_blocked, Ordering::Relaxed);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The pieces of one body that are not sent yet.
#[derive(Default)]
pub(super) struct Gather {
    pieces: BytesMut,
    blocked: Blocked,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Gather {
    pub(super) fn new(blocked: Blocked) -> Self {
        Self { blocked, ..Self::default() }
    }

    /// Adds a piece; returns the payload of a frame if it is time to send one. The last piece is always sent.
    pub(super) fn add(&mut self, data: Bytes, is_last: bool) -> Option<Bytes> {
        if self.pieces.is_empty() && (is_last || data.len() >= LARGE) {
            return Some(data);
        }
        self.pieces.extend_from_slice(&data);
        if is_last || self.pieces.len() >= FULL { Some(self.take()) } else { None }
    }

    /// The payload of a frame, when no piece has followed: at once, or later if the peer reads nothing.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.pieces.is_empty() {
            return Poll::Pending;
        }
        if self.blocked.is_blocked() {
            let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(WAIT)));
            std::task::ready!(wait.as_mut().poll(cx));
        }
        Poll::Ready(self.take())
    }

    /// Sends all pieces.
    ///
    /// # Errors
    /// The stream is closed.
    pub(super) fn flush(&mut self, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        let rest = self.take();
        if rest.is_empty() { Ok(()) } else { stream.send_data(rest, false) }
    }

    /// All pieces.
    pub(super) fn take(&mut self) -> Bytes {
        self.wait = None;
        std::mem::take(&mut self.pieces).freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn add(gather: &mut Gather, length: usize, is_last: bool) -> Option<usize> {
        gather.add(vec![7; length].into(), is_last).map(|frame| frame.len())
    }

    #[test]
    fn small_pieces_become_one_frame_and_large_ones_stay() {
        let mut gather = Gather::default();
        assert_eq!(add(&mut gather, LARGE, false), Some(LARGE));
        assert_eq!(add(&mut gather, 5, true), Some(5), "the last piece is not copied");
        let frames: Vec<usize> = (0..FULL * 2).filter_map(|_| add(&mut gather, 1, false)).collect();
        assert_eq!(frames, [FULL, FULL]);
        assert_eq!((add(&mut gather, 3, false), add(&mut gather, LARGE, true)), (None, Some(LARGE + 3)), "in order");
        assert!(gather.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_wait_only_while_the_peer_reads_nothing() {
        let blocked = Blocked::default();
        let mut gather = Gather::new(blocked.clone());
        let idle = async |gather: &mut Gather| match poll_fn(|cx| Poll::Ready(gather.poll_idle(cx))).await {
            Poll::Ready(frame) => Some(frame.len()),
            Poll::Pending => None,
        };
        assert_eq!((add(&mut gather, 3, false), idle(&mut gather).await), (None, Some(3)), "at once");
        blocked.note(&Poll::<()>::Pending);
        assert_eq!((add(&mut gather, 3, false), idle(&mut gather).await), (None, None));
        tokio::time::advance(WAIT).await;
        assert_eq!(idle(&mut gather).await, Some(3));
        blocked.note(&Poll::Ready(()));
        assert_eq!((blocked.is_blocked(), idle(&mut gather).await), (false, None), "nothing to send");
    }
}
