//! The upstream's side of HTTP/2: sends a request on a stream of a shared connection and reads its response, in the task of the
//! exchange. A request without a body needs no task of its own. If the response arrives before the end of a body, a separate task
//! sends the rest.
//!
//! A stream that is reset within its response is incomplete, for any error code: only END_STREAM ends a message (RFC 9113
//! section 8.1).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason as Code, RecvStream, SendStream};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, header};
use http_body::{Frame, SizeHint};
use model::{Destination, Fields};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{CONNECTION_WINDOW, MAX_BUFFER, STREAM_WINDOW};
use crate::flow::Flow;
use crate::http1::client::{Body, Outgoing};
use crate::http1::fields;
use crate::http1::wire::BodyError;
use crate::http2::interim::{Bounded, Interim};
use crate::message::Response;
use crate::share::pace;

/// The bytes of a response's head, decoded.
const MAX_RESPONSE_FIELD_BYTES: u32 = 64 << 10;

/// A connection to an upstream, which carries many requests at once. A clone is another handle to it; the connection closes with
/// the last one.
#[derive(Clone)]
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    interim: Interim,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The upstream did not process the request: its connection closed, or it refused the stream (RFC 9113 section 8.7).
    Unanswered,
    /// Its target is not valid in HTTP/2.
    Target,
    /// The request could not be sent to its end, without fault of the upstream.
    Request,
    /// The input is not a response.
    Response(&'static str),
    /// More informational responses arrived than are allowed.
    Interim,
}

impl Client {
    /// Starts HTTP/2 on a fresh connection. The future returned with the handle must be run for as long as the handle
    /// is used.
    ///
    /// # Errors
    /// The connection closed.
    ///
    /// # Cancellation
    /// The connection is closed.
    pub(crate) async fn start<S>(stream: S) -> Result<(Self, Connection<Bounded<S>, Bytes>), h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let interim = Interim::default();
        let mut settings = h2::client::Builder::new();
        settings
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_RESPONSE_FIELD_BYTES)
            .max_send_buffer_size(MAX_BUFFER);
        let (requests, connection) = settings.handshake(Bounded::new(stream, interim.clone())).await?;
        Ok((Self { requests, interim }, connection))
    }

    /// Whether it accepts no further request.
    pub(crate) fn is_closed(&self) -> bool {
        let mut requests = self.requests.clone();
        matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Waits until a request can be sent.
    ///
    /// # Errors
    /// The connection accepts no further request; none was sent.
    pub(crate) async fn ready(&mut self) -> Result<(), h2::Error> {
        poll_fn(|cx| self.requests.poll_ready(cx)).await
    }

    /// Sends one request and waits for the head of its response. Returns the rest of the request's body, to be sent later.
    ///
    /// # Errors
    /// There is no response.
    ///
    /// # Cancellation
    /// The stream is reset.
    pub(crate) async fn send<B: Body>(
        &mut self,
        destination: &Destination,
        outgoing: Outgoing<B>,
        flow: &Arc<Flow>,
    ) -> Result<(Response<Option<ResponseBody>>, Option<Sending<B>>), Failure> {
        let (head, body) = head_of(destination, outgoing).ok_or(Failure::Target)?;
        let (mut response, stream) =
            self.requests.send_request(head, body.is_none()).map_err(|error| failure(&error))?;
        let mut sending = body.map(|upload| Sending { stream, upload, flow: flow.clone() });
        let head = poll_fn(|cx| {
            if let Some(body) = &mut sending
                && let Poll::Ready(sent) = body.poll(cx)
            {
                sending = None;
                if let Err(Unsent::Upload) = sent {
                    return Poll::Ready(Err(Failure::Request));
                }
            }
            self.poll_head(&mut response, cx)
        });
        let head = head.await?;
        Ok((head, sending))
    }

    fn poll_head(
        &self,
        response: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Option<ResponseBody>>, Failure>> {
        let head = ready!(Pin::new(response).poll(cx));
        // The response itself may have arrived with them, in one piece.
        if self.interim.is_exceeded() {
            return Poll::Ready(Err(Failure::Interim));
        }
        Poll::Ready(head.map_err(|error| failure(&error)).and_then(response_of))
    }
}

fn failure(error: &h2::Error) -> Failure {
    tracing::debug!(%error, "no response over HTTP/2");
    let is_unprocessed = match error.reason() {
        Some(Code::REFUSED_STREAM) => true,
        // Streams that the upstream had not begun when it closed.
        Some(Code::NO_ERROR) => error.is_go_away(),
        _ => error.is_io(),
    };
    if is_unprocessed {
        Failure::Unanswered
    } else {
        Failure::Response("the upstream closed the connection or broke the protocol")
    }
}

fn response_of(response: http::Response<RecvStream>) -> Result<Response<Option<ResponseBody>>, Failure> {
    let (parts, stream) = response.into_parts();
    if parts.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Failure::Response("the upstream framed its response in a way that is not served"));
    }
    let fields = Fields::from(parts.headers);
    let body = (!stream.is_end_stream()).then(|| {
        let left = fields::content_length(&fields);
        ResponseBody { stream, left, data_is_over: false }
    });
    Ok(Response { status: parts.status, fields, body })
}

/// The head of a request, and its body if it has one. In HTTP/2 the authority is in the target, not in Host. `None` if the target
/// is not valid in HTTP/2.
fn head_of<B: Body>(destination: &Destination, outgoing: Outgoing<B>) -> Option<(Request<()>, Option<B>)> {
    let Outgoing { method, target, mut fields, body } = outgoing;
    let path = PathAndQuery::try_from(target.as_str()).ok()?;
    let uri =
        Uri::builder().scheme(Scheme::HTTPS).authority(destination.authority()).path_and_query(path).build().ok()?;
    let body = body.filter(|body| !body.is_end_stream());
    fields.remove(header::HOST);
    fields.remove(header::EXPECT);
    set_length(&method, &mut fields, body.as_ref());
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = fields.into();
    Some((request, body))
}

/// A known length is announced. An empty body is announced only if the method implies content (RFC 9110 section 8.6).
fn set_length<B: Body>(method: &Method, fields: &mut Fields, body: Option<&B>) {
    let length = body.map_or(Some(0), |body| body.size_hint().exact());
    let is_expected = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    if let Some(length) = length.filter(|length| *length > 0 || is_expected)
        && !fields.contains(header::CONTENT_LENGTH)
    {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Why a request was not sent to its end.
#[derive(Debug)]
enum Unsent {
    /// Its body ended early, was withheld or stopped.
    Upload,
    /// The upstream accepts no more of it.
    Stream,
}

/// The body of a request that is being sent.
pub(crate) struct Sending<B> {
    stream: SendStream<Bytes>,
    upload: B,
    flow: Arc<Flow>,
}

impl<B: Body> Sending<B> {
    /// Sends the rest, in parallel with the response.
    ///
    /// # Cancellation
    /// The stream is reset.
    pub(crate) async fn run(mut self) {
        if let Err(unsent) = poll_fn(|cx| self.poll(cx)).await {
            tracing::debug!(?unsent, "a request was not sent to its end");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let sent = ready!(self.poll_send(cx));
        if let Err(Unsent::Upload) = sent {
            self.stream.send_reset(Code::CANCEL);
        }
        Poll::Ready(sent)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            ready!(pace(cx));
            if self.poll_capacity(cx)?.is_pending() {
                // While the upstream accepts nothing, no other code polls the flow.
                return if self.flow.poll_stopped(cx) { Poll::Ready(Err(Unsent::Upload)) } else { Poll::Pending };
            }
            let frame = ready!(Pin::new(&mut self.upload).poll_frame(cx));
            let frame = frame.transpose().map_err(|error| {
                tracing::debug!(%error, "a request body ended early");
                Unsent::Upload
            })?;
            let sent = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    let is_last = self.upload.is_end_stream();
                    self.stream.send_data(data, is_last).map(|()| is_last)
                }
                Some(Err(trailers)) => {
                    self.stream.send_trailers(trailers.into_trailers().unwrap_or_default()).map(|()| true)
                }
                None => self.stream.send_data(Bytes::new(), true).map(|()| true),
            };
            match sent {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(_) => return Poll::Ready(Err(Unsent::Stream)),
            }
        }
    }

    /// Waits until the upstream accepts at least a byte; the client's body is read no further than that.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        // Also after a complete response (RFC 9113 section 8.1): the upstream accepts no more of the request.
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Unsent::Stream));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Unsent::Stream)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of a response.
pub(crate) struct ResponseBody {
    stream: RecvStream,
    /// Bytes still to come, if the length was announced; the library enforces it.
    left: Option<u64>,
    /// Whether only trailers can follow.
    data_is_over: bool,
}

impl ResponseBody {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let broken = |error| BodyError::Broken(io::Error::other::<h2::Error>(error));
        if !self.data_is_over {
            match ready!(self.stream.poll_data(cx)) {
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
        self.stream.is_end_stream()
    }

    pub(crate) fn hint(&self) -> SizeHint {
        if self.has_ended() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
