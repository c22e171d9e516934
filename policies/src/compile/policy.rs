//! One document to one policy: names, host sets, rules, ties between them, checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{PolicyName, RuleId};
use serde_saphyr::Location;

use super::rule;
use crate::checks::{Check, CheckRequest};
use crate::combine::Policy;
use crate::conflict::ties;
use crate::document::{CheckEntry, Document, Expect, Mode, OneOrMany};
use crate::pattern::HostPattern;
use crate::problem::{Reporter, code};
use crate::rule::Rule;

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The host sets of a policy, with the marks of which are used.
#[derive(Debug, Default)]
pub(super) struct HostSets<'a> {
    sets: BTreeMap<&'a str, HostSet>,
}

#[derive(Debug)]
struct HostSet {
    patterns: Vec<HostPattern>,
    at: Location,
    used: bool,
}

/// Compiles what can be compiled, and reports the rest.
pub(super) fn compile(document: &Document, reporter: &mut Reporter<'_>) -> Policy {
    let name = PolicyName::new(document.policy.value.as_str());
    check_name("policy", &document.policy.value, document.policy.referenced, reporter);
    if let Some(mode) = &document.mode
        && mode.value == Mode::Observe
    {
        reporter.error(
            code::NOT_AVAILABLE,
            mode.referenced,
            "`mode: observe` is not available yet",
            "leave `mode` out, or write `enforce`",
        );
    }
    let mut sets = HostSets::compile(document, reporter);
    let mut rules = Vec::new();
    let mut places = Vec::new();
    let mut ids: HashMap<&str, u64> = HashMap::new();
    for entry in &document.rules {
        check_name("rule", &entry.id.value, entry.id.referenced, reporter);
        if let Some(line) = ids.insert(&entry.id.value, entry.id.referenced.line()) {
            let message = format!("rule `{}` is already defined on line {line}", entry.id.value);
            reporter.error(
                code::DUPLICATE_RULE,
                entry.id.referenced,
                message,
                "give each rule an id of its own; records name it",
            );
        }
        if let Some(rule) = rule::compile(&name, entry, &mut sets, reporter) {
            rules.push(Arc::new(rule));
            places.push(entry.id.referenced);
        }
    }
    sets.report_unused(reporter);
    report_ties(&rules, &places, reporter);
    let known: HashSet<&str> = ids.into_keys().collect();
    let checks = document.checks.iter().filter_map(|entry| compile_check(entry, &known, reporter)).collect();
    Policy { name, rules, checks }
}

/// Names stand in records, answers and commands: letters, digits and `-_.`, in a policy's name also `/`.
pub(super) fn check_name(what: &str, text: &str, at: Location, reporter: &mut Reporter<'_>) {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let fits = if what == "policy" { text.split('/').all(part) } else { part(text) };
    if !fits || text.len() > MAX_NAME_CHARS {
        let message = format!("`{text}` is no name for a {what}");
        let help = format!(
            "a name has letters, digits, `-`, `_` and `.`, begins with a letter or digit, and has at most {MAX_NAME_CHARS} characters"
        );
        reporter.error(code::BAD_NAME, at, message, help);
    }
}

impl<'a> HostSets<'a> {
    fn compile(document: &'a Document, reporter: &mut Reporter<'_>) -> Self {
        let mut sets = Self::default();
        for (name, hosts) in &document.hosts.0 {
            check_name("set of hosts", &name.value, name.referenced, reporter);
            let items = OneOrMany::items(hosts);
            if items.is_empty() {
                reporter.error(
                    code::EMPTY_LIST,
                    hosts.referenced,
                    format!("set `{}` is empty", name.value),
                    "name at least one host, or remove the set",
                );
            }
            let mut patterns = Vec::new();
            for (text, at) in items {
                if text.starts_with('@') {
                    reporter.error(
                        code::HOST_PATTERN,
                        at,
                        "a set cannot name another set",
                        "list the hosts themselves",
                    );
                } else if let Some(pattern) = rule::host_pattern(text, at, reporter) {
                    patterns.push(pattern);
                }
            }
            sets.sets.insert(&name.value, HostSet { patterns, at: name.referenced, used: false });
        }
        sets
    }

    /// The hosts of a set, which is in use from now on.
    pub(super) fn resolve(&mut self, name: &str) -> Option<&[HostPattern]> {
        let set = self.sets.get_mut(name)?;
        set.used = true;
        Some(&set.patterns)
    }

    /// The names of all sets, for a hint.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().copied()
    }

    fn report_unused(&self, reporter: &mut Reporter<'_>) {
        for (name, set) in self.sets.iter().filter(|(_, set)| !set.used) {
            reporter.warn(
                code::UNUSED_SET,
                set.at,
                format!("no rule uses the set `{name}`"),
                format!("refer to it as \"@{name}\", or remove it"),
            );
        }
    }
}

fn report_ties(rules: &[Arc<Rule>], places: &[Location], reporter: &mut Reporter<'_>) {
    for (first, second) in ties(rules) {
        let line = places[first].line();
        let (first, at, second) = (&rules[first].id, places[second], &rules[second].id);
        let message = format!(
            "rules `{first}` (line {line}) and `{second}` can match one request, rank equal and differ in `use` or `addresses`"
        );
        reporter.error(
            code::TIE,
            at,
            message,
            "make one of them more exact in host, path, methods or ports, or give both the same effect",
        );
    }
}

fn compile_check(entry: &CheckEntry, rules: &HashSet<&str>, reporter: &mut Reporter<'_>) -> Option<Check> {
    if let Some(rule) = &entry.rule
        && !rules.contains(rule.value.as_str())
    {
        reporter.error(
            code::CHECK_RULE,
            rule.referenced,
            format!("no rule of this policy has the id `{}`", rule.value),
            "a check is judged with its own policy alone",
        );
    }
    let at = entry.request.referenced;
    let request = CheckRequest::parse(&entry.request.value)
        .and_then(|request| rule::method_error(request.method()).map_or(Ok(request), Err));
    let request = match request {
        Ok(request) => request,
        Err(why) => {
            reporter.error(code::CHECK_REQUEST, at, why, "write the request as `GET https://host/path`");
            return None;
        }
    };
    Some(Check {
        request,
        allow: entry.expect == Expect::Allow,
        rule: entry.rule.as_ref().map(|rule| RuleId::new(rule.value.as_str())),
        failure: reporter.problem(code::CHECK_FAILED, at, String::new(), None),
    })
}
