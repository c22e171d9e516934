//! The inside of a tunnel that is read: its requests, over HTTP/1.1 or HTTP/2. Each request goes to `exchange.rs`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming as Http2Body;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Destination, Reason};
use sessions::Identified;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Core;
use crate::body::answer::Body;
use crate::body::download::StreamError;
use crate::body::incoming::Incoming;
use crate::config::{CONNECTION_WINDOW, Limits, MAX_BUFFER, STREAM_WINDOW};
use crate::context::Exchange;
use crate::downlink::Downlink;
use crate::entry::paced::Paced;
use crate::entry::patience::Patience;
use crate::entry::stall::Unread;
use crate::exchange::exchange;
use crate::flow::Flow;
use crate::http1::link::{ClientCheck, Link, Received};
use crate::http1::serve::{Service, serve};
use crate::http2::frames::{Frames, Peer};
use crate::http2::head::http2_head;
use crate::http2::streams;
use crate::http2::streams::StreamExecutor;
use crate::message::Response;
use crate::refusal::{Form, Refusal};
use crate::request::Asked;
use crate::share;
use crate::share::Spawner;
use crate::steps::respond;
use crate::trail::Trail;
use crate::upstream::ahead::Ahead;
use crate::wake_gate::WakeGate;

/// The future of the response to one request. Boxed, because hyper moves it and the exchange within is large.
type Serving<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

/// The state that all requests in one tunnel share.
pub(crate) struct Tunnel {
    core: Arc<Core>,
    client: Identified,
    destination: Destination,
    /// Whether the client's handshake named no server.
    without_sni: bool,
    /// Notified when an exchange on it was terminated and the client's inactivity hides that.
    must_close: Arc<Downlink>,
    patience: Patience,
    ahead: Ahead,
}

impl Tunnel {
    pub(crate) fn new(core: Arc<Core>, client: Identified, destination: Destination, without_sni: bool) -> Self {
        let patience = Patience::new(core.proxy.limits.max_refusals);
        Self { core, client, destination, without_sni, must_close: Arc::default(), patience, ahead: Ahead::default() }
    }

    /// With the connection that was dialed ahead for its first request.
    pub(crate) fn with(self, ahead: Ahead) -> Self {
        Self { ahead, ..self }
    }

    /// The downlink of a request in this tunnel: a stream of HTTP/2 ends alone.
    fn downlink(&self) -> Arc<Downlink> {
        streams::current().unwrap_or_else(|| self.must_close.clone())
    }

    /// The record of input in this tunnel that begins no exchange.
    fn open(&self) -> Trail {
        let mut open = Trail::before(&self.core.proxy, &self.client, &self.downlink());
        open.destination(&self.destination);
        self.note_sni(open)
    }

    fn note_sni(&self, mut open: Trail) -> Trail {
        if self.without_sni {
            open.sni("absent");
        }
        open
    }

    /// Resolves when the connection may not go on: its client has no right to it any more, or does not read.
    async fn cut(&self) {
        tokio::select! {
            () = self.client.ended() => {}
            () = self.must_close.notified() => {}
        }
    }

    /// Serves one request.
    async fn exchange(&self, asked: Asked) -> Response<Body> {
        let Self { core, client, destination, .. } = self;
        let (flow, downlink) = (Arc::new(Flow::new(share::now())), self.downlink());
        let ahead = Some(&self.ahead);
        let begun = Exchange { core, client, destination, flow: &flow, downlink: &downlink, ahead };
        exchange(begun, asked, self.note_sni(Trail::new(begun))).await
    }
}

/// Runs a connection of a tunnel to its end. When its client's session ends, it is dropped with all its exchanges; a drain lets it
/// finish.
async fn until_over<C>(tunnel: &Tunnel, mut connection: Pin<&mut C>, drain: fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let closing = pin!(async {
        tokio::select! {
            () = tunnel.core.proxy.draining() => {}
            () = tunnel.patience.exhausted() => {}
        }
    });
    let to_its_end = async {
        tokio::select! {
            served = connection.as_mut() => return served,
            () = WakeGate::new(closing) => drain(connection.as_mut()),
        }
        connection.as_mut().await
    };
    let cut = pin!(tunnel.cut());
    tokio::select! {
        served = to_its_end => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
            if breaks_http2(&error) {
                let refusal = Refusal::of(Reason::Malformed, "the client breaks the protocol of HTTP/2");
                drop(tunnel.open().refuse(&refusal.with_class("http2")));
            }
        },
        () = WakeGate::new(cut) => {}
    }
}

/// Whether we ended the connection because of the client's input (RFC 9113 section 5.4.1).
fn breaks_http2(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|error| error.is_library() && error.reason().is_some_and(|why| why != h2::Reason::NO_ERROR))
}

/// Serves HTTP/1.1 within a tunnel.
pub(crate) async fn serve_http1<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let proxy = &tunnel.core.proxy;
    let stream = Unread::new(Paced(stream), tunnel.must_close.clone(), &proxy.limits);
    let check = ClientCheck::Tunnel(tunnel.client.clone());
    let link = Link::new(stream, proxy.limits.clone(), check);
    let closing = pin!(async {
        tokio::select! {
            () = proxy.draining() => {}
            () = tunnel.patience.exhausted() => {}
        }
    });
    let cut = pin!(tunnel.cut());
    tokio::select! {
        biased;
        () = WakeGate::new(cut) => {}
        _ended = serve(&link, &tunnel, None, WakeGate::new(closing)) => {}
    }
}

impl Service for Tunnel {
    async fn call(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let asked = match received {
            Ok(received) => received.into(),
            Err(refusal) => return respond::refuse(self.open(), &refusal),
        };
        let response = self.exchange(asked).await;
        // A client that names another host on this connection is confused or malicious; the connection ends in either
        // case.
        let misdirected = response.status == http::StatusCode::MISDIRECTED_REQUEST && response.body.is_own();
        if self.patience.is_exhausted_by(&response) || misdirected { respond::closing(response) } else { response }
    }
}

/// Serves HTTP/2 within a tunnel; every stream is one request.
pub(crate) async fn serve_http2<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tunnel = Arc::new(tunnel);
    let serving = tunnel.clone();
    let service = service_fn(move |request: Request<Http2Body>| {
        Box::pin(http2_request(serving.clone(), request)) as Serving<StreamError>
    });
    let limits = &tunnel.core.proxy.limits;
    let streams = StreamExecutor::new(
        tunnel.core.shares.spawner(&tunnel.client.session().id),
        tunnel.must_close.clone(),
        limits.unread_timeout,
    );
    let unread = Unread::new(stream, tunnel.must_close.clone(), limits);
    let frames = Frames::new(unread, Peer::Client, limits.max_control_frames);
    let exceeded = frames.exceeded();
    let settings = http2_settings(limits, streams);
    let connection = pin!(settings.serve_connection(TokioIo::new(frames), service));
    until_over(&tunnel, connection, http2::Connection::graceful_shutdown).await;
    if exceeded.load(Ordering::Relaxed) {
        let refusal = Refusal::of(Reason::RateLimited, "the client sent too many control frames");
        drop(tunnel.open().refuse(&refusal.with_class("control_frames")));
    }
}

fn http2_settings(limits: &Limits, streams: StreamExecutor<Spawner>) -> http2::Builder<StreamExecutor<Spawner>> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_list_bytes)
        .max_send_buf_size(MAX_BUFFER)
        .keep_alive_interval(limits.keep_alive / 2)
        .keep_alive_timeout(limits.handshake_timeout);
    builder
}

async fn http2_request(tunnel: Arc<Tunnel>, request: Request<Http2Body>) -> Result<http::Response<Body>, StreamError> {
    let for_head = request.method() == Method::HEAD;
    let response = match http2_head(&request, &tunnel.core.proxy.limits) {
        Ok(head) => {
            let (parts, body) = request.into_parts();
            let asked =
                Asked { head, version: parts.version, fields: parts.headers.into(), body: Incoming::Http2(body) };
            tunnel.exchange(asked).await
        }
        Err(refusal) => {
            let mut open = tunnel.open();
            open.asked(request.method(), None, "h2");
            let record = open.refuse(&refusal);
            if refusal.reason() == Reason::Malformed {
                return Err(StreamError::Http2(h2::Reason::PROTOCOL_ERROR.into()));
            }
            respond::answer(&refusal, &record, Form::Problem)
        }
    };
    if response.body.is_own() {
        streams::answers_itself();
    }
    // Drains its connection if this was the last refusal allowed on it.
    let _is_last = tunnel.patience.is_exhausted_by(&response);
    Ok(if for_head { without_body(response) } else { response }.into())
}

/// An answer to HEAD over HTTP/2; the library would send our body.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if response.body.is_own() {
        let length = http_body::Body::size_hint(&response.body).exact().unwrap_or_default();
        response.fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(Body::for_head)
}
