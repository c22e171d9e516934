//! The exits of the line: a refusal by policy or grammar, or a failure upstream. One table maps each reason to its
//! status, title, Proxy-Status error (RFC 9209), retry advice and fault.
//!
//! A refusal never repeats the client's input: no field values, paths, bodies or resolved addresses.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use audit::{CredentialUse, Fault};
use http::{HeaderName, HeaderValue, StatusCode, header};
use model::{Fields, HostError, PolicyName, Reason, RuleId};
use serde_json::json;

/// Why an exchange ended without the upstream's answer. Boxed, because every `Result` of the line contains it and it is
/// rare.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Facts>);

#[derive(Debug)]
struct Facts {
    reason: Reason,
    detail: Cow<'static, str>,
    /// The kind of TLS or time-out failure; a closed list.
    class: Option<&'static str>,
    /// The party at fault, if it is not that of the reason.
    fault: Option<Fault>,
    /// Whether the client left, so that the answer has no reader.
    client_left: bool,
    rule: Option<RuleId>,
    policy: Option<PolicyName>,
    author_message: Option<Arc<str>>,
    /// The server name of a client's handshake, if it differs from the host; for the record only.
    sni: Option<Box<str>>,
    /// The address that was not dialed; for the record only.
    address: Option<IpAddr>,
    /// The credential of the placeholder; for the record only.
    credential: Option<CredentialUse>,
    /// Details that are not sent to the client; for the record only.
    note: Option<Cow<'static, str>>,
    /// The seconds after which a request may pass.
    retry_after: Option<u64>,
}

/// The refusal of a request whose client left within the body.
pub(crate) fn broken_off() -> Refusal {
    let mut refusal = Refusal::of(Reason::Malformed, "the request body broke off").with_class("broken_off");
    refusal.0.client_left = true;
    refusal
}

const TRAILERS_TOO_LARGE: &str = "the trailers of the request exceed 8192 bytes";

/// The refusal of trailers that exceed their bound, if no answer has begun.
pub(crate) fn trailers_too_large() -> Refusal {
    Refusal::of(Reason::HeadTooLarge, TRAILERS_TOO_LARGE)
}

/// The format of a refusal's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A problem document (RFC 9457).
    Problem,
    /// Lines of text. git displays only this kind of error body, with `remote: ` in front of each line.
    Text,
}

impl Form {
    /// The format that a client with these fields can display.
    pub(crate) fn for_client(fields: &Fields) -> Self {
        let is_git = fields.get(header::USER_AGENT).is_some_and(|name| name.as_bytes().starts_with(b"git/"));
        if is_git { Self::Text } else { Self::Problem }
    }

    /// The value of Content-Type.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Problem => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        })
    }
}

/// The retry advice for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    Later,
    AfterApproval,
}

impl Retry {
    fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Later => "later",
            Self::AfterApproval => "after_approval",
        }
    }
}

/// One row of the table.
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    title: &'static str,
    error: &'static str,
    retry: Retry,
    pub(crate) fault: Fault,
}

impl Refusal {
    /// A refusal with our sentence for the client: lower case, and without the client's input.
    pub(crate) fn of(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Facts {
            reason,
            detail: detail.into(),
            class: None,
            fault: None,
            client_left: false,
            rule: None,
            policy: None,
            author_message: None,
            sni: None,
            address: None,
            credential: None,
            note: None,
            retry_after: None,
        }))
    }

    /// A host that is not valid.
    pub(crate) fn bad_host(error: HostError) -> Self {
        Self::of(Reason::BadHost, error.to_string())
    }

    /// With the class of the failure: the kind of certificate fault, the timer that fired.
    pub(crate) fn with_class(mut self, class: &'static str) -> Self {
        self.0.class = Some(class);
        self
    }

    /// The fault of this party.
    pub(crate) fn with_fault(mut self, fault: Fault) -> Self {
        self.0.fault = Some(fault);
        self
    }

    /// The party at fault.
    pub(crate) fn fault(&self) -> Fault {
        self.0.fault.unwrap_or(self.row().fault)
    }

    /// With the server name of the client's handshake.
    pub(crate) fn with_sni(mut self, sni: &str) -> Self {
        self.0.sni = Some(sni.into());
        self
    }

    /// With a text for the record that the client does not see.
    pub(crate) fn with_note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.0.note = Some(note.into());
        self
    }

    /// With the seconds after which a request may pass.
    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The seconds after which a request may pass. If the end of a limit or a state is unknown (429 and 503), it is one second: an
    /// immediate retry would be refused again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let Row { status, retry, .. } = self.row();
        let ends_by_itself = retry == Retry::Later
            && (status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE);
        self.0.retry_after.or_else(|| ends_by_itself.then_some(1))
    }

    /// With the address that may not be dialed.
    pub(crate) fn with_address(mut self, address: IpAddr) -> Self {
        self.0.address = Some(address);
        self
    }

    /// With the credential of the placeholder.
    pub(crate) fn about(mut self, credential: CredentialUse) -> Self {
        self.0.credential = Some(credential);
        self
    }

    /// With the rule in force, for the record. A rule that it already has, whose limit it is, stays.
    pub(crate) fn under(mut self, rule: Option<&RuleId>, policy: &PolicyName) -> Self {
        if self.0.policy.is_none() {
            self.0.rule = rule.cloned();
            self.0.policy = Some(policy.clone());
        }
        self
    }

    /// The stable code.
    pub(crate) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Whether the client left within its request.
    pub(crate) fn client_left(&self) -> bool {
        self.0.client_left
    }

    /// The class of the failure.
    #[cfg(test)]
    pub(crate) fn class(&self) -> Option<&'static str> {
        self.0.class
    }

    /// The detail of a record in addition to the code: the class of the failure, or details that are not sent to the
    /// client.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.0.class.or(self.0.note.as_deref())
    }

    /// The server name of the client's handshake.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.0.sni.as_deref()
    }

    /// The address that may not be dialed.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// The credential of the placeholder.
    pub(crate) fn credential(&self) -> Option<&CredentialUse> {
        self.0.credential.as_ref()
    }

    /// The rule that refused, if one did.
    pub(crate) fn rule(&self) -> Option<&RuleId> {
        self.0.rule.as_ref()
    }

    /// The policy of that rule.
    pub(crate) fn policy(&self) -> Option<&PolicyName> {
        self.0.policy.as_ref()
    }

    /// The row of the table.
    pub(crate) fn row(&self) -> Row {
        row(self.0.reason)
    }

    /// The value of the Proxy-Status field (RFC 9209).
    pub(crate) fn proxy_status(&self) -> String {
        let details = match self.0.class {
            Some(class) => format!("{}: {class}", self.0.reason.code()),
            None => self.0.reason.code().to_owned(),
        };
        format!("egret; error={}; details=\"{details}\"", self.row().error)
    }

    /// The fields of its answer (RFC 9209 for Proxy-Status).
    pub(crate) fn fields(&self, record: &str) -> Fields {
        let mut fields = Fields::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("egret"));
        fields.insert(HeaderName::from_static("proxy-status"), text(&self.proxy_status()));
        fields.insert(HeaderName::from_static("egret-record"), text(record));
        if let Some(seconds) = self.retry_after() {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.row().status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            fields.insert(
                header::PROXY_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"egret\", charset=\"UTF-8\""),
            );
        }
        fields
    }

    /// The body with the record's id.
    pub(crate) fn body(&self, record: &str, form: Form) -> Vec<u8> {
        match form {
            Form::Problem => self.problem(record),
            Form::Text => self.text(record).into_bytes(),
        }
    }

    /// The problem document as lines.
    fn text(&self, record: &str) -> String {
        let (row, code) = (self.row(), self.0.reason.code());
        let class = self.0.class.map_or_else(String::new, |class| format!(", {class}"));
        let mut text = format!("egret: {} ({code}{class})\n", row.title);
        if let Some(message) = &self.0.author_message {
            text.push_str(&format!("{message}\n"));
        }
        text.push_str(&format!("detail: {}\n", self.0.detail));
        if let Some(rule) = &self.0.rule {
            text.push_str(&format!("rule: {rule}\n"));
        }
        text.push_str(&format!("record: {record}\nretry: {}\n", row.retry.as_str()));
        text
    }

    /// The problem document (RFC 9457) with the record's id.
    pub(crate) fn problem(&self, record: &str) -> Vec<u8> {
        let row = self.row();
        let mut problem = json!({
            "type": format!("http://egret.internal/codes/{}", self.0.reason.code()),
            "title": row.title,
            "status": row.status.as_u16(),
            "detail": self.0.detail,
            "code": self.0.reason.code(),
            "rule": self.0.rule.as_ref().map(RuleId::as_str),
            "reason": self.0.author_message.as_deref(),
            "record": record,
            "retry": row.retry.as_str(),
        });
        if let (Some(class), Some(members)) = (self.0.class, problem.as_object_mut()) {
            members.insert("class".to_owned(), class.into());
        }
        let mut body = serde_json::to_vec(&problem).expect("a JSON value of strings and numbers");
        body.push(b'\n');
        body
    }
}

impl From<policies::Denied> for Refusal {
    fn from(denied: policies::Denied) -> Self {
        let detail = match (denied.reason, &denied.rule) {
            (Reason::PlaceholderMisplaced, _) => {
                "the request body contains a placeholder where its credential may not be used"
            }
            (Reason::ForeignCredential, _) => "a trailer of the request contains authentication of the client's own",
            (Reason::PlaceholderUnknown, _) => "the request contains a placeholder that is not one of this session",
            (Reason::HeadTooLarge, _) => TRAILERS_TOO_LARGE,
            (Reason::UpstreamTls, _) => "the CA that vouched for the upstream is not trusted any more",
            (Reason::CodingUnsupported, _) => {
                "the request body, or a message in it, is not in a coding in which placeholders can be found; send it in gzip, deflate, br, zstd \
                 or none"
            }
            (Reason::CredentialUnavailable, _) => "the credential was revoked",
            (Reason::DeniedPath, None) if denied.class.is_some() => {
                "servers read this path or query in different ways, and a rule for this host depends on it: send it in its \
                 plainest form, without dot segments, backslashes, empty segments or repeated escapes"
            }
            (Reason::DeniedMethod, None) if denied.class.is_some() => {
                "the query asks for another method, which a rule for this host treats differently: send the request with that \
                 method, or without the parameter"
            }
            (Reason::ApprovalRequired, _) => {
                "a rule of the session's policies requires an approval, and this version cannot ask for one: the request is refused"
            }
            (Reason::Overloaded | Reason::SessionQuota, _) => "there is no memory left to decode the request body",
            (_, Some(_)) => "a rule of the session's policies refuses this",
            (_, None) => "no rule of the session's policies allows this",
        };
        let mut refusal = Self::of(denied.reason, detail);
        refusal.0.rule = denied.rule;
        refusal.0.policy = denied.policy;
        refusal.0.author_message = denied.author_message;
        refusal.0.class = denied.class;
        refusal
    }
}

/// The fault, the status and the advice of a reason.
fn row(reason: Reason) -> Row {
    use Fault::{Downstream, Egret, Policy, Upstream};
    use Retry::{AfterApproval, Later, Never};
    let (status, title, error, retry, fault) = match reason {
        Reason::Malformed => (400, "The request is not valid HTTP", "http_request_error", Never, Downstream),
        Reason::AmbiguousFraming => {
            (400, "The request's framing is ambiguous", "http_request_error", Never, Downstream)
        }
        Reason::BadHost => (400, "The request has no single valid host", "http_request_error", Never, Downstream),
        Reason::BadTarget => (400, "The request target is not acceptable", "http_request_error", Never, Downstream),
        Reason::DeniedHost => (403, "The host is not allowed", "http_request_denied", Never, Policy),
        Reason::DeniedPort => (403, "The port is not allowed", "http_request_denied", Never, Policy),
        Reason::DeniedMethod => (403, "The method is not allowed", "http_request_denied", Never, Policy),
        Reason::DeniedPath => (403, "The path is not allowed", "http_request_denied", Never, Policy),
        Reason::DeniedUpgrade => (403, "The upgrade is not allowed", "http_request_denied", Never, Policy),
        Reason::DeniedTool => (403, "The tool call is not allowed to do this", "http_request_denied", Never, Policy),
        Reason::DeniedAddress => (403, "The address is not allowed", "destination_ip_prohibited", Never, Policy),
        Reason::DeniedSelf => {
            (403, "Egret does not serve requests to itself", "destination_ip_prohibited", Never, Policy)
        }
        Reason::DeniedAll => (403, "All requests are refused", "http_request_denied", Later, Policy),
        Reason::DeniedPlaintext => (403, "Credentials are not sent in cleartext", "http_request_denied", Never, Policy),
        Reason::ProtocolNotAllowed => (403, "The protocol is not allowed", "http_request_denied", Never, Policy),
        Reason::PlaceholderMisplaced => {
            (403, "A placeholder may not be used there", "http_request_denied", Never, Policy)
        }
        Reason::PlaceholderUnknown => {
            (403, "The placeholder is not one of this session", "http_request_denied", Never, Policy)
        }
        Reason::ForeignCredential => {
            (403, "The request carries authentication of its own", "http_request_denied", Never, Policy)
        }
        Reason::CredentialConflict => {
            (403, "The policy gives one location two values", "proxy_configuration_error", Never, Policy)
        }
        Reason::SecretInRequest => (403, "The request carries a secret", "http_request_denied", Never, Policy),
        Reason::ApprovalRequired => (403, "Approval is required", "http_request_denied", AfterApproval, Policy),
        Reason::ApprovalDenied => (403, "The approval was denied", "http_request_denied", Never, Policy),
        Reason::ApprovalTimeout => (403, "The approval timed out", "http_request_denied", AfterApproval, Policy),
        Reason::SessionRequired => (407, "Proxy credentials are required", "http_request_denied", Never, Downstream),
        Reason::SessionInvalid | Reason::SessionWrongSource => {
            (407, "The proxy credentials are not valid", "http_request_denied", Never, Downstream)
        }
        Reason::TimeoutHead => (408, "The request timed out", "connection_read_timeout", Later, Downstream),
        Reason::BodyTooLarge => (413, "The request body is too large", "http_request_error", Never, Downstream),
        Reason::UriTooLong => (414, "The request target is too long", "http_request_error", Never, Downstream),
        Reason::CodingUnsupported => {
            (415, "The request body's coding is not supported", "http_request_error", Never, Downstream)
        }
        Reason::ExpectUnsupported => (417, "The expectation is not supported", "http_request_error", Never, Downstream),
        Reason::AuthorityMismatch => {
            (421, "The host names of the request differ", "http_request_denied", Never, Downstream)
        }
        Reason::RateLimited => (429, "Too many requests", "connection_limit_reached", Later, Policy),
        Reason::MintLimited => (429, "Too many new names", "connection_limit_reached", Later, Policy),
        Reason::SessionQuota => (429, "The session's quota is used up", "connection_limit_reached", Later, Policy),
        Reason::BudgetExhausted => (429, "The session's budget is used up", "http_request_denied", Never, Policy),
        Reason::HeadTooLarge => (431, "The request head is too large", "http_request_error", Never, Downstream),
        Reason::Internal => (500, "Internal error of Egret", "proxy_internal_error", Later, Egret),
        Reason::UpstreamRefused => {
            (502, "The upstream did not accept the connection", "connection_refused", Later, Upstream)
        }
        Reason::UpstreamDns => (502, "The name could not be resolved", "dns_error", Later, Upstream),
        Reason::UpstreamTls => (502, "The upstream's TLS is not acceptable", "tls_certificate_error", Never, Upstream),
        Reason::UpstreamProtocol => (502, "The upstream broke the protocol", "http_protocol_error", Later, Upstream),
        Reason::ResponseTooLarge => (502, "The response is too large", "http_response_body_size", Never, Upstream),
        Reason::CredentialUnavailable => (502, "The credential is unavailable", "proxy_internal_error", Later, Egret),
        Reason::RedactionImpossible => {
            (502, "The response cannot be masked", "http_response_content_coding", Never, Upstream)
        }
        Reason::AuditUnavailable => (503, "The journal cannot be written", "proxy_internal_error", Later, Egret),
        Reason::VaultValueInvalid => {
            (503, "The stored credential cannot be sent", "proxy_configuration_error", Never, Egret)
        }
        Reason::VaultSealed => (503, "The vault is not open", "proxy_internal_error", Later, Egret),
        Reason::PolicyUnavailable => {
            (503, "A policy of the session is not loaded", "proxy_configuration_error", Later, Egret)
        }
        Reason::Overloaded => (503, "Egret is overloaded", "connection_limit_reached", Later, Egret),
        Reason::Draining => (503, "Egret is stopping", "connection_limit_reached", Later, Egret),
        Reason::UpstreamTimeout => (504, "The upstream timed out", "connection_read_timeout", Later, Upstream),
        Reason::Loop => (508, "Proxy loop detected", "proxy_loop_detected", Never, Downstream),
        // No client receives these as an answer; they name the end of a connection or an event in records.
        Reason::ClientRejectedCa => (403, "The client does not trust the CA", "tls_alert_received", Never, Downstream),
        Reason::SessionEnded => (403, "The session has ended", "http_request_denied", Never, Policy),
        Reason::CredentialRevoked => (403, "The credential was revoked", "http_request_denied", Never, Policy),
        Reason::ControlDenied | Reason::PolicyRejected => (403, "Refused", "http_request_denied", Never, Policy),
        Reason::TailTruncated
        | Reason::VaultCorrupt
        | Reason::VaultRollback
        | Reason::UnsealFailed
        | Reason::KeyRotated
        | Reason::Recovered
        | Reason::VaultWriteFailed
        | Reason::ClockStep => (500, "Internal error of Egret", "proxy_internal_error", Never, Egret),
    };
    Row { status: StatusCode::from_u16(status).expect("the table holds valid statuses"), title, error, retry, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_an_error_status() {
        for reason in Reason::ALL {
            assert!(row(*reason).status.as_u16() >= 400, "{reason}");
        }
    }

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../docs/refusals.md");
        for reason in Reason::ALL {
            let Row { status, title, retry, fault, .. } = row(*reason);
            let (status, retry, fault) = (status.as_u16(), retry.as_str(), fault.as_str());
            let answered = format!("| `{reason}` | {status} | {title} | `{retry}` | {fault} | ");
            let recorded = format!("| `{reason}` | ");
            let (first, second) = page.split_once("## Codes of records").unwrap();
            assert!(first.contains(&answered) || second.contains(&recorded), "{answered}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() != 1).count();
        let records = page.split_once("## Codes of records").unwrap().1.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows + records.count(), Reason::ALL.len());
    }

    #[test]
    fn what_ends_by_itself_has_a_time_to_retry_after() {
        for reason in [Reason::SessionQuota, Reason::PolicyUnavailable, Reason::Overloaded, Reason::RateLimited] {
            assert_eq!(Refusal::of(reason, "").retry_after(), Some(1), "{reason}");
        }
        assert_eq!(Refusal::of(Reason::RateLimited, "").with_retry_after(7).retry_after(), Some(7));
        for reason in [Reason::BudgetExhausted, Reason::DeniedHost, Reason::UpstreamTimeout] {
            assert_eq!(Refusal::of(reason, "").retry_after(), None, "{reason}");
        }
    }

    #[test]
    fn git_gets_the_same_in_lines() {
        let fields = |agent: &'static str| Fields::from_iter([(header::USER_AGENT, HeaderValue::from_static(agent))]);
        assert_eq!(Form::for_client(&fields("git/2.47.3")), Form::Text);
        for other in ["curl/8.0 git/2", "gitea", "GIT/2"] {
            assert_eq!(Form::for_client(&fields(other)), Form::Problem, "{other}");
        }
        assert_eq!(Form::for_client(&Fields::new()), Form::Problem);
        let mut refusal = Refusal::of(Reason::DeniedMethod, "a rule of the session's policies refuses this");
        refusal.0.author_message = Some("Ask a maintainer.".into());
        let refusal = refusal.under(Some(&"no-push".into()), &"p".into());
        assert_eq!(
            String::from_utf8(refusal.body("rec_1", Form::Text)).unwrap(),
            "egret: The method is not allowed (denied_method)\nAsk a maintainer.\ndetail: a rule of the session's policies refuses this\n\
             rule: no-push\nrecord: rec_1\nretry: never\n"
        );
        assert_eq!(refusal.body("rec_1", Form::Problem), refusal.problem("rec_1"));
    }

    #[test]
    fn a_problem_document_holds_the_contract() {
        let refusal = Refusal::of(Reason::DeniedHost, "no rule of the session's policies allows this");
        let problem: serde_json::Value = serde_json::from_slice(&refusal.problem("rec_1")).unwrap();
        assert_eq!(problem["status"], 403);
        assert_eq!(problem["code"], "denied_host");
        assert_eq!(problem["record"], "rec_1");
        assert_eq!(problem["retry"], "never");
        assert!(problem["rule"].is_null() && problem["reason"].is_null());
        assert_eq!(refusal.proxy_status(), "egret; error=http_request_denied; details=\"denied_host\"");
    }
}
