//! Files of checks (`*.test.yaml`): the expected answers to a session with certain policies, and which rules no check
//! reaches.

use std::collections::BTreeMap;

use model::{PolicyName, RuleId, TenantId, Timestamp};

use crate::checks::CheckResult;
use crate::combine::PolicySet;
use crate::compile::{PolicySource, check_of};
use crate::document::{OneOrMany, Scalar, Spanned, SuiteDocument, SuiteSession};
use crate::parse::parse_suite;
use crate::problem::{Place, Problem, Reporter, code, quote};
use crate::selector::Subject;

/// A rule, and how many checks end at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The policy.
    pub policy: PolicyName,
    /// The rule's `id`.
    pub rule: RuleId,
    /// The file, as its source named it.
    pub file: String,
    /// The line of the `id`, counted from 1.
    pub line: usize,
    /// How many checks it decides.
    pub checks: usize,
}

/// Runs a file of checks against a set. Each result names the policy whose rule decides, or the first that the file
/// names where none does.
///
/// # Errors
/// What is wrong with the file, or with the policies that it names together.
pub fn run_suite(source: &PolicySource, set: &PolicySet, now: Timestamp) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let mut reporter = Reporter::new(&source.name, &source.text);
    let results = parse_suite(&mut reporter).and_then(|suite| run(&suite, set, now, &mut reporter));
    match results {
        Some(results) if !reporter.has_errors() => Ok(results),
        _ => Err(reporter.into_problems()),
    }
}

fn run(
    suite: &SuiteDocument,
    set: &PolicySet,
    now: Timestamp,
    reporter: &mut Reporter<'_>,
) -> Option<Vec<CheckResult>> {
    let named = policies_of(suite);
    let at = named.first().map_or(suite.place, |(_, at)| *at);
    let policies: Vec<PolicyName> = named.iter().map(|(name, _)| PolicyName::new(name.as_str())).collect();
    for (name, at) in &named {
        if set.names().all(|own| own.as_str() != name) {
            let message = format!("policy {} is not loaded", quote(name));
            reporter.error(code::CHECK_RULE, *at, message, "name a policy by the value of its `policy:` key");
        }
    }
    let rules = match &suite.session {
        None if policies.is_empty() => {
            let help = "add `policy: name`, `policies: [..]`, or a `session` that policies apply to";
            reporter.error(code::MISSING_KEY, suite.place, "the file does not say what it checks", help);
            return None;
        }
        _ if reporter.has_errors() => return None,
        None => set.rules_for_policies(&policies),
        Some(session) => {
            let labels = labels_of(&session.value, reporter)?;
            let tenant = session.value.tenant.as_ref().map_or("default", |tenant| tenant.value.as_str());
            let agent = session.value.agent.as_ref().map(|agent| agent.value.as_str());
            let subject = Subject { tenant: &TenantId::new(tenant), agent, labels: &labels, policies: &policies };
            set.rules_for_session(&subject)
        }
    };
    let rules = rules
        .map_err(|why| reporter.error(code::CHECK_RULE, at, why.to_string(), "change what the checks are about"))
        .ok()?;
    let ids =
        set.policies().flat_map(|policy| &policy.rules).map(|rule| (rule.id.as_str(), Place::default())).collect();
    let checks: Vec<_> = suite.checks.iter().filter_map(|entry| check_of(entry, &ids, reporter)).collect();
    if suite.checks.is_empty() {
        reporter.error(code::EMPTY_LIST, suite.place, "the file has no check", "add `checks:` with an entry");
    }
    let first = policies.first().cloned().unwrap_or_else(|| PolicyName::new("session"));
    let judged = checks.iter().map(|check| {
        let answer = check.request.judge(&rules, now);
        let policy = match &answer {
            Ok(permit) => Some(permit.policy().clone()),
            Err(denied) => denied.policy.clone(),
        };
        check.run(&policy.unwrap_or_else(|| first.clone()), &rules, now)
    });
    Some(judged.collect())
}

fn policies_of(suite: &SuiteDocument) -> Vec<(String, Place)> {
    let one = suite.policy.iter().map(|name| (name.value.clone(), name.place));
    let several = suite.policies.iter().flat_map(OneOrMany::items).map(|(value, at)| (text_of(value), at));
    one.chain(several).collect()
}

fn text_of(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) | Scalar::Other(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
    }
}

fn labels_of(session: &SuiteSession, reporter: &mut Reporter<'_>) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, value) in session.labels.iter().flat_map(|labels: &Spanned<_>| &labels.value.0) {
        let OneOrMany::One(one) = &value.value else {
            let message = format!("the label {} of a session has one value", quote(&name.value));
            reporter.error(code::WRONG_TYPE, value.place, message, "write `labels: {name: value}`");
            return None;
        };
        labels.insert(name.value.clone(), text_of(one));
    }
    Some(labels)
}

/// How many of these checks each rule of the set decides, in the order of policies and of their files.
pub fn coverage(set: &PolicySet, results: &[CheckResult]) -> Vec<Coverage> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for result in results {
        if let Some(rule) = &result.actual.rule {
            *counts.entry((result.policy.as_str(), rule.as_str())).or_default() += 1;
        }
    }
    let rules = set.policies().flat_map(|policy| &policy.rules);
    rules
        .map(|rule| Coverage {
            policy: rule.policy.clone(),
            rule: rule.id.clone(),
            file: rule.origin.file.to_string(),
            line: rule.origin.line,
            checks: counts.get(&(rule.policy.as_str(), rule.id.as_str())).copied().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;

    const POLICIES: [&str; 3] = [
        "policy: a\nrules:\n  - {id: read, allow: {host: a.example.com, methods: [GET]}}\n  - {id: idle, allow: {host: idle.example.com}}\n",
        "policy: b\nrules:\n  - {id: never, deny: {host: a.example.com, path: /secret}}\n",
        "policy: team\napplies_to: {labels: {team: blue}}\nrules:\n  - {id: blue, allow: {host: blue.example.com}}\n",
    ];

    fn source(name: &str, text: &str) -> PolicySource {
        PolicySource { name: name.into(), text: text.into() }
    }

    fn set() -> PolicySet {
        let sources: Vec<_> = POLICIES.iter().enumerate().map(|(n, text)| source(&format!("{n}.yaml"), text)).collect();
        compile(&sources).unwrap()
    }

    fn run(text: &str) -> Result<Vec<CheckResult>, Vec<Problem>> {
        run_suite(&source("a.test.yaml", text), &set(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn checks_of_several_policies_are_judged_together() {
        let text = "policies: [a, b]\nchecks:\n  - {request: GET https://a.example.com/, expect: allow, rule: read}\n  - {request: GET https://a.example.com/secret, expect: deny, rule: never, code: denied_path}\n  - {request: POST https://a.example.com/, expect: allow}\n";
        let results = run(text).unwrap();
        let passed: Vec<bool> = results.iter().map(CheckResult::passed).collect();
        assert_eq!(passed, [true, true, false]);
        assert_eq!(results[1].policy.as_str(), "b");
        let problem = results[2].problem.clone().unwrap();
        assert_eq!((problem.code, problem.line, problem.file.as_str()), ("EG0030", 5, "a.test.yaml"));
        let counts: Vec<usize> = coverage(&set(), &results).iter().map(|rule| rule.checks).collect();
        assert_eq!(counts, [1, 0, 1, 0]);
    }

    #[test]
    fn checks_of_a_session_see_what_applies_to_it() {
        let checks = "checks:\n  - {request: GET https://blue.example.com/, expect: allow, rule: blue}\n  - {request: GET https://a.example.com/, expect: allow}\n";
        let results =
            run(&format!("policy: a\nsession: {{tenant: acme, agent: bot, labels: {{team: blue}}}}\n{checks}"));
        assert!(results.unwrap().iter().all(CheckResult::passed));
        let results = run(&format!("policy: a\nsession: {{labels: {{team: red}}}}\n{checks}"));
        assert!(!results.unwrap()[0].passed());
    }

    #[test]
    fn what_is_wrong_with_a_file_of_checks_is_told() {
        let codes = |text: &str| run(text).unwrap_err().iter().map(|problem| problem.code).collect::<Vec<_>>();
        let check = "checks: [{request: GET https://a.example.com/, expect: allow}]\n";
        assert_eq!(codes(check), ["EG0007"]);
        assert_eq!(codes(&format!("policy: none\n{check}")), ["EG0029"]);
        assert_eq!(codes("policy: a\nchecks: []\n"), ["EG0015"]);
        assert_eq!(codes(&format!("policy: a\nrules: []\n{check}")), ["EG0006"]);
        assert_eq!(codes("policy: a\nchecks: [{request: GET a, expect: allow, rule: none}]\n"), ["EG0029", "EG0028"]);
        assert_eq!(codes(&format!("policies: [team]\nsession: {{labels: {{team: red}}}}\n{check}")), ["EG0029"]);
    }
}
