//! A budget for HTTP/2 control frames, on both legs: counts the frames of a connection before the library reads them.
//!
//! SETTINGS, PING, PRIORITY, RST_STREAM, empty DATA and unknown frames cost the sender a few bytes and the receiver a decision
//! each (RFC 9113 section 10.5). A peer that exceeds the budget gets GOAWAY with ENHANCE_YOUR_CALM, and the connection ends.
//! Frames that answer ours are free. Clients send up to two WINDOW_UPDATE frames and a PING for each DATA frame that they get,
//! because gRPC measures its bandwidth this way. A server may reset each stream that was opened to it.
//!
//! The library answers requests that break HTTP/2 itself, before anyone sees them; its answer shows them here (`Unserved`).
//!
//! Only the nine bytes of each frame's header are read, and the code of a RST_STREAM; a payload is skipped in one step.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{DATA, END_STREAM, HEADERS, Head, PADDED, PING, PROTOCOL_ERROR, RST_STREAM, Reader, WINDOW_UPDATE};
use super::gather::Blocked;
use super::interim::{Interim, ResponseHeads};
use crate::share::pace;

/// The time over which control frames are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// Bytes of the client's preface (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

/// A padded DATA frame of at most this length may contain only padding.
const MAX_PADDING_BYTES: usize = 256;

/// The maximum of saved free frames, as a multiple of the budget.
const MAX_CREDIT: u32 = 16;

/// GOAWAY on stream 0 with the reason ENHANCE_YOUR_CALM; the last stream is filled in.
const GOAWAY: [u8; 17] = [0, 0, 8, 0x7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb];

/// The sender of the counted frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A client of ours.
    Client,
    /// An upstream.
    Server,
}

/// How the library answered a request that it did not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It breaks HTTP/2: its stream was reset with PROTOCOL_ERROR.
    Malformed,
    /// Its fields exceed `max_header_list_bytes`: 431.
    TooLarge,
}

/// At most this many streams of a connection wait to be accepted or rejected.
const MAX_UNSERVED: usize = 1_024;

/// The streams of a client that were opened and are neither accepted nor rejected yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unserved(Arc<Mutex<Streams>>);

#[derive(Debug, Default)]
struct Streams {
    opened: VecDeque<u32>,
    rejected: Vec<(u32, Rejected)>,
}

impl Unserved {
    /// The library accepted the request on this stream.
    pub(crate) fn accept(&self, stream: u32) {
        let mut streams = model::sync::lock(&self.0);
        streams.opened.retain(|opened| *opened != stream);
        // It was accepted before it was reset, for what follows its head: its exchange records that.
        streams.rejected.retain(|(rejected, _)| *rejected != stream);
    }

    /// The requests that were rejected since the last call.
    pub(crate) fn take(&self) -> Vec<Rejected> {
        let rejected = std::mem::take(&mut model::sync::lock(&self.0).rejected);
        rejected.into_iter().map(|(_, rejected)| rejected).collect()
    }

    /// A frame of the client.
    fn came(&self, head: Head, is_new: bool) {
        let mut streams = model::sync::lock(&self.0);
        match head.kind {
            HEADERS if is_new => {
                if streams.opened.len() == MAX_UNSERVED {
                    streams.opened.pop_front();
                }
                streams.opened.push_back(head.stream);
            }
            RST_STREAM => streams.opened.retain(|opened| *opened != head.stream),
            _ => {}
        }
    }

    /// A frame of ours.
    fn sent(&self, head: Head) {
        let rejected = match head.kind {
            HEADERS => Rejected::TooLarge,
            RST_STREAM if head.code == PROTOCOL_ERROR => Rejected::Malformed,
            _ => return,
        };
        let mut streams = model::sync::lock(&self.0);
        if let Some(at) = streams.opened.iter().position(|opened| *opened == head.stream) {
            streams.opened.remove(at);
            streams.rejected.push((head.stream, rejected));
        }
    }
}

/// The remaining budget of a peer.
#[derive(Debug)]
struct Budget {
    peer: Peer,
    /// Control frames in a period.
    max: u32,
    used: u32,
    /// Frames that answer ours and are free.
    credit: u32,
    period_ends: Instant,
}

impl Budget {
    fn new(peer: Peer, max: u32, now: Instant) -> Self {
        Self { peer, max, used: 0, credit: 0, period_ends: now + PERIOD }
    }

    /// A frame of ours, which the peer may answer.
    fn sent(&mut self, head: Head) {
        let earned = match (head.kind, self.peer) {
            (DATA, _) => 3,
            (HEADERS, Peer::Server) => 1,
            _ => 0,
        };
        self.credit = (self.credit + earned).min(self.max.saturating_mul(MAX_CREDIT));
    }

    /// A frame of the peer; returns whether it is within the budget.
    fn admits(&mut self, head: Head, now: Instant) -> bool {
        let (counts, may_answer) = match (head.kind, self.peer) {
            (DATA, _) => (is_empty(head), false),
            (HEADERS, _) => (false, false),
            (PING | WINDOW_UPDATE, _) | (RST_STREAM, Peer::Server) => (true, true),
            _ => (true, false),
        };
        if !counts {
            return true;
        }
        if may_answer && self.credit > 0 {
            self.credit -= 1;
            return true;
        }
        if now >= self.period_ends {
            (self.used, self.period_ends) = (0, now + PERIOD);
        }
        self.used += 1;
        self.used <= self.max
    }
}

/// A DATA frame without data; one that ends a stream is useful and does not count.
fn is_empty(head: Head) -> bool {
    let nothing = head.length == 0 && head.flags & END_STREAM == 0;
    nothing || (head.flags & PADDED != 0 && head.length <= MAX_PADDING_BYTES)
}

/// A decrypted HTTP/2 connection whose frames are counted.
pub(crate) struct Frames<S> {
    io: S,
    incoming: Reader,
    outgoing: Reader,
    budget: Budget,
    last_stream: u32,
    exceeded: Arc<AtomicBool>,
    /// `None` for an upstream.
    unserved: Option<Unserved>,
    /// `None` for a client.
    heads: Option<ResponseHeads>,
    blocked: Blocked,
}

impl<S> Frames<S> {
    /// Counts the frames of `peer` on a new connection: at most `max` control frames in ten seconds.
    pub(crate) fn new(io: S, peer: Peer, max: u32) -> Self {
        let (incoming, outgoing) = match peer {
            Peer::Client => (PREFACE_BYTES, 0),
            Peer::Server => (0, PREFACE_BYTES),
        };
        Self {
            io,
            incoming: Reader::new(incoming),
            outgoing: Reader::new(outgoing),
            budget: Budget::new(peer, max, Instant::now()),
            last_stream: 0,
            exceeded: Arc::default(),
            unserved: (peer == Peer::Client).then(Unserved::default),
            heads: (peer == Peer::Server).then(ResponseHeads::default),
            blocked: Blocked::default(),
        }
    }

    /// Becomes true when the peer has exceeded its budget.
    pub(crate) fn exceeded(&self) -> Arc<AtomicBool> {
        self.exceeded.clone()
    }

    /// The requests of a client that the library does not accept.
    pub(crate) fn unserved(&self) -> Unserved {
        self.unserved.clone().unwrap_or_default()
    }

    /// Whether the peer reads nothing at the moment.
    pub(super) fn blocked(&self) -> Blocked {
        self.blocked.clone()
    }

    /// Whether an upstream sent more informational responses than allowed.
    pub(super) fn interim(&self) -> Interim {
        self.heads.as_ref().map(ResponseHeads::interim).unwrap_or_default()
    }

    fn count(&mut self, bytes: &[u8]) {
        let Self { incoming, budget, last_stream, exceeded, unserved, heads, .. } = self;
        let now = Instant::now();
        incoming.feed(bytes, |head| {
            if let Some(unserved) = unserved {
                unserved.came(head, head.stream > *last_stream);
            }
            if let Some(heads) = heads
                && !heads.admits(head)
            {
                exceeded.store(true, Ordering::Relaxed);
            }
            if head.kind == HEADERS {
                *last_stream = head.stream.max(*last_stream);
            }
            if !budget.admits(head, now) {
                exceeded.store(true, Ordering::Relaxed);
            }
        });
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let Self { outgoing, budget, unserved, heads, .. } = self;
        outgoing.feed(bytes, |head| {
            budget.sent(head);
            if let Some(unserved) = unserved {
                unserved.sent(head);
            }
            if let Some(heads) = heads {
                heads.sent(head);
            }
        });
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Sends the reason why the connection ends, as far as the socket accepts it at once. After part of a frame, no
    /// reason can be sent.
    fn send_goaway(&mut self, cx: &mut Context<'_>) {
        if !self.outgoing.is_between_frames() {
            return;
        }
        let mut frame = GOAWAY;
        frame.iter_mut().skip(9).zip(self.last_stream.to_be_bytes()).for_each(|(to, from)| *to = from);
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.io).poll_write(cx, &frame) {
            let flushed = Pin::new(&mut self.io).poll_flush(cx);
            tracing::debug!(?flushed, "a peer exceeded a bound of HTTP/2 frames");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(pace(cx));
        let before = out.filled().len();
        if !this.exceeded.load(Ordering::Relaxed) {
            ready!(Pin::new(&mut this.io).poll_read(cx, out))?;
            this.count(out.filled().get(before..).unwrap_or_default());
            if !this.exceeded.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            out.set_filled(before);
            this.send_goaway(cx);
        }
        Poll::Ready(Err(io::Error::other("the peer exceeded a bound of HTTP/2 frames")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(pace(cx));
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.blocked.note(&written);
        let count = ready!(written)?;
        this.wrote(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(pace(cx));
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        this.blocked.note(&written);
        let count = ready!(written)?;
        let mut left = count;
        for part in parts {
            let written = part.get(..left.min(part.len())).unwrap_or_default();
            this.wrote(written);
            left -= written.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
