//! A client's connection that closes if its client leaves an answer unread.
//!
//! This applies to all output (an answer of ours, a relayed body or frames of HTTP/2), however little of it remains. If no
//! byte could be written for `unread_timeout`, or only below the minimum rate, the next write fails and the connection ends.
//! Progress is visible only through the buffers of sockets; `bound_unsent` keeps ours small enough for that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;
use crate::downlink::Downlink;
use crate::entry::listener::ClientStream;
use crate::limits::meter::{Meter, MinimumRate};

/// Bytes that the kernel buffers beyond those in flight. With its default of megabytes, a slow reader would look like a
/// client that does not read at all.
const UNSENT: u32 = 128 << 10;

/// Bounds the kernel's buffer for a client that does not read.
pub(crate) fn bound_unsent(stream: &ClientStream) {
    // A unix socket buffers little by itself.
    let Some(stream) = stream.tcp() else { return };
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "the bound of unsent bytes");
    }
}

/// A client's connection.
pub(crate) struct Unread<S> {
    io: S,
    downlink: Arc<Downlink>,
    limit: Duration,
    progress: Progress,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The client's progress in reading the output.
#[derive(Debug)]
struct Progress {
    rate: MinimumRate,
    meter: Meter,
    /// Since when a write waits.
    blocked: Option<Instant>,
}

impl Progress {
    /// A write waits; returns since when.
    fn waits(&mut self, now: Instant) -> Instant {
        *self.blocked.get_or_insert(now)
    }

    /// This many bytes were accepted; returns whether that is a trickle.
    fn took(&mut self, bytes: u64, now: Instant) -> bool {
        let waited = self.blocked.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.meter.moved(self.rate, waited, bytes)
    }
}

impl<S> Unread<S> {
    /// Checks the progress of a connection; if it ends for lack of progress, `downlink` is notified.
    pub(crate) fn new(io: S, downlink: Arc<Downlink>, limits: &Limits) -> Self {
        let progress = Progress { rate: limits.minimum_rate(), meter: Meter::default(), blocked: None };
        Self { io, downlink, limit: limits.unread_timeout, progress, timer: None }
    }

    /// The connection itself.
    pub(crate) fn into_inner(self) -> S {
        self.io
    }

    /// Evaluates the outcome of a write or flush: `bytes` moved, or the client is waited for.
    fn watch<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Ok(done)) => {
                self.timer = None;
                // Nearly every write succeeds at once; this case does not read the clock.
                let waited = self.progress.blocked.is_some();
                let is_trickle = waited && self.progress.took(bytes(&done), Instant::now());
                if is_trickle { self.end() } else { Poll::Ready(Ok(done)) }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let since = self.progress.waits(Instant::now());
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + self.limit)));
                if timer.as_mut().poll(cx).is_ready() { self.end() } else { Poll::Pending }
            }
        }
    }

    fn end<T>(&self) -> Poll<io::Result<T>> {
        self.downlink.set_unread();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(polled, |count| *count as u64, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(polled, |()| 0, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(polled, |()| 0, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.watch(polled, |count| *count as u64, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Whether a client that accepts this many bytes after each wait of a second is terminated within a thousand
    /// seconds.
    fn ends(bytes: u64) -> bool {
        let start = Instant::now();
        let mut progress = Progress { rate: Limits::default().minimum_rate(), meter: Meter::default(), blocked: None };
        (0..1_000).any(|second| {
            progress.waits(start + Duration::from_secs(second));
            progress.took(bytes, start + Duration::from_secs(second + 1))
        })
    }

    #[test]
    fn t130_a_client_that_reads_a_byte_a_second_is_closed() {
        assert!(ends(1) && ends(200));
        assert!(!ends(240) && !ends(100_000));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_the_connection() {
        let (ours, _theirs) = tokio::io::duplex(1_000);
        let downlink = Arc::<Downlink>::default();
        let limits = Limits { unread_timeout: Duration::from_millis(1), ..Limits::default() };
        let mut unread = Unread::new(ours, downlink.clone(), &limits);
        unread.write_all(&[0; 1_000]).await.unwrap();
        assert!(!downlink.is_unread());
        let error = unread.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(downlink.is_unread() && Downlink::stream_of(&downlink).is_unread());
    }
}
