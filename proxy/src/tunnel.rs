//! The inside of a tunnel that is read: its requests, over HTTP/1.1 or HTTP/2. Each request goes to `exchange.rs`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Method, Request, header};
use model::{Destination, Reason};
use sessions::Identified;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Core;
use crate::body::answer::Body;
use crate::body::incoming::Incoming;
use crate::context::Exchange;
use crate::downlink::Downlink;
use crate::entry::paced::Paced;
use crate::entry::patience::Patience;
use crate::entry::stall::Unread;
use crate::exchange::exchange;
use crate::flow::Flow;
use crate::http1::link::{ClientCheck, Link, Received};
use crate::http1::serve::{Service, serve};
use crate::http2;
use crate::http2::body::RequestBody;
use crate::http2::frames::{Frames, Peer, Rejected};
use crate::http2::head::http2_head;
use crate::http2::streams;
use crate::http2::streams::StreamExecutor;
use crate::message::Response;
use crate::refusal::{Form, Refusal};
use crate::request::Asked;
use crate::share;
use crate::steps::respond;
use crate::trail::Trail;
use crate::upstream::preconnect::Preconnect;
use crate::wake_gate::WakeGate;

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
    preconnect: Preconnect,
}

impl Tunnel {
    pub(crate) fn new(core: Arc<Core>, client: Identified, destination: Destination, without_sni: bool) -> Self {
        let patience = Patience::new(core.proxy.limits.max_refusals);
        Self {
            core,
            client,
            destination,
            without_sni,
            must_close: Arc::default(),
            patience,
            preconnect: Preconnect::default(),
        }
    }

    /// With the connection that is opened before its first request.
    pub(crate) fn with(self, preconnect: Preconnect) -> Self {
        Self { preconnect, ..self }
    }

    /// Ready when its connection may have no further request.
    async fn closing(&self) {
        tokio::select! {
            () = self.core.proxy.draining() => {}
            () = self.patience.exhausted() => {}
        }
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
        let preconnect = Some(&self.preconnect);
        let begun = Exchange { core, client, destination, flow: &flow, downlink: &downlink, preconnect };
        exchange(begun, asked, self.note_sni(Trail::new(begun))).await
    }
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
    let closing = pin!(tunnel.closing());
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

    fn downlink(&self) -> &Downlink {
        &self.must_close
    }
}

/// Serves HTTP/2 within a tunnel; every stream is one request. When its client's session ends, it is dropped with all its exchanges; a
/// drain lets it finish.
pub(crate) async fn serve_http2<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tunnel = Arc::new(tunnel);
    let limits = &tunnel.core.proxy.limits;
    let streams = StreamExecutor::new(
        tunnel.core.shares.spawner(&tunnel.client.session().id),
        tunnel.must_close.clone(),
        limits.unread_timeout,
    );
    let unread = Unread::new(stream, tunnel.must_close.clone(), limits);
    let frames = Frames::new(unread, Peer::Client, limits.max_control_frames);
    let exceeded = frames.exceeded();
    let closing = pin!(tunnel.closing());
    let served = http2::serve::serve(frames, tunnel.clone(), (streams, limits), WakeGate::new(closing));
    let cut = pin!(tunnel.cut());
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
            if breaks_http2(&error) {
                let refusal = Refusal::of(Reason::Malformed, "the client breaks the protocol of HTTP/2");
                drop(tunnel.open().refuse(&refusal.with_class("http2")));
            }
        },
        () = WakeGate::new(cut) => {}
    }
    if exceeded.load(Ordering::Relaxed) {
        let refusal = Refusal::of(Reason::RateLimited, "the client sent too many control frames");
        drop(tunnel.open().refuse(&refusal.with_class("control_frames")));
    }
}

/// Whether we ended the connection because of the client's input (RFC 9113 section 5.4.1).
fn breaks_http2(error: &h2::Error) -> bool {
    error.is_library() && error.reason().is_some_and(|why| why != h2::Reason::NO_ERROR)
}

impl http2::serve::Service for Tunnel {
    async fn call(&self, request: Request<RequestBody>) -> Result<Response<Body>, h2::Reason> {
        let for_head = request.method() == Method::HEAD;
        let response = match http2_head(&request, &self.core.proxy.limits) {
            Ok(head) => {
                let (parts, body) = request.into_parts();
                let (version, fields, body) = (parts.version, parts.headers.into(), Incoming::Http2(body));
                self.exchange(Asked { head, version, fields, body }).await
            }
            Err(refusal) => {
                let mut open = self.open();
                open.asked(request.method(), None, "h2");
                let record = open.refuse(&refusal);
                if refusal.reason() == Reason::Malformed {
                    self.patience.count_refusal();
                    return Err(h2::Reason::PROTOCOL_ERROR);
                }
                respond::answer(&refusal, &record, Form::Problem)
            }
        };
        if response.body.is_own() {
            streams::answers_itself();
        }
        // Drains its connection if this was the last refusal allowed on it.
        let _is_last = self.patience.is_exhausted_by(&response);
        Ok(if for_head { without_body(response) } else { response })
    }

    fn rejected(&self, rejected: Rejected) {
        let refusal = match rejected {
            Rejected::Malformed => {
                Refusal::of(Reason::Malformed, "the request breaks the protocol of HTTP/2").with_class("http2")
            }
            Rejected::TooLarge => Refusal::of(Reason::HeadTooLarge, "the request head is too large"),
        };
        drop(self.open().refuse(&refusal));
        self.patience.count_refusal();
    }
}

/// An answer to HEAD over HTTP/2, which has no body.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if response.body.is_own() {
        let length = http_body::Body::size_hint(&response.body).exact().unwrap_or_default();
        response.fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(Body::for_head)
}
