//! The upstream's side of HTTP/1: sends a request and reads its response, in the task of the exchange. The body of the request is sent
//! while the response is waited for. If the response arrives first, a separate task sends the rest of the body.
//!
//! A connection serves one exchange at a time. It serves another one only if both messages were complete and no unexpected byte
//! arrived.

use model::Fields;
use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::encoder::Encoder;
use super::response::{self, BadResponse, HeadBounds, ResponseHead};
use super::wire::{BodyError, Framing, Wire};
use super::writer;
use crate::config::MAX_BUFFER;
use crate::flow::Flow;
use crate::http2::interim::{Inform, MAX_INTERIM};
use crate::message::Response;
use crate::share;
use crate::share::pace;

/// How long to wait for an upstream that was sent `Expect: 100-continue` before the body is sent (RFC 9110 section 10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The body of a request as it is sent.
pub(crate) trait Body: http_body::Body<Data = Bytes, Error: Error> + Unpin + Send {}

impl<B: http_body::Body<Data = Bytes, Error: Error> + Unpin + Send> Body for B {}

const CLOSED: &str = "the upstream closed within its response";

/// A stream to an upstream. It is not paced: a pooled connection's idle state must be visible at once.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct State {
    /// `None` once it was abandoned.
    wire: Option<Wire<Box<dyn Stream>>>,
    /// Bytes of the buffer that contain no end of a head.
    seen: usize,
    /// Whether the upstream keeps it open and both messages so far were complete.
    reusable: bool,
    /// Whether the response was read to its end or abandoned.
    response_over: bool,
    bounds: HeadBounds,
    /// The number of the current exchange: the body of an earlier response may still be held somewhere.
    serial: u64,
    /// The reader of the response.
    reader: Option<Waker>,
    /// The sender of the rest of the request.
    writer: Option<Waker>,
}

/// A connection to an upstream.
pub(crate) struct Client(Mutex<State>);

/// A request to send.
pub(crate) struct Outgoing<B> {
    pub(crate) method: Method,
    /// The path and query, as written.
    pub(crate) target: Zeroizing<String>,
    pub(crate) fields: Fields,
    /// `None` without a body, and once it is being sent.
    pub(crate) body: Option<B>,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection closed before an answer began.
    Closed,
    /// The request could not be sent to its end, without fault of the upstream.
    Request,
    /// The input is not a response.
    Response(&'static str),
    /// Its head exceeds the bounds.
    HeadTooLarge,
    /// More informational responses arrived than are allowed.
    Interim,
}

impl From<BadResponse> for Failure {
    fn from(bad: BadResponse) -> Self {
        match bad {
            BadResponse::Invalid(why) => Self::Response(why),
            BadResponse::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl Client {
    /// A fresh connection, whose response heads have these bounds.
    pub(crate) fn new(io: impl Stream + 'static, bounds: HeadBounds) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            wire: Some(Wire::new(Box::new(io), BytesMut::new())),
            seen: 0,
            reusable: true,
            response_over: true,
            bounds,
            serial: 0,
            reader: None,
            writer: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        model::sync::lock(&self.0)
    }

    /// Whether another request can be sent: the upstream neither closed the connection nor sent unexpected bytes.
    pub(crate) fn is_idle(&self) -> bool {
        let mut state = self.lock();
        let State { wire, reusable, response_over, .. } = &mut *state;
        let is_clean = |wire: &&mut Wire<_>| wire.buffer.is_empty() && wire.out.is_flushed();
        let Some(wire) = wire.as_mut().filter(is_clean).filter(|_| *reusable && *response_over) else { return false };
        // No task waits for the result: the next request checks again. The check must not be deferred, or arrived bytes would not be
        // seen.
        let look = tokio::task::unconstrained(std::future::poll_fn(|cx| wire.poll_fill(cx)));
        pin!(look).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends one request and waits for the head of its response. Returns the rest of the request's body, to be sent later. `inform`
    /// gets the informational responses before it.
    ///
    /// # Errors
    /// There is no response, and the connection is unusable. A request without a body is unchanged.
    ///
    /// # Cancellation
    /// The connection is closed when its last holder drops it.
    pub(crate) async fn send<B: Body>(
        self: &Arc<Self>,
        outgoing: &mut Outgoing<B>,
        flow: &Arc<Flow>,
        inform: &mut Inform<'_>,
    ) -> Result<(Response<Option<ResponseBody>>, Option<Sending<B>>), Failure> {
        let to_head = outgoing.method == Method::HEAD;
        let mut sending = self.begin(outgoing, flow);
        let mut interim = 0;
        let mut silence = sending.holds.then(|| Box::pin(tokio::time::sleep(CONTINUE_WAIT)));
        let head = std::future::poll_fn(|cx| {
            loop {
                if silence.as_mut().is_some_and(|silence| silence.as_mut().poll(cx).is_ready()) {
                    (silence, sending.holds) = (None, false);
                }
                if !sending.is_over() {
                    match sending.poll(cx) {
                        Poll::Ready(Err(Unsent::Upload)) => return Poll::Ready(Err(Failure::Request)),
                        // The upstream may have answered before it closed.
                        Poll::Ready(Err(Unsent::Connection)) => sending.give_up(),
                        Poll::Ready(Ok(())) | Poll::Pending => {}
                    }
                }
                let head = match ready!(self.lock().poll_head(to_head, cx)) {
                    // An answer had begun: the request is not sent again.
                    Err(Failure::Closed) if interim > 0 => return Poll::Ready(Err(Failure::Response(CLOSED))),
                    head => head?,
                };
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
                interim += 1;
                if interim > MAX_INTERIM {
                    return Poll::Ready(Err(Failure::Interim));
                }
                if head.status == StatusCode::CONTINUE {
                    (silence, sending.holds) = (None, false);
                } else {
                    inform(head.status, head.fields);
                }
            }
        });
        let head = head.await?;
        if sending.holds {
            // The body was not requested and is not sent.
            sending.give_up();
        }
        let rest = (!sending.is_over()).then_some(sending);
        Ok((self.response(head), rest))
    }

    /// Writes the head into the output buffer.
    fn begin<B: Body>(self: &Arc<Self>, outgoing: &mut Outgoing<B>, flow: &Arc<Flow>) -> Sending<B> {
        let upload = outgoing.body.take().filter(|body| !body.is_end_stream());
        let encoder = writer::frame_request(&mut outgoing.fields, upload.is_some());
        let Outgoing { method, target, fields, .. } = outgoing;
        let holds = upload.is_some() && fields.contains(header::EXPECT);
        if upload.is_some() {
            flow.report_writing();
        }
        let mut state = self.lock();
        (state.response_over, state.seen) = (false, 0);
        state.serial += 1;
        if let Some(wire) = &mut state.wire {
            writer::put_request(wire.out.last(), method, target, fields);
        }
        Sending { client: self.clone(), upload, encoder, flow: flow.clone(), written: false, holds, detached: false }
    }

    fn response(self: &Arc<Self>, head: ResponseHead) -> Response<Option<ResponseBody>> {
        let ResponseHead { status, fields, framing, keeps_connection } = head;
        let mut state = self.lock();
        state.reusable &= keeps_connection;
        if let Some(wire) = &mut state.wire {
            wire.begin_body(framing);
        }
        let body = if framing == Framing::Length(0) {
            state.end_response();
            None
        } else {
            Some(ResponseBody { client: self.clone(), serial: state.serial })
        };
        Response { status, fields, body }
    }
}

impl State {
    fn poll_head(&mut self, to_head: bool, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            let Some(wire) = &mut self.wire else { return Poll::Ready(Err(Failure::Closed)) };
            if let Some(length) = response::end_of_head(&wire.buffer, self.seen) {
                self.seen = 0;
                let head = wire.take(length);
                let head = if length > self.bounds.bytes as usize {
                    Err(BadResponse::TooLarge)
                } else {
                    response::read(&head, to_head, self.bounds.fields)
                };
                return Poll::Ready(head.map_err(Failure::from));
            }
            self.seen = wire.buffer.len();
            if wire.buffer.len() >= self.bounds.bytes as usize {
                return Poll::Ready(Err(Failure::HeadTooLarge));
            }
            ready!(pace(cx));
            match ready!(wire.poll_fill(cx)) {
                Ok(0) | Err(_) if wire.buffer.is_empty() => return Poll::Ready(Err(Failure::Closed)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Response(CLOSED))),
                Ok(_) => {}
            }
        }
    }

    /// The response was read to its end, or the rest has no reader.
    fn end_response(&mut self) {
        self.response_over = true;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn give_up(&mut self) {
        (self.wire, self.reusable) = (None, false);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Why a request was not sent to its end.
#[derive(Debug)]
enum Unsent {
    /// Its body ended early, was withheld or stopped.
    Upload,
    /// The connection broke.
    Connection,
}

/// A request that is being sent.
pub(crate) struct Sending<B> {
    client: Arc<Client>,
    /// `None` once all of it waits to be written.
    upload: Option<B>,
    encoder: Option<Encoder>,
    flow: Arc<Flow>,
    /// Whether all of it was written.
    written: bool,
    /// Whether the body waits for a 100 response.
    holds: bool,
    /// Whether it continues in parallel with the response.
    detached: bool,
}

impl<B: Body> Sending<B> {
    fn is_over(&self) -> bool {
        self.written
    }

    /// The connection accepts no more.
    fn give_up(&mut self) {
        (self.upload, self.written) = (None, true);
        self.flow.upload_failed(share::now());
        self.client.lock().reusable = false;
    }

    /// Sends the rest, in parallel with the response.
    ///
    /// # Cancellation
    /// The upload ends, and the connection is closed when its last holder drops it.
    pub(crate) async fn run(mut self) {
        self.detached = true;
        if let Err(unsent) = std::future::poll_fn(|cx| self.poll(cx)).await {
            tracing::debug!(?unsent, "a request was not sent to its end");
            self.give_up();
            // The upstream's earlier answer may still be read; after half a request, no other exchange is possible.
            if matches!(unsent, Unsent::Upload) {
                self.client.lock().give_up();
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            let waits = self.gather(cx)?;
            ready!(pace(cx));
            let written = match &mut self.client.lock().wire {
                Some(wire) => wire.poll_written(cx),
                None => return Poll::Ready(Err(Unsent::Connection)),
            };
            match written {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Unsent::Connection)),
                Poll::Ready(Ok(())) if self.upload.is_none() => {
                    self.written = true;
                    self.flow.upload_written(share::now());
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) if !waits => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
            }
        }
        // While the upstream accepts nothing, no other code polls the flow.
        if self.flow.poll_stopped(cx) {
            return Poll::Ready(Err(Unsent::Upload));
        }
        if self.detached { self.poll_unwanted(cx) } else { Poll::Pending }
    }

    /// Adds the available part of the body to the output buffer; returns whether it waits for more.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Unsent> {
        while let Some(upload) = self.upload.as_mut().filter(|_| !self.holds) {
            if self.client.lock().wire.as_ref().is_none_or(|wire| wire.out.waiting() >= MAX_BUFFER) {
                return Ok(false);
            }
            let frame = match Pin::new(&mut *upload).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(frame) => frame.transpose().map_err(|error| {
                    tracing::debug!(%error, "a request body ended early");
                    Unsent::Upload
                })?,
            };
            // The end is sent with the last piece.
            let is_last = frame.is_some() && upload.is_end_stream() && self.flow.is_taken_whole();
            self.put(frame).map_err(|()| Unsent::Upload)?;
            if is_last && self.upload.is_some() {
                self.put(None).map_err(|()| Unsent::Upload)?;
            }
        }
        Ok(self.holds)
    }

    fn put(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), ()> {
        let mut state = self.client.lock();
        let Some(wire) = &mut state.wire else { return Ok(()) };
        let frame = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                return self
                    .encoder
                    .as_mut()
                    .map_or(Ok(()), |encoder| encoder.put(&mut wire.out, data))
                    .map_err(|_| ());
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        let ended = self.encoder.take().map_or(Ok(()), |encoder| encoder.end(&mut wire.out, frame.as_ref()));
        drop(state);
        self.upload = None;
        ended.map_err(|_| ())
    }

    /// The response is over and the upstream sends more, or closes: it accepts no more of the request.
    fn poll_unwanted(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let mut state = self.client.lock();
        state.writer = Some(cx.waker().clone());
        if !state.response_over {
            return Poll::Pending;
        }
        match &mut state.wire {
            Some(wire) => wire.poll_fill(cx).map(|_| Err(Unsent::Connection)),
            None => Poll::Ready(Err(Unsent::Connection)),
        }
    }
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        if !self.written {
            self.flow.upload_failed(share::now());
        }
    }
}

/// The body of a response.
pub(crate) struct ResponseBody {
    client: Arc<Client>,
    serial: u64,
}

impl ResponseBody {
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.client.lock();
        if state.response_over || state.serial != self.serial {
            return Poll::Ready(None);
        }
        let Some(wire) = &mut state.wire else {
            return Poll::Ready(Some(Err(BodyError::Broken(io::ErrorKind::NotConnected.into()))));
        };
        ready!(pace(cx));
        let polled = wire.poll_body(cx);
        if wire.has_ended() {
            state.end_response();
        } else if polled.is_pending() && !state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        polled
    }

    /// Waits for the first byte of the body, which stays to be read.
    ///
    /// # Errors
    /// The body ends or breaks before it.
    pub(crate) fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut state = self.client.lock();
        if state.response_over || state.serial != self.serial {
            return Poll::Ready(Ok(()));
        }
        match &mut state.wire {
            Some(wire) => wire.poll_begin(cx),
            None => Poll::Ready(Err(BodyError::Broken(io::ErrorKind::NotConnected.into()))),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        let state = self.client.lock();
        state.response_over || state.serial != self.serial
    }

    pub(crate) fn hint(&self) -> SizeHint {
        let state = self.client.lock();
        if state.response_over || state.serial != self.serial {
            return SizeHint::with_exact(0);
        }
        state.wire.as_ref().map_or_else(SizeHint::default, Wire::hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let mut state = self.client.lock();
        if !state.response_over && state.serial == self.serial {
            state.reusable = false;
            state.end_response();
        }
    }
}

#[cfg(test)]
mod tests;
