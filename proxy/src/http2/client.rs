//! The upstream's side of HTTP/2: sends a request on a stream of a shared connection and reads its response, in the task of the
//! exchange. A request without a body needs no task of its own. If the response arrives before the end of a body, a separate task
//! sends the rest.
//!
//! A stream that is reset within its response is incomplete, for any error code: only END_STREAM ends a message (RFC 9113
//! section 8.1).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason as Code, RecvStream, SendStream};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Frame;
use model::{Destination, Fields};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{CONNECTION_WINDOW, MAX_BUFFER, STREAM_WINDOW};
use crate::flow::Flow;
use crate::http1::client::{Body, Outgoing};
use crate::http1::fields;
use crate::http1::response;
use crate::http1::response::HeadBounds;
use crate::http2::body::StreamBody;
use crate::http2::frames::Frames;
use crate::http2::gather::{Blocked, Gather};
use crate::http2::interim::{Inform, Interim};
use crate::message::Response;
use crate::share::pace;

/// What small DATA frames that wait to be read may cost on one connection, in bytes: the library counts a frame below 256 bytes as
/// 256, and ends the connection beyond this. One paused stream with frames of 20 bytes in its whole window costs 2.3 MiB.
const SMALL_FRAMES_BUDGET: usize = 4 << 20;

/// A connection to an upstream, which carries many requests at once. A clone is another handle to it; the connection closes with
/// the last one.
#[derive(Clone)]
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    interim: Interim,
    blocked: Blocked,
    bounds: HeadBounds,
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
    /// Its head exceeds the bounds.
    HeadTooLarge,
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
    pub(crate) async fn start<S>(
        stream: Frames<S>,
        bounds: HeadBounds,
    ) -> Result<(Self, Connection<Frames<S>, Bytes>), h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (interim, blocked) = (stream.interim(), stream.blocked());
        let mut settings = h2::client::Builder::new();
        settings
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // The library resets the stream of a larger head without a reason; this much more is judged here.
            .max_header_list_size(bounds.bytes.saturating_mul(2))
            .max_send_buffer_size(MAX_BUFFER)
            .data_frame_budget(SMALL_FRAMES_BUDGET);
        let (requests, connection) = settings.handshake(stream).await?;
        Ok((Self { requests, interim, blocked, bounds }, connection))
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

    /// Sends one request and waits for the head of its response. Returns the rest of the request's body, to be sent later. `inform`
    /// gets the informational responses before it.
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
        inform: &mut Inform<'_>,
    ) -> Result<(Response<Option<StreamBody>>, Option<Sending<B>>), Failure> {
        let to_head = outgoing.method == Method::HEAD;
        let (head, body) = head_of(destination, outgoing).ok_or(Failure::Target)?;
        let (mut response, stream) =
            self.requests.send_request(head, body.is_none()).map_err(|error| failure(&error))?;
        let mut sending = body.map(|upload| Sending {
            stream,
            upload,
            gather: Gather::new(self.blocked.clone()),
            flow: flow.clone(),
        });
        let head = poll_fn(|cx| {
            if let Some(body) = &mut sending
                && let Poll::Ready(sent) = body.poll(cx)
            {
                sending = None;
                if let Err(Unsent::Upload) = sent {
                    return Poll::Ready(Err(Failure::Request));
                }
            }
            self.poll_head(&mut response, inform, cx)
        });
        let response = response_of(head.await?, self.bounds, to_head)?;
        Ok((response, sending))
    }

    fn poll_head(
        &self,
        response: &mut ResponseFuture,
        inform: &mut Inform<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::Response<RecvStream>, Failure>> {
        // An error is that of the response itself, too.
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                // HTTP/2 has no such response (RFC 9113 section 8.6).
                return Poll::Ready(Err(Failure::Response("the upstream switched protocols over HTTP/2")));
            }
            if interim.status() != StatusCode::CONTINUE && !self.interim.is_exceeded() {
                let (parts, ()) = interim.into_parts();
                inform(parts.status, parts.headers.into());
            }
        }
        let head = ready!(Pin::new(response).poll(cx));
        // The response itself may have arrived with them, in one piece.
        if self.interim.is_exceeded() {
            return Poll::Ready(Err(Failure::Interim));
        }
        Poll::Ready(head.map_err(|error| failure(&error)))
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

fn response_of(
    response: http::Response<RecvStream>,
    bounds: HeadBounds,
    to_head: bool,
) -> Result<Response<Option<StreamBody>>, Failure> {
    let (parts, stream) = response.into_parts();
    let (status, mut fields) = (parts.status, Fields::from(parts.headers));
    // As counted in RFC 9113 section 6.5.2.
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if bytes > bounds.bytes as usize || fields.len() > bounds.fields {
        return Err(Failure::HeadTooLarge);
    }
    fields::trim(&mut fields);
    if let Err(bad) = response::content_length(&mut fields) {
        tracing::debug!(%bad, "a response over HTTP/2 has no single length");
        return Err(Failure::Response("the upstream framed its response in a way that is not served"));
    }
    // A body where none may be is dropped, and its stream is reset (RFC 9110 section 6.4.1).
    let is_empty = to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = (!is_empty && !stream.is_end_stream()).then(|| StreamBody::new(stream, fields::content_length(&fields)));
    if status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6.
        fields.remove(header::CONTENT_LENGTH);
    }
    Ok(Response { status, fields, body })
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
    gather: Gather,
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
            let frame = match Pin::new(&mut self.upload).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let payload = ready!(self.gather.poll_idle(cx));
                    self.stream.send_data(payload, false).map_err(|_| Unsent::Stream)?;
                    continue;
                }
            };
            let frame = frame.transpose().map_err(|error| {
                tracing::debug!(%error, "a request body ended early");
                Unsent::Upload
            })?;
            let sent = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    let is_last = self.upload.is_end_stream();
                    match self.gather.add(data, is_last) {
                        Some(payload) => self.stream.send_data(payload, is_last).map(|()| is_last),
                        None => Ok(false),
                    }
                }
                Some(Err(trailers)) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    let flushed = self.gather.flush(&mut self.stream);
                    flushed.and_then(|()| self.stream.send_trailers(trailers)).map(|()| true)
                }
                None => self.stream.send_data(self.gather.take(), true).map(|()| true),
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

#[cfg(test)]
mod tests;
