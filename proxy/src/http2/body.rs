//! A body as it arrives over HTTP/2, from a client or from an upstream.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::{Reason as Code, RecvStream};
use http_body::{Frame, SizeHint};

use crate::http1::wire::BodyError;

/// A body that arrives on a stream. A stream that is reset within it is incomplete, for any error code: only END_STREAM ends a
/// message (RFC 9113 section 8.1).
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// Data that was read ahead.
    first: Option<Bytes>,
    /// Bytes still to come, if the length was announced; the library enforces it.
    left: Option<u64>,
    /// Whether only trailers can follow.
    data_is_over: bool,
}

impl StreamBody {
    /// A body, with its length if that was announced.
    pub(crate) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, first: None, left: length, data_is_over: false }
    }

    /// Waits for the first byte of the body, which stays to be read.
    ///
    /// # Errors
    /// The stream is reset before it.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.first.as_ref().is_none_or(Bytes::is_empty) && !self.data_is_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => self.first = Some(data),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => self.data_is_over = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.first.is_some() || !self.data_is_over {
            let data = match self.first.take() {
                Some(data) => Some(Ok(data)),
                None => ready!(self.stream.poll_data(cx)),
            };
            match data {
                Some(Ok(data)) => {
                    // An error belongs to the stream; its next read returns it.
                    let _released = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                None => self.data_is_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).map_err(broken).transpose())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.first.is_none() && self.stream.is_end_stream()
    }

    pub(crate) fn hint(&self) -> SizeHint {
        if self.has_ended() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The library resets a stream whose DATA or trailers break the protocol; any other end is the peer's.
fn broken(error: h2::Error) -> BodyError {
    if error.is_library() && error.reason() == Some(Code::PROTOCOL_ERROR) {
        return BodyError::Malformed;
    }
    BodyError::Broken(io::Error::other(error))
}

/// The rest of a request's body that has no reader. The stream's task reads and drops it: resetting the stream right behind
/// an early answer makes some clients discard the answer.
#[derive(Clone, Default)]
pub(crate) struct Rest(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Whether the body was abandoned or read to its end.
    over: bool,
    abandoned: Option<StreamBody>,
    waiting: Option<Waker>,
}

impl Rest {
    /// The body was read to its end, or has no reader.
    fn end(&self, rest: Option<StreamBody>) {
        let waiting = {
            let mut state = model::sync::lock(&self.0);
            (state.over, state.abandoned) = (true, rest);
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Whether the body has no reader.
    pub(crate) fn is_abandoned(&self) -> bool {
        model::sync::lock(&self.0).over
    }

    /// Reads and drops what has arrived, and adds it to `dropped`. Ready once no more of the body can arrive.
    pub(crate) fn poll_drain(&self, dropped: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = model::sync::lock(&self.0);
        let Some(body) = &mut state.abandoned else {
            if state.over {
                return Poll::Ready(());
            }
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        loop {
            match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => *dropped += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => {
                    state.abandoned = None;
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// The body of a client's request.
pub(crate) struct RequestBody {
    /// `None` only while it is dropped.
    body: Option<StreamBody>,
    /// `None` if there is no body.
    rest: Option<Rest>,
}

impl RequestBody {
    /// A body whose unread rest goes to `rest`.
    pub(crate) fn new(body: StreamBody, rest: Option<Rest>) -> Self {
        Self { body: Some(body), rest }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| body.poll_frame(cx))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.body.as_ref().is_none_or(StreamBody::has_ended)
    }

    pub(crate) fn hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), StreamBody::hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let body = self.body.take().filter(|body| !body.has_ended());
        if let Some(rest) = &self.rest {
            rest.end(body);
        }
    }
}
