//! An explanation as text and as JSON.

use std::fmt;
use std::time::Duration;

use model::Reason;
use model::limits::print_bytes;
use serde_json::{Value, json};

use super::{
    CeilingReport, ClientAuthReport, ClosestRule, Explanation, Given, ObserverReport, OverriddenRule, ReadingReport,
    RulePlace,
};
use crate::question::Question;
use crate::rule::{Limits, Timeouts};

/// The request as `METHOD URL`.
pub(super) fn request(question: &Question<'_>) -> String {
    let destination = question.destination;
    let target = question.path.target();
    let space = if target == "*" { " " } else { "" };
    let url = format!("{}://{}{space}{target}", destination.scheme().as_str(), destination.authority());
    let upgrade = if question.websocket { ", WebSocket handshake" } else { "" };
    let tool = question.tool.map(|tool| format!(", tool {tool}")).unwrap_or_default();
    format!("{} {url}{upgrade}{tool}", question.method)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        writeln!(f, "{}", self.decision)?;
        if let Some(detail) = &self.detail {
            writeln!(f, "  cause: {detail}")?;
        }
        if self.not_relayed {
            writeln!(f, "  not relayed yet: this version answers every WebSocket handshake with 403 denied_upgrade")?;
        }
        if let Some(message) = &self.author_message {
            writeln!(f, "  its author says: {message}")?;
        }
        if let Some(timeout) = self.approval_timeout {
            writeln!(f, "  within: {}, without effect: there are no approvals yet", span(timeout))?;
        }
        if let Some(given) = &self.given {
            write!(f, "{given}")?;
        }
        if let Some(closest) = &self.closest {
            writeln!(f, "nearest: {closest}")?;
        }
        if self.ambiguous {
            writeln!(f, "the path is ambiguous: it has a dot segment, a backslash or more than one kind of ambiguity")?;
        }
        section(f, "parsers read the path differently, and every reading must get the same rule:", &self.readings)?;
        section(f, "other rules that match:", &self.others)?;
        section(f, "ceilings:", &self.ceilings)?;
        section(f, "policies that only observe:", &self.would_deny)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn section<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, lines: &[T]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.credentials.iter().map(|credential| credential.as_str()).collect();
        writeln!(f, "  credentials: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })?;
        if self.addresses.is_empty() {
            writeln!(f, "  addresses: every globally routable one")?;
        }
        for (rule, nets) in &self.addresses {
            let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
            writeln!(f, "  addresses: {} by rule {rule}", nets.join(", "))?;
        }
        for (name, value) in &self.set {
            writeln!(f, "  sets {name}: {value}")?;
        }
        if let Some(client_auth) = &self.client_auth {
            writeln!(f, "  {client_auth}")?;
        }
        for (name, value) in limits(&self.limits).into_iter().chain(timeouts(&self.timeouts)) {
            if let Some(value) = value {
                writeln!(f, "  {name}: {value}")?;
            }
        }
        self.until.map_or(Ok(()), |until| writeln!(f, "  until: {until}"))
    }
}

impl fmt::Display for ClientAuthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { with_credential, without_credential, elsewhere, pass, also } = self;
        write!(
            f,
            "client authentication: {} with a credential, {} without one at a host of the session's credentials, {} elsewhere",
            with_credential.as_str(),
            without_credential.as_str(),
            elsewhere.as_str(),
        )?;
        if !pass.is_empty() {
            write!(f, "; passes {}", pass.join(", "))?;
        }
        if also.is_empty() { Ok(()) } else { write!(f, "; also {}", also.join(", ")) }
    }
}

impl fmt::Display for ReadingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: ", self.reading, self.path)?;
        match &self.rule {
            Some(rule) => write!(f, "{} by rule {rule}", rule.effect),
            None => f.write_str("no rule matches"),
        }
    }
}

impl fmt::Display for OverriddenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by rule {}: {}", self.rule.effect, self.rule, self.why)
    }
}

impl fmt::Display for CeilingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.policy, self.verdict.as_str())?;
        if let Some(rule) = &self.rule {
            write!(f, " by rule {rule}")?;
        }
        self.closest.as_ref().map_or(Ok(()), |closest| write!(f, "; nearest: {closest}"))
    }
}

impl fmt::Display for ObserverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` would have said {} ({})", self.policy, self.verdict.as_str(), self.code)?;
        self.rule.as_ref().map_or(Ok(()), |rule| write!(f, " by rule {rule}"))
    }
}

impl fmt::Display for ClosestRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} {}", self.rule, self.unmet_conditions)
    }
}

/// A span of time as policies write it: in the largest unit that gives a whole number.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    if span.subsec_nanos() != 0 {
        return format!("{}ms", span.as_millis());
    }
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let unit = units.into_iter().find(|(_, factor)| seconds > 0 && seconds.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{seconds}s"), |(name, factor)| format!("{}{name}", seconds / factor))
}

fn limits(limits: &Limits) -> Vec<(&'static str, Option<String>)> {
    let bytes = |value: Option<u64>| value.map(print_bytes);
    vec![
        ("requests", limits.requests.map(|rate| rate.to_string())),
        ("concurrent", limits.concurrent.map(|number| number.to_string())),
        ("request_body", bytes(limits.request_body)),
        ("response_body", bytes(limits.response_body)),
        ("bytes_out", bytes(limits.bytes_out)),
    ]
}

fn timeouts(timeouts: &Timeouts) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("connect", timeouts.connect.map(span)),
        ("first_byte", timeouts.first_byte.map(span)),
        ("idle", timeouts.idle.map(span)),
    ]
}

impl Explanation {
    /// The explanation as JSON; times are in milliseconds, sizes in bytes.
    pub fn to_json(&self) -> Value {
        let closest = |closest: &Option<ClosestRule>| closest.as_ref().map(ClosestRule::to_json);
        let place = |rule: &Option<RulePlace>| rule.as_ref().map(RulePlace::to_json);
        let readings: Vec<Value> = self
            .readings
            .iter()
            .map(|report| json!({ "reading": report.reading, "path": report.path, "rule": place(&report.rule) }))
            .collect();
        let others: Vec<Value> = self
            .others
            .iter()
            .map(|overridden| json!({ "rule": overridden.rule.to_json(), "why": overridden.why }))
            .collect();
        let ceilings: Vec<Value> = self
            .ceilings
            .iter()
            .map(|report| {
                json!({
                    "policy": report.policy.as_str(),
                    "decision": report.verdict.as_str(),
                    "rule": place(&report.rule),
                    "nearest": closest(&report.closest),
                })
            })
            .collect();
        let would_deny: Vec<Value> = self
            .would_deny
            .iter()
            .map(|report| {
                json!({
                    "policy": report.policy.as_str(),
                    "decision": report.verdict.as_str(),
                    "code": Reason::code(report.code),
                    "rule": place(&report.rule),
                })
            })
            .collect();
        json!({
            "request": self.request,
            "decision": self.decision.verdict.as_str(),
            "code": self.decision.code.map(Reason::code),
            "rule": place(&self.decision.rule),
            "policy": self.decision.policy.as_ref().map(|policy| policy.as_str()),
            "unread": self.decision.unread,
            "not_relayed": self.not_relayed,
            "detail": self.detail,
            "reason": self.author_message,
            "within_ms": self.approval_timeout.map(millis),
            "permit": self.given.as_ref().map(Given::to_json),
            "readings": readings,
            "ambiguous": self.ambiguous,
            "others": others,
            "ceilings": ceilings,
            "observed": would_deny,
            "nearest": closest(&self.closest),
            "warnings": self.warnings,
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl ClosestRule {
    fn to_json(&self) -> Value {
        json!({ "rule": self.rule.to_json(), "words": self.unmet_conditions })
    }
}

impl Given {
    fn to_json(&self) -> Value {
        let credentials: Vec<&str> = self.credentials.iter().map(|credential| credential.as_str()).collect();
        let bound = |(rule, nets): &(RulePlace, Vec<ipnet::IpNet>)| {
            let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
            json!({ "rule": rule.to_json(), "ranges": nets })
        };
        json!({
            "credentials": credentials,
            "addresses": self.addresses.iter().map(bound).collect::<Vec<_>>(),
            "set": self.set.iter().cloned().collect::<std::collections::BTreeMap<String, String>>(),
            "client_auth": self.client_auth.as_ref().map(|report| json!({
                "with_credential": report.with_credential.as_str(),
                "without_credential": report.without_credential.as_str(),
                "elsewhere": report.elsewhere.as_str(),
                "pass": report.pass,
                "also": report.also,
            })),
            "restricted_by": self.restricted_by.iter().map(RulePlace::to_json).collect::<Vec<_>>(),
            "limits": {
                "requests": self.limits.requests.map(|rate| json!({ "count": rate.count, "per_ms": millis(rate.per) })),
                "concurrent": self.limits.concurrent,
                "request_body": self.limits.request_body,
                "response_body": self.limits.response_body,
                "bytes_out": self.limits.bytes_out,
            },
            "timeouts_ms": {
                "connect": self.timeouts.connect.map(millis),
                "first_byte": self.timeouts.first_byte.map(millis),
                "idle": self.timeouts.idle.map(millis),
            },
            "until": self.until.map(|until| until.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_policies_write_them() {
        for (millis, told) in
            [(500, "500ms"), (1_500, "1500ms"), (10_000, "10s"), (90_000, "90s"), (300_000, "5m"), (86_400_000, "1d")]
        {
            assert_eq!(span(Duration::from_millis(millis)), told);
        }
    }
}
