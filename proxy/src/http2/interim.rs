//! Informational (1xx) responses of upstreams: at most 32 for one request (RFC 9110 section 15.2 sets no bound, and a 103
//! costs the upstream nothing).
//!
//! HTTP/1: our reader counts them. HTTP/2: the library queues them without a bound, so the frames are counted before it reads
//! them. A stream has at most this many HEADERS that do not end it, including the head of the response. Exceeding the bound
//! ends the connection at its next read, even if more input follows.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::StatusCode;
use model::Fields;
use tokio::io::{AsyncRead, ReadBuf};

/// Receives the informational responses to one request, except 100 and 101.
pub(crate) type Inform<'a> = dyn FnMut(StatusCode, Fields) + Send + 'a;

/// Informational responses to one request.
pub(crate) const MAX_INTERIM: u32 = 32;

/// Streams of one connection that are counted at once; an upstream has no more open than we opened.
const MAX_STREAMS: usize = 4_096;

/// The count of one upstream connection, shared with its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interim(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    exceeded: AtomicBool,
}

impl Interim {
    fn exceed(&self) {
        self.0.exceeded.store(true, Ordering::Relaxed);
    }

    /// Whether there were more than allowed.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.0.exceeded.load(Ordering::Relaxed)
    }
}

/// An upstream connection that ends when the bound is exceeded.
pub(crate) struct Bounded<S> {
    io: S,
    interim: Interim,
    frames: Frames,
}

impl<S> Bounded<S> {
    pub(crate) fn new(io: S, interim: Interim) -> Self {
        Self { io, interim, frames: Frames::default() }
    }
}

/// Follows the frames of an HTTP/2 connection by their headers alone (RFC 9113 section 4.1).
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 9],
    filled: usize,
    /// Bytes of the current frame that are still to come.
    left: usize,
    /// HEADERS that did not end their stream.
    open: HashMap<u32, u32>,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

impl Frames {
    /// Consumes the next bytes; returns whether a stream has more heads than allowed.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = self.header.len() - self.filled;
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            let filled = self.filled + now.len();
            if let Some(place) = self.header.get_mut(self.filled..filled) {
                place.copy_from_slice(now);
            }
            (self.filled, bytes) = (filled, rest);
            if self.filled == self.header.len() {
                self.filled = 0;
                if self.frame() {
                    return true;
                }
            }
        }
        false
    }

    /// The header of a frame is complete.
    fn frame(&mut self) -> bool {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        match kind {
            HEADERS if flags & END_STREAM == 0 => {
                let count = self.open.entry(stream).or_default();
                *count += 1;
                // The head of the response itself is one of them.
                *count > MAX_INTERIM + 1 || self.open.len() > MAX_STREAMS
            }
            HEADERS | RST_STREAM => {
                self.open.remove(&stream);
                false
            }
            _ => {
                // DATA that ends its stream has the same effect.
                if kind == 0 && flags & END_STREAM != 0 {
                    self.open.remove(&stream);
                }
                false
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let exceeded = || io::Error::new(io::ErrorKind::InvalidData, "too many informational responses");
        if this.interim.is_exceeded() {
            return Poll::Ready(Err(exceeded()));
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, out))?;
        let read = out.filled().get(before..).unwrap_or_default();
        if this.frames.take(read) {
            this.interim.exceed();
            return Poll::Ready(Err(exceeded()));
        }
        Poll::Ready(Ok(()))
    }
}

crate::forward_writes::forward_writes!(Bounded);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.resize(9 + length, HEADERS);
        bytes
    }

    /// How many heads of one stream pass, with `between` after each.
    fn heads(between: &[u8]) -> u32 {
        let mut frames = Frames::default();
        let head = frame(HEADERS, 4, 7, 3);
        (0..1_000).find(|_| frames.take(&head) || frames.take(between)).unwrap_or(1_000)
    }

    #[test]
    fn a_stream_has_32_informational_responses_and_its_own_head() {
        assert_eq!(heads(&[]), MAX_INTERIM + 1);
        assert_eq!(heads(&frame(0, 0, 7, 70)), MAX_INTERIM + 1);
        assert_eq!(heads(&frame(HEADERS, END_STREAM | 4, 9, 0)), MAX_INTERIM + 1);
        assert_eq!(heads(&frame(HEADERS, END_STREAM | 4, 7, 0)), 1_000, "trailers end a stream");
        assert_eq!(heads(&frame(0, END_STREAM, 7, 0)), 1_000, "so does data");
        assert_eq!(heads(&frame(RST_STREAM, 0, 7, 4)), 1_000, "so does a reset");
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let bytes: Vec<u8> = (0..=MAX_INTERIM + 1).flat_map(|_| frame(HEADERS, 4, 3, 5)).collect();
        for size in 1..40 {
            let mut frames = Frames::default();
            let at = bytes.chunks(size).position(|piece| frames.take(piece)).unwrap();
            assert_eq!(at, (33 * 14 + 8) / size, "{size}");
        }
    }

    #[tokio::test]
    async fn the_connection_ends_at_its_next_read() {
        let interim = Interim::default();
        let heads = frame(HEADERS, 4, 7, 0).repeat(usize::try_from(MAX_INTERIM).unwrap() + 2);
        let mut io = Bounded::new(&heads[..], interim.clone());
        assert_eq!(io.read(&mut [0; 9]).await.unwrap(), 9);
        assert!(io.read(&mut [0; 1_000]).await.is_err());
        assert!(interim.is_exceeded());
        assert_eq!(io.read(&mut [0; 3]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
