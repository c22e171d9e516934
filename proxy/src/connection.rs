//! The connection half of the line: from an accepted socket to a stream of requests, each of which goes to `exchange.rs`.
//!
//! A CONNECT is answered here, without hyper, since nothing but its head is HTTP. Within the tunnel, and for requests in absolute
//! form, hyper serves the stream behind the guard. As in `exchange.rs`, an outer function owns the record of what is refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Authority, Destination, Reason, RequestPath, Scheme};
use policies::Permit;
use sessions::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::body::{Body, StreamError};
use crate::config::{CONNECTION_WINDOW, Limits, MAX_BUFFER, STREAM_WINDOW};
use crate::downlink::Downlink;
use crate::exchange::exchange;
use crate::frames::{Frames, Peer};
use crate::guard::{First, Guard, Verdicts};
use crate::head::{self, Framing, RequestHead, Target};
use crate::paced::Paced;
use crate::refusal::Refusal;
use crate::rewound::Rewound;
use crate::share::Spawner;
use crate::stall::{self, Unread};
use crate::steps::accept::Downstream;
use crate::steps::decide::Passage;
use crate::steps::intercept::{Inner, intercept};
use crate::steps::record::{self, Open};
use crate::steps::route::Asked;
use crate::steps::{decide, identify, parse};
use crate::streams::{self, StreamExecutor};
use crate::{Core, Proxy, quota, tunnel};

/// Serves one downstream connection to its end.
///
/// # Cancellation
/// Everything on it is cut, and recorded as such.
pub(crate) async fn connection(core: Arc<Core>, downstream: Downstream) {
    let Downstream { stream, place: _place } = downstream;
    stall::bound_unsent(&stream);
    let mut guard = Guard::new(stream, core.proxy.limits.clone(), false);
    loop {
        let first = tokio::select! {
            first = guard.first() => first,
            () = draining(core.proxy.clone()) => return,
        };
        match first {
            Ok(First::Closed) => return,
            Ok(First::Connect(head)) => return Box::pin(tunnel(core, head, guard)).await,
            Ok(First::Request) => match Box::pin(plain(core.clone(), guard)).await {
                // A CONNECT came on a connection that had carried requests in absolute form.
                Some(back) => guard = back,
                None => return,
            },
            Err(refusal) => {
                let record = Open::new(&core.proxy, None).refuse(&refusal);
                let (stream, _) = guard.into_parts();
                return say(stream, &refusal, &record).await;
            }
        }
    }
}

/// Resolves when Egret begins to drain.
async fn draining(proxy: Arc<Proxy>) {
    let mut draining = proxy.draining.clone();
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One CONNECT: admits it, opens the inside, serves the requests in it until it closes or its session ends.
async fn tunnel(core: Arc<Core>, head: RequestHead, guard: Guard<TcpStream>) {
    let (mut stream, ahead) = guard.into_parts();
    let (session, destination, passage) = match admit(&core.proxy, &head) {
        Ok(Admitted { session, destination, passage }) => (session, destination, passage),
        Err(rejected) => {
            let Rejected { open, refusal } = *rejected;
            let record = open.refuse(&refusal);
            return say(stream, &refusal, &record).await;
        }
    };
    core.shares.charge_to(&session.id);
    if let Passage::Unread(permit) = passage {
        return Box::pin(unread(&core, &session, &destination, permit, stream, ahead)).await;
    }
    if stream.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    let inner = tokio::select! {
        inner = intercept(&core.proxy, Rewound::new(stream, ahead), &destination) => inner,
        () = session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match inner {
        Err(refusal) => drop(open_connect(&core.proxy, Some(&session), &head, Some(&destination)).refuse(&refusal)),
        Ok(None) => {}
        Ok(Some(Inner::Plain(stream))) => {
            let destination = Destination::new(Scheme::Http, destination.host().clone(), destination.port());
            let must_close = Arc::default();
            serve_http1(Tunnel { core, session, destination, without_sni: false, must_close }, stream).await;
        }
        Ok(Some(Inner::Tls(stream))) => {
            let (_, tls) = stream.get_ref();
            let (http2, without_sni) = (tls.alpn_protocol() == Some(b"h2"), tls.server_name().is_none());
            let tunnel = Tunnel { core, session, destination, without_sni, must_close: Arc::default() };
            if http2 { serve_http2(tunnel, *stream).await } else { serve_http1(tunnel, *stream).await }
        }
    }
}

/// The answer to a CONNECT that is let in.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// A tunnel whose bytes are not read: reaches its upstream first, so that a failure is an answer to the CONNECT.
async fn unread(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    permit: Permit,
    mut stream: TcpStream,
    ahead: Vec<u8>,
) {
    let mut open = Open::tunnel(&core.proxy, session);
    open.destination(destination);
    let reached = tokio::select! {
        reached = tunnel::reach(core, session, destination, permit, &mut open) => reached,
        () = session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match reached {
        Err(refusal) => {
            let record = open.refuse(&refusal);
            say(stream, &refusal, &record).await;
        }
        Ok(ready) => {
            if stream.write_all(ESTABLISHED).await.is_ok() {
                tunnel::pass(core, session, destination, ready, stream, ahead, open).await;
            }
        }
    }
}

/// A request to the proxy itself that gets in.
struct Admitted {
    session: Arc<Session>,
    destination: Destination,
    passage: Passage,
}

/// A request to the proxy itself that does not get in, with its open record.
struct Rejected {
    open: Open,
    refusal: Refusal,
}

/// Steps 2 to 4 for a request to the proxy itself.
fn admit(proxy: &Arc<Proxy>, head: &RequestHead) -> Result<Admitted, Box<Rejected>> {
    let rejected = |session: Option<&Arc<Session>>, destination: Option<&Destination>, refusal| {
        Box::new(Rejected { open: open_connect(proxy, session, head, destination), refusal })
    };
    let named = parse::parse(head);
    let session = identify::identify(proxy, head).map_err(|refusal| rejected(None, named.as_ref().ok(), refusal))?;
    let destination = named.map_err(|refusal| rejected(Some(&session), None, refusal))?;
    match decide::decide(proxy, &session, &destination) {
        Ok(passage) => match quota::enter(proxy, &session, &destination, head) {
            Ok(()) => Ok(Admitted { session, destination, passage }),
            Err(refusal) => Err(rejected(Some(&session), Some(&destination), refusal)),
        },
        Err(refusal) => Err(rejected(Some(&session), Some(&destination), refusal)),
    }
}

fn open_connect(
    proxy: &Arc<Proxy>,
    session: Option<&Arc<Session>>,
    head: &RequestHead,
    destination: Option<&Destination>,
) -> Open {
    let mut open = Open::new(proxy, session);
    if let Some(destination) = destination {
        open.destination(destination);
    }
    open.asked(&head.method, head.target.path(), "http/1.1");
    open
}

/// Writes a refusal without hyper, with the code in the reason phrase, since that is what clients show of a failed CONNECT.
async fn say(mut stream: TcpStream, refusal: &Refusal, record: &str) {
    let body = refusal.problem(record);
    let mut answer = format!("HTTP/1.1 {} {}\r\n", refusal.row().status.as_u16(), refusal.reason().code()).into_bytes();
    for (name, value) in &record::refusal_fields(refusal, record) {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    let linger = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // Closing while the client still sends would reset the connection and take the answer away.
        let mut sink = [0; 4 << 10];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(std::time::Duration::from_secs(2), linger).await {
        tracing::debug!(%error, "a refusal could not be written");
    }
}

/// The response to one request in the making. Boxed: hyper moves it about, and the exchange within is large.
type Serving<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// Serves requests in absolute form. Gives the guard back when a CONNECT comes instead.
async fn plain(core: Arc<Core>, guard: Guard<TcpStream>) -> Option<Guard<TcpStream>> {
    let verdicts = guard.verdicts();
    let bound: Arc<Bound> = Arc::default();
    let (serving, binding) = (core.clone(), bound.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (core, bound) = (serving.clone(), binding.clone());
        let (verdict, flight) = verdicts.next();
        Box::pin(async move { Ok(plain_request(&core, &bound, verdict, request).await.map(|body| body.with(flight))) })
            as Serving<Infallible>
    });
    let guard = Unread::new(guard, bound.must_close.clone(), &core.proxy.limits);
    let mut connection = http1_settings().serve_connection(TokioIo::new(guard), service);
    let served = tokio::select! {
        served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => served,
        () = bound.ended() => return None,
        () = draining(core.proxy.clone()) => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => served,
                () = bound.ended() => return None,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
        return None;
    }
    let mut guard = connection.into_parts().io.into_inner().into_inner();
    if guard.has_connect() {
        return Some(guard);
    }
    if let Err(error) = guard.shutdown().await {
        tracing::debug!(%error, "a connection could not be closed");
    }
    None
}

/// The session of a connection in absolute form: the first that is identified; another one has no business there.
#[derive(Default)]
struct Bound {
    session: OnceLock<Arc<Session>>,
    set: Notify,
    must_close: Arc<Downlink>,
}

impl Bound {
    fn admits(&self, session: &Arc<Session>) -> bool {
        let bound = self.session.get_or_init(|| session.clone());
        self.set.notify_one();
        bound.id == session.id
    }

    async fn ended(&self) {
        let session_ended = async {
            loop {
                match self.session.get() {
                    Some(session) => return session.ended().await,
                    None => self.set.notified().await,
                }
            }
        };
        tokio::select! {
            () = session_ended => {}
            () = self.must_close.notified() => {}
        }
    }
}

async fn plain_request(
    core: &Arc<Core>,
    bound: &Bound,
    verdict: Result<RequestHead, Refusal>,
    request: Request<Incoming>,
) -> Response<Body> {
    let head = match verdict {
        Ok(head) => head,
        Err(refusal) => return refuse(Open::new(&core.proxy, None), &refusal),
    };
    let (session, destination) = match admit(&core.proxy, &head) {
        // A host that is not read takes no request in absolute form: that one is judged, and refused, by its rules.
        Ok(Admitted { session, destination, passage: _ }) => (session, destination),
        Err(rejected) => return refuse(rejected.open, &rejected.refusal),
    };
    core.shares.charge_to(&session.id);
    if !bound.admits(&session) {
        let refusal = Refusal::of(Reason::SessionInvalid, "the connection belongs to another session");
        return refuse(open_connect(&core.proxy, Some(&session), &head, Some(&destination)), &refusal);
    }
    let mut open = Open::new(&core.proxy, Some(&session));
    open.destination(&destination);
    open.came_on(&bound.must_close);
    exchange(core, &session, &destination, Asked { head, request }, open).await
}

/// A refusal before the request half of the line; the connection closes after it.
fn refuse(open: Open, refusal: &Refusal) -> Response<Body> {
    let record = open.refuse(refusal);
    closing(record::answer(refusal, &record))
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}

fn http1_settings() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The guard has judged the head before hyper sees it; these are hyper's own bounds, a little wider. Without hyper's
    // `half_close` it watches for clients that leave; the guard hides from it those that only closed their half.
    builder
        .auto_date_header(false)
        .max_headers(128)
        .max_buf_size(MAX_BUFFER)
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    builder
}

/// What every request within one tunnel has in common.
struct Tunnel {
    core: Arc<Core>,
    session: Arc<Session>,
    destination: Destination,
    /// Whether the client's handshake named no server.
    without_sni: bool,
    /// Told when an exchange on it was cut and its client keeps that from being seen.
    must_close: Arc<Downlink>,
}

impl Tunnel {
    /// The record of a request in this tunnel.
    fn open(&self) -> Open {
        let mut open = Open::new(&self.core.proxy, Some(&self.session));
        open.destination(&self.destination);
        // A stream of HTTP/2 ends alone.
        open.came_on(&streams::current().unwrap_or_else(|| self.must_close.clone()));
        if self.without_sni {
            open.sni("absent");
        }
        open
    }
}

/// Runs a connection of a tunnel to its end. The end of the session drops it with all that is on it; a drain lets it finish.
async fn until_over<C>(tunnel: &Tunnel, mut connection: Pin<&mut C>, drain: fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let to_its_end = async {
        tokio::select! {
            served = connection.as_mut() => return served,
            () = draining(tunnel.core.proxy.clone()) => drain(connection.as_mut()),
        }
        connection.as_mut().await
    };
    tokio::select! {
        served = to_its_end => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
            if breaks_http2(&error) {
                let refusal = Refusal::of(Reason::Malformed, "the client breaks the protocol of HTTP/2");
                drop(tunnel.open().refuse(&refusal.with_class("http2")));
            }
        },
        () = tunnel.session.ended() => {}
        () = tunnel.must_close.notified() => {}
    }
}

/// Whether we ended the connection because of what the client sent (RFC 9113 section 5.4.1).
fn breaks_http2(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|error| error.is_library() && error.reason().is_some_and(|why| why != h2::Reason::NO_ERROR))
}

/// Serves HTTP/1.1 within a tunnel.
async fn serve_http1<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tunnel = Arc::new(tunnel);
    let guard = Guard::new(Paced(stream), tunnel.core.proxy.limits.clone(), true);
    let (verdicts, serving): (Verdicts, _) = (guard.verdicts(), tunnel.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let tunnel = serving.clone();
        let (verdict, flight) = verdicts.next();
        Box::pin(async move { Ok(tunnel_request(&tunnel, verdict, request).await.map(|body| body.with(flight))) })
            as Serving<Infallible>
    });
    let guard = Unread::new(guard, tunnel.must_close.clone(), &tunnel.core.proxy.limits);
    let connection = std::pin::pin!(http1_settings().serve_connection(TokioIo::new(guard), service));
    until_over(&tunnel, connection, http1::Connection::graceful_shutdown).await;
}

async fn tunnel_request(
    tunnel: &Tunnel,
    verdict: Result<RequestHead, Refusal>,
    request: Request<Incoming>,
) -> Response<Body> {
    match verdict {
        Ok(head) => {
            let response =
                exchange(&tunnel.core, &tunnel.session, &tunnel.destination, Asked { head, request }, tunnel.open())
                    .await;
            // Whoever names another host on this connection is confused or lies; either way it ends.
            if response.status() == http::StatusCode::MISDIRECTED_REQUEST && response.body().is_own() {
                closing(response)
            } else {
                response
            }
        }
        Err(refusal) => refuse(tunnel.open(), &refusal),
    }
}

/// Serves HTTP/2 within a tunnel; every stream is one request.
async fn serve_http2<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tunnel = Arc::new(tunnel);
    let serving = tunnel.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let tunnel = serving.clone();
        Box::pin(async move { http2_request(&tunnel, request).await }) as Serving<StreamError>
    });
    let limits = &tunnel.core.proxy.limits;
    let streams = StreamExecutor::new(
        tunnel.core.shares.spawner(&tunnel.session.id),
        tunnel.must_close.clone(),
        limits.unread_timeout,
    );
    let unread = Unread::new(stream, tunnel.must_close.clone(), limits);
    let frames = Frames::new(unread, Peer::Client, limits.max_control_frames);
    let exceeded = frames.exceeded();
    let settings = http2_settings(limits, streams);
    let connection = std::pin::pin!(settings.serve_connection(TokioIo::new(frames), service));
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

async fn http2_request(tunnel: &Tunnel, request: Request<Incoming>) -> Result<Response<Body>, StreamError> {
    let for_head = request.method() == Method::HEAD;
    let response = match http2_head(&request, &tunnel.core) {
        Ok(head) => {
            let asked = Asked { head, request };
            exchange(&tunnel.core, &tunnel.session, &tunnel.destination, asked, tunnel.open()).await
        }
        Err(refusal) => {
            let mut open = tunnel.open();
            open.asked(request.method(), None, "h2");
            let record = open.refuse(&refusal);
            if refusal.reason() == Reason::Malformed {
                return Err(StreamError::Http2(h2::Reason::PROTOCOL_ERROR.into()));
            }
            record::answer(&refusal, &record)
        }
    };
    if response.body().is_own() {
        streams::answers_itself();
    }
    Ok(if for_head { without_body(response) } else { response })
}

/// An answer to HEAD: over HTTP/1.1 hyper leaves our words out, over HTTP/2 it does not.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if response.body().is_own() {
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or_default();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(Body::for_head)
}

/// The head of an HTTP/2 request in the form that the strict reader gives (RFC 9113 section 8.3).
fn http2_head(request: &Request<Incoming>, core: &Core) -> Result<RequestHead, Refusal> {
    let malformed = |detail: &'static str| Refusal::of(Reason::Malformed, detail);
    if request.method() == Method::CONNECT {
        return Err(Refusal::of(Reason::ProtocolNotAllowed, "CONNECT within a tunnel is not served"));
    }
    head::check_method(request.method().as_str())?;
    if request.uri().scheme_str() != Some("https") {
        return Err(malformed(":scheme is not https"));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host =
        hosts.next().map(|host| host.to_str().map_err(|_| malformed("the host field is no host"))).transpose()?;
    if hosts.next().is_some() {
        return Err(malformed("the host field stands twice"));
    }
    let parse = |text: &str| Authority::parse(text, false).map_err(|_| malformed("the authority is no host"));
    let host = match (authority, host) {
        (Some(authority), Some(host)) if parse(authority)? != parse(host)? => {
            return Err(malformed(":authority and host differ"));
        }
        (Some(authority), _) | (None, Some(authority)) => parse(authority)?,
        (None, None) => return Err(malformed("the request names no authority")),
    };
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if target.len() > core.proxy.limits.max_target_bytes {
        return Err(Refusal::of(Reason::UriTooLong, "the request target is too long"));
    }
    let target = match target {
        "*" => Target::Asterisk,
        path => Target::Origin(
            RequestPath::parse(path).map_err(|_| Refusal::of(Reason::BadTarget, "the path is not valid"))?,
        ),
    };
    Ok(RequestHead {
        method: request.method().clone(),
        target,
        host: Some(host),
        framing: Framing::Length(0),
        proxy_authorization: None,
    })
}
