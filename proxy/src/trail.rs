//! The open audit record of an exchange, next to the steps.
//!
//! Facts are only added; no step reads them back. However an exchange ends, its record is closed exactly once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use audit::{Attribution, CredentialUse, Decision, Facts, Fault, Kind, Outcome, Record};
use http::StatusCode;
use model::{Destination, Endpoint, Host, Reason, RequestPath, SnapshotDigest};
use policies::{Permit, WouldDeny};
use sessions::{Identified, ToolCall};
use vault::NeedleOwner;

use crate::Proxy;
use crate::active::REPLACED_TOKEN;
use crate::body::rewriter::Unmaskable;
use crate::context::Exchange;
use crate::downlink::Downlink;
use crate::facts;
use crate::flow::{Flow, UploadEnd};
use crate::limits::timer::Timer;
use crate::refusal::Refusal;
use crate::share;
use crate::termination::Termination;

/// The open record of one exchange. Complete when it is created, except for the facts of the record itself.
pub(crate) struct Trail {
    /// Taken when the record is closed.
    record: Option<audit::Trail>,
    /// `None` for an unidentified client.
    client: Option<Identified>,
    proxy: Arc<Proxy>,
    /// The connection or stream that it arrived on; `None` for an unidentified client.
    downlink: Option<Arc<Downlink>>,
    /// The progress of its bodies; `None` if no exchange has begun.
    flow: Option<Arc<Flow>>,
}

impl Trail {
    /// Opens the record of an exchange. It is written when the first byte is about to leave or when the exchange ends.
    pub(crate) fn new(exchange: Exchange<'_>) -> Self {
        let record = audit::Trail::begin(&exchange.core.proxy.journal, facts::of(exchange.client));
        Self::of(exchange, record)
    }

    /// Opens the record of a tunnel whose bytes are not read.
    pub(crate) fn tunnel(exchange: Exchange<'_>) -> Self {
        let record = audit::Trail::begin_tunnel(&exchange.core.proxy.journal, facts::of(exchange.client));
        Self::of(exchange, record)
    }

    fn of(exchange: Exchange<'_>, record: audit::Trail) -> Self {
        let Exchange { core, client, destination, flow, downlink, preconnect: _ } = exchange;
        let mut trail = Self {
            record: Some(record),
            client: Some(client.clone()),
            proxy: core.proxy.clone(),
            downlink: Some(downlink.clone()),
            flow: Some(flow.clone()),
        };
        trail.destination(destination);
        trail
    }

    /// Opens a record for input on `downlink` before an exchange has begun.
    pub(crate) fn before(proxy: &Arc<Proxy>, client: &Identified, downlink: &Arc<Downlink>) -> Self {
        Self {
            record: Some(audit::Trail::begin(&proxy.journal, facts::of(client))),
            client: Some(client.clone()),
            proxy: proxy.clone(),
            downlink: Some(downlink.clone()),
            flow: None,
        }
    }

    /// Opens the record of an unidentified connection.
    pub(crate) fn stranger(proxy: &Arc<Proxy>, source: IpAddr) -> Self {
        let facts = Facts { source: Some(source), ..Facts::default() };
        let record = Some(audit::Trail::begin(&proxy.journal, facts));
        Self { record, client: None, proxy: proxy.clone(), downlink: None, flow: None }
    }

    fn record(&mut self) -> &mut audit::Trail {
        self.record.as_mut().expect("whatever takes the trail ends the record and consumes it")
    }

    /// The endpoint it names, while the scheme is not known yet.
    pub(crate) fn endpoint(&mut self, endpoint: &Endpoint) {
        self.record().endpoint(endpoint);
    }

    /// The destination.
    pub(crate) fn destination(&mut self, destination: &Destination) {
        self.record().destination(destination);
    }

    /// The method and the path of the request.
    pub(crate) fn asked(&mut self, method: &http::Method, path: Option<&RequestPath>, protocol: &'static str) {
        match static_method(method) {
            Some(name) => self.record().method(name),
            None => self.record().method(method.as_str().to_owned()),
        }
        self.record().protocol(protocol);
        if let Some(path) = path {
            self.record().path(path);
        }
    }

    /// The server name of the client's handshake.
    pub(crate) fn sni(&mut self, sni: &str) {
        self.record().sni(sni);
    }

    /// Fields, parameters and trailers that were removed.
    pub(crate) fn stripped(&mut self, names: impl IntoIterator<Item = Cow<'static, str>>) {
        for name in names {
            self.record().stripped(name);
        }
    }

    /// The client's own values that a credential overwrote.
    pub(crate) fn replaced(&mut self, place: Cow<'static, str>) {
        self.record().replaced(place);
    }

    /// The policies that apply to it.
    pub(crate) fn snapshot(&mut self, snapshot: &SnapshotDigest) {
        self.record().snapshot(snapshot);
    }

    /// The decision, if no rule is concerned.
    pub(crate) fn decision(&mut self, decision: Decision) {
        self.record().decision(decision);
    }

    /// The status of the answer.
    pub(crate) fn status(&mut self, status: StatusCode) {
        self.record().status(status.as_u16());
    }

    /// The rule that allows it.
    pub(crate) fn permit(&mut self, permit: &Permit) {
        self.record().rule(permit.rule(), permit.policy());
        if let Some(denied) = permit.would_deny() {
            self.record().observe_mode_pass(denied.reason);
        }
    }

    /// Why policies in observe mode would have refused it.
    pub(crate) fn would_deny(&mut self, verdicts: &[WouldDeny]) {
        for WouldDeny { policy, verdict, denied } in verdicts {
            let rule = denied.rule.as_ref().map_or_else(String::new, |rule| format!(" by {rule}"));
            self.record().would_deny(format!("{policy}: {} {}{rule}", verdict.as_str(), denied.reason));
        }
    }

    /// The tool call that it belongs to, by the marks of the agent runtime.
    pub(crate) fn tool_call(&mut self, call: &ToolCall) {
        self.record().tool_call(call.id.clone(), call.tool.clone(), Attribution::Marker);
    }

    /// A credential that is attached to it.
    pub(crate) fn credential(&mut self, used: CredentialUse, place: Cow<'static, str>) {
        self.record().credential(used, place);
    }

    /// The TLS version of the upstream connection.
    pub(crate) fn tls(&mut self, version: &'static str) {
        self.record().tls(version);
    }

    /// The address that is dialed.
    pub(crate) fn address(&mut self, address: IpAddr) {
        self.record().address(address);
    }

    /// Makes the opening record durable; no byte may leave before that.
    ///
    /// # Errors
    /// `audit_unavailable`.
    ///
    /// # Cancellation
    /// The closing record is written anyway.
    pub(crate) async fn permitted(&mut self) -> Result<(), Refusal> {
        let limit = self.proxy.config.limits.audit_timeout;
        let written = tokio::time::timeout(limit, self.record().permitted()).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Refusal::of(Reason::AuditUnavailable, "the journal cannot be written, so nothing is sent"))
            }
        }
    }

    /// A code that refines how it ended.
    pub(crate) fn detail(&mut self, detail: impl Into<Cow<'static, str>>) {
        self.record().detail(detail);
    }

    /// The bytes that passed in the bodies of a tunnel.
    pub(crate) fn body(&mut self, request_bytes: u64, response_bytes: u64) {
        self.record().request_bytes(request_bytes);
        self.record().response_bytes(response_bytes);
    }

    /// The bytes that passed of the response.
    pub(crate) fn response(&mut self, bytes: u64, redactions: u64, locations: Vec<String>) {
        self.record().response_bytes(bytes);
        if redactions > 0 {
            self.record().redactions(redactions, locations.into_iter().map(Into::into));
        }
    }

    /// Ends a request that is still in progress: the count is final then, and no byte leaves after the record.
    fn end_upload(&mut self) {
        let (Some(flow), Some(record)) = (&self.flow, &mut self.record) else { return };
        if !flow.is_prepared() {
            return;
        }
        if !flow.is_sent_whole() {
            flow.stop();
        }
        record.request_bytes(flow.sent());
        flow.take_removed_trailers().into_iter().for_each(|name| record.stripped(name));
    }

    /// Records secrets of other tenants that came back and were masked, in records of those tenants alone. The record of the
    /// exchange would reveal to its own tenant that they exist.
    pub(crate) fn foreign_redactions(&self, host: &Host, found: &[(NeedleOwner, u64)]) {
        for (owner, count) in found {
            self.proxy.journal.append(Record {
                tenant: Some(owner.tenant.clone()),
                host: Some(host.clone()),
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
        if let Some(trail) = self.record.take() {
            trail.close(outcome, fault, reason);
        }
    }

    /// Ends the record of an exchange whose response is complete, when its request has ended.
    pub(crate) fn complete(mut self, end: UploadEnd) {
        match end {
            UploadEnd::Whole => self.close(Outcome::Ok, None, None),
            UploadEnd::Client => self.abort(),
            UploadEnd::Malformed => self.close(Outcome::ClientAbort, Some(Fault::Downstream), Some(Reason::Malformed)),
            UploadEnd::Stopped if self.is_terminated() => self.abort(),
            UploadEnd::Stopped => {
                // The upstream completed its answer and accepted no more of the request.
                self.record().detail("request_unfinished");
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
        self.record().detail("response_body");
        self.close(Outcome::Aborted, Some(Fault::Upstream), Some(Reason::ResponseTooLarge));
    }

    /// Ends the record of a response in which secrets could no longer be masked.
    pub(crate) fn unmaskable(mut self, why: &Unmaskable) {
        self.record().detail(why.to_string());
        let fault = Refusal::of(why.reason(), "").row().fault;
        self.close(Outcome::Refused, Some(fault), Some(why.reason()));
    }

    /// Ends the record of an exchange whose session has ended, or whose client's token was replaced.
    pub(crate) fn session_ended(mut self) {
        self.note_replaced_token();
        self.close(Outcome::Aborted, Some(Fault::Policy), Some(Reason::SessionEnded));
    }

    fn note_replaced_token(&mut self) {
        if self.client.as_ref().is_some_and(Identified::token_is_replaced)
            && let Some(record) = &mut self.record
        {
            record.detail(REPLACED_TOKEN);
        }
    }

    /// Ends the record of an exchange that was terminated after its answer had begun.
    pub(crate) fn terminated(mut self, cut: &Termination) {
        let (outcome, fault, detail) = cut.ending();
        if let Some(detail) = detail {
            self.record().detail(detail);
        }
        self.close(outcome, Some(fault), Some(cut.reason()));
    }

    /// Ends the record of an exchange that was ended from outside: its session ended, Egret stops, or the client left.
    pub(crate) fn abort(mut self) {
        self.end_early();
    }

    /// Whether it was ended from outside.
    fn is_terminated(&self) -> bool {
        self.client_ended() || self.termination().is_some() || self.proxy.is_stopped()
    }

    /// Whether its client is no longer allowed.
    fn client_ended(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_live(share::judging_time()))
    }

    fn termination(&self) -> Option<&Termination> {
        self.flow.as_ref().and_then(|flow| flow.termination())
    }

    fn is_unread(&self) -> bool {
        self.downlink.as_ref().is_some_and(|downlink| downlink.is_unread())
    }

    fn end_early(&mut self) {
        if self.record.is_none() {
            return;
        }
        self.end_upload();
        if self.client_ended() {
            self.note_replaced_token();
        }
        let Some(mut trail) = self.record.take() else { return };
        let cut = self.termination().cloned();
        if self.client_ended() {
            trail.close(Outcome::Aborted, Some(Fault::Policy), Some(Reason::SessionEnded));
        } else if let Some(cut) = cut.or_else(|| self.is_unread().then_some(Termination::Timer(Timer::Unread))) {
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

    /// Ends the record with a refusal; returns the id for the client.
    pub(crate) fn refuse(mut self, refusal: &Refusal) -> String {
        let row = refusal.row();
        self.end_upload();
        let mut trail = self.record.take().expect("whatever takes the trail ends the record and consumes it");
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
        trail.close(outcome_of(refusal), Some(refusal.fault()), Some(refusal.reason())).to_string()
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.end_early();
    }
}

/// How an exchange without an answer from the upstream ended.
fn outcome_of(refusal: &Refusal) -> Outcome {
    if refusal.client_left() {
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

#[cfg(test)]
mod tests;
