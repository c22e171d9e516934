//! A request body in transit to the upstream: counted, scanned for placeholders, and never held longer than the
//! carry-over requires.

use crate::active::ActiveExchange;
use crate::body::buffered::{Contents, Payload};
use crate::body::incoming::Incoming;
use crate::body::trailers::{holds_placeholder, size_of};
use crate::config::MAX_BUFFER;
use crate::credentials::client_auth::TrailerFilter;
use crate::flow::{Flow, UploadEnd};
use crate::http1::chunks::MAX_TRAILER_BYTES;
use crate::http1::wire::BodyError;
use crate::limits::allowance::Allowance;
use crate::limits::budget::{Decoding, Share};
use crate::share;
use crate::share::pace;
use crate::termination::Termination;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::Reason;
use redaction::placeholder::{Scanner, TAIL_BYTES, Verdict};
use sessions::Session;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use thiserror::Error;

/// At most this many bytes of a coded request body are scanned at once: in gzip they can expand a thousandfold.
const PIECE_BYTES: usize = 1 << 10;

/// A request body in transit to the upstream; stores nothing if there is none.
pub(crate) struct Upload(Option<Box<Running>>);

/// A body that is being sent.
struct Running {
    /// The part that was read before it is sent.
    front: Bytes,
    incoming: Option<Incoming>,
    had_length: bool,
    /// Released when the body is sent.
    _share: Option<Share>,
    flow: Arc<Flow>,
    active: Arc<ActiveExchange>,
    allowance: Option<Allowance>,
    /// The bytes that arrived and are not counted against the limits yet.
    uncounted: Option<Frame<Bytes>>,
    watch: Option<BodyScanner>,
    /// The memory of its decoder.
    decoding: Decoding,
    /// The filter of the trailers; `None` if there are none.
    filter: Option<TrailerFilter>,
    /// The carry-over: bytes that arrived and may begin a placeholder.
    held: BytesMut,
    /// The frame that arrived after the data, while there was a carry-over.
    trailers: Option<Frame<Bytes>>,
}

/// Scans a request body for placeholders, and ends the exchange if it contains one.
pub(crate) struct BodyScanner {
    /// The scanner.
    pub(crate) scanner: Scanner,
    /// The sessions of the placeholders.
    pub(crate) session: Arc<Session>,
    /// The exchange to terminate.
    pub(crate) active: Arc<ActiveExchange>,
    /// Whether the session has placeholders: a body that cannot be scanned is then not sent.
    pub(crate) must_search: bool,
}

/// Why a request body ends early.
#[derive(Debug, Error)]
pub(crate) enum UploadError {
    /// The client closed the connection or stream.
    #[error("the client broke off")]
    Client(#[source] BodyError),
    /// It contains or may contain a placeholder, exceeds a limit, arrives too slowly, or is no longer allowed.
    #[error("the request body is not sent on")]
    Withheld,
}

impl BodyScanner {
    /// How many of the last bytes must be held, including these; `None` means all bytes that were not sent yet.
    fn bytes_to_hold(&mut self, bytes: &[u8]) -> Result<Option<usize>, UploadError> {
        let reason = match self.scanner.push(bytes) {
            Ok(Verdict::Clear) => return Ok(Some(0)),
            // Bytes that may still become a placeholder began within its own length.
            Ok(Verdict::Pending) => return Ok((!self.scanner.is_coded()).then_some(TAIL_BYTES)),
            // It does not match its coding, or is a bomb: it cannot be scanned.
            Err(_) if !self.must_search => {
                self.scanner.without_coding();
                return Ok(Some(0));
            }
            Err(_) => Reason::CodingUnsupported,
            Ok(Verdict::Found(found)) => match self.session.placeholder_in(&found.bytes, found.at..found.bytes.len()) {
                Some(_) => Reason::PlaceholderMisplaced,
                None => Reason::PlaceholderUnknown,
            },
        };
        Err(self.reject(reason))
    }

    /// The body has ended: checks that its coding has, too.
    fn finish(&mut self) -> Result<(), UploadError> {
        match self.scanner.finish() {
            Err(_) if self.must_search => Err(self.reject(Reason::CodingUnsupported)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn reject(&self, reason: Reason) -> UploadError {
        self.active.end_for(reason);
        UploadError::Withheld
    }
}

impl Upload {
    /// Streams the client's body.
    pub(crate) fn new(
        payload: Payload,
        watch: Option<BodyScanner>,
        filter: Option<TrailerFilter>,
        active: &Arc<ActiveExchange>,
        (flow, decoding): (&Arc<Flow>, Decoding),
    ) -> Self {
        if payload.is_empty() {
            return Self(None);
        }
        Self(payload.0.map(|contents| {
            let Contents { read, trailers, incoming, had_length, share, allowance } = *contents;
            Box::new(Running {
                front: read,
                incoming,
                had_length,
                _share: share,
                flow: flow.clone(),
                active: active.clone(),
                allowance,
                uncounted: None,
                watch,
                decoding,
                filter,
                held: BytesMut::new(),
                trailers,
            })
        }))
    }
}

impl Running {
    fn terminate(&self, cut: Termination) -> UploadError {
        self.active.terminate(cut);
        UploadError::Withheld
    }

    /// The next frame from the client, counted against the limits and the minimum rate.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = match self.uncounted.take() {
            Some(frame) => frame,
            None => match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => {
                    self.flow.upload_waits(share::now());
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(BodyError::TrailersTooLarge))) => {
                    self.active.end_for(Reason::HeadTooLarge);
                    return Poll::Ready(Some(Err(UploadError::Withheld)));
                }
                Poll::Ready(Some(Err(error))) => {
                    let is_malformed = matches!(error, BodyError::Malformed);
                    let end = if is_malformed { UploadEnd::Malformed } else { UploadEnd::Client };
                    self.flow.end_upload(end, share::now());
                    return Poll::Ready(Some(Err(UploadError::Client(error))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    if let Err(timer) = self.flow.upload_came(bytes, share::now()) {
                        return Poll::Ready(Some(Err(self.terminate(timer.into()))));
                    }
                    frame
                }
            },
        };
        let Some(allowance) = &mut self.allowance else { return Poll::Ready(Some(Ok(frame))) };
        let counted = match frame.data_ref() {
            Some(data) => allowance.poll_take(data.len(), cx),
            None => allowance.poll_spend(size_of(&frame), cx),
        };
        match counted {
            Poll::Ready(Ok(())) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Err(limited)) => Poll::Ready(Some(Err(self.terminate(limited.into())))),
            Poll::Pending => {
                self.uncounted = Some(frame);
                Poll::Pending
            }
        }
    }

    /// Whether no more data follows, as far as is known by now.
    fn is_last(&self) -> bool {
        let is_complete = |incoming: &Incoming| {
            incoming.is_end_stream() || (self.had_length && incoming.size_hint().exact() == Some(0))
        };
        self.front.is_empty() && self.uncounted.is_none() && self.incoming.as_ref().is_none_or(is_complete)
    }

    /// The part of a frame that may be sent now; `None` if all of it is held.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, UploadError> {
        let is_last = self.is_last();
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) if size_of(&trailers) > MAX_TRAILER_BYTES as u64 => {
                self.active.end_for(Reason::HeadTooLarge);
                return Err(UploadError::Withheld);
            }
            Err(trailers) if holds_placeholder(&trailers) => {
                let watch = self.watch.as_ref();
                return Err(watch.map_or(UploadError::Withheld, |watch| watch.reject(Reason::PlaceholderMisplaced)));
            }
            // No byte can follow that would complete a placeholder in the carry-over.
            Err(trailers) if self.held.is_empty() => {
                self.finish()?;
                return self.filtered(trailers).map(Some);
            }
            Err(trailers) => {
                self.finish()?;
                self.trailers = Some(trailers);
                return Ok(Some(Frame::data(self.held.split().freeze())));
            }
        };
        let Some(watch) = &mut self.watch else { return Ok(Some(Frame::data(data))) };
        let holds = watch.bytes_to_hold(&data)?;
        self.decoding.hold(watch.scanner.memory_bytes()).map_err(|spent| watch.reject(spent.reason()))?;
        // Before the last bytes are sent: if the length was announced, they complete the request.
        if is_last {
            watch.finish()?;
        }
        if holds == Some(0) && self.held.is_empty() {
            return Ok(Some(Frame::data(data)));
        }
        self.held.extend_from_slice(&data);
        let holds = match holds {
            Some(holds) => holds,
            // With a coding, the start of a possible placeholder is unknown. Ordinary text is undecided only briefly.
            None if self.held.len() > MAX_BUFFER => return Err(watch.reject(Reason::PlaceholderMisplaced)),
            None => self.held.len(),
        };
        let passed = self.held.split_to(self.held.len().saturating_sub(holds)).freeze();
        Ok((!passed.is_empty()).then(|| Frame::data(passed)))
    }

    /// The data has ended.
    fn finish(&mut self) -> Result<(), UploadError> {
        self.watch.as_mut().map_or(Ok(()), BodyScanner::finish)
    }

    /// Trailers without the fields that may not pass.
    fn filtered(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        let mut trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(frame) => return Ok(frame),
        };
        match &self.filter {
            Some(filter) => filter.apply(&mut trailers).map_err(|_| UploadError::Withheld)?,
            None => trailers.clear(),
        }
        Ok(Frame::trailers(trailers))
    }

    /// The part of the input that may be sent now; `None` if all of it is held. After an error nothing is sent, not even
    /// the carry-over.
    fn pass(&mut self, frame: Result<Frame<Bytes>, UploadError>) -> Option<Result<Frame<Bytes>, UploadError>> {
        let passed = frame.and_then(|frame| self.take(frame)).transpose();
        if let Some(Err(_)) = &passed {
            self.incoming = None;
            self.front.clear();
            self.held.clear();
        }
        passed
    }

    /// Whether the body is scanned through a coding.
    fn is_coded(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.scanner.is_coded())
    }

    /// The part of the read bytes that may be sent now. A coded body is scanned piece by piece, and other tasks get their
    /// turn in between.
    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        while !self.front.is_empty() {
            let count = if self.is_coded() { PIECE_BYTES.min(self.front.len()) } else { self.front.len() };
            ready!(pace(cx));
            let piece = self.front.split_to(count);
            if let Some(passed) = self.pass(Ok(Frame::data(piece))) {
                return Poll::Ready(Some(passed));
            }
        }
        Poll::Ready(None)
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(passed) = ready!(self.poll_front(cx)) {
            return Poll::Ready(Some(passed));
        }
        if self.trailers.is_some() && !self.held.is_empty() {
            // No byte can follow that would complete a placeholder in the carry-over.
            return Poll::Ready(Some(Ok(Frame::data(self.held.split().freeze()))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(self.filtered(trailers)));
        }
        while self.incoming.is_some() {
            let Some(frame) = ready!(self.poll_client(cx)) else {
                self.incoming = None;
                break;
            };
            let passed = match frame.map(Frame::into_data) {
                Ok(Ok(data)) if self.is_coded() => {
                    self.front = data;
                    ready!(self.poll_front(cx))
                }
                Ok(Ok(data)) => self.pass(Ok(Frame::data(data))),
                Ok(Err(trailers)) => self.pass(Ok(trailers)),
                Err(error) => self.pass(Err(error)),
            };
            if passed.is_some() {
                return Poll::Ready(passed);
            }
        }
        if let Err(error) = self.finish() {
            self.held.clear();
            return Poll::Ready(Some(Err(error)));
        }
        // It contained only the mark, not a placeholder.
        let rest = (!self.held.is_empty()).then(|| Ok(Frame::data(self.held.split().freeze())));
        Poll::Ready(rest)
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |running| running.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|running| running.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |running| running.size_hint())
    }
}

impl Running {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.flow.poll_stopped(cx) {
            return Poll::Ready(Some(Err(UploadError::Withheld)));
        }
        let frame = ready!(self.poll_incoming(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.flow.upload_passed(frame.data_ref().map_or(0, Bytes::len), share::now());
                if self.is_end_stream() {
                    self.flow.end_upload(UploadEnd::Whole, share::now());
                }
            }
            Some(Err(_)) => self.flow.end_upload(UploadEnd::Stopped, share::now()),
            None => self.flow.end_upload(UploadEnd::Whole, share::now()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let came = self.incoming.as_ref().is_none_or(HttpBody::is_end_stream) && self.uncounted.is_none();
        came && self.front.is_empty() && self.held.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.incoming.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint);
        let uncounted = self.uncounted.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        let held = (self.front.len() + self.held.len() + uncounted) as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(left.lower() + held);
        // A chunked body is sent chunked, even if its length is known by now.
        if let Some(upper) = left.upper().filter(|_| self.had_length) {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The connection abandoned it before its end, or found it empty: its end can come after the hand-over.
        let end = if self.is_end_stream() { UploadEnd::Whole } else { UploadEnd::Stopped };
        self.flow.end_upload(end, share::now());
    }
}

#[cfg(test)]
mod tests;
