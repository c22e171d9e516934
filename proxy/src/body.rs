//! Bodies on their way through: counted, bounded in time, masked where a credential went out, never held.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use model::Reason;
use sessions::{PLACEHOLDER_MARK, Session};
use thiserror::Error;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::allowance::{Allowance, Limited};
use crate::budget::{Share, Spent};
use crate::chunks::{BadChunk, MAX_TRAILER_BYTES};
use crate::client_auth::TrailerFilter;
use crate::config::MAX_BUFFER;
use crate::flow::{Flow, UploadEnd};
use crate::guard::Flight;
use crate::live::{Cut, Standing};
use crate::placeholder::{Scanner, TAIL_BYTES, Verdict, is_hidden_in};
use crate::relay::Relay;
use crate::rewriter::Unmaskable;
use crate::share::pace;

/// Why a stream towards the client ends early; hyper resets it then.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    /// The upstream broke off within the body.
    #[error("the upstream broke off")]
    Upstream(#[source] hyper::Error),
    /// It is longer than a limit allows.
    #[error("the response exceeds a limit")]
    TooLarge,
    /// What allowed it is over, or a timer fired.
    #[error("the exchange was terminated ({0})")]
    Cut(Reason),
    /// Secrets in what follows could not be masked.
    #[error(transparent)]
    Unmaskable(#[from] Unmaskable),
    /// The request breaks HTTP/2; the stream is reset with this reason.
    #[error("the stream is reset")]
    Http2(#[source] h2::Error),
}

/// A request body, as far as it was read.
pub(crate) struct Payload {
    /// What came already.
    read: Bytes,
    trailers: Option<Frame<Bytes>>,
    /// What is still to come.
    incoming: Option<Incoming>,
    /// Whether its length was told before it came.
    told_length: bool,
    /// What it takes of the memory for bodies that are kept.
    share: Option<Share>,
    /// What is left of the limits for it.
    allowance: Option<Allowance>,
}

/// Why a request body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The client broke off.
    Broken,
    /// It took too long.
    Slow,
    /// A trailer holds a placeholder.
    Misplaced,
    /// The trailers exceed their bound.
    TrailersTooLarge,
    /// There is no memory left for it.
    Spent(Spent),
    /// It exceeds a limit.
    Over(Box<Limited>),
}

impl From<Incoming> for Payload {
    fn from(incoming: Incoming) -> Self {
        let told_length = incoming.size_hint().exact().is_some();
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { read: Bytes::new(), trailers: None, incoming, told_length, share: None, allowance: None }
    }
}

impl From<hyper::Error> for ReadError {
    fn from(error: hyper::Error) -> Self {
        if has_large_trailers(&error) { Self::TrailersTooLarge } else { Self::Broken }
    }
}

/// Judges trailers that came before anything was sent.
///
/// # Errors
/// They exceed their bound, or hold a placeholder.
fn judge_trailers(trailers: Frame<Bytes>) -> Result<Frame<Bytes>, ReadError> {
    if size_of(&trailers) > MAX_TRAILER_BYTES as u64 {
        Err(ReadError::TrailersTooLarge)
    } else if holds_placeholder(&trailers) {
        Err(ReadError::Misplaced)
    } else {
        Ok(trailers)
    }
}

/// The bytes of a trailer section.
fn size_of(trailers: &Frame<Bytes>) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    trailers.trailers_ref().map_or(0, |fields| fields.iter().map(field).sum::<usize>() as u64)
}

impl Payload {
    /// Whether there is nothing, now or later.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.trailers.is_none() && self.incoming.is_none()
    }

    /// Its length, where that was announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        match &self.incoming {
            Some(incoming) => incoming.size_hint().exact().filter(|_| self.told_length),
            None => Some(self.read.len() as u64),
        }
    }

    /// Bounds what is still to come of it.
    pub(crate) fn bound(&mut self, allowance: Allowance) {
        self.allowance = Some(allowance);
    }

    /// Whether there is a byte in it: waits for the first one, or for its end.
    ///
    /// # Errors
    /// The client broke off, or nothing came in time.
    ///
    /// # Cancellation
    /// What came is dropped.
    pub(crate) async fn has_content(&mut self, timeout: Duration) -> Result<bool, ReadError> {
        let deadline = Instant::now() + timeout;
        while let Some(incoming) = &mut self.incoming {
            let next = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx));
            match tokio::time::timeout_at(deadline, next).await.map_err(|_| ReadError::Slow)? {
                None => self.incoming = None,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(_) => return Ok(true),
                    Err(trailers) => self.trailers = Some(judge_trailers(trailers)?),
                },
            }
        }
        Ok(false)
    }

    /// Counts what came against its limits.
    async fn take(&mut self, bytes: usize, trailers: u64) -> Result<(), ReadError> {
        let Some(allowance) = &mut self.allowance else { return Ok(()) };
        let over = |limited| ReadError::Over(Box::new(limited));
        std::future::poll_fn(|cx| allowance.poll_take(bytes, cx)).await.map_err(over)?;
        std::future::poll_fn(|cx| allowance.poll_spend(trailers, cx)).await.map_err(over)
    }

    /// What was read of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.read
    }

    /// Reads all of it, or more than `max` bytes; whether that is all.
    ///
    /// # Cancellation
    /// What was read is dropped.
    pub(crate) async fn read(&mut self, max: usize, timeout: Duration, mut share: Share) -> Result<bool, ReadError> {
        let mut read = BytesMut::new();
        let deadline = Instant::now() + timeout;
        while read.len() <= max {
            let Some(incoming) = &mut self.incoming else { break };
            let frame =
                tokio::time::timeout_at(deadline, std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)));
            match frame.await.map_err(|_| ReadError::Slow)? {
                None => self.incoming = None,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.take(data.len(), 0).await?;
                        share.take(data.len()).map_err(ReadError::Spent)?;
                        read.extend_from_slice(&data);
                    }
                    Err(trailers) => {
                        let trailers = judge_trailers(trailers)?;
                        self.take(0, size_of(&trailers)).await?;
                        self.trailers = Some(trailers);
                    }
                },
            }
        }
        self.read = read.freeze();
        self.share = Some(share);
        Ok(self.incoming.is_none() && self.read.len() <= max)
    }

    /// Takes another body in the place of all that was read.
    pub(crate) fn replace(&mut self, body: Zeroizing<Vec<u8>>) {
        self.read = Bytes::from_owner(body);
    }
}

/// Of a coded request body, so many bytes are looked through at once: in gzip they stand for a thousand times as many.
const PIECE_BYTES: usize = 1 << 10;

/// A request body on its way up.
pub(crate) struct Upload {
    /// What was read before it was sent.
    front: Bytes,
    incoming: Option<Incoming>,
    told_length: bool,
    /// Given back when the body is sent.
    _share: Option<Share>,
    flow: Arc<Flow>,
    standing: Arc<Standing>,
    allowance: Option<Allowance>,
    /// What came and is still to be counted against the limits.
    uncounted: Option<Frame<Bytes>>,
    watch: Option<Watch>,
    /// What passes of the trailers; `None` where there are none.
    filter: Option<TrailerFilter>,
    /// What came and may be the beginning of a placeholder.
    held: BytesMut,
    /// What came after the data, while some of it was held.
    trailers: Option<Frame<Bytes>>,
}

/// What looks for placeholders in a request body, and ends the exchange where one stands.
pub(crate) struct Watch {
    /// What knows placeholders.
    pub(crate) scanner: Scanner,
    /// Whose they may be.
    pub(crate) session: Arc<Session>,
    /// What is terminated.
    pub(crate) standing: Arc<Standing>,
    /// Whether the session has placeholders: a body that cannot be searched then goes nowhere.
    pub(crate) must_search: bool,
}

/// Why a request body ends early.
#[derive(Debug, Error)]
pub(crate) enum UploadError {
    /// The client broke off.
    #[error("the client broke off")]
    Client(#[source] hyper::Error),
    /// It holds a placeholder or may hold one, exceeds a limit, comes too slowly, or is not allowed any more.
    #[error("the request body is not sent on")]
    Withheld,
}

impl Watch {
    /// How many bytes must be held, the last of what came so far, these among them; `None` is all that was not sent yet.
    fn holds(&mut self, bytes: &[u8]) -> Result<Option<usize>, UploadError> {
        let reason = match self.scanner.push(bytes) {
            Ok(Verdict::Clear) => return Ok(Some(0)),
            // What may still become a placeholder began within its own length.
            Ok(Verdict::Pending) => return Ok((!self.scanner.is_coded()).then_some(TAIL_BYTES)),
            // It is not in its coding, or a bomb: it cannot be searched.
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
        Err(self.withhold(reason))
    }

    fn withhold(&self, reason: Reason) -> UploadError {
        self.standing.end_for(reason);
        UploadError::Withheld
    }
}

impl Upload {
    /// Streams what the client sends.
    pub(crate) fn new(
        payload: Payload,
        watch: Option<Watch>,
        filter: TrailerFilter,
        standing: &Arc<Standing>,
        flow: &Arc<Flow>,
    ) -> Self {
        let Payload { read, trailers, incoming, told_length, share, allowance } = payload;
        let (flow, standing) = (flow.clone(), standing.clone());
        Self {
            front: read,
            incoming,
            told_length,
            _share: share,
            flow,
            standing,
            allowance,
            uncounted: None,
            watch,
            filter: Some(filter),
            held: BytesMut::new(),
            trailers,
        }
    }

    /// The body of a copy of this request, where it has none.
    pub(crate) fn copy_of_empty(&self) -> Option<Self> {
        let (standing, flow) = (self.standing.clone(), self.flow.clone());
        self.is_end_stream().then(|| Self {
            front: Bytes::new(),
            incoming: None,
            told_length: true,
            _share: None,
            flow,
            standing,
            allowance: None,
            uncounted: None,
            watch: None,
            filter: None,
            held: BytesMut::new(),
            trailers: None,
        })
    }

    fn terminate(&self, cut: Cut) -> UploadError {
        self.standing.terminate(cut);
        UploadError::Withheld
    }

    /// The next frame from the client, counted against the limits and the minimum rate.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = match self.uncounted.take() {
            Some(frame) => frame,
            None => match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => {
                    self.flow.upload_waits(Instant::now());
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) if has_large_trailers(&error) => {
                    self.standing.end_for(Reason::HeadTooLarge);
                    return Poll::Ready(Some(Err(UploadError::Withheld)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.flow.end_upload(if is_malformed(&error) { UploadEnd::Malformed } else { UploadEnd::Client });
                    return Poll::Ready(Some(Err(UploadError::Client(error))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    if let Err(timer) = self.flow.upload_came(bytes, Instant::now()) {
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

    /// What may go on now of a frame that came; `None` where all of it is held.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, UploadError> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) if size_of(&trailers) > MAX_TRAILER_BYTES as u64 => {
                self.standing.end_for(Reason::HeadTooLarge);
                return Err(UploadError::Withheld);
            }
            Err(trailers) if holds_placeholder(&trailers) => {
                let watch = self.watch.as_ref();
                return Err(watch.map_or(UploadError::Withheld, |watch| watch.withhold(Reason::PlaceholderMisplaced)));
            }
            // Nothing can follow that would make a placeholder of what is held.
            Err(trailers) if self.held.is_empty() => return self.filtered(trailers).map(Some),
            Err(trailers) => {
                self.trailers = Some(trailers);
                return Ok(Some(Frame::data(self.held.split().freeze())));
            }
        };
        let Some(watch) = &mut self.watch else { return Ok(Some(Frame::data(data))) };
        let holds = watch.holds(&data)?;
        if holds == Some(0) && self.held.is_empty() {
            return Ok(Some(Frame::data(data)));
        }
        self.held.extend_from_slice(&data);
        let holds = match holds {
            Some(holds) => holds,
            // Through a coding nobody knows where it began. What goes on like this is no text of anybody's.
            None if self.held.len() > MAX_BUFFER => return Err(watch.withhold(Reason::PlaceholderMisplaced)),
            None => self.held.len(),
        };
        let passed = self.held.split_to(self.held.len().saturating_sub(holds)).freeze();
        Ok((!passed.is_empty()).then(|| Frame::data(passed)))
    }

    /// Trailers without what may not pass.
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

    /// What may go on now of what came; `None` where all of it is held. After an error nothing goes on, nor what was held.
    fn pass(&mut self, frame: Result<Frame<Bytes>, UploadError>) -> Option<Result<Frame<Bytes>, UploadError>> {
        let passed = frame.and_then(|frame| self.take(frame)).transpose();
        if let Some(Err(_)) = &passed {
            self.incoming = None;
            self.front.clear();
            self.held.clear();
        }
        passed
    }

    /// Whether the body is looked through in a coding.
    fn is_coded(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.scanner.is_coded())
    }

    /// What may go on now of what was read; a coded body is looked through piece by piece, and others get their turn between.
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
            // Nothing can follow that would make a placeholder of what is held.
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
        // The mark was only a mark.
        let rest = (!self.held.is_empty()).then(|| Ok(Frame::data(self.held.split().freeze())));
        Poll::Ready(rest)
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.flow.poll_stopped(cx) {
            return Poll::Ready(Some(Err(UploadError::Withheld)));
        }
        let frame = ready!(self.poll_incoming(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.flow.upload_passed(frame.data_ref().map_or(0, Bytes::len), Instant::now());
                if self.is_end_stream() {
                    self.flow.end_upload(UploadEnd::Whole);
                }
            }
            Some(Err(_)) => self.flow.end_upload(UploadEnd::Stopped),
            None => self.flow.end_upload(UploadEnd::Whole),
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
        // What came in chunks is sent in chunks, though its length may be known by now.
        let upper = left.upper().filter(|_| self.told_length);
        upper.into_iter().for_each(|upper| hint.set_upper(upper + held));
        hint
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The connection gave it up before its end; a copy of a request without a body had ended before.
        self.flow.end_upload(UploadEnd::Stopped);
    }
}

/// Whether the client sent a body that breaks its framing, rather than broke off.
fn is_malformed(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput))
}

/// Whether reading ended at trailers that exceed their bound.
fn has_large_trailers(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let bad = io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<BadChunk>());
    bad == Some(&BadChunk::TrailersTooLarge)
}

/// Whether a request's trailers hold a placeholder, in whatever encoding: it is swapped only in a head or a body.
fn holds_placeholder(trailers: &Frame<Bytes>) -> bool {
    let held = |(name, value): (&HeaderName, &HeaderValue)| {
        let named = name.as_str().contains(PLACEHOLDER_MARK);
        named || sessions::find_marks(value.as_bytes()).next().is_some() || is_hidden_in(value.as_bytes())
    };
    trailers.trailers_ref().is_some_and(|fields| fields.iter().any(held))
}

/// A response body towards the client.
pub(crate) struct Body {
    kind: Kind,
    _flight: Option<Flight>,
}

enum Kind {
    /// Our own words.
    Own(Option<Bytes>),
    /// The upstream's, passing through.
    Relayed(Box<Relay>),
}

impl Body {
    /// A body that is complete.
    pub(crate) fn own(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
        Self { kind: Kind::Own(bytes), _flight: None }
    }

    /// The upstream's body.
    pub(crate) fn relayed(relay: Relay) -> Self {
        Self { kind: Kind::Relayed(Box::new(relay)), _flight: None }
    }

    /// Holds the token of the request it answers until it was sent.
    pub(crate) fn with(self, flight: Flight) -> Self {
        Self { _flight: Some(flight), ..self }
    }

    /// Without a word of ours, as an answer to HEAD has to be.
    pub(crate) fn for_head(self) -> Self {
        if self.is_own() { Self { kind: Kind::Own(None), ..self } } else { self }
    }

    /// Whether it is ours and not the upstream's.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.kind, Kind::Own(_))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut self.get_mut().kind {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Relayed(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Relayed(relay) => relay.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Relayed(relay) if relay.has_ended() => SizeHint::with_exact(0),
            Kind::Relayed(relay) => relay.hint(),
        }
    }
}
