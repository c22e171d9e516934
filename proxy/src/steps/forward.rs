//! Step 10: sends the request to the upstream and waits for the head of its response.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Destination, Reason, Scheme};
use policies::Permit;
use sessions::Session;
use tokio::sync::Notify;
use tokio::time::Instant;
use vault::Lease;

use crate::Core;
use crate::body::Upload;
use crate::config::{CONNECTION_WINDOW, MAX_BUFFER, STREAM_WINDOW};
use crate::dial::{self, Fresh, Located, Speaks, Stream, Target};
use crate::flow::{Flow, Pace, UploadEnd};
use crate::frames::{Frames, Peer};
use crate::interim::{Bounded, Interim};
use crate::live::Standing;
use crate::mask::Patterns;
use crate::own_fields;
use crate::paced::Paced;
use crate::pool::{Key, Sender, Upstream};
use crate::quota::UpstreamSlot;
use crate::refusal::{Refusal, broken_off};
use crate::relay::Return;
use crate::share::Spawner;
use crate::steps::inject::Armed;
use crate::steps::record::Open;
use crate::timer::Timer;

/// A response whose body is still to come, and the leases that are needed to redact it.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    /// Held until the response is known to be redactable.
    pub(crate) leases: Vec<Lease>,
    pub(crate) patterns: Patterns,
    pub(crate) upstreamed: Upstreamed,
}

/// What stays of the upstream side until the response body ends.
pub(crate) struct Upstreamed {
    pub(crate) flow: Arc<Flow>,
    pub(crate) back: Option<Return>,
}

/// One exchange on its way to the upstream.
#[derive(Clone, Copy)]
pub(crate) struct Outward<'a> {
    pub(crate) core: &'a Core,
    pub(crate) session: &'a Session,
    pub(crate) destination: &'a Destination,
    pub(crate) permit: &'a Permit,
    pub(crate) standing: &'a Arc<Standing>,
}

/// What went on the request, and the bytes to find in the response.
type Secrets = (Vec<Lease>, Patterns);

/// A way to the upstream that the rule may take.
pub(crate) struct Way {
    key: Key,
    kind: Kind,
}

enum Kind {
    Kept(Upstream),
    Addresses(Located),
    /// The name has to be looked up.
    Name,
}

/// Finds a way without anything leaving for it: a kept connection whose address passes the rule, or addresses that are known.
///
/// # Errors
/// `denied_address`, `denied_self`, `session_quota`, `overloaded`.
pub(crate) fn prepare(out: Outward<'_>, armed: &Armed, open: &mut Open) -> Result<Way, Refusal> {
    let Outward { core, session, destination, permit, .. } = out;
    let speaks = match (destination.scheme(), armed.version) {
        (Scheme::Https, Version::HTTP_2) => Speaks::Http2OrHttp1,
        _ => Speaks::Http1,
    };
    let key = Key {
        session: session.id.clone(),
        destination: destination.clone(),
        speaks,
        credentials: armed.leases.iter().map(|lease| (lease.id().clone(), lease.version())).collect(),
        // Before the dial: a connection that is verified with a later trust is only thrown away too early.
        trust: core.proxy.trust.load().serial(),
    };
    let passes = |address| dial::check_address(&core.proxy.own, permit, address).is_ok();
    if let Some(mut kept) = core.pool.take(&key, passes) {
        if kept.slot.is_none() {
            kept.slot = Some(upstream_slot(out)?);
        }
        open.address(kept.address.ip());
        return Ok(Way { key, kind: Kind::Kept(kept) });
    }
    let kind = match Target::new(core, destination, permit).known()? {
        Some(located) => Kind::Addresses(noted(located, open)),
        None => Kind::Name,
    };
    Ok(Way { key, kind })
}

/// Looks the name up where the way needs it; the opening record is durable by now.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`.
///
/// # Cancellation
/// The lookup is given up.
pub(crate) async fn locate(out: Outward<'_>, way: Way, open: &mut Open) -> Result<Way, Refusal> {
    let Way { key, kind } = way;
    let kind = match kind {
        Kind::Name => Kind::Addresses(noted(addresses(out).await?, open)),
        Kind::Kept(_) | Kind::Addresses(_) => kind,
    };
    Ok(Way { key, kind })
}

async fn addresses(out: Outward<'_>) -> Result<Located, Refusal> {
    let target = Target::new(out.core, out.destination, out.permit);
    target.locate(&out.core.proxy.lookups, &out.session.id).await
}

fn noted(located: Located, open: &mut Open) -> Located {
    if let Some(first) = located.first() {
        open.address(first.ip());
    }
    located
}

/// Sends the request; a kept connection that turns out to be closed before it took the request is replaced once.
///
/// # Errors
/// `upstream_refused`, `upstream_tls`, `upstream_timeout`, `upstream_protocol`; for a replaced connection those of `locate` too.
///
/// # Cancellation
/// The upstream connection is closed.
pub(crate) async fn forward(out: Outward<'_>, armed: Armed, way: Way, open: &mut Open) -> Result<Reply, Refusal> {
    let Way { key, kind } = way;
    let flow = Arc::new(Flow::new(pace(out, armed.version), armed.body.is_empty(), Instant::now()));
    out.standing.sends(&flow);
    open.sends(&flow);
    let (mut request, secrets) = assemble(out, armed, &flow)?;
    let mut upstream = match kind {
        Kind::Kept(kept) => kept,
        Kind::Addresses(located) => Box::pin(establish(out, &located, &key)).await?,
        Kind::Name => Box::pin(establish(out, &addresses(out).await?, &key)).await?,
    };
    // An upstream may close a kept connection in the very moment in which it is used again. What is safe and has no body
    // can then be sent once more (RFC 9110 section 9.2.2), anything else only if not a byte of it went out.
    let mut spare = if upstream.reused { spare(&request) } else { None };
    loop {
        let reused = upstream.reused;
        out.standing.relies_on(&out.core.proxy, upstream.chain.clone());
        let again = match send(out, &mut upstream, request, &flow).await {
            Ok(response) => {
                upstream.tls.into_iter().for_each(|version| open.tls(version));
                return reply(out.core, key, upstream, response, secrets, flow);
            }
            Err(NoResponse::Request(unsent)) if reused => Some(*unsent),
            Err(NoResponse::Closed) if reused => spare.take(),
            Err(NoResponse::Request(_) | NoResponse::Closed) => None,
            Err(NoResponse::Failed(refusal)) => return Err(clients_fault(&flow).unwrap_or(refusal)),
        };
        let closed = || Refusal::of(Reason::UpstreamProtocol, "the upstream closed before it answered");
        request = again.ok_or_else(|| clients_fault(&flow).unwrap_or_else(closed))?;
        upstream = Box::pin(establish(out, &addresses(out).await?, &key)).await?;
        open.address(upstream.address.ip());
    }
}

/// What the client did, where the request ended because of its body: the library reports that as a failure of the connection.
fn clients_fault(flow: &Flow) -> Option<Refusal> {
    match flow.upload_end()? {
        UploadEnd::Client => Some(broken_off()),
        UploadEnd::Malformed => Some(Refusal::of(Reason::Malformed, "the framing of the request body is not valid")),
        UploadEnd::Whole | UploadEnd::Stopped => None,
    }
}

/// The timers of the bodies: those of the rule, else the defaults. A rule that sets `idle` allows any pace within it.
fn pace(out: Outward<'_>, version: Version) -> Pace {
    let limits = &out.core.proxy.limits;
    let idle = out.permit.timeouts().idle;
    Pace {
        idle: idle.unwrap_or(limits.idle_timeout),
        // Over HTTP/1.1 the connection carries this answer alone and watches over it.
        unread: (version == Version::HTTP_2).then_some(limits.unread_timeout),
        rate: idle.is_none().then(|| limits.minimum_rate()),
    }
}

/// A second copy of a request that may be sent twice.
fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    let safe = request.method() == Method::GET || request.method() == Method::HEAD;
    let mut spare = Request::new(request.body().copy_of_empty().filter(|_| safe)?);
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}

fn reply(
    core: &Core,
    key: Key,
    upstream: Upstream,
    response: Response<Incoming>,
    secrets: Secrets,
    flow: Arc<Flow>,
) -> Result<Reply, Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::of(
            Reason::UpstreamProtocol,
            "the upstream switched protocols without a request to do so",
        ));
    }
    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let detail = "the upstream asked for proxy credentials, which only a proxy may";
        return Err(Refusal::of(Reason::UpstreamProtocol, detail));
    }
    let (mut parts, body) = response.into_parts();
    check_framing(&parts.headers)?;
    own_fields::remove_forged(&mut parts.headers);
    remove_one_hop(&mut parts.headers);
    // hyper keeps the upstream's reason phrase there; an upstream could echo a secret in it.
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    let back = match upstream.sender {
        Sender::Http1(..) => Some(Return { pool: core.pool.clone(), key, upstream }),
        // The pool has its own clone.
        Sender::Http2(_) => None,
    };
    let (leases, patterns) = secrets;
    let response = Response::from_parts(parts, body);
    Ok(Reply { response, leases, patterns, upstreamed: Upstreamed { flow, back } })
}

/// A transfer coding other than chunked would hide the body from redaction, and a length beside it the body's end.
fn check_framing(fields: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let plain = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if plain && !fields.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    Err(Refusal::of(Reason::UpstreamProtocol, "the upstream framed its response in a way that is not served"))
}

fn remove_one_hop(fields: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::PROXY_AUTHENTICATE] {
        fields.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authentication-info"] {
        fields.remove(name);
    }
}

/// The request as it goes out, in the form of HTTP/1.1; `send` gives it the form of the connection.
fn assemble(out: Outward<'_>, armed: Armed, flow: &Arc<Flow>) -> Result<(Request<Upload>, Secrets), Refusal> {
    let Armed { method, fields, target, body, leases, patterns, watch, trailers, version: _, stripped: _, lent: _ } =
        armed;
    let bad = |_| Refusal::of(Reason::BadTarget, "the request target cannot be sent on");
    let mut request = Request::new(Upload::new(body, watch, trailers, out.standing, flow));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(PathAndQuery::try_from(target.as_str()).map_err(bad)?);
    *request.headers_mut() = fields;
    let authority = HeaderValue::from_str(&out.destination.authority());
    let authority = authority.map_err(|_| Refusal::of(Reason::Internal, "a canonical host is no field value"))?;
    request.headers_mut().insert(header::HOST, authority);
    // The client's expectation was met by us: hyper sends 100 when the body is first read.
    request.headers_mut().remove(header::EXPECT);
    Ok((request, (leases, patterns)))
}

/// A place among the upstream connections of the session.
fn upstream_slot(out: Outward<'_>) -> Result<Arc<UpstreamSlot>, Refusal> {
    out.core.proxy.quotas.upstream(&out.session.id, out.destination).map(Arc::new)
}

/// Dials and speaks the protocol's beginning. Callers box it: it is large, and a kept connection needs none of it.
async fn establish(out: Outward<'_>, located: &Located, key: &Key) -> Result<Upstream, Refusal> {
    let Outward { core, session, destination, permit, .. } = out;
    let slot = Some(upstream_slot(out)?);
    let spawner = core.shares.spawner(&session.id);
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let fresh = dial::connect(&core.proxy, &core.dialer, session, destination, located, key.speaks, limit).await?;
    let Fresh { stream, address, chain } = fresh;
    let tls = stream.tls_version();
    let interim = Interim::default();
    let sender = match stream {
        Stream::Plain(tcp) => start_http1(tcp, &interim, &spawner).await?,
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
            let frames = Frames::new(*tls, Peer::Server, core.proxy.limits.max_control_frames);
            start_http2(frames, &interim, &spawner).await?
        }
        Stream::Tls(tls) => start_http1(*tls, &interim, &spawner).await?,
    };
    let upstream = |sender, reused| {
        let (slot, interim, chain) = (slot.clone(), interim.clone(), chain.clone());
        Upstream { sender, address, tls, chain, reused, slot, interim }
    };
    if let Sender::Http2(shared) = &sender {
        core.pool.put(key.clone(), upstream(Sender::Http2(shared.clone()), true));
    }
    Ok(upstream(sender, false))
}

async fn start_http1<S>(stream: S, interim: &Interim, spawner: &Spawner) -> Result<Sender, Refusal>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let stream = Bounded::http1(stream, interim.clone());
    let handshake =
        http1::Builder::new().max_headers(256).max_buf_size(MAX_BUFFER).handshake(TokioIo::new(Paced(stream))).await;
    let (sender, connection) = handshake.map_err(|error| protocol(&error))?;
    let closed = Arc::new(Notify::new());
    let close = closed.clone();
    spawner.execute(async move {
        let connection = async {
            tokio::select! {
                ended = connection => ended,
                () = closed.notified() => Ok(()),
            }
        };
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender, close))
}

async fn start_http2<S>(stream: S, interim: &Interim, spawner: &Spawner) -> Result<Sender, Refusal>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let stream = Bounded::http2(stream, interim.clone());
    let mut builder = http2::Builder::new(spawner.clone());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 << 10);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| protocol(&error))?;
    spawner.execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender))
}

fn protocol(error: &hyper::Error) -> Refusal {
    tracing::debug!(%error, "the upstream broke the protocol");
    Refusal::of(Reason::UpstreamProtocol, "the upstream closed the connection or broke the protocol")
}

/// Why there is no response.
enum NoResponse {
    /// The connection did not take the request; here it is.
    Request(Box<Request<Upload>>),
    /// The connection closed before an answer began.
    Closed,
    /// It may have been sent, or the answer is no answer.
    Failed(Refusal),
}

impl NoResponse {
    fn from(error: TrySendError<Request<Upload>>) -> Self {
        let mut error = error;
        match error.take_message() {
            Some(request) => Self::Request(Box::new(request)),
            None if is_closed(error.error()) => Self::Closed,
            None => Self::Failed(protocol(error.error())),
        }
    }
}

/// Whether a connection ended, rather than said something wrong.
fn is_closed(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || io.is_some()
}

/// Sends one request on one connection.
async fn send(
    out: Outward<'_>,
    upstream: &mut Upstream,
    mut request: Request<Upload>,
    flow: &Flow,
) -> Result<Response<Incoming>, NoResponse> {
    let timeout = out.permit.timeouts().first_byte.unwrap_or(out.core.proxy.limits.first_byte_timeout);
    let interim = upstream.interim.clone();
    let sent = match &mut upstream.sender {
        Sender::Http1(sender, close) => {
            if sender.ready().await.is_err() {
                return Err(NoResponse::Request(Box::new(request)));
            }
            interim.reset();
            let counted = interim.clone();
            hyper::ext::on_informational(&mut request, move |_| counted.add());
            flow.begin(Instant::now(), Some(close.clone()));
            within(timeout, flow, sender.try_send_request(for_http1(request))).await
        }
        Sender::Http2(sender) => {
            if sender.ready().await.is_err() {
                return Err(NoResponse::Request(Box::new(request)));
            }
            flow.begin(Instant::now(), None);
            let request = for_http2(out.destination, request).map_err(NoResponse::Failed)?;
            within(timeout, flow, sender.try_send_request(request)).await
        }
    };
    // The response itself may have come with them, in one piece.
    if interim.is_exceeded() {
        let detail = "the upstream sent more than 32 informational responses";
        return Err(NoResponse::Failed(Refusal::of(Reason::UpstreamProtocol, detail).with_class("informational")));
    }
    sent
}

/// Waits for the head of a response, so long from the end of the request. Until then the body's own timers watch.
async fn within<F>(timeout: Duration, flow: &Flow, response: F) -> Result<Response<Incoming>, NoResponse>
where
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>,
{
    let first_byte = async {
        flow.upload_ended().await;
        tokio::time::sleep(timeout).await;
    };
    tokio::select! {
        biased;
        response = response => response.map_err(NoResponse::from),
        () = first_byte => Err(NoResponse::Failed(Timer::FirstByte.refusal())),
    }
}

/// The form of HTTP/1.1: cookies in one field (HTTP/2 lets a client cut them over several, RFC 9113 section 8.2.3), and a
/// body of unknown length in chunks whatever the method is. The library would drop the body of a GET or HEAD.
fn for_http1(mut request: Request<Upload>) -> Request<Upload> {
    if !http_body::Body::is_end_stream(request.body()) && !request.headers().contains_key(header::CONTENT_LENGTH) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    join_cookies(request)
}

fn join_cookies(mut request: Request<Upload>) -> Request<Upload> {
    let fields = request.headers_mut();
    if fields.get_all(header::COOKIE).iter().nth(1).is_some() {
        let all: Vec<&[u8]> = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(mut joined) = HeaderValue::from_bytes(&all.join(b"; ".as_slice())) {
            joined.set_sensitive(true);
            fields.insert(header::COOKIE, joined);
        }
    }
    *request.version_mut() = Version::HTTP_11;
    request
}

/// In HTTP/2 the authority stands in the target, not in Host.
fn for_http2(destination: &Destination, mut request: Request<Upload>) -> Result<Request<Upload>, Refusal> {
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(UriScheme::HTTPS).authority(destination.authority()).path_and_query(path).build();
    *request.uri_mut() = uri.map_err(|_| Refusal::of(Reason::BadTarget, "the request target cannot be sent on"))?;
    request.headers_mut().remove(header::HOST);
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}
