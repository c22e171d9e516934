//! The connection half of the line: from an accepted socket to a stream of requests, each of which goes to `exchange.rs`.
//!
//! A CONNECT is answered here, since nothing but its head is HTTP. Within the tunnel, and for requests in absolute form, `http1/serve.rs`
//! or, where the client chose HTTP/2, hyper serves the stream. As in `exchange.rs`, an outer function owns the record of what is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, Request, Response, header};
use hyper::body::Incoming as Http2Body;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Authority, Destination, Reason, RequestPath, Scheme};
use policies::Permit;
use sessions::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::answer::Body;
use crate::body::download::StreamError;
use crate::body::incoming::Incoming;
use crate::config::{CONNECTION_WINDOW, Limits, MAX_BUFFER, STREAM_WINDOW};
use crate::context::Exchange;
use crate::downlink::Downlink;
use crate::entry::entrance::{Entrance, overloaded};
use crate::entry::identity::Identified;
use crate::entry::listener::ClientStream;
use crate::entry::paced::Paced;
use crate::entry::patience::Patience;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::entry::stall;
use crate::entry::stall::Unread;
use crate::exchange::exchange;
use crate::http1::head;
use crate::http1::head::{Framing, RequestHead, Target};
use crate::http1::link::{Arrived, Door, HeadFault, Link, Received};
use crate::http1::serve::{End, Service, serve};
use crate::http2::frames::{Frames, Peer};
use crate::http2::streams;
use crate::http2::streams::StreamExecutor;
use crate::refusal::{Form, Refusal};
use crate::request::Asked;
use crate::share::Spawner;
use crate::steps::accept::{Downstream, TurnedAway};
use crate::steps::decide::Passage;
use crate::steps::intercept::{Inner, intercept};
use crate::steps::respond;
use crate::steps::{decide, parse};
use crate::trail::Trail;
use crate::{Core, Proxy, passthrough};

/// Serves one downstream connection to its end.
///
/// # Cancellation
/// Everything on it is cut, and recorded as such.
pub(crate) async fn connection(core: Arc<Core>, downstream: Downstream) {
    let Downstream { stream, place } = downstream;
    stall::bound_unsent(&stream);
    let entrance = Entrance::new(&core.proxy, place);
    let Some(stream) = handshake(&core.proxy, stream, &entrance).await else { return };
    let stream = Unread::new(Paced(stream), entrance.must_close().clone(), &core.proxy.limits);
    let link = Link::new(stream, core.proxy.limits.clone(), Door::Listener(entrance.clone()));
    let first = tokio::select! {
        first = link.next() => first,
        refusal = entrance.expired() => Err(HeadFault::Refused(refusal)),
        () = draining(core.proxy.clone()) => return,
    };
    if let Some(session) = entrance.session() {
        core.shares.charge_to(&session.id);
    }
    let connect = match first {
        Ok(None) | Err(HeadFault::Socket) => return,
        Ok(Some(Arrived::Connect(head))) => head,
        // A CONNECT may come on a connection that has carried requests in absolute form.
        Ok(Some(first)) => match Box::pin(plain(&core, &link, first, &entrance)).await {
            Some(head) => head,
            None => return,
        },
        // A client that opens connections ahead of its requests, as browsers do, has asked for nothing yet.
        Err(HeadFault::Refused(refusal)) if refusal.reason() == Reason::TimeoutHead && !link.has_begun() => return,
        Err(HeadFault::Refused(refusal)) => {
            return Box::pin(refuse_first(&core.proxy, &link, &entrance, &refusal)).await;
        }
    };
    if let Some((stream, ahead)) = taken(&link) {
        Box::pin(tunnel(core, connect, stream, ahead, &entrance)).await;
    }
}

/// The connection of a listener, as it is served.
type Listening = Link<Unread<Paced<ClientStream>>>;

/// The client's stream, with what was read from it and not consumed.
fn taken(link: &Listening) -> Option<(ClientStream, Vec<u8>)> {
    let (stream, ahead) = link.take_parts()?;
    Some((stream.into_inner().0, ahead))
}

/// The stream on which HTTP is spoken. A handshake counts to the time in which a client must identify itself; one that fails has
/// asked for nothing, and could not read an answer.
async fn handshake(proxy: &Arc<Proxy>, stream: ClientStream, entrance: &Entrance) -> Option<ClientStream> {
    tokio::select! {
        // A connection without TLS is ready at once. It may have lost its place before its first poll, and must get the 503 for that.
        biased;
        stream = stream.after_handshake() => {
            stream.inspect_err(|error| tracing::debug!(%error, "a TLS handshake with the proxy failed")).ok()
        }
        _expired = entrance.expired() => None,
        () = draining(proxy.clone()) => None,
    }
}

/// Refuses what came instead of a first request. A client that does not read the answer holds nobody out: while it is not
/// identified, its place can be given to another one.
async fn refuse_first(proxy: &Arc<Proxy>, link: &Listening, entrance: &Entrance, refusal: &Refusal) {
    let Some((stream, _)) = taken(link) else { return };
    if refusal.reason() == Reason::Overloaded {
        return turn_away(proxy.clone(), TurnedAway { stream, source: entrance.source() }).await;
    }
    let delay = entrance.delay_of(refusal);
    let record = entrance.open().refuse(refusal);
    let answered = async {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        say(stream, refusal, &record).await;
    };
    tokio::select! {
        () = answered => {}
        () = entrance.evicted() => {}
    }
}

/// Answers a connection for which there is no place, and closes it. Only so many of them linger until the answer has arrived; the
/// others may see a reset behind it.
pub(crate) async fn turn_away(proxy: Arc<Proxy>, turned_away: TurnedAway) {
    let TurnedAway { stream, source } = turned_away;
    let refusal = overloaded();
    let record = Trail::stranger(&proxy, source).refuse(&refusal);
    match proxy.turned_away.try_acquire() {
        Ok(_lingering) => {
            let handshake = tokio::time::timeout(proxy.limits.identify_timeout, stream.after_handshake());
            if let Ok(Ok(stream)) = handshake.await {
                say(stream, &refusal, &record).await;
            }
        }
        Err(_) => {
            let written = stream.try_write(&answer_bytes(&refusal, &record));
            tracing::debug!(?written, "a connection was turned away");
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
async fn tunnel(core: Arc<Core>, head: RequestHead, mut stream: ClientStream, ahead: Vec<u8>, entrance: &Entrance) {
    let Admitted { session, destination, passage } = match admit(&core.proxy, entrance, &head) {
        Ok(admitted) => admitted,
        Err(rejected) => {
            let Rejected { open, refusal } = *rejected;
            let record = open.refuse(&refusal);
            return say(stream, &refusal, &record).await;
        }
    };
    if let Passage::Passthrough(permit) = passage {
        let downlink = entrance.must_close();
        let exchange = Exchange { core: &core, session: &session, destination: &destination, downlink };
        return Box::pin(pass_through(exchange, permit, stream, ahead)).await;
    }
    if establish(&mut stream).await.is_err() {
        return;
    }
    let inner = tokio::select! {
        inner = intercept(&core.proxy, PrefixedStream::new(stream, ahead), &destination) => inner,
        () = session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match inner {
        Err(refusal) => drop(open_connect(entrance, &head, Some(&destination)).refuse(&refusal)),
        Ok(None) => {}
        Ok(Some(Inner::Plain(stream))) => {
            let destination = Destination::new(Scheme::Http, destination.host().clone(), destination.port());
            let (must_close, patience) = (Arc::default(), Patience::new(core.proxy.limits.max_refusals));
            serve_http1(Tunnel { core, session, destination, without_sni: false, must_close, patience }, stream).await;
        }
        Ok(Some(Inner::Tls(stream))) => {
            let (_, tls) = stream.get_ref();
            let (http2, without_sni) = (tls.alpn_protocol() == Some(b"h2"), tls.server_name().is_none());
            let (must_close, patience) = (Arc::default(), Patience::new(core.proxy.limits.max_refusals));
            let tunnel = Tunnel { core, session, destination, without_sni, must_close, patience };
            if http2 { serve_http2(tunnel, *stream).await } else { serve_http1(tunnel, *stream).await }
        }
    }
}

/// The answer to a CONNECT that is let in.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

async fn establish(stream: &mut ClientStream) -> std::io::Result<()> {
    stream.write_all(ESTABLISHED).await?;
    // Over TLS the last bytes may wait in the library.
    stream.flush().await
}

/// A tunnel whose bytes are not read: reaches its upstream first, so that a failure is an answer to the CONNECT.
async fn pass_through(exchange: Exchange<'_>, permit: Permit, mut stream: ClientStream, prefix: Vec<u8>) {
    let mut open = Trail::tunnel(exchange);
    let reached = tokio::select! {
        reached = passthrough::reach(exchange, permit, &mut open) => reached,
        () = exchange.session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match reached {
        Err(refusal) => {
            let record = open.refuse(&refusal);
            say(stream, &refusal, &record).await;
        }
        Ok(ready) => {
            if establish(&mut stream).await.is_ok() {
                passthrough::pass(exchange, ready, (stream, prefix), open).await;
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
    open: Trail,
    refusal: Refusal,
}

/// Steps 3 and 4 for a request to the proxy itself; the strict reader has asked for step 2.
fn admit(proxy: &Arc<Proxy>, entrance: &Entrance, head: &RequestHead) -> Result<Admitted, Box<Rejected>> {
    let rejected = |destination: Option<&Destination>, refusal| {
        Box::new(Rejected { open: open_connect(entrance, head, destination), refusal })
    };
    let unknown = || rejected(None, Refusal::of(Reason::Internal, "a request was read before its session was known"));
    let session = entrance.session().cloned().ok_or_else(unknown)?;
    let destination = parse::parse(head).map_err(|refusal| rejected(None, refusal))?;
    match decide::decide(proxy, &session, &destination) {
        Ok(passage) => match decide::count_names(proxy, &session, &destination, head) {
            Ok(()) => Ok(Admitted { session, destination, passage }),
            Err(refusal) => Err(rejected(Some(&destination), refusal)),
        },
        Err(refusal) => Err(rejected(Some(&destination), refusal)),
    }
}

fn open_connect(entrance: &Entrance, head: &RequestHead, destination: Option<&Destination>) -> Trail {
    let mut open = entrance.open();
    if let Some(destination) = destination {
        open.destination(destination);
    }
    open.asked(&head.method, head.target.path(), "http/1.1");
    open
}

/// Writes a refusal of a CONNECT, with the code in the reason phrase, since that is what clients show of a failed CONNECT.
async fn say(mut stream: ClientStream, refusal: &Refusal, record: &str) {
    let answer = answer_bytes(refusal, record);
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

/// A refusal as an HTTP/1.1 response that closes the connection.
fn answer_bytes(refusal: &Refusal, record: &str) -> Vec<u8> {
    let body = refusal.problem(record);
    let mut answer = format!("HTTP/1.1 {} {}\r\n", refusal.row().status.as_u16(), refusal.reason().code()).into_bytes();
    for (name, value) in &respond::refusal_fields(refusal, record) {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer
}

/// The response to one request in the making. Boxed: hyper moves it about, and the exchange within is large.
type Serving<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// Requests in absolute form on one connection.
struct Plain<'a> {
    core: &'a Core,
    entrance: &'a Entrance,
    patience: Patience,
}

impl Service for Plain<'_> {
    async fn call(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let response = self.answer(received.map(Asked::from)).await;
        if self.patience.is_exhausted_by(&response) { closing(response) } else { response }
    }
}

impl Plain<'_> {
    async fn answer(&self, asked: Result<Asked, Refusal>) -> Response<Body> {
        let Self { core, entrance, .. } = self;
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return refuse(entrance.open(), &refusal),
        };
        let (session, destination) = match admit(&core.proxy, entrance, &asked.head) {
            // A host that is not read takes no request in absolute form: that one is judged, and refused, by its rules.
            Ok(Admitted { session, destination, passage: _ }) => (session, destination),
            Err(rejected) => return refuse(rejected.open, &rejected.refusal),
        };
        let mut open = entrance.open();
        open.destination(&destination);
        let downlink = entrance.must_close();
        exchange(Exchange { core, session: &session, destination: &destination, downlink }, asked, open).await
    }
}

/// Serves requests in absolute form, `first` before others. Gives the head of a CONNECT that comes instead of another one.
async fn plain(core: &Arc<Core>, link: &Arc<Listening>, first: Arrived, entrance: &Entrance) -> Option<RequestHead> {
    let patience = Patience::new(core.proxy.limits.max_refusals);
    let service = Plain { core, entrance, patience };
    let served = serve(link, &service, Some(first), draining(core.proxy.clone()));
    let ended = tokio::select! {
        ended = served => ended,
        () = entrance.ended() => End::Closed,
    };
    match ended {
        End::Connect(head) => Some(head),
        End::Closed => None,
    }
}

/// A refusal before the request half of the line; the connection closes after it.
fn refuse(open: Trail, refusal: &Refusal) -> Response<Body> {
    let record = open.refuse(refusal);
    closing(respond::answer(refusal, &record, Form::Problem))
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    response
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
    patience: Patience,
}

impl Tunnel {
    /// What a request in this tunnel came on: a stream of HTTP/2 ends alone.
    fn downlink(&self) -> Arc<Downlink> {
        streams::current().unwrap_or_else(|| self.must_close.clone())
    }

    /// The record of a request in this tunnel.
    fn open(&self, downlink: &Arc<Downlink>) -> Trail {
        let mut open = Trail::new(&self.core.proxy, Some(&self.session), downlink);
        open.destination(&self.destination);
        if self.without_sni {
            open.sni("absent");
        }
        open
    }

    /// Serves one request.
    async fn exchange(&self, asked: Asked) -> Response<Body> {
        let Self { core, session, destination, .. } = self;
        let downlink = self.downlink();
        exchange(Exchange { core, session, destination, downlink: &downlink }, asked, self.open(&downlink)).await
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
            () = tunnel.patience.exhausted() => drain(connection.as_mut()),
        }
        connection.as_mut().await
    };
    tokio::select! {
        served = to_its_end => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
            if breaks_http2(&error) {
                let refusal = Refusal::of(Reason::Malformed, "the client breaks the protocol of HTTP/2");
                drop(tunnel.open(&tunnel.downlink()).refuse(&refusal.with_class("http2")));
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
    let proxy = &tunnel.core.proxy;
    let stream = Unread::new(Paced(stream), tunnel.must_close.clone(), &proxy.limits);
    let door = Door::Tunnel(Identified::in_tunnel_of(&tunnel.session));
    let link = Link::new(stream, proxy.limits.clone(), door);
    let closing = async {
        tokio::select! {
            () = draining(proxy.clone()) => {}
            () = tunnel.patience.exhausted() => {}
        }
    };
    tokio::select! {
        _ended = serve(&link, &tunnel, None, closing) => {}
        () = tunnel.session.ended() => {}
        () = tunnel.must_close.notified() => {}
    }
}

impl Service for Tunnel {
    async fn call(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let asked = match received {
            Ok(received) => received.into(),
            Err(refusal) => return refuse(self.open(&self.downlink()), &refusal),
        };
        let response = self.exchange(asked).await;
        // A client that names another host on this connection is confused or lies; either way it ends.
        let misdirected = response.status() == http::StatusCode::MISDIRECTED_REQUEST && response.body().is_own();
        if self.patience.is_exhausted_by(&response) || misdirected { closing(response) } else { response }
    }
}

/// Serves HTTP/2 within a tunnel; every stream is one request.
async fn serve_http2<S>(tunnel: Tunnel, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tunnel = Arc::new(tunnel);
    let serving = tunnel.clone();
    let service = service_fn(move |request: Request<Http2Body>| {
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
        drop(tunnel.open(&tunnel.downlink()).refuse(&refusal.with_class("control_frames")));
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

async fn http2_request(tunnel: &Tunnel, request: Request<Http2Body>) -> Result<Response<Body>, StreamError> {
    let for_head = request.method() == Method::HEAD;
    let response = match http2_head(&request, &tunnel.core) {
        Ok(head) => {
            let asked = Asked { head, request: request.map(Incoming::Http2) };
            tunnel.exchange(asked).await
        }
        Err(refusal) => {
            let mut open = tunnel.open(&tunnel.downlink());
            open.asked(request.method(), None, "h2");
            let record = open.refuse(&refusal);
            if refusal.reason() == Reason::Malformed {
                return Err(StreamError::Http2(h2::Reason::PROTOCOL_ERROR.into()));
            }
            respond::answer(&refusal, &record, Form::Problem)
        }
    };
    if response.body().is_own() {
        streams::answers_itself();
    }
    // Its connection is drained where this was its last refusal.
    let _is_last = tunnel.patience.is_exhausted_by(&response);
    Ok(if for_head { without_body(response) } else { response })
}

/// An answer to HEAD over HTTP/2, where the library would send our words.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if response.body().is_own() {
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or_default();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(Body::for_head)
}

/// The head of an HTTP/2 request in the form that the strict reader gives (RFC 9113 section 8.3).
fn http2_head(request: &Request<Http2Body>, core: &Core) -> Result<RequestHead, Refusal> {
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
        hosts.next().map(|host| host.to_str().map_err(|_| malformed("the Host field is not a host"))).transpose()?;
    if hosts.next().is_some() {
        return Err(malformed("duplicate Host header"));
    }
    let parse = |text: &str| Authority::parse(text, false).map_err(|_| malformed("the authority is not a host"));
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
    Ok(RequestHead { method: request.method().clone(), target, host: Some(host), framing: Framing::Length(0) })
}
