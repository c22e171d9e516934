//! Step 14: sends the request to the upstream and waits for the head of its response.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use audit::Fault;
use http::{HeaderValue, Method, StatusCode, Version, header};
use hyper::rt::Executor as _;
use model::{Destination, Fields, Reason};
use vault::Lease;

use crate::Core;
use crate::body::download::PoolReturn;
use crate::body::incoming::Incoming;
use crate::body::known::Known;
use crate::body::rewriter::mask_fields;
use crate::body::upload::Upload;
use crate::context::Exchange;
use crate::flow::{Flow, Pace, UploadEnd};
use crate::hop_by_hop;
use crate::http1;
use crate::http1::client::Failure;
use crate::http1::wire::BodyError;
use crate::http2;
use crate::limits::quota::UpstreamSlot;
use crate::message::Response;
use crate::own_fields;
use crate::permitted::Permitted;
use crate::refusal::{Refusal, broken_off};
use crate::share;
use crate::steps::inject::Armed;
use crate::steps::locate::{self, UpstreamChoice, UpstreamKind};
use crate::trail::Trail;
use crate::upstream::establish::establish;
use crate::upstream::pool::{Key, Sender, Upstream};
use redaction::stream::{Masker, Patterns};

/// A response whose body is still to come, with the leases that are needed to redact it.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    /// Held until the response is known to be redactable.
    pub(crate) leases: Vec<Lease>,
    pub(crate) patterns: Patterns,
    pub(crate) upstreamed: Upstreamed,
}

/// The upstream side that is held until the response body ends.
pub(crate) struct Upstreamed {
    pub(crate) flow: Arc<Flow>,
    pub(crate) back: Option<PoolReturn>,
}

/// A request in its sent form.
type Outgoing = http1::client::Outgoing<Upload>;

/// The credentials attached to the request, and the bytes to find in the response.
type Secrets = (Vec<Lease>, Patterns);

/// Sends the request. A pooled connection that turns out to have closed before it accepted the request is replaced
/// once.
///
/// # Errors
/// `upstream_refused`, `upstream_tls`, `upstream_timeout`, `upstream_protocol`; for a replaced connection those of `locate` too.
///
/// # Cancellation
/// The upstream connection is closed.
pub(crate) fn forward<'a>(
    permitted: Permitted<'a>,
    armed: Armed,
    choice: UpstreamChoice,
    open: &'a mut Trail,
) -> impl Future<Output = Result<Reply, Refusal>> + 'a {
    let flow = permitted.exchange.flow;
    flow.prepare(pace(permitted, armed.version), armed.body.is_empty(), share::now());
    // Outside of the future, which would hold both forms of the request.
    let assembled = assemble(permitted, armed, flow);
    send_on(permitted, assembled, choice, open)
}

async fn send_on(
    permitted: Permitted<'_>,
    (mut request, secrets): (Outgoing, Secrets),
    UpstreamChoice { key, kind }: UpstreamChoice,
    open: &mut Trail,
) -> Result<Reply, Refusal> {
    let flow = permitted.exchange.flow;
    let mut upstream = match kind {
        UpstreamKind::Pooled(kept) => kept,
        UpstreamKind::Addresses(located) => {
            Box::pin(establish(permitted.exchange, permitted.permit, (&located, &key))).await?
        }
        UpstreamKind::Name => Box::pin(establish_again(permitted, &key)).await?,
    };
    loop {
        permitted.active.relies_on(&permitted.exchange.core.proxy, upstream.chain.clone());
        match send(permitted, &mut upstream, request, (flow, &secrets.1)).await {
            Ok(mut response) => {
                begin(&mut response, flow).await.map_err(|refusal| cause(permitted, flow).unwrap_or(refusal))?;
                upstream.tls.into_iter().for_each(|version| open.tls(version));
                return reply(permitted.exchange.core, key, upstream, response, secrets, flow.clone());
            }
            Err(NoResponse::Unanswered(Some(again))) if upstream.reused => request = *again,
            Err(NoResponse::Unanswered(_)) => {
                let closed = || Refusal::of(Reason::UpstreamProtocol, "the upstream closed before it answered");
                return Err(cause(permitted, flow).unwrap_or_else(closed));
            }
            Err(NoResponse::Failed(refusal)) => return Err(cause(permitted, flow).unwrap_or(refusal)),
        }
        upstream = Box::pin(establish_again(permitted, &key)).await?;
        open.address(upstream.address.ip());
    }
}

/// How long the head of a response waits for the first byte of its body.
const BODY_WAIT: Duration = Duration::from_millis(50);

/// Waits a moment for the first byte of the body: while nothing was sent to the client, a response that is broken can still be a
/// 502. A stream of events, and an answer to a request that is still being sent, may have a reason to pause.
async fn begin(response: &mut Response<Incoming>, flow: &Flow) -> Result<(), Refusal> {
    let may_pause = flow.upload_end().is_none() || is_stream(&response.fields);
    let mut wait = None;
    let begun = poll_fn(|cx| match response.body.poll_begin(cx) {
        Poll::Ready(begun) => Poll::Ready(begun),
        Poll::Pending if may_pause => Poll::Ready(Ok(())),
        Poll::Pending => wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_WAIT))).as_mut().poll(cx).map(Ok),
    });
    begun.await.map_err(|error| {
        tracing::debug!(%error, "a response broke before its first byte");
        broken(match error {
            BodyError::Broken(_) => "the upstream broke off before the first byte of its response",
            BodyError::Malformed | BodyError::TrailersTooLarge => "the framing of the response is not valid",
        })
    })
}

/// Whether the body consists of events or messages that are sent when they happen.
fn is_stream(fields: &Fields) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    [&b"text/event-stream"[..], b"application/grpc", b"application/connect+"]
        .iter()
        .any(|prefix| kind.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

/// Passes an informational response on to the client. One that contains a secret is dropped: a client does without it.
fn inform(exchange: Exchange<'_>, patterns: &Patterns, status: StatusCode, mut fields: Fields) {
    own_fields::remove_forged(&mut fields);
    hop_by_hop::remove_from_response(&mut fields);
    for name in [header::CONTENT_LENGTH, header::SET_COOKIE, header::ALT_SVC] {
        fields.remove(name);
    }
    let Ok(known) = Known::now(&exchange.core.proxy.needles, exchange.destination.host(), patterns) else { return };
    let sets = known.sets();
    if !sets.is_empty() {
        let mut masked = fields.clone();
        let mut masker = Masker::new(sets, exchange.session().tenant.clone());
        if mask_fields(&mut masker, &mut masked).is_err() || masked != fields {
            tracing::debug!("an informational response contains a secret");
            return;
        }
    }
    exchange.downlink.inform(Response { status, fields, body: () });
}

/// Why the request ended early, if the upstream was not the cause: the termination of the exchange, or the client's abort of its
/// body. The connection reports both as a request that was not sent to its end.
fn cause(permitted: Permitted<'_>, flow: &Flow) -> Option<Refusal> {
    if let Some(cut) = permitted.active.termination() {
        return Some(cut.clone().refusal());
    }
    match flow.upload_end()? {
        UploadEnd::Client => Some(broken_off()),
        UploadEnd::Malformed => Some(Refusal::of(Reason::Malformed, "the framing of the request body is not valid")),
        UploadEnd::Whole | UploadEnd::Stopped => None,
    }
}

/// The timers of the bodies: those of the rule, else the defaults. A rule that sets `idle` allows any pace within it.
fn pace(permitted: Permitted<'_>, version: Version) -> Pace {
    let limits = &permitted.exchange.core.proxy.limits;
    let idle = permitted.permit.timeouts().idle;
    Pace {
        first_byte: permitted.permit.timeouts().first_byte.unwrap_or(limits.first_byte_timeout),
        idle: idle.unwrap_or(limits.idle_timeout),
        // Over HTTP/1.1 the connection carries this answer alone and checks its progress.
        unread: (version == Version::HTTP_2).then_some(limits.unread_timeout),
        rate: idle.is_none().then(|| limits.minimum_rate()),
    }
}

/// Whether a request may be sent twice: it is safe and has no body (RFC 9110 section 9.2.2).
fn is_repeatable(request: &Outgoing) -> bool {
    let is_safe = request.method == Method::GET || request.method == Method::HEAD;
    is_safe && request.body.as_ref().is_none_or(http_body::Body::is_end_stream)
}

fn reply(
    core: &Core,
    key: Key,
    upstream: Upstream,
    mut response: Response<Incoming>,
    secrets: Secrets,
    flow: Arc<Flow>,
) -> Result<Reply, Refusal> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::of(
            Reason::UpstreamProtocol,
            "the upstream switched protocols without a request to do so",
        ));
    }
    if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let detail = "the upstream asked for proxy credentials, which only a proxy may";
        return Err(Refusal::of(Reason::UpstreamProtocol, detail));
    }
    check_framing(&response.fields)?;
    own_fields::remove_forged(&mut response.fields);
    hop_by_hop::remove_from_response(&mut response.fields);
    let back = match upstream.sender {
        Sender::Http1(_) => Some(PoolReturn { pool: core.pool.clone(), key, upstream }),
        // The pool has its own clone.
        Sender::Http2(_) => None,
    };
    let (leases, patterns) = secrets;
    Ok(Reply { response, leases, patterns, upstreamed: Upstreamed { flow, back } })
}

/// A transfer coding other than chunked would hide the body from redaction, and a length next to it would hide the
/// body's end.
fn check_framing(fields: &Fields) -> Result<(), Refusal> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING);
    let Some(coding) = codings.next() else { return Ok(()) };
    let plain = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if plain && !fields.contains(header::CONTENT_LENGTH) {
        return Ok(());
    }
    Err(Refusal::of(Reason::UpstreamProtocol, "the upstream framed its response in a way that is not served"))
}

/// The request as it is sent, in the form of HTTP/1.1; `send` converts it to the form of the connection.
fn assemble(permitted: Permitted<'_>, armed: Armed, flow: &Arc<Flow>) -> (Outgoing, Secrets) {
    let Armed { method, mut fields, target, body, leases, patterns, watch, trailers, version: _, stripped: _, lent: _ } =
        armed;
    // Reading the body has already answered the expectation.
    if !body.is_untouched() {
        fields.remove(header::EXPECT);
    }
    let Exchange { core, .. } = permitted.exchange;
    let session = permitted.exchange.session();
    let decoding = core.proxy.slot_bodies.decoding(&session.id);
    let body = Upload::new(body, watch, trailers, permitted.active, (flow, decoding));
    let destination = permitted.exchange.destination;
    if !fields.get(header::HOST).is_some_and(|sent| destination.is_authority(sent.as_bytes())) {
        fields.insert_first(header::HOST, host(destination));
    }
    (Outgoing { method, target, fields, body: Some(body) }, (leases, patterns))
}

/// Locates and dials once more.
async fn establish_again(permitted: Permitted<'_>, key: &Key) -> Result<Upstream, Refusal> {
    let located = locate::addresses(permitted).await?;
    Box::pin(establish(permitted.exchange, permitted.permit, (&located, key))).await
}

fn broken(detail: &'static str) -> Refusal {
    Refusal::of(Reason::UpstreamProtocol, detail)
}

/// Why there is no response.
enum NoResponse {
    /// The connection closed before an answer began. Contains the request if it may be sent on another connection: an upstream may
    /// close an idle connection at the moment of its reuse.
    Unanswered(Option<Box<Outgoing>>),
    /// It may have been sent, or the answer is not valid.
    Failed(Refusal),
}

impl NoResponse {
    fn unsent(request: Outgoing) -> Self {
        Self::Unanswered(Some(Box::new(request)))
    }

    fn of_http1(failure: &Failure, again: Option<Outgoing>) -> Self {
        match failure {
            Failure::Closed => Self::Unanswered(again.map(Box::new)),
            Failure::Request => Self::Failed(broken(UNSENT)),
            Failure::Response(detail) => Self::Failed(broken(detail)),
            Failure::HeadTooLarge => Self::Failed(head_too_large()),
            Failure::Interim => Self::Failed(too_many_interim()),
        }
    }

    fn of_http2(failure: &http2::client::Failure, again: Option<Outgoing>) -> Self {
        match failure {
            http2::client::Failure::Unanswered => Self::Unanswered(again.map(Box::new)),
            http2::client::Failure::Target => {
                Self::Failed(Refusal::of(Reason::BadTarget, "the request target cannot be sent on"))
            }
            http2::client::Failure::Request => Self::Failed(broken(UNSENT)),
            http2::client::Failure::Response(detail) => Self::Failed(broken(detail)),
            http2::client::Failure::HeadTooLarge => Self::Failed(head_too_large()),
            http2::client::Failure::Interim => Self::Failed(too_many_interim()),
        }
    }
}

const UNSENT: &str = "the request was not sent to its end";

fn head_too_large() -> Refusal {
    let detail = "the response head exceeds limits.max_response_head_bytes or limits.max_response_fields of Egret";
    Refusal::of(Reason::ResponseTooLarge, detail).with_class("head").with_fault(Fault::Egret)
}

fn too_many_interim() -> Refusal {
    let detail = "the upstream sent more than 32 informational responses";
    Refusal::of(Reason::UpstreamProtocol, detail).with_class("informational")
}

/// Sends one request on one connection.
async fn send(
    permitted: Permitted<'_>,
    upstream: &mut Upstream,
    mut request: Outgoing,
    (flow, patterns): (&Arc<Flow>, &Patterns),
) -> Result<Response<Incoming>, NoResponse> {
    let mut inform = |status, fields| inform(permitted.exchange, patterns, status, fields);
    let repeatable = upstream.reused && is_repeatable(&request);
    match &mut upstream.sender {
        Sender::Http1(client) => {
            if !client.is_idle() {
                return Err(NoResponse::unsent(request));
            }
            flow.begin(share::now());
            join_cookies(&mut request.fields);
            match client.send(&mut request, flow, &mut inform).await {
                Ok((response, None)) => Ok(response.map(Incoming::from)),
                Ok((response, Some(rest))) => {
                    send_rest(permitted, upstream.slot.clone(), rest.run());
                    Ok(response.map(Incoming::from))
                }
                Err(failure) => Err(NoResponse::of_http1(&failure, repeatable.then_some(request))),
            }
        }
        Sender::Http2(client) => {
            if client.ready().await.is_err() {
                return Err(NoResponse::unsent(request));
            }
            flow.begin(share::now());
            let again = repeatable.then(|| without_body(&request));
            match client.send(permitted.exchange.destination, request, flow, &mut inform).await {
                Ok((response, None)) => Ok(response.map(Incoming::from)),
                Ok((response, Some(rest))) => {
                    send_rest(permitted, upstream.slot.clone(), rest.run());
                    Ok(response.map(Incoming::from))
                }
                Err(failure) => Err(NoResponse::of_http2(&failure, again)),
            }
        }
    }
}

/// Sends the rest of a request in parallel with its response. The connection counts for its session as long as it is
/// used.
fn send_rest(
    permitted: Permitted<'_>,
    slot: Option<Arc<UpstreamSlot>>,
    rest: impl Future<Output = ()> + Send + 'static,
) {
    let client = permitted.exchange.client.clone();
    permitted.exchange.core.shares.spawner(&permitted.exchange.session().id).execute(async move {
        let _slot = slot;
        tokio::select! {
            () = rest => {}
            () = client.ended() => {}
        }
    });
}

/// A second copy of a request without a body.
fn without_body(request: &Outgoing) -> Outgoing {
    let Outgoing { method, target, fields, body: _ } = request;
    Outgoing { method: method.clone(), target: target.clone(), fields: fields.clone(), body: None }
}

/// Cookies in one field: HTTP/2 lets a client split them over several (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut Fields) {
    if fields.get_all(header::COOKIE).nth(1).is_some() {
        let all: Vec<&[u8]> = fields.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
        if let Ok(mut joined) = HeaderValue::from_bytes(&all.join(b"; ".as_slice())) {
            joined.set_sensitive(true);
            fields.insert(header::COOKIE, joined);
        }
    }
}

/// The Host field. A canonical authority is always a valid field value.
fn host(destination: &Destination) -> HeaderValue {
    HeaderValue::try_from(destination.authority()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
