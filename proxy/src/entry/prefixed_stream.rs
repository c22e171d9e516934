//! A stream with bytes that were read ahead of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Reads the prefix first, then the stream; writes to the stream.
#[derive(Debug)]
pub(crate) struct PrefixedStream<S> {
    ahead: Vec<u8>,
    io: S,
}

impl<S: AsyncRead + Unpin> PrefixedStream<S> {
    /// Puts bytes back in front of a stream.
    pub(crate) fn new(io: S, ahead: Vec<u8>) -> Self {
        Self { ahead, io }
    }

    /// The stream, and its prefix.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.io, self.ahead)
    }

    /// The first bytes, at least one, without consuming them; empty at the end of the stream.
    ///
    /// # Cancellation
    /// Safe: no byte is lost.
    pub(crate) async fn peek(&mut self) -> io::Result<&[u8]> {
        if self.ahead.is_empty() {
            self.ahead.reserve(1 << 10);
            self.io.read_buf(&mut self.ahead).await?;
        }
        Ok(&self.ahead)
    }

    /// The whole prefix, once it is longer than `seen` or the stream has ended; consumes nothing.
    ///
    /// # Cancellation
    /// Safe: no byte is lost.
    pub(crate) async fn peek_more(&mut self, seen: usize) -> io::Result<&[u8]> {
        if self.ahead.len() <= seen {
            self.ahead.reserve(4 << 10);
            self.io.read_buf(&mut self.ahead).await?;
        }
        Ok(&self.ahead)
    }

    /// The first bytes up to the end of a line or `limit`, or all bytes before the stream ends, without consuming them.
    ///
    /// # Cancellation
    /// Safe: no byte is lost.
    pub(crate) async fn peek_line(&mut self, limit: usize) -> io::Result<&[u8]> {
        while self.ahead.len() < limit && !self.ahead.contains(&b'\n') {
            self.ahead.reserve(1 << 10);
            if self.io.read_buf(&mut self.ahead).await? == 0 {
                break;
            }
        }
        Ok(&self.ahead)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefixedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, out);
        }
        let count = this.ahead.len().min(out.remaining());
        out.put_slice(this.ahead.get(..count).unwrap_or_default());
        if count == this.ahead.len() {
            this.ahead = Vec::new();
        } else {
            this.ahead.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

crate::forward_writes::forward_writes!(PrefixedStream);
