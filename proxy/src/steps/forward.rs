//! Step 9: sends the request to the upstream and waits for the head of its response.

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
use vault::Lease;

use crate::Core;
use crate::body::{Progress, Return, Upload};
use crate::config::{CONNECTION_WINDOW, MAX_BUFFER, STREAM_WINDOW};
use crate::dial::{self, Fresh, Located, Speaks, Stream};
use crate::frames::{Frames, Peer};
use crate::mask::Patterns;
use crate::paced::Paced;
use crate::pool::{Key, Sender, Upstream};
use crate::refusal::Refusal;
use crate::share::Spawner;
use crate::steps::inject::Armed;
use crate::steps::record::Open;

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
    pub(crate) upload: Arc<Progress>,
    pub(crate) back: Option<Return>,
    pub(crate) idle_timeout: Duration,
}

/// What went on the request, and the bytes to find in the response.
type Secrets = (Vec<Lease>, Patterns);

/// A way to the upstream that the rule may take: found before the opening record is written, used after it.
pub(crate) struct Way {
    key: Key,
    kind: Kind,
}

enum Kind {
    Kept(Upstream),
    Addresses(Located),
}

/// Finds a way: a kept connection whose address passes the rule, or addresses that do.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`.
///
/// # Cancellation
/// The lookup is given up.
pub(crate) async fn locate(
    core: &Core,
    session: &Session,
    destination: &Destination,
    armed: &Armed,
    permit: &Permit,
    open: &mut Open,
) -> Result<Way, Refusal> {
    let speaks = match (destination.scheme(), armed.version) {
        (Scheme::Https, Version::HTTP_2) => Speaks::Http2OrHttp1,
        _ => Speaks::Http1,
    };
    let key = Key {
        session: session.id.clone(),
        destination: destination.clone(),
        speaks,
        credentials: armed.leases.iter().map(|lease| (lease.id().clone(), lease.version())).collect(),
    };
    let passes = |address| dial::check_address(&core.proxy.own, permit, address).is_ok();
    if let Some(kept) = core.pool.take(&key, passes) {
        open.address(kept.address.ip());
        return Ok(Way { key, kind: Kind::Kept(kept) });
    }
    let located = dial::locate(&core.proxy.config, &core.proxy.own, &core.dialer, destination, permit).await?;
    if let Some(first) = located.first() {
        open.address(first.ip());
    }
    Ok(Way { key, kind: Kind::Addresses(located) })
}

/// Sends the request; a kept connection that turns out to be closed before it took the request is replaced once.
///
/// # Errors
/// `upstream_refused`, `upstream_tls`, `upstream_timeout`, `upstream_protocol`; for a replaced connection those of `locate` too.
///
/// # Cancellation
/// The upstream connection is closed.
pub(crate) async fn forward(
    core: &Core,
    session: &Session,
    destination: &Destination,
    permit: &Permit,
    armed: Armed,
    way: Way,
    open: &mut Open,
) -> Result<Reply, Refusal> {
    let Way { key, kind } = way;
    let (mut request, upload, secrets) = assemble(destination, armed)?;
    let mut upstream = match kind {
        Kind::Kept(kept) => kept,
        Kind::Addresses(located) => establish(core, session, destination, &located, &key).await?,
    };
    // An upstream may close a kept connection in the very moment in which it is used again. What is safe and has no body
    // can then be sent once more (RFC 9110 section 9.2.2), anything else only if not a byte of it went out.
    let mut spare = if upstream.reused { spare(&request, &upload) } else { None };
    loop {
        let reused = upstream.reused;
        let again = match send(core, &mut upstream, destination, request, &upload).await {
            Ok(response) => {
                upstream.tls.into_iter().for_each(|version| open.tls(version));
                return reply(core, key, upstream, response, secrets, upload);
            }
            Err(NoResponse::Request(unsent)) if reused => Some(*unsent),
            Err(NoResponse::Closed) if reused => spare.take(),
            Err(NoResponse::Request(_) | NoResponse::Closed) => None,
            Err(NoResponse::Failed(refusal)) => return Err(refusal),
        };
        request =
            again.ok_or_else(|| Refusal::of(Reason::UpstreamProtocol, "the upstream closed before it answered"))?;
        let located = dial::locate(&core.proxy.config, &core.proxy.own, &core.dialer, destination, permit).await?;
        upstream = establish(core, session, destination, &located, &key).await?;
        open.address(upstream.address.ip());
    }
}

/// A second copy of a request that may be sent twice.
fn spare(request: &Request<Upload>, upload: &Arc<Progress>) -> Option<Request<Upload>> {
    let safe = request.method() == Method::GET || request.method() == Method::HEAD;
    if !safe || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    let mut spare = Request::new(Upload::empty(upload.clone()));
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
    upload: Arc<Progress>,
) -> Result<Reply, Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::of(Reason::UpstreamProtocol, "the upstream switched protocols though nobody asked"));
    }
    let (mut parts, body) = response.into_parts();
    check_framing(&parts.headers)?;
    remove_one_hop(&mut parts.headers);
    // hyper keeps the upstream's reason phrase there; an upstream could echo a secret in it.
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    let back = match upstream.sender {
        Sender::Http1(_) => Some(Return { pool: core.pool.clone(), key, upstream }),
        // The pool has its own clone.
        Sender::Http2(_) => None,
    };
    let idle_timeout = core.proxy.config.limits.idle_timeout;
    let (leases, patterns) = secrets;
    Ok(Reply {
        response: Response::from_parts(parts, body),
        leases,
        patterns,
        upstreamed: Upstreamed { upload, back, idle_timeout },
    })
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
fn assemble(destination: &Destination, armed: Armed) -> Result<(Request<Upload>, Arc<Progress>, Secrets), Refusal> {
    let Armed { method, fields, target, body, leases, patterns, watch, version: _, stripped: _, lent: _ } = armed;
    let bad = |_| Refusal::of(Reason::BadTarget, "the request target cannot be sent on");
    let (upload, progress) = Upload::new(body, watch);
    let mut request = Request::new(upload);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(PathAndQuery::try_from(target.as_str()).map_err(bad)?);
    *request.headers_mut() = fields;
    let authority = HeaderValue::from_str(&destination.authority());
    let authority = authority.map_err(|_| Refusal::of(Reason::Internal, "a canonical host is no field value"))?;
    request.headers_mut().insert(header::HOST, authority);
    // The client's expectation was met by us: hyper sends 100 when the body is first read.
    request.headers_mut().remove(header::EXPECT);
    Ok((request, progress, (leases, patterns)))
}

/// Dials and speaks the protocol's beginning.
async fn establish(
    core: &Core,
    session: &Session,
    destination: &Destination,
    located: &Located,
    key: &Key,
) -> Result<Upstream, Refusal> {
    let slot = Arc::new(core.proxy.quotas.upstream(&session.id, destination)?);
    let spawner = core.shares.spawner(&session.id);
    let fresh = dial::connect(&core.proxy, &core.dialer, session, destination, located, key.speaks).await?;
    let Fresh { stream, address } = fresh;
    let tls = stream.tls_version();
    let sender = match stream {
        Stream::Plain(tcp) => start_http1(tcp, &spawner).await?,
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
            start_http2(Frames::new(*tls, Peer::Server, core.proxy.limits.max_control_frames), &spawner).await?
        }
        Stream::Tls(tls) => start_http1(*tls, &spawner).await?,
    };
    if let Sender::Http2(shared) = &sender {
        let kept = Upstream { sender: Sender::Http2(shared.clone()), address, tls, reused: true, slot: slot.clone() };
        core.pool.put(key.clone(), kept);
    }
    Ok(Upstream { sender, address, tls, reused: false, slot })
}

async fn start_http1<S>(stream: S, spawner: &Spawner) -> Result<Sender, Refusal>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let handshake =
        http1::Builder::new().max_headers(256).max_buf_size(MAX_BUFFER).handshake(TokioIo::new(Paced(stream))).await;
    let (sender, connection) = handshake.map_err(|error| protocol(&error))?;
    spawner.execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

async fn start_http2<S>(stream: S, spawner: &Spawner) -> Result<Sender, Refusal>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
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
    core: &Core,
    upstream: &mut Upstream,
    destination: &Destination,
    request: Request<Upload>,
    upload: &Progress,
) -> Result<Response<Incoming>, NoResponse> {
    let timeout = core.proxy.config.limits.first_byte_timeout;
    match &mut upstream.sender {
        Sender::Http1(sender) => {
            if sender.ready().await.is_err() {
                return Err(NoResponse::Request(Box::new(request)));
            }
            let response = sender.try_send_request(join_cookies(request));
            within(timeout, upload, response).await
        }
        Sender::Http2(sender) => {
            if sender.ready().await.is_err() {
                return Err(NoResponse::Request(Box::new(request)));
            }
            let response = sender.try_send_request(for_http2(destination, request).map_err(NoResponse::Failed)?);
            within(timeout, upload, response).await
        }
    }
}

/// Waits for the head of a response. As long as the request body moves, the time begins anew when it has run out.
async fn within<F>(timeout: Duration, upload: &Progress, response: F) -> Result<Response<Incoming>, NoResponse>
where
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>,
{
    let mut response = std::pin::pin!(response);
    let mut sent = upload.bytes();
    loop {
        match tokio::time::timeout(timeout, response.as_mut()).await {
            Ok(result) => return result.map_err(NoResponse::from),
            Err(_) if !upload.has_ended() && upload.bytes() != sent => sent = upload.bytes(),
            Err(_) => {
                let refusal = Refusal::of(Reason::UpstreamTimeout, "the upstream did not answer in time");
                return Err(NoResponse::Failed(refusal.with_class("first_byte")));
            }
        }
    }
}

/// HTTP/2 lets a client cut its cookies over several fields; HTTP/1.1 wants one (RFC 9113 section 8.2.3).
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
