//! One document to one policy: its name, its rules and the ties between them, its checks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{PolicyName, Reason, RuleId};

use super::parts::{self, check_name, method_error};
use super::rule;
use super::sets::HostSets;
use crate::check::{Check, CheckRequest};
use crate::conflict::{MAX_SETTING_RULES, SetConflict, mixed, set_conflicts, ties};
use crate::document::{AppliesTo, CheckEntry, Document, Expect, Mode, Spanned, place};
use crate::policy::Policy;
use crate::problem::{Place, Reporter, code, quote};
use crate::rule::Rule;
use crate::selector::Selector;
use crate::verdict::Verdict;

/// Compiles what can be compiled, and reports the rest.
pub(super) fn compile(document: &Document, file: &str, reporter: &mut Reporter<'_>) -> Policy {
    let name = PolicyName::new(document.policy.value.as_str());
    check_name("policy", name.as_str(), place(&document.policy), reporter);
    let until = document.until.as_ref().and_then(|until| parts::until(until, reporter));
    let observe = document.mode.as_ref().is_some_and(|mode| mode.value == Mode::Observe);
    let ceiling = document.ceiling.as_ref().is_some_and(|ceiling| ceiling.value);
    report_mode(document, reporter);
    let applies_to = document.applies_to.as_ref().map(|selector| compile_selector(selector, reporter));
    let mut sets = HostSets::compile(&document.hosts, reporter);
    let ids = claim_ids(document, reporter);
    let file: Arc<str> = file.into();
    let context = rule::Context { policy: &name, file: &file, ceiling, until };
    let mut rules = Vec::new();
    let mut places = Vec::new();
    for entry in &document.rules {
        if let Some(rule) = rule::compile(&context, entry, &mut sets, reporter) {
            rules.push(Arc::new(rule));
            places.push(place(&entry.id));
        }
    }
    sets.report_unused(reporter);
    report_contradictions(&rules, &places, reporter);
    let checks = document.checks.iter().filter_map(|entry| check_of(entry, &ids, reporter)).collect();
    let (place, description) = (place(&document.policy), document.description.clone());
    Policy { name, file, place, description, observe, ceiling, until, applies_to, rules, checks }
}

/// An observing policy must end, and a ceiling enforces.
fn report_mode(document: &Document, reporter: &mut Reporter<'_>) {
    let Some(mode) = document.mode.as_ref().filter(|mode| mode.value == Mode::Observe) else { return };
    if document.until.is_none() {
        let message = "a policy that observes lets through what no rule allows, so it must have an end";
        let help = "add `until:` with a day such as 2027-01-31";
        reporter.error(code::ENDLESS_OBSERVE, place(mode), message, help);
    }
    if document.ceiling.as_ref().is_some_and(|ceiling| ceiling.value) {
        let message = "a ceiling is over other policies, and one that only observes holds nothing back";
        reporter.error(code::CEILING, place(mode), message, "remove `mode`, or remove `ceiling`");
    }
}

fn compile_selector(selector: &Spanned<AppliesTo>, reporter: &mut Reporter<'_>) -> Selector {
    let AppliesTo { tenants, agents, labels } = &selector.value;
    if tenants.is_none() && agents.is_none() && labels.is_none() {
        let message = "`applies_to` selects nothing";
        let help = "name `tenants`, `agents` or `labels`; to select every session, write `tenants: \"*\"`";
        reporter.error(code::SELECTOR, place(selector), message, help);
    }
    let labels = labels.as_ref().map(|labels| {
        let mut selected = BTreeMap::new();
        for (name, values) in &labels.value.0 {
            selected.insert(name.value.as_str().into(), parts::text_patterns(&name.value, values, reporter));
        }
        if selected.is_empty() {
            reporter.error(code::SELECTOR, place(labels), "`labels` names none", "write `labels: {name: value}`");
        }
        selected
    });
    Selector {
        tenants: tenants.as_ref().map(|list| parts::text_patterns("tenants", list, reporter)),
        agents: agents.as_ref().map(|list| parts::text_patterns("agents", list, reporter)),
        labels,
    }
}

/// The ids of all rules, with the place of each.
fn claim_ids<'a>(document: &'a Document, reporter: &mut Reporter<'_>) -> HashMap<&'a str, Place> {
    let mut ids = HashMap::new();
    for entry in &document.rules {
        let (id, at) = (entry.id.value.as_str(), place(&entry.id));
        check_name("rule", id, at, reporter);
        let first = *ids.entry(id).or_insert(at);
        if first != at {
            let message = format!("rule {} is already defined on line {}", quote(id), first.line);
            reporter.error(code::DUPLICATE_RULE, at, message, "give each rule an id of its own; records name it");
        }
    }
    ids
}

fn report_contradictions(rules: &[Arc<Rule>], places: &[Place], reporter: &mut Reporter<'_>) {
    let ties = ties(rules);
    if let Some(at) = ties.unsearched {
        let message =
            format!("rule `{}` is like too many others of its host: they cannot be searched for ties", rules[at].id);
        let help = "give the rules that give the same to a request one rule with a list of paths, tools or values";
        reporter.error(code::BUDGET, places[at], message, help);
    }
    for (first, second) in ties.pairs {
        let message = format!(
            "rules `{}` (line {}) and `{}` can match one request, rank equal and differ in what they give",
            rules[first].id, places[first].line, rules[second].id
        );
        let help = "make one of them more exact in host, path, methods or ports, or give both the same effect";
        reporter.error(code::TIE, places[second], message, help);
    }
    report_set_conflicts(rules, places, reporter);
    for (passing, reading) in mixed(rules) {
        let message = format!(
            "rule `{}` (line {}) passes a host and port through unread, and rule `{}` must read it",
            rules[passing].id, places[passing].line, rules[reading].id
        );
        let help = "read it in both, or name hosts and ports that do not overlap";
        reporter.error(code::MIXED, places[reading], message, help);
    }
}

/// Every matching rule's `set` applies, so no rank can settle which value a header gets.
fn report_set_conflicts(rules: &[Arc<Rule>], places: &[Place], reporter: &mut Reporter<'_>) {
    let setting: Vec<usize> = (0..rules.len()).filter(|at| !rules[*at].set.is_empty()).collect();
    if let Some(last) = setting.get(MAX_SETTING_RULES) {
        let message = format!("more than {MAX_SETTING_RULES} rules of one policy have `set`");
        let help = "set the header in fewer rules that cover more, for example one for each host";
        return reporter.error(code::SET_CONFLICT, places[*last], message, help);
    }
    let compared: Vec<&Rule> = setting.iter().map(|at| &*rules[*at]).collect();
    let conflicts = set_conflicts(&compared);
    if let Some(last) = setting.last().filter(|_| conflicts.is_unfinished) {
        let message = "the rules with `set` of this policy are too large to be compared";
        let help = "set the header in fewer rules that cover more, for example one for each host";
        return reporter.error(code::SET_CONFLICT, places[*last], message, help);
    }
    for SetConflict { first, second, header } in conflicts.pairs {
        let (first, second) = (setting[first], setting[second]);
        let message = format!(
            "rules `{}` (line {}) and `{}` can match one request and set the header `{header}` to different values",
            rules[first].id, places[first].line, rules[second].id
        );
        let help = "give both the same value, or let them match different requests";
        reporter.error(code::SET_CONFLICT, places[second], message, help);
    }
}

/// One check; the ids are those of the rules that it may name.
pub(crate) fn check_of(entry: &CheckEntry, ids: &HashMap<&str, Place>, reporter: &mut Reporter<'_>) -> Option<Check> {
    if let Some(rule) = entry.rule.as_ref().filter(|rule| !ids.contains_key(rule.value.as_str())) {
        let message = format!("no rule of this policy has the id {}", quote(&rule.value));
        reporter.error(code::CHECK_RULE, place(rule), message, "a check is judged with its own policy alone");
    }
    let code = entry.code.as_ref().and_then(|code| {
        let known = Reason::from_code(&code.value);
        if known.is_none() {
            let message = format!("{} is not the code of a refusal", quote(&code.value));
            reporter.error(code::CHECK_REQUEST, place(code), message, "write such as denied_host or denied_path");
        }
        known
    });
    let when = entry.at.as_ref().and_then(|when| parts::until(when, reporter));
    let at = place(&entry.request);
    let request = CheckRequest::parse(&entry.request.value)
        .and_then(|request| method_error(request.method()).map_or(Ok(request), Err))
        .map_err(|why| reporter.error(code::CHECK_REQUEST, at, why, "write the request as `GET https://host/path`"))
        .ok()?;
    Some(Check {
        request: CheckRequest {
            tool: entry.tool.as_ref().map(|tool| tool.value.clone()),
            websocket: entry.upgrade.is_some(),
            at: when,
            ..request
        },
        expect: match entry.expect {
            Expect::Allow => Verdict::Allow,
            Expect::Ask => Verdict::Ask,
            Expect::Deny => Verdict::Deny,
            Expect::Observe => Verdict::Observe,
        },
        rule: entry.rule.as_ref().map(|rule| RuleId::new(rule.value.as_str())),
        code,
        failure: reporter.problem(code::CHECK_FAILED, at, String::new(), None),
    })
}
