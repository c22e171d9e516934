//! The contents of a record as JSON, version 1.

use std::net::IpAddr;
use std::time::Duration;

use model::{
    ExchangeId, Host, PolicyName, Reason, RecordId, RuleId, Scheme, SessionId, SnapshotDigest, TenantId, Timestamp,
};

use crate::format;
use crate::record::{Attribution, CredentialUse, Decision, Fault, Outcome, Record, Text};
use crate::sanitize;

impl Record {
    /// Writes the contents: the JSON object that holds every field but the ones of the envelope, in the order of [`CONTENTS`].
    pub(crate) fn write_contents(&self, id: &RecordId, out: &mut Vec<u8>) {
        let mut object = Object { out, cut: false };
        object.own(b"{\"id\":\"", id.as_str());
        macro_rules! field {
            ($write:ident, $name:literal, $value:expr) => {
                if let Some(value) = $value {
                    object.$write(concat!(",\"", $name, "\":").as_bytes(), value);
                }
            };
            (own $name:literal, $value:expr) => {
                if let Some(value) = $value {
                    object.own(concat!(",\"", $name, "\":\"").as_bytes(), value);
                }
            };
            (text $name:literal, $value:expr) => {
                if let Some(value) = $value {
                    object.text(concat!(",\"", $name, "\":\"").as_bytes(), value);
                }
            };
        }
        field!(own "exchange", self.exchange.as_ref().map(ExchangeId::as_str));
        field!(text "tenant", self.tenant.as_ref().map(TenantId::as_str));
        field!(text "user", self.user.as_deref());
        field!(text "agent", self.agent.as_deref());
        field!(own "session", self.session.as_ref().map(SessionId::as_str));
        field!(text "tool_call", self.tool_call.as_deref());
        field!(text "tool", self.tool.as_deref());
        field!(own "attribution", self.attribution.map(Attribution::as_str));
        field!(text "trace", self.trace.as_deref());
        field!(address, "source", self.source);
        field!(own "decision", self.decision.map(Decision::as_str));
        field!(own "code", self.code.map(Reason::code));
        field!(text "detail", self.detail.as_deref());
        field!(text "rule", self.rule.as_ref().map(RuleId::as_str));
        field!(text "policy", self.policy.as_ref().map(PolicyName::as_str));
        field!(list, "observed", Some(&self.observed));
        field!(own "snapshot", self.snapshot.as_ref().map(SnapshotDigest::as_str));
        field!(text "method", self.method.as_deref());
        field!(own "scheme", self.scheme.map(Scheme::as_str));
        field!(host, "host", self.host.as_ref());
        field!(number, "port", self.port.map(u64::from));
        field!(text "path", self.path.as_deref());
        field!(text "sni", self.sni.as_deref());
        field!(list, "stripped", Some(&self.stripped));
        field!(list, "replaced", Some(&self.replaced));
        field!(address, "address", self.address);
        field!(text "protocol", self.protocol.as_deref());
        field!(text "tls", self.tls.as_deref());
        field!(credentials, "credentials", Some(&self.credentials));
        field!(list, "injected_into", Some(&self.injected_into));
        field!(number, "status", self.status.map(u64::from));
        field!(number, "request_bytes", self.request_bytes);
        field!(number, "response_bytes", self.response_bytes);
        field!(milliseconds, "first_byte_ms", self.first_byte);
        field!(milliseconds, "duration_ms", self.duration);
        field!(number, "redactions", self.redactions);
        field!(list, "redacted_in", Some(&self.redacted_in));
        field!(number, "generation", self.generation);
        field!(own "outcome", self.outcome.map(Outcome::as_str));
        field!(own "fault", self.fault.map(Fault::as_str));
        field!(number, "count", self.count);
        field!(instant, "first", self.first);
        field!(instant, "last", self.last);
        object.end();
    }
}

/// The fields of the contents, in the order in which they are written.
pub const CONTENTS: &[&str] = &[
    "id",
    "exchange",
    "tenant",
    "user",
    "agent",
    "session",
    "tool_call",
    "tool",
    "attribution",
    "trace",
    "source",
    "decision",
    "code",
    "detail",
    "rule",
    "policy",
    "observed",
    "snapshot",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "sni",
    "stripped",
    "replaced",
    "address",
    "protocol",
    "tls",
    "credentials",
    "injected_into",
    "status",
    "request_bytes",
    "response_bytes",
    "first_byte_ms",
    "duration_ms",
    "redactions",
    "redacted_in",
    "generation",
    "outcome",
    "fault",
    "count",
    "first",
    "last",
    "truncated",
];

/// A JSON object being written; each `name` comes with its comma, quotes and colon.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    cut: bool,
}

impl Object<'_> {
    /// A text that Egret itself made: an id, a digest, a word of a closed list. It can hold nothing of what a client sent.
    fn own(&mut self, name: &[u8], text: &str) {
        self.out.extend_from_slice(name);
        self.cut |= sanitize::write_own(self.out, text);
        self.out.push(b'"');
    }

    fn text(&mut self, name: &[u8], text: &str) {
        self.out.extend_from_slice(name);
        self.cut |= sanitize::write(self.out, text);
        self.out.push(b'"');
    }

    fn number(&mut self, name: &[u8], number: u64) {
        self.out.extend_from_slice(name);
        format::decimal(self.out, number);
    }

    /// Milliseconds with three decimals.
    fn milliseconds(&mut self, name: &[u8], span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.number(name, micros / 1000);
        let rest = micros % 1000;
        let digit = |n: u64| b'0' + (n % 10) as u8;
        self.out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }

    fn instant(&mut self, name: &[u8], instant: Timestamp) {
        self.out.extend_from_slice(name);
        self.out.push(b'"');
        format::instant(self.out, instant.as_microsecond());
        self.out.push(b'"');
    }

    fn host(&mut self, name: &[u8], host: &Host) {
        match host {
            Host::Name(text) => {
                self.out.extend_from_slice(name);
                self.out.push(b'"');
                self.cut |= sanitize::write(self.out, text);
                self.out.push(b'"');
            }
            Host::V4(v4) => self.address(name, IpAddr::V4(*v4)),
            Host::V6(_) => self.quoted(name, &host.to_string()),
        }
    }

    fn address(&mut self, name: &[u8], address: IpAddr) {
        let IpAddr::V4(v4) = address else { return self.quoted(name, &address.to_string()) };
        self.out.extend_from_slice(name);
        let mut sign = b'"';
        for octet in v4.octets() {
            self.out.push(sign);
            format::decimal(self.out, u64::from(octet));
            sign = b'.';
        }
        self.out.push(b'"');
    }

    fn quoted(&mut self, name: &[u8], text: &str) {
        self.out.extend_from_slice(name);
        self.out.push(b'"');
        self.text(b"", text);
    }

    /// A list of texts, together at most as long as one field.
    fn list(&mut self, name: &[u8], items: &[Text]) {
        self.array(name, items, |object, item| object.text(b"\"", item));
    }

    fn credentials(&mut self, name: &[u8], uses: &[CredentialUse]) {
        self.array(name, uses, |object, used| {
            object.text(b"{\"name\":\"", used.name.as_str());
            object.number(b",\"version\":", u64::from(used.version));
            object.out.push(b'}');
        });
    }

    fn array<T>(&mut self, name: &[u8], items: &[T], write: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.out.extend_from_slice(name);
        let start = self.out.len();
        let mut sign = b'[';
        for item in items {
            let before = self.out.len();
            self.out.push(sign);
            write(self, item);
            if self.out.len() - start > format::MAX_FIELD_BYTES {
                self.out.truncate(before);
                self.cut = true;
                break;
            }
            sign = b',';
        }
        if self.out.len() == start {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }

    fn end(self) {
        self.out.extend_from_slice(if self.cut { b",\"truncated\":true}" } else { b"}" });
    }
}
