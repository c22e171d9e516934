//! The open record of a running exchange: facts go in, in one direction, and it is closed exactly once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::{
    Destination, Endpoint, ExchangeId, PolicyName, Reason, RecordId, RequestPath, RuleId, SessionId, SnapshotDigest,
    TenantId, Timestamp,
};

use crate::draft::Draft;
use crate::journal::encode::draw;
use crate::journal::{Journal, Unavailable};
use crate::record::{Attribution, CredentialUse, Decision, Fault, Kind, Outcome, Text};

/// Who is asking: the same for every exchange of a session, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The tenant.
    pub tenant: TenantId,
    /// The person or service behind the session.
    pub user: Option<Arc<str>>,
    /// The agent.
    pub agent: Option<Arc<str>>,
    /// The session; `None` if no client was identified.
    pub session: Option<SessionId>,
    /// How the exchange was tied to the session.
    pub attribution: Option<Attribution>,
    /// The client's address, if no client was identified.
    pub source: Option<IpAddr>,
}

/// The open record of a running exchange or tunnel.
///
/// Dropped without [`Trail::close`] it closes itself as `aborted`, by our own fault.
pub struct Trail {
    journal: Journal,
    /// The closing record as far as it is known.
    record: Draft,
    id: RecordId,
    time: Timestamp,
    began: Instant,
    opening: Kind,
    /// The segment that holds the opening record; 0 while there is none.
    opened_in: u32,
    closed: bool,
}

impl Trail {
    /// Begins the trail of an exchange; its time is now.
    pub fn begin(journal: &Journal, facts: Facts) -> Self {
        Self::start(journal, facts, Kind::ExchangeOpened, Kind::ExchangeClosed)
    }

    /// Begins the trail of a tunnel, whose bytes pass unread.
    pub fn begin_tunnel(journal: &Journal, facts: Facts) -> Self {
        Self::start(journal, facts, Kind::TunnelOpened, Kind::TunnelClosed)
    }

    fn start(journal: &Journal, facts: Facts, opening: Kind, closing: Kind) -> Self {
        let now = Timestamp::now();
        let (id, exchange) = (RecordId::from_bytes(draw(now)), ExchangeId::from_bytes(draw(now)));
        let mut record = Draft::new(closing);
        record.time = Some(now);
        record.exchange = Some(exchange);
        record.tenant = Some(facts.tenant);
        record.user = facts.user;
        record.agent = facts.agent;
        record.session = facts.session;
        record.attribution = facts.attribution;
        record.source = facts.source;
        Self {
            journal: journal.clone(),
            record,
            id,
            time: now,
            began: Instant::now(),
            opening,
            opened_in: 0,
            closed: false,
        }
    }

    /// The exchange, the same in the opening and the closing record.
    pub fn exchange(&self) -> ExchangeId {
        self.record.exchange.expect("it is set when the trail begins")
    }

    /// Where the request goes.
    pub fn destination(&mut self, destination: &Destination) {
        self.record.scheme = Some(destination.scheme());
        self.record.host = Some(destination.host().clone());
        self.record.port = Some(destination.port());
    }

    /// The requested endpoint, while the scheme is not known yet.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        self.record.host = Some(endpoint.host.clone());
        self.record.port = Some(endpoint.port);
    }

    /// The method.
    pub fn method(&mut self, method: impl Into<Text>) {
        self.record.method = Some(method.into());
    }

    /// The path; the names of its query parameters are kept, their values are not.
    pub fn path(&mut self, path: &RequestPath) {
        self.record.path = Some(path.for_record());
    }

    /// The server name of the client's handshake, where it differs from the host.
    pub fn sni(&mut self, sni: &str) {
        self.record.sni = Some(sni.into());
    }

    /// The policy set that judges this exchange.
    pub fn snapshot(&mut self, snapshot: &SnapshotDigest) {
        self.record.snapshot = Some(snapshot.clone());
    }

    /// The rule that decided, if one did, and the policy by which it did.
    pub fn rule(&mut self, rule: Option<&RuleId>, policy: &PolicyName) {
        self.record.rule = rule.cloned();
        self.record.policy = Some(policy.clone());
    }

    /// The decision of the policy. Without it, [`Trail::permitted`] sets allow, and a refusal sets deny.
    pub fn decision(&mut self, decision: Decision) {
        self.record.decision = Some(decision);
    }

    /// The tool call that the exchange belongs to, and how that is known.
    pub fn tool_call(&mut self, call: Arc<str>, tool: Arc<str>, attribution: Attribution) {
        self.record.tool_call = Some(call);
        self.record.tool = Some(tool);
        self.record.attribution = Some(attribution);
    }

    /// A word that refines the code, such as the class of a TLS failure; never what the client sent.
    pub fn detail(&mut self, detail: impl Into<Text>) {
        self.record.detail = Some(detail.into());
    }

    /// The address that was dialed.
    pub fn address(&mut self, address: IpAddr) {
        self.record.address = Some(address);
    }

    /// The protocol spoken with the client, such as `http/1.1` or `h2`.
    pub fn protocol(&mut self, protocol: impl Into<Text>) {
        self.record.protocol = Some(protocol.into());
    }

    /// The TLS version spoken with the upstream, such as `1.3`.
    pub fn tls(&mut self, tls: impl Into<Text>) {
        self.record.tls = Some(tls.into());
    }

    /// A field that was taken off the request, by name.
    pub fn stripped(&mut self, name: impl Into<Text>) {
        self.record.stripped.push(name.into());
    }

    /// A credential has overwritten what the client itself sent in this location.
    pub fn replaced(&mut self, place: impl Into<Text>) {
        self.record.replaced.push(place.into());
    }

    /// A policy that only observes would have refused it; in words.
    pub fn would_deny(&mut self, verdict: impl Into<Text>) {
        self.record.observed.push(verdict.into());
    }

    /// The request passes in observe mode: without it, the request would have been refused for this reason.
    pub fn observe_mode_pass(&mut self, code: Reason) {
        self.record.decision = Some(Decision::Observe);
        self.record.code = Some(code);
    }

    /// A credential that was used, and where it was put, such as `header authorization`.
    pub fn credential(&mut self, used: CredentialUse, place: impl Into<Text>) {
        self.record.credentials.push(used);
        self.record.injected_into.push(place.into());
    }

    /// The head of the response arrived, or was generated: its status, and the time it took.
    pub fn status(&mut self, status: u16) {
        self.record.status = Some(status);
        self.record.first_byte = Some(self.began.elapsed());
    }

    /// Bytes of body that went upstream in all.
    pub fn request_bytes(&mut self, bytes: u64) {
        self.record.request_bytes = Some(bytes);
    }

    /// Bytes of body that went to the client in all.
    pub fn response_bytes(&mut self, bytes: u64) {
        self.record.response_bytes = Some(bytes);
    }

    /// How many secrets were taken out of the response in all, and where they were.
    pub fn redactions(&mut self, count: u64, locations: impl IntoIterator<Item = Text>) {
        self.record.redactions = Some(count);
        self.record.redacted_in = locations.into_iter().collect();
    }

    /// Writes the opening record; nothing may be sent upstream before this returns `Ok`.
    ///
    /// # Errors
    /// [`Unavailable`] if the journal cannot write it: the request must be refused.
    ///
    /// # Cancellation
    /// Dropped before the opening record is written, it is not written; the closing one always is.
    pub async fn permitted(&mut self) -> Result<(), Unavailable> {
        self.record.decision.get_or_insert(Decision::Allow);
        self.journal.append_opening(self.opening, &self.record, &mut self.opened_in).await
    }

    /// Writes the closing record; returns the id of the record that contains the end, which a refusal shows as `Egret-Record`.
    /// Where nothing was opened and the origin has had its share of records, that is the record that counts.
    pub fn close(mut self, outcome: Outcome, fault: impl Into<Option<Fault>>, code: Option<Reason>) -> RecordId {
        self.finish(outcome, fault.into(), code)
    }

    fn finish(&mut self, outcome: Outcome, fault: Option<Fault>, code: Option<Reason>) -> RecordId {
        self.closed = true;
        let record = &mut *self.record;
        if outcome == Outcome::Refused {
            let asks = code == Some(Reason::ApprovalRequired);
            record.decision = Some(if asks { Decision::Ask } else { Decision::Deny });
        }
        let took = self.began.elapsed();
        record.id = Some(self.id);
        record.time = Some(self.time + took);
        record.duration = Some(took);
        record.outcome = Some(outcome);
        record.fault = fault;
        record.code = code.or(record.code);
        if self.opened_in == 0 {
            return self.journal.append_unopened(record).unwrap_or(self.id);
        }
        self.journal.append_closing(record, self.opened_in);
        self.id
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !self.closed {
            let _counted = self.finish(Outcome::Aborted, Some(Fault::Egret), None);
        }
    }
}
