//! A stream that is cut into pieces as a test wants it, and never waits.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::outbox::Outbox;

/// How input is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Whole,
    /// Before the byte with this index.
    At(usize),
    Bytes,
}

impl Cut {
    /// In one piece, in two, and byte by byte. `seed` chooses the place of the cut.
    pub(super) fn all(length: usize, seed: usize) -> [Self; 3] {
        [Self::Whole, Self::At(seed % length.max(1)), Self::Bytes]
    }
}

/// One piece for each read, then the end. All output is dropped.
pub(super) struct Pieces {
    left: VecDeque<Bytes>,
    stays_open: Arc<AtomicBool>,
}

impl Pieces {
    pub(super) fn new(bytes: &Bytes, cut: Cut) -> Self {
        let pieces = match cut {
            Cut::Whole => [bytes.clone()].into(),
            Cut::At(at) => [bytes.slice(..at), bytes.slice(at..)].into(),
            Cut::Bytes => (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect(),
        };
        Self { left: pieces, stays_open: Arc::default() }
    }

    /// From the moment at which it is set, the stream has no end.
    pub(super) fn stays_open(&self) -> Arc<AtomicBool> {
        self.stays_open.clone()
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.left.front().is_some_and(Bytes::is_empty) {
            self.left.pop_front();
        }
        if let Some(piece) = self.left.front_mut() {
            let length = piece.len().min(room.remaining());
            room.put_slice(&piece[..length]);
            piece.advance(length);
        } else if self.stays_open.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What an output buffer writes to its connection.
pub(super) async fn flushed(mut out: Outbox) -> Vec<u8> {
    let mut written = Vec::new();
    std::future::poll_fn(|cx| out.poll_flushed(&mut written, cx)).await.unwrap();
    written
}
