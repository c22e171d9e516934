//! The client's side of HTTP/2: accepts requests on streams of the h2 library, and answers each in a task of its own.
//!
//! The library answers a request that breaks HTTP/2 itself. Such a request is reported to the service, so that it gets a record.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason as Code, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body::{Body as _, Frame};
use hyper::rt::Executor as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{RequestBody, Rest, StreamBody};
use super::frames::{Frames, Rejected};
use super::gather::{Blocked, Gather};
use super::streams;
use super::streams::StreamExecutor;
use crate::body::answer::Body;
use crate::config::{CONNECTION_WINDOW, Limits, MAX_BUFFER, STREAM_WINDOW};
use crate::message::Response;
use crate::share::Spawner;

/// How long a stream whose answer is complete stays open for the rest of its request.
const DRAIN: Duration = Duration::from_secs(2);

/// Bytes of that rest that are read and dropped.
const DRAIN_BYTES: usize = 16 << 20;

/// How long the library has to write what it was given before a reset.
const WRITTEN: Duration = Duration::from_millis(20);

/// Fields of one HTTP/1 connection, which HTTP/2 does not allow (RFC 9113 section 8.2.2).
static OF_HTTP1: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, HeaderName::from_static("keep-alive")];

/// The service that answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// The request breaks HTTP/2: its stream is reset with this code.
    fn call(&self, request: Request<RequestBody>) -> impl Future<Output = Result<Response<Body>, Code>> + Send;

    /// A request that the library did not accept.
    fn rejected(&self, rejected: Rejected);
}

/// Serves a connection until it closes. When `closing` is ready, the streams in progress are the last ones.
///
/// # Errors
/// The connection broke, or was ended for a fault of the client.
///
/// # Cancellation
/// Terminates all streams.
pub(crate) async fn serve<S, T>(
    io: Frames<S>,
    service: Arc<T>,
    (streams, limits): (StreamExecutor<Spawner>, &Limits),
    closing: impl Future<Output = ()>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: Service,
{
    let (unserved, blocked) = (io.unserved(), io.blocked());
    let mut settings = h2::server::Builder::new();
    settings
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_list_bytes)
        .max_send_buffer_size(MAX_BUFFER);
    let mut closing = pin!(closing);
    let handshake = pin!(settings.handshake::<_, Bytes>(io));
    let mut connection = tokio::select! {
        connection = handshake => connection?,
        // A client that has not begun yet requested nothing.
        () = &mut closing => return Ok(()),
    };
    let mut alive = Box::pin(ping(connection.ping_pong(), limits));
    let (in_use, mut unused) = (Arc::new(()), Unused::new(limits.keep_alive));
    let (mut is_closing, mut is_lost) = (false, false);
    poll_fn(|cx| {
        // Each stream in progress has a clone.
        let is_unused = unused.poll(Arc::strong_count(&in_use) > 1, cx).is_ready();
        if !is_closing && (closing.as_mut().poll(cx).is_ready() || is_unused) {
            is_closing = true;
            connection.graceful_shutdown();
        }
        if !is_lost && alive.as_mut().poll(cx).is_ready() {
            is_lost = true;
            connection.abrupt_shutdown(Code::NO_ERROR);
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    unserved.accept(respond.stream_id().as_u32());
                    let (service, blocked, in_use) = (service.clone(), blocked.clone(), in_use.clone());
                    streams.execute(async move {
                        stream(service, request, (respond, blocked)).await;
                        drop(in_use);
                    });
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        // Every request that the library accepted so far was taken above.
        unserved.take().into_iter().for_each(|rejected| service.rejected(rejected));
        Poll::Pending
    })
    .await
}

/// The time for which a connection has had no stream.
struct Unused {
    limit: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
    was_used: bool,
}

impl Unused {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: Box::pin(tokio::time::sleep(limit)), was_used: false }
    }

    /// Ready when it reaches the limit.
    fn poll(&mut self, is_used: bool, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The connection is polled when a stream begins and after it ends, so the time counts from its end.
            if is_used || self.was_used {
                self.timer.as_mut().reset(tokio::time::Instant::now() + self.limit);
            }
            self.was_used = is_used;
            ready!(self.timer.as_mut().poll(cx));
            if !is_used {
                return Poll::Ready(());
            }
        }
    }
}

/// Ready when the client does not answer a ping any more.
async fn ping(pings: Option<PingPong>, limits: &Limits) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(limits.keep_alive / 2).await;
        if !matches!(tokio::time::timeout(limits.handshake_timeout, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            tracing::debug!("a client did not answer a ping");
            return;
        }
    }
}

/// Serves one request.
///
/// # Cancellation
/// The stream is reset.
async fn stream<T: Service>(
    service: Arc<T>,
    request: Request<RecvStream>,
    (mut respond, blocked): (SendResponse<Bytes>, Blocked),
) {
    let rest = (!request.body().is_end_stream()).then(Rest::default);
    let length = announced_length(request.headers());
    let request = request.map(|body| RequestBody::new(StreamBody::new(body, length), rest.clone()));
    let answered = {
        let mut call = pin!(service.call(request));
        poll_fn(|cx| {
            let answered = call.as_mut().poll(cx);
            send_interim(&mut respond, &blocked);
            match answered {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                // The client has reset the stream.
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            }
        })
        .await
    };
    let response = match answered {
        None => return,
        Some(Err(code)) => return respond.send_reset(code),
        Some(Ok(response)) => response,
    };
    let (head, body) = head_of(response);
    let mut sending = match respond.send_response(head, body.is_end_stream()) {
        Ok(stream) => Some(Sending { stream, body, gather: Gather::new(blocked.clone()) }),
        Err(error) => {
            tracing::debug!(%error, "an answer cannot be sent");
            return respond.send_reset(Code::INTERNAL_ERROR);
        }
    };
    if sending.as_ref().is_some_and(|sending| sending.body.is_end_stream()) {
        sending = None;
    }
    if let Some(stream) = finish(sending, rest.as_ref()).await {
        reset_when_written(stream, &blocked).await;
    }
}

/// Resets a stream whose answer ended early. A reset discards what the library has not written yet, which is recorded as sent, so it
/// waits for that, but not for a client that does not read.
async fn reset_when_written(mut stream: SendStream<Bytes>, blocked: &Blocked) {
    let began = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(WRITTEN).await;
        if !blocked.is_blocked() || began.elapsed() >= DRAIN {
            return stream.send_reset(Code::INTERNAL_ERROR);
        }
    }
}

/// Sends the informational responses that the exchange has received. A client that reads nothing does without them: the library would
/// keep them.
fn send_interim(respond: &mut SendResponse<Bytes>, blocked: &Blocked) {
    let Some(downlink) = streams::current() else { return };
    for interim in downlink.take_interim() {
        if blocked.is_blocked() {
            continue;
        }
        if let Err(error) = respond.send_informational(interim.into()) {
            tracing::debug!(%error, "an informational response was not sent");
        }
    }
}

/// The length of a request's body, if that was announced.
fn announced_length(head: &HeaderMap) -> Option<u64> {
    head.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The head of an answer as HTTP/2 allows it, and its body.
fn head_of(response: Response<Body>) -> (http::Response<()>, Body) {
    let Response { status, mut fields, body } = response;
    fields.remove_named(|name| OF_HTTP1.contains(name));
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream())
        && !fields.contains(header::CONTENT_LENGTH)
    {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if status == StatusCode::NO_CONTENT {
        fields.remove(header::CONTENT_LENGTH);
    }
    (Response { status, fields, body: () }.into(), body)
}

/// Sends the rest of an answer, and reads what the client still sends meanwhile. An upload that is still sent on continues after
/// the answer; one without a reader is dropped up to a bound. Returns the stream of an answer that ended early.
async fn finish(mut sending: Option<Sending>, rest: Option<&Rest>) -> Option<SendStream<Bytes>> {
    let (mut dropped, mut is_drained, mut timer) = (0, false, None);
    poll_fn(|cx| {
        is_drained =
            is_drained || dropped > DRAIN_BYTES || rest.is_none_or(|rest| rest.poll_drain(&mut dropped, cx).is_ready());
        if let Some(answer) = &mut sending {
            match ready!(answer.poll(cx)) {
                Sent::Whole => sending = None,
                Sent::Rejected => return Poll::Ready(None),
                Sent::Early => return Poll::Ready(sending.take().map(|answer| answer.stream)),
            }
        }
        if is_drained || dropped > DRAIN_BYTES {
            return Poll::Ready(None);
        }
        if !rest.is_some_and(Rest::is_abandoned) {
            return Poll::Pending;
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(DRAIN)));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// How sending an answer ended.
enum Sent {
    Whole,
    /// The client has reset the stream.
    Rejected,
    /// The upstream or a termination ended it.
    Early,
}

/// An answer that is being sent.
struct Sending {
    stream: SendStream<Bytes>,
    body: Body,
    gather: Gather,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            if !ready!(self.poll_capacity(cx)) {
                return Poll::Ready(Sent::Rejected);
            }
            let sent = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    let payload = ready!(self.gather.poll_idle(cx));
                    self.stream.send_data(payload, false).map(|()| false)
                }
                Poll::Ready(None) => self.stream.send_data(self.gather.take(), true).map(|()| true),
                Poll::Ready(Some(Ok(frame))) => self.send(frame),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an answer was not sent to its end");
                    // What has arrived is recorded as sent. An error belongs to the stream, which is reset anyway.
                    let _ending = self.gather.flush(&mut self.stream);
                    return Poll::Ready(Sent::Early);
                }
            };
            match sent {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Sent::Whole),
                Err(_) => return Poll::Ready(Sent::Rejected),
            }
        }
    }

    /// Sends a part of the answer, or gathers it; returns whether it is the last one.
    fn send(&mut self, frame: Frame<Bytes>) -> Result<bool, h2::Error> {
        match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                match self.gather.add(data, is_last) {
                    Some(payload) => self.stream.send_data(payload, is_last).map(|()| is_last),
                    None => Ok(false),
                }
            }
            Err(frame) => {
                self.gather.flush(&mut self.stream)?;
                self.stream.reserve_capacity(0);
                self.stream.send_trailers(frame.into_trailers().unwrap_or_default()).map(|()| true)
            }
        }
    }

    /// Waits until the client accepts at least a byte; the answer is read no further than that. False if it has reset the stream.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(false);
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }
}

#[cfg(test)]
mod tests;
