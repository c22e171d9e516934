//! Step 11, and the trail that runs beside all others: what is kept of an exchange, and the answer that the client sees.
//!
//! The trail takes facts in one direction; no step reads it back. However an exchange ends, its record is closed once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use audit::{Attribution, CredentialUse, Decision, Facts, Fault, Kind, Outcome, Record, Trail};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::{Destination, Reason, RequestPath, SnapshotDigest};
use policies::{Observed, Permit};
use sessions::{Session, ToolCall};
use vault::{NeedleOwner, Vault};

use crate::Proxy;
use crate::body::Body;
use crate::client_auth::Removed;
use crate::downlink::Downlink;
use crate::flow::{Flow, UploadEnd};
use crate::live::{Cut, Standing};
use crate::quota::RequestSlot;
use crate::refusal::{BROKEN_OFF, Refusal};
use crate::relay::Relay;
use crate::rewriter::Unmaskable;
use crate::share;
use crate::steps::forward::Upstreamed;
use crate::steps::limit::Admission;
use crate::steps::redact::Redacted;
use crate::timer::Timer;

/// The open record of one exchange.
pub(crate) struct Open {
    trail: Option<Trail>,
    session: Option<Arc<Session>>,
    proxy: Arc<Proxy>,
    standing: Option<Arc<Standing>>,
    downlink: Arc<Downlink>,
    /// How the bodies move, once the request is sent.
    flow: Option<Arc<Flow>>,
    /// The trailers that were removed.
    trailers: Option<Arc<Removed>>,
    /// Given back when the record closes.
    admission: Admission,
    /// Its place among the requests in progress, given back with the record.
    slot: Option<RequestSlot>,
    destination: Option<Destination>,
}

impl Open {
    /// Opens a record; nothing is written before the first byte is about to leave or the exchange ends.
    pub(crate) fn new(proxy: &Arc<Proxy>, session: Option<&Arc<Session>>) -> Self {
        let trail = Some(Trail::begin(&proxy.journal, facts(proxy, session)));
        Self::with(proxy, trail, session.cloned())
    }

    /// Opens the record of a connection that is not identified.
    pub(crate) fn stranger(proxy: &Arc<Proxy>, source: IpAddr) -> Self {
        let facts = Facts { source: Some(source), ..Facts::default() };
        let trail = Some(Trail::begin(&proxy.journal, facts));
        Self::with(proxy, trail, None)
    }

    /// Opens the record of a tunnel whose bytes are not read.
    pub(crate) fn tunnel(proxy: &Arc<Proxy>, session: &Arc<Session>) -> Self {
        let trail = Some(Trail::begin_tunnel(&proxy.journal, facts(proxy, Some(session))));
        Self::with(proxy, trail, Some(session.clone()))
    }

    fn with(proxy: &Arc<Proxy>, trail: Option<Trail>, session: Option<Arc<Session>>) -> Self {
        Self {
            trail,
            session,
            proxy: proxy.clone(),
            standing: None,
            downlink: Arc::default(),
            flow: None,
            trailers: None,
            admission: Admission::default(),
            slot: None,
            destination: None,
        }
    }

    /// The connection or stream that it came on: told when it must close.
    pub(crate) fn came_on(&mut self, downlink: &Arc<Downlink>) {
        self.downlink = downlink.clone();
    }

    /// What to tell when the connection or stream must close.
    pub(crate) fn connection(&self) -> &Arc<Downlink> {
        &self.downlink
    }

    /// What it was admitted with; given back when the record closes, so when both directions have ended.
    pub(crate) fn admitted(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// The most that the response's body may be, and whose limit that is.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The vault whose values must not pass.
    pub(crate) fn vault(&self) -> &Vault {
        &self.proxy.vault
    }

    /// The request is sent: its bytes are counted there, and none passes after the record is closed.
    pub(crate) fn sends(&mut self, flow: &Arc<Flow>) {
        self.flow = Some(flow.clone());
    }

    /// Holds its place among the requests in progress.
    pub(crate) fn takes(&mut self, slot: RequestSlot) {
        self.slot = Some(slot);
    }

    /// What looks whether it may still go on.
    pub(crate) fn stands(&mut self, standing: Arc<Standing>) {
        self.standing = Some(standing);
    }

    /// Why it was cut, if it was.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Cut> {
        self.standing.as_ref().map_or(Poll::Pending, |standing| standing.poll_cut(cx))
    }

    fn trail(&mut self) -> &mut Trail {
        self.trail.as_mut().expect("whatever takes the trail ends the record and consumes it")
    }

    /// Where it goes.
    pub(crate) fn destination(&mut self, destination: &Destination) {
        self.trail().destination(destination);
        self.destination = Some(destination.clone());
    }

    /// What is asked.
    pub(crate) fn asked(&mut self, method: &http::Method, path: Option<&RequestPath>, protocol: &'static str) {
        match static_method(method) {
            Some(name) => self.trail().method(name),
            None => self.trail().method(method.as_str().to_owned()),
        }
        self.trail().protocol(protocol);
        if let Some(path) = path {
            self.trail().path(path);
        }
    }

    /// What the client's handshake said of the server name.
    pub(crate) fn sni(&mut self, sni: &str) {
        self.trail().sni(sni);
    }

    /// Fields, parameters and trailers that were removed.
    pub(crate) fn stripped(&mut self, names: impl IntoIterator<Item = Cow<'static, str>>) {
        for name in names {
            self.trail().stripped(name);
        }
    }

    /// Where the names of trailers are noted that are removed while the request is sent.
    pub(crate) fn trailers(&mut self, removed: Arc<Removed>) {
        self.trailers = Some(removed);
    }

    /// What the client itself had sent in a place that a credential took.
    pub(crate) fn replaced(&mut self, place: Cow<'static, str>) {
        self.trail().replaced(place);
    }

    /// The policies that judge it.
    pub(crate) fn snapshot(&mut self, snapshot: &SnapshotDigest) {
        self.trail().snapshot(snapshot);
    }

    /// What was decided, where no rule is concerned.
    pub(crate) fn decision(&mut self, decision: Decision) {
        self.trail().decision(decision);
    }

    /// The status of the answer.
    pub(crate) fn status(&mut self, status: StatusCode) {
        self.trail().status(status.as_u16());
    }

    /// The rule that lets it pass.
    pub(crate) fn permit(&mut self, permit: &Permit) {
        self.trail().rule(permit.rule(), permit.policy());
        if let Some(denied) = permit.observed() {
            self.trail().passes_though(denied.reason);
        }
    }

    /// What policies that only observe would have refused it for.
    pub(crate) fn observed(&mut self, verdicts: &[Observed]) {
        for Observed { policy, verdict, denied } in verdicts {
            let rule = denied.rule.as_ref().map_or_else(String::new, |rule| format!(" by {rule}"));
            self.trail().observed(format!("{policy}: {} {}{rule}", verdict.as_str(), denied.reason));
        }
    }

    /// The tool call that it belongs to, by the runtime's marks.
    pub(crate) fn tool_call(&mut self, call: &ToolCall) {
        self.trail().tool_call(call.id.clone(), call.tool.clone(), Attribution::Marker);
    }

    /// A credential that goes with it.
    pub(crate) fn credential(&mut self, used: CredentialUse, place: Cow<'static, str>) {
        self.trail().credential(used, place);
    }

    /// The TLS version spoken with the upstream.
    pub(crate) fn tls(&mut self, version: &'static str) {
        self.trail().tls(version);
    }

    /// The address that is dialed.
    pub(crate) fn address(&mut self, address: IpAddr) {
        self.trail().address(address);
    }

    /// Makes the opening record durable; no byte may leave before.
    ///
    /// # Errors
    /// `audit_unavailable`.
    ///
    /// # Cancellation
    /// The closing record is written all the same.
    pub(crate) async fn permitted(&mut self) -> Result<(), Refusal> {
        let limit = self.proxy.config.limits.audit_timeout;
        let written = tokio::time::timeout(limit, self.trail().permitted()).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Refusal::of(Reason::AuditUnavailable, "the journal cannot be written, so nothing is sent"))
            }
        }
    }

    /// A word that refines how it ended.
    pub(crate) fn detail(&mut self, detail: impl Into<Cow<'static, str>>) {
        self.trail().detail(detail);
    }

    /// What passed in the bodies of a tunnel.
    pub(crate) fn body(&mut self, request_bytes: u64, response_bytes: u64) {
        self.trail().request_bytes(request_bytes);
        self.trail().response_bytes(response_bytes);
    }

    /// What passed of the response.
    pub(crate) fn response(&mut self, bytes: u64, redactions: u64, locations: Vec<String>) {
        self.trail().response_bytes(bytes);
        if redactions > 0 {
            self.trail().redactions(redactions, locations.into_iter().map(Into::into));
        }
    }

    /// Ends the request where it still runs: the count is final then, and no byte leaves after the record.
    fn end_upload(&mut self) {
        let Some(flow) = self.flow.take() else { return };
        if !flow.is_sent_whole() {
            flow.stop();
        }
        if let Some(trail) = &mut self.trail {
            trail.request_bytes(flow.sent());
            let removed = self.trailers.as_ref().map(|trailers| trailers.take()).unwrap_or_default();
            removed.into_iter().for_each(|name| trail.stripped(name));
        }
    }

    /// Records other tenants' secrets that came back and were masked, for these tenants alone: in the record of the exchange
    /// it would tell its own tenant that they exist.
    pub(crate) fn foreign_redactions(&self, found: &[(NeedleOwner, u64)]) {
        for (owner, count) in found {
            self.proxy.journal.append(Record {
                tenant: Some(owner.tenant.clone()),
                host: self.destination.as_ref().map(|destination| destination.host().clone()),
                credentials: vec![CredentialUse { name: owner.credential.clone(), version: owner.version }],
                redactions: Some(*count),
                detail: Some("the value came back in a response to another tenant, and was masked".into()),
                ..Record::new(Kind::CredentialMasked)
            });
        }
    }

    /// Ends the record.
    pub(crate) fn close(mut self, outcome: Outcome, fault: Option<Fault>, reason: Option<Reason>) {
        self.end_upload();
        if let Some(trail) = self.trail.take() {
            trail.close(outcome, fault, reason);
        }
    }

    /// Ends the record of an exchange whose response is complete, when its request has ended.
    pub(crate) fn complete(mut self, end: UploadEnd) {
        match end {
            UploadEnd::Whole => self.close(Outcome::Ok, None, None),
            UploadEnd::Client => self.cut(),
            UploadEnd::Malformed => self.close(Outcome::ClientAbort, Some(Fault::Downstream), Some(Reason::Malformed)),
            UploadEnd::Stopped if self.is_terminated() => self.cut(),
            UploadEnd::Stopped => {
                // The upstream had its answer complete and wanted no more of the request.
                self.trail().detail("request_unfinished");
                self.close(Outcome::Ok, None, None);
            }
        }
    }

    /// Ends the record of a response that the upstream broke off.
    pub(crate) fn upstream_reset(self) {
        self.close(Outcome::UpstreamReset, Some(Fault::Upstream), Some(Reason::UpstreamProtocol));
    }

    /// Ends the record of a response that exceeds its limit.
    pub(crate) fn response_too_large(mut self) {
        self.trail().detail("response_body");
        self.close(Outcome::Aborted, Some(Fault::Upstream), Some(Reason::ResponseTooLarge));
    }

    /// Ends the record of a response in which secrets could not be masked any more.
    pub(crate) fn unmaskable(mut self, why: &Unmaskable) {
        self.trail().detail(why.to_string());
        self.close(Outcome::Refused, Some(Fault::Upstream), Some(Reason::RedactionImpossible));
    }

    /// Ends the record of what was terminated after its answer had begun.
    pub(crate) fn terminated(mut self, cut: &Cut) {
        let (outcome, fault, detail) = cut.ending();
        if let Some(detail) = detail {
            self.trail().detail(detail);
        }
        self.close(outcome, Some(fault), Some(cut.reason()));
    }

    /// Ends the record of an exchange that was cut short from outside: its session ended, Egret stops, or the client left.
    pub(crate) fn cut(mut self) {
        self.end_early();
    }

    /// Whether something from outside ended it.
    fn is_terminated(&self) -> bool {
        let ended = self.session.as_ref().is_some_and(|session| !session.is_live(share::judging_time()));
        ended || self.standing.as_ref().is_some_and(|standing| standing.is_cut().is_some()) || self.proxy.is_stopped()
    }

    fn end_early(&mut self) {
        self.end_upload();
        let Some(mut trail) = self.trail.take() else { return };
        let cut = self.standing.as_ref().and_then(|standing| standing.is_cut().cloned());
        if self.session.as_ref().is_some_and(|session| !session.is_live(share::judging_time())) {
            trail.close(Outcome::Aborted, Some(Fault::Policy), Some(Reason::SessionEnded));
        } else if let Some(cut) = cut.or_else(|| self.downlink.is_unread().then_some(Cut::Timer(Timer::Unread))) {
            let (outcome, fault, detail) = cut.ending();
            if let Some(detail) = detail {
                trail.detail(detail);
            }
            trail.close(outcome, Some(fault), Some(cut.reason()));
        } else if self.proxy.is_stopped() {
            trail.close(Outcome::Aborted, Some(Fault::Egret), Some(Reason::Draining));
        } else {
            trail.close(Outcome::ClientAbort, Some(Fault::Downstream), None);
        }
    }

    /// Ends the record with a refusal; gives the id that the client is told.
    pub(crate) fn refuse(mut self, refusal: &Refusal) -> String {
        let row = refusal.row();
        self.end_upload();
        let mut trail = self.trail.take().expect("whatever takes the trail ends the record and consumes it");
        trail.status(row.status.as_u16());
        if let Some(policy) = refusal.policy() {
            trail.rule(refusal.rule(), policy);
        }
        if let Some(sni) = refusal.sni() {
            trail.sni(sni);
        }
        if let Some(address) = refusal.address() {
            trail.address(address);
        }
        if let Some(credential) = refusal.credential() {
            trail.credential(credential.clone(), "refused");
        }
        if let Some(detail) = refusal.detail() {
            trail.detail(detail.to_owned());
        }
        trail.close(outcome_of(refusal), Some(row.fault), Some(refusal.reason())).to_string()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end_early();
    }
}

fn facts(proxy: &Proxy, session: Option<&Arc<Session>>) -> Facts {
    session.map_or_else(Facts::default, |session| Facts {
        tenant: session.tenant.clone(),
        user: session.user.clone(),
        agent: session.agent.clone(),
        session: Some(session.id.clone()),
        attribution: Some(attribution(proxy, session)),
        source: None,
    })
}

fn attribution(proxy: &Proxy, session: &Session) -> Attribution {
    match &proxy.default_session {
        Some(default) if default.id == session.id => Attribution::DefaultSession,
        _ => Attribution::ProxyCredentials,
    }
}

/// How an exchange ended that has no answer from the upstream.
fn outcome_of(refusal: &Refusal) -> Outcome {
    if refusal.class() == Some(BROKEN_OFF) {
        return Outcome::ClientAbort;
    }
    let named = [
        (Reason::UpstreamTimeout, Outcome::Timeout),
        (Reason::TimeoutHead, Outcome::Timeout),
        (Reason::UpstreamProtocol, Outcome::UpstreamReset),
        (Reason::Internal, Outcome::ProxyFault),
    ];
    let found = named.into_iter().find(|(reason, _)| *reason == refusal.reason());
    found.map_or(Outcome::Refused, |(_, outcome)| outcome)
}

fn static_method(method: &http::Method) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"]
        .into_iter()
        .find(|name| method.as_str() == *name)
}

/// Turns the outcome of the line into the response that the client sees, and sees to it that the record closes with it.
pub(crate) fn close(open: Open, outcome: Result<Redacted, Refusal>) -> Response<Body> {
    match outcome {
        Ok(redacted) => relay(open, redacted),
        Err(refusal) => {
            let record = open.refuse(&refusal);
            answer(&refusal, &record)
        }
    }
}

fn relay(mut open: Open, redacted: Redacted) -> Response<Body> {
    let Redacted { response, masked, upstreamed } = redacted;
    let Upstreamed { flow, back } = upstreamed;
    open.trail().status(response.status().as_u16());
    let (mut parts, incoming) = response.into_parts();
    // It would lead the client to another protocol and port, past the proxy.
    if parts.headers.remove(header::ALT_SVC).is_some() {
        open.trail().stripped("alt-svc");
    }
    let limit = open.admission().response_body().cloned();
    let relay = Relay::new(incoming, masked, open, flow, back, limit);
    Response::from_parts(parts, Body::relayed(relay))
}

/// The answer to a refused request (RFC 9457, RFC 9209).
pub(crate) fn answer(refusal: &Refusal, record: &str) -> Response<Body> {
    let mut response = Response::new(Body::own(refusal.problem(record)));
    *response.status_mut() = refusal.row().status;
    *response.headers_mut() = refusal_fields(refusal, record);
    response
}

/// The fields of a refusal.
pub(crate) fn refusal_fields(refusal: &Refusal, record: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("egret"));
    fields.insert("proxy-status", text(&refusal.proxy_status()));
    fields.insert("egret-record", text(record));
    if let Some(seconds) = refusal.retry_after() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.row().status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        fields.insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"egret\", charset=\"UTF-8\""));
    }
    fields
}
