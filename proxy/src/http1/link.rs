//! One client's connection over HTTP/1. Its requests are read here; the exchanges read the bodies, through [`RequestBody`].
//!
//! A client that closes its half still gets its answer. A client that closed TLS without a closing alert, or reset the connection,
//! has left.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::{Frame, SizeHint};
use model::{Fields, Reason};
use sessions::Identified;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::head::{self, Framing, Reach, ReadHead, RequestHead, Target};
use super::outbox::Outbox;
use super::wire::{BodyError, Wire};
use crate::config::Limits;
use crate::refusal::Refusal;
use crate::share;
use crate::share::pace;

/// How long a closing connection waits for its client to read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are read and dropped in the meantime. Closing while the client sends would reset the connection and discard the
/// answer.
const LINGER_BYTES: usize = 16 << 20;

/// Bytes of an unread body that are read and dropped so that the connection can continue.
const DRAIN_BYTES: usize = 256 << 10;

/// Bytes that are read ahead from a client while an answer is in progress.
const MAX_AHEAD_BYTES: usize = 16 << 10;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The check of a sender's permission. It runs on each head before any other part is read.
pub(crate) enum ClientCheck {
    /// The inside of a tunnel: its client; CONNECT is refused.
    Tunnel(Identified),
    /// The listener: each request identifies its client.
    Listener(Box<dyn Identify>),
}

/// Identifies the client of a request to the proxy.
pub(crate) trait Identify: Send + Sync {
    /// The client, from the value of the Proxy-Authorization field.
    ///
    /// # Errors
    /// As step 2.
    fn identify(&self, credentials: Option<&[u8]>) -> Result<Identified, Refusal>;
}

impl ClientCheck {
    /// # Errors
    /// As [`Identify::identify`], and `malformed` for a head whose credentials cannot be found.
    fn identify(&self, head: &[u8]) -> Result<Identified, Refusal> {
        match self {
            Self::Tunnel(client) => Ok(client.clone()),
            Self::Listener(listener) => listener.identify(head::credentials(head)?),
        }
    }
}

/// The input of a client.
pub(crate) enum Arrived {
    /// A CONNECT request.
    Connect(Identified, RequestHead),
    /// Any other request; its body has not been read.
    Request(Identified, Box<ReadHead>),
}

/// A request whose head was read.
pub(crate) struct Received {
    pub(crate) client: Identified,
    pub(crate) head: RequestHead,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// `None` for a request without a body.
    pub(crate) body: Option<RequestBody>,
}

/// Why no head could be read.
#[derive(Debug)]
pub(crate) enum HeadFault {
    /// The connection broke.
    Socket,
    /// Answered with this refusal; no more can be read from the connection.
    Refused(Refusal),
}

impl From<Refusal> for HeadFault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The state shared with the body of the request.
pub(super) struct State<S> {
    /// `None` once it was taken out.
    wire: Option<Wire<S>>,
    /// Bytes of the buffer that contain no end of a head.
    seen: usize,
    /// Whether an empty line before the request was skipped (RFC 9112 section 2.2).
    skipped_line: bool,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the client waits for a 100 response before it sends the body.
    continue_due: bool,
    /// Whether an answer is being written.
    answering: bool,
    /// Whether the rest of the body has no reader.
    abandoned: bool,
    /// Whether the client sends no more.
    half_closed: bool,
    /// Whether the connection was abandoned before the body of the request had ended.
    broken: bool,
    /// The waiter for the end of the body.
    waiting: Option<Waker>,
    /// The reader of the body.
    reader: Option<Waker>,
    /// The number of the current request: a body of an earlier one may still be held somewhere.
    serial: u64,
}

/// One client's connection.
pub(crate) struct Link<S> {
    state: Mutex<State<S>>,
    check: ClientCheck,
    limits: Arc<Limits>,
}

impl<S> Link<S> {
    /// A new connection, or the inside of a tunnel.
    pub(crate) fn new(io: S, limits: Arc<Limits>, check: ClientCheck) -> Arc<Self> {
        let state = State {
            wire: Some(Wire::new(io, BytesMut::new())),
            seen: 0,
            skipped_line: false,
            deadline: Instant::now() + limits.head_timeout,
            timer: None,
            continue_due: false,
            answering: false,
            abandoned: false,
            half_closed: false,
            broken: false,
            waiting: None,
            reader: None,
            serial: 0,
        };
        Arc::new(Self { state: Mutex::new(state), check, limits })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        model::sync::lock(&self.state)
    }

    /// Takes the stream out, with the bytes that were read from it and not consumed; once.
    pub(crate) fn take_parts(&self) -> Option<(S, Vec<u8>)> {
        let wire = self.lock().wire.take()?;
        Some((wire.io, wire.buffer.into()))
    }

    /// Whether a part of a head has arrived.
    pub(crate) fn has_begun(&self) -> bool {
        self.lock().wire.as_ref().is_some_and(|wire| !wire.buffer.is_empty())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Link<S> {
    /// Waits for the next head; `None` if the client closed the connection.
    ///
    /// # Errors
    /// The connection broke, or the refusal to answer with.
    ///
    /// # Cancellation
    /// Safe: the bytes that were read are retained.
    pub(crate) async fn next(&self) -> Result<Option<Arrived>, HeadFault> {
        std::future::poll_fn(|cx| {
            ready!(pace(cx));
            self.lock().poll_head(self, cx)
        })
        .await
    }

    /// The request of a head, whose body is read from this connection.
    pub(crate) fn request(self: &Arc<Self>, client: Identified, read: ReadHead) -> Received {
        let ReadHead { head, fields, wishes } = read;
        let body = match head.framing {
            Framing::Length(0) => None,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                let serial = self.lock().serial;
                Some(RequestBody { link: self.clone(), serial })
            }
        };
        Received { client, head, version: wishes.version, fields, body }
    }

    /// The answer was written; the next request may arrive.
    pub(super) fn end_answer(&self) {
        self.lock().end_answer(&self.limits);
    }

    /// Ready when the client has left.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().poll_left(cx)
    }

    /// Waits until the body of the request was read or abandoned; returns whether it was read to its end.
    pub(super) async fn body_over(&self) -> bool {
        std::future::poll_fn(|cx| self.lock().poll_body_over(cx)).await
    }

    /// Reads and drops the rest of a body without a reader, if it is short; returns whether that was all of it.
    pub(super) async fn drain(&self) -> bool {
        let draining = async {
            let mut dropped = 0;
            while dropped < DRAIN_BYTES {
                match std::future::poll_fn(|cx| self.lock().poll_drain(cx)).await {
                    Some(Ok(frame)) => dropped += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        tokio::time::timeout(LINGER, draining).await.unwrap_or(false)
    }

    /// Closes the connection so that the client can still read the answer.
    pub(super) async fn close(&self, may_send: bool) {
        let closing = async {
            std::future::poll_fn(|cx| self.lock().poll_shutdown(cx)).await?;
            let mut dropped = 0;
            while may_send && dropped < LINGER_BYTES {
                match std::future::poll_fn(|cx| self.lock().poll_drop(cx)).await? {
                    0 => break,
                    count => dropped += count,
                }
            }
            Ok::<(), io::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(LINGER, closing).await {
            tracing::debug!(%error, "a connection could not be closed");
        }
    }
}

/// Closes a connection that is no longer served: a reader of its body sees its end.
pub(super) struct Closing<'a, S> {
    link: &'a Link<S>,
    armed: bool,
}

impl<'a, S> Closing<'a, S> {
    pub(super) fn new(link: &'a Link<S>) -> Self {
        Self { link, armed: true }
    }

    /// The connection continues without HTTP.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl<S> Drop for Closing<'_, S> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (wire, reader) = {
            let mut state = self.link.lock();
            state.broken = state.wire.as_ref().is_some_and(|wire| !wire.has_ended());
            (state.wire.take(), state.reader.take())
        };
        drop(wire);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    /// Reads up to the end of a head, judges it and consumes it; returns `None` at the end of the stream.
    fn poll_head(&mut self, link: &Link<S>, cx: &mut Context<'_>) -> Poll<Result<Option<Arrived>, HeadFault>> {
        let limits = &link.limits;
        loop {
            let Some(wire) = &mut self.wire else { return Poll::Ready(Err(HeadFault::Socket)) };
            if !self.skipped_line && wire.buffer.starts_with(b"\r\n") {
                drop(wire.take(2));
                (self.skipped_line, self.seen) = (true, 0);
            }
            let may_skip = !self.skipped_line && wire.buffer.as_ref() == b"\r";
            match head::reach(&wire.buffer, self.seen) {
                Reach::End(length) => {
                    return Poll::Ready(self.judge(link, length).map(Some));
                }
                Reach::Broken if !may_skip => {
                    return refused(Reason::Malformed, "the head is not lines that end in CRLF");
                }
                Reach::Broken | Reach::Open => self.seen = wire.buffer.len(),
            }
            if wire.buffer.len() >= limits.max_head_bytes {
                return refused(Reason::HeadTooLarge, "the request head is too large");
            }
            let was_empty = wire.buffer.is_empty();
            if self.timed_out(cx) {
                return match was_empty {
                    true => Poll::Ready(Ok(None)),
                    false => refused(Reason::TimeoutHead, "the request head did not arrive in time"),
                };
            }
            let Some(wire) = &mut self.wire else { return Poll::Ready(Err(HeadFault::Socket)) };
            let read = if self.half_closed { 0 } else { ready!(wire.poll_fill(cx)).map_err(|_| HeadFault::Socket)? };
            if read == 0 {
                return match was_empty {
                    true => Poll::Ready(Ok(None)),
                    false => refused(Reason::Malformed, "the connection ended within a request head"),
                };
            }
            if was_empty {
                self.deadline = share::now() + limits.head_timeout;
            }
        }
    }

    fn judge(&mut self, link: &Link<S>, length: usize) -> Result<Arrived, HeadFault> {
        let too_large = || Refusal::of(Reason::HeadTooLarge, "the request head is too large");
        let wire = self.wire.as_mut().ok_or(HeadFault::Socket)?;
        let bytes = wire.buffer.get(..length).filter(|bytes| bytes.len() <= link.limits.max_head_bytes);
        let client = link.check.identify(bytes.ok_or_else(too_large)?)?;
        let read = head::read(&wire.take(length), &link.limits, &client)?;
        (self.seen, self.skipped_line) = (0, false);
        if matches!(read.head.target, Target::Authority(_)) {
            return match link.check {
                ClientCheck::Tunnel(_) => {
                    Err(Refusal::of(Reason::ProtocolNotAllowed, "CONNECT within a tunnel is not served").into())
                }
                ClientCheck::Listener(_) => Ok(Arrived::Connect(client, read.head)),
            };
        }
        wire.begin_body(read.head.framing);
        self.abandoned = false;
        self.serial += 1;
        self.continue_due = read.wishes.expects_continue && !wire.has_ended();
        Ok(Arrived::Request(client, Box::new(read)))
    }

    /// Whether the deadline has passed; otherwise the task is woken when it does.
    fn timed_out(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        // The timer may be earlier than the deadline, which moves with each request: it is set again when it fires.
        if timer.deadline() > self.deadline {
            timer.as_mut().reset(self.deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return true;
            }
            timer.as_mut().reset(self.deadline);
        }
        false
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        if !wire.has_ended() && !self.abandoned {
            // The exchange reads the body and notices.
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // This much is read ahead from a client; otherwise unread bytes would hide that the client leaves.
        while !self.half_closed && wire.buffer.len() < MAX_AHEAD_BYTES {
            match ready!(wire.poll_fill(cx)) {
                Ok(0) => self.half_closed = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether the rest of the body has no reader, and is too long to be dropped, or may not arrive.
    pub(super) fn must_close(&self) -> bool {
        let Some(wire) = self.wire.as_ref().filter(|wire| !wire.has_ended()) else { return false };
        let is_large = wire.hint().lower() > DRAIN_BYTES as u64;
        self.continue_due || (self.abandoned && is_large)
    }

    /// An answer with this head begins.
    pub(super) fn begin_answer(&mut self, write: impl FnOnce(&mut BytesMut)) {
        (self.answering, self.continue_due) = (true, false);
        if let Some(wire) = &mut self.wire {
            write(wire.out.last());
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| wire.out.waiting())
    }

    /// Adds to the output buffer.
    pub(super) fn put<E>(&mut self, put: impl FnOnce(&mut Outbox) -> Result<(), E>) -> io::Result<()>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let wire = self.wire.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        put(&mut wire.out).map_err(io::Error::other)
    }

    /// Writes and flushes the output buffer.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let wire = self.wire.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match wire.poll_written(cx) {
            Poll::Ready(written) => written.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn end_answer(&mut self, limits: &Limits) {
        self.answering = false;
        let has_begun = self.wire.as_ref().is_some_and(|wire| !wire.buffer.is_empty());
        self.deadline = share::now() + if has_begun { limits.head_timeout } else { limits.keep_alive };
    }

    fn poll_body_over(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let ended = self.wire.as_ref().is_none_or(Wire::has_ended);
        if ended || self.abandoned {
            return Poll::Ready(ended);
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Some(wire) => Pin::new(&mut wire.io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads and drops the client's remaining input; returns the number of bytes.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(pace(cx));
        let Some(wire) = &mut self.wire else { return Poll::Ready(Ok(0)) };
        wire.buffer = BytesMut::new();
        let read = ready!(wire.poll_fill(cx));
        wire.buffer = BytesMut::new();
        Poll::Ready(read)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        ready!(pace(cx));
        self.wire.as_mut().map_or(Poll::Ready(None), |wire| wire.poll_body(cx))
    }

    fn poll_frame(&mut self, serial: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if serial != self.serial {
            return Poll::Ready(None);
        }
        let Some(wire) = &mut self.wire else {
            let gone = || Err(BodyError::Broken(io::ErrorKind::NotConnected.into()));
            return Poll::Ready(self.broken.then(gone));
        };
        if std::mem::replace(&mut self.continue_due, false) && wire.buffer.is_empty() {
            wire.out.last().extend_from_slice(CONTINUE);
        }
        if !self.answering
            && !wire.out.is_flushed()
            && let Poll::Ready(Err(error)) = wire.poll_written(cx)
        {
            return Poll::Ready(Some(Err(BodyError::Broken(error))));
        }
        let polled = wire.poll_body(cx);
        if polled.is_pending() && !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        if (wire.has_ended() || matches!(polled, Poll::Ready(Some(Err(_)))))
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
        polled
    }

    fn abandon(&mut self, serial: u64) {
        if serial != self.serial {
            return;
        }
        self.abandoned = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

fn refused<T>(reason: Reason, detail: &'static str) -> Poll<Result<T, HeadFault>> {
    Poll::Ready(Err(HeadFault::Refused(Refusal::of(reason, detail))))
}

/// The operations that a request body needs of its connection, over any stream. A body of an earlier request has ended.
trait Receive: Send + Sync {
    fn poll_frame(&self, serial: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;
    fn hint(&self, serial: u64) -> Option<SizeHint>;
    fn abandon(&self, serial: u64);
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Receive for Link<S> {
    fn poll_frame(&self, serial: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.lock().poll_frame(serial, cx)
    }

    fn hint(&self, serial: u64) -> Option<SizeHint> {
        let state = self.lock();
        if serial != state.serial {
            return None;
        }
        match &state.wire {
            Some(wire) => (!wire.has_ended()).then(|| wire.hint()),
            // A truncated body must not look complete.
            None => state.broken.then(SizeHint::default),
        }
    }

    fn abandon(&self, serial: u64) {
        self.lock().abandon(serial);
    }
}

/// The body of a request; if it is dropped before its end, the rest has no reader.
pub(crate) struct RequestBody {
    link: Arc<dyn Receive>,
    serial: u64,
}

impl RequestBody {
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.link.poll_frame(self.serial, cx)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.link.hint(self.serial).is_none()
    }

    pub(crate) fn hint(&self) -> SizeHint {
        self.link.hint(self.serial).unwrap_or(SizeHint::with_exact(0))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.link.abandon(self.serial);
    }
}
