//! Short ways to ask a policy.

use std::sync::Arc;

use egret_policies::{
    ConnectQuery, Denied, Passage, Permit, PolicySet, PolicySource, Problem, Question, Rules, compile,
};
use model::{Authority, Destination, Host, PolicyName, RequestPath, Scheme, Timestamp};
use proptest::prelude::ProptestConfig;

/// Sources named `0.yaml`, `1.yaml`, ..
pub(crate) fn sources(texts: &[&str]) -> Vec<PolicySource> {
    texts
        .iter()
        .enumerate()
        .map(|(n, text)| PolicySource { name: format!("{n}.yaml"), text: (*text).to_owned() })
        .collect()
}

/// Compiles texts that must be right.
pub(crate) fn set(texts: &[&str]) -> PolicySet {
    compile(&sources(texts)).unwrap_or_else(|problems| panic!("{}", list(&problems)))
}

/// The problems of texts that must be wrong.
pub(crate) fn problems(texts: &[&str]) -> Vec<Problem> {
    compile(&sources(texts)).expect_err("the policies have an error")
}

/// The codes of those problems, in their order.
pub(crate) fn codes(text: &str) -> Vec<&'static str> {
    problems(&[text]).iter().map(|problem| problem.code).collect()
}

/// All problems as they are shown.
pub(crate) fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The rules of all policies of the texts together.
pub(crate) fn rules(texts: &[&str]) -> Arc<Rules> {
    let set = set(texts);
    let names: Vec<PolicyName> = set.names().cloned().collect();
    set.rules_for_policies(&names).unwrap()
}

/// The rules of one policy `p` with these entries, in flow style or indented by two.
pub(crate) fn policy(rules: &str) -> Arc<Rules> {
    self::rules(&[&format!("policy: p\nrules:\n{rules}")])
}

/// Asks as the data path does: first for host and port, then for the request.
pub(crate) fn ask(rules: &Arc<Rules>, request: &str) -> Result<Permit, Denied> {
    let (method, url) = request.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let destination = Destination::of(scheme, Authority::parse(authority, true).unwrap());
    let path = match target {
        "/*server*" => RequestPath::asterisk(),
        _ => RequestPath::parse(if target.is_empty() { "/" } else { target }).unwrap(),
    };
    rules.judge(&question(&destination, method, &path)).answer
}

/// A question of no tool call, at the beginning of time.
pub(crate) fn question<'a>(destination: &'a Destination, method: &'a str, path: &'a RequestPath) -> Question<'a> {
    Question { destination, method, path, websocket: false, tool: None, now: Timestamp::UNIX_EPOCH }
}

/// The answer in one line: `allow rule`, `deny code` or `deny code rule`.
pub(crate) fn answer(rules: &Arc<Rules>, request: &str) -> String {
    match ask(rules, request) {
        Ok(permit) => permit.rule().map_or_else(|| "observe".to_owned(), |rule| format!("allow {rule}")),
        Err(Denied { reason, rule: None, .. }) => format!("deny {reason}"),
        Err(Denied { reason, rule: Some(rule), .. }) => format!("deny {reason} {rule}"),
    }
}

/// The answer to a CONNECT.
pub(crate) fn connect(rules: &Arc<Rules>, host: &str, port: u16) -> String {
    let host = Host::parse(host).unwrap();
    match rules.decide(&ConnectQuery { host: &host, port, now: Timestamp::UNIX_EPOCH }) {
        Ok(Passage::Intercept) => "Intercept".to_owned(),
        Ok(Passage::Tunnel(permit)) => format!("Tunnel {}", permit.rule().unwrap()),
        Err(Denied { reason, rule: None, .. }) => format!("deny {reason}"),
        Err(Denied { reason, rule: Some(rule), .. }) => format!("deny {reason} {rule}"),
    }
}

/// `PROPTEST_CASES` cases, or 256. A run of a million throws many away while it makes them.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { max_local_rejects: u32::MAX, max_global_rejects: u32::MAX, ..ProptestConfig::default() }
}
