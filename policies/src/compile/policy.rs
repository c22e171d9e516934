//! One document to one policy: its name, its rules and the ties between them, its checks.

use std::collections::HashMap;
use std::sync::Arc;

use model::{PolicyName, RuleId};

use super::parts::{check_name, method_error};
use super::rule;
use super::sets::HostSets;
use crate::checks::{Check, CheckRequest};
use crate::combine::Policy;
use crate::conflict::ties;
use crate::document::{CheckEntry, Document, Expect, Mode, place};
use crate::problem::{Place, Reporter, code, quote};
use crate::rule::Rule;

/// Compiles what can be compiled, and reports the rest.
pub(super) fn compile(document: &Document, reporter: &mut Reporter<'_>) -> Policy {
    let name = PolicyName::new(document.policy.value.as_str());
    check_name("policy", name.as_str(), place(&document.policy), reporter);
    if let Some(mode) = document.mode.as_ref().filter(|mode| mode.value == Mode::Observe) {
        let help = "leave `mode` out, or write `enforce`";
        reporter.error(code::NOT_AVAILABLE, place(mode), "`mode: observe` is not available yet", help);
    }
    let mut sets = HostSets::compile(&document.hosts, reporter);
    let ids = claim_ids(document, reporter);
    let mut rules = Vec::new();
    let mut places = Vec::new();
    for entry in &document.rules {
        if let Some(rule) = rule::compile(&name, entry, &mut sets, reporter) {
            rules.push(Arc::new(rule));
            places.push(place(&entry.id));
        }
    }
    sets.report_unused(reporter);
    report_ties(&rules, &places, reporter);
    let checks = document.checks.iter().filter_map(|entry| compile_check(entry, &ids, reporter)).collect();
    Policy { name, description: document.description.clone(), rules, checks }
}

/// The ids of all rules, with the line of each.
fn claim_ids<'a>(document: &'a Document, reporter: &mut Reporter<'_>) -> HashMap<&'a str, usize> {
    let mut ids = HashMap::new();
    for entry in &document.rules {
        let (id, at) = (entry.id.value.as_str(), place(&entry.id));
        check_name("rule", id, at, reporter);
        let first = *ids.entry(id).or_insert(at.line);
        if first != at.line {
            let message = format!("rule {} is already defined on line {first}", quote(id));
            reporter.error(code::DUPLICATE_RULE, at, message, "give each rule an id of its own; records name it");
        }
    }
    ids
}

fn report_ties(rules: &[Arc<Rule>], places: &[Place], reporter: &mut Reporter<'_>) {
    for (first, second) in ties(rules) {
        let message = format!(
            "rules `{}` (line {}) and `{}` can match one request, rank equal and differ in `use` or `addresses`",
            rules[first].id, places[first].line, rules[second].id
        );
        let help = "make one of them more exact in host, path, methods or ports, or give both the same effect";
        reporter.error(code::TIE, places[second], message, help);
    }
}

fn compile_check(entry: &CheckEntry, ids: &HashMap<&str, usize>, reporter: &mut Reporter<'_>) -> Option<Check> {
    if let Some(rule) = entry.rule.as_ref().filter(|rule| !ids.contains_key(rule.value.as_str())) {
        let message = format!("no rule of this policy has the id {}", quote(&rule.value));
        reporter.error(code::CHECK_RULE, place(rule), message, "a check is judged with its own policy alone");
    }
    let at = place(&entry.request);
    let request = CheckRequest::parse(&entry.request.value)
        .and_then(|request| method_error(request.method()).map_or(Ok(request), Err))
        .map_err(|why| reporter.error(code::CHECK_REQUEST, at, why, "write the request as `GET https://host/path`"))
        .ok()?;
    Some(Check {
        request,
        allow: entry.expect == Expect::Allow,
        rule: entry.rule.as_ref().map(|rule| RuleId::new(rule.value.as_str())),
        failure: reporter.problem(code::CHECK_FAILED, at, String::new(), None),
    })
}
