//! The output buffer of one connection: copies small pieces together, and keeps large ones as they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Pieces of at least this many bytes are not copied.
const SHARED_BYTES: usize = 4 << 10;

/// Pieces in one write.
const PIECES: usize = 8;

/// The bytes that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Is written before `last`.
    queue: VecDeque<Bytes>,
    last: BytesMut,
    queued: usize,
    /// Whether the stream may buffer a part of its input.
    unflushed: bool,
}

impl Outbox {
    /// The bytes that are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.queued + self.last.len()
    }

    /// Whether all was written and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// The buffer for small pieces.
    pub(crate) fn last(&mut self) -> &mut BytesMut {
        &mut self.last
    }

    /// Adds one piece.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < SHARED_BYTES {
            self.last.extend_from_slice(&data);
            return;
        }
        if !self.last.is_empty() {
            let before = self.last.split().freeze();
            self.queued += before.len();
            self.queue.push_back(before);
        }
        self.queued += data.len();
        self.queue.push_back(data);
    }

    /// Writes and flushes everything.
    ///
    /// # Errors
    /// The errors of the stream.
    pub(crate) fn poll_flushed<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let written = ready!(self.poll_write(io, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<S: AsyncWrite + Unpin>(&self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(first) = self.queue.front() else { return Pin::new(io).poll_write(cx, &self.last) };
        if !io.is_write_vectored() {
            return Pin::new(io).poll_write(cx, first);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let waiting = self.queue.iter().map(AsRef::as_ref).chain(std::iter::once(self.last.as_ref()));
        let mut count = 0;
        for (piece, bytes) in pieces.iter_mut().zip(waiting) {
            *piece = IoSlice::new(bytes);
            count += 1;
        }
        Pin::new(io).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.queue.front_mut() {
            let here = written.min(first.len());
            first.advance(here);
            self.queued -= here;
            written -= here;
            if !first.is_empty() {
                return;
            }
            self.queue.pop_front();
        }
        self.last.advance(written.min(self.last.len()));
        if self.last.is_empty() {
            // An idle connection holds no buffer.
            self.last = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn written(pieces: &[Bytes], room: usize) -> Vec<u8> {
        let (mut ours, mut theirs) = tokio::io::duplex(room);
        let mut outbox = Outbox::default();
        pieces.iter().for_each(|piece| outbox.push(piece.clone()));
        assert_eq!(outbox.waiting(), pieces.iter().map(Bytes::len).sum::<usize>());
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all
        });
        std::future::poll_fn(|cx| outbox.poll_flushed(&mut ours, cx)).await.unwrap();
        assert!(outbox.is_flushed());
        drop(ours);
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn pieces_keep_their_order_whatever_their_size_and_however_they_are_taken() {
        let piece = |byte: u8, length: usize| Bytes::from(vec![byte; length]);
        let pieces: Vec<Bytes> =
            (0..30).map(|n| piece(n, if n % 3 == 0 { 9_000 } else { usize::from(n) * 7 })).collect();
        let want = pieces.concat();
        for room in [1_000, 5_000, 1 << 20] {
            assert!(written(&pieces, room).await == want, "{room}");
        }
        assert!(written(&[], 10).await.is_empty());
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_is_an_error() {
        let (mut ours, theirs) = tokio::io::duplex(10);
        drop(theirs);
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abc"));
        let ended = std::future::poll_fn(|cx| outbox.poll_flushed(&mut ours, cx)).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
