//! Policies that no session can have together, found when files are checked.

use std::collections::BTreeMap;

use egret_policies::{PolicySource, Severity, Subject, compile, conflict_of, conflicting_pairs};
use model::TenantId;

use crate::support::sources;

fn pairs(texts: &[&str]) -> Vec<String> {
    let sources = sources(texts);
    let set = compile(&sources).unwrap();
    let found = conflicting_pairs(&set, &sources);
    assert!(found.iter().all(|problem| problem.severity == Severity::Warning && problem.code == "EG0053"));
    found
        .iter()
        .map(|problem| format!("{}:{}:{} {}", problem.file, problem.line, problem.column, problem.message))
        .collect()
}

fn policy(name: &str, rest: &str) -> String {
    format!("policy: {name}\nrules:\n  - {rest}\n")
}

#[test]
fn each_kind_of_conflict_between_two_files_is_reported_once_at_its_rule() {
    let plain = policy("a", "{id: one, allow: {host: a.example.com, methods: [GET]}}");
    for (other, expected) in [
        (
            "{id: two, allow: {host: a.example.com, methods: [GET]}, use: [token]}",
            "no session can have both policy `a` and policy `b`: rule `one` of policy `a` and rule `two` of policy `b` can match one request, rank equal and differ in what they give",
        ),
        (
            "{id: two, allow: {host: \"*.example.com\"}, tls: pass-through}",
            "no session can have both policy `a` and policy `b`: rule `two` of policy `b` passes a host and port through unread, and rule `one` of policy `a` must read it",
        ),
    ] {
        let found = pairs(&[&plain, &policy("b", other)]);
        assert_eq!(found, [format!("1.yaml:3:10 {expected}")], "{other}");
    }
    let team = |value: &str| format!("{{id: one, allow: {{host: a.example.com}}, set: {{X-Team: {value}}}}}");
    let ceiling = policy("b", &team("red")).replace("rules:", "ceiling: true\nrules:");
    let found = pairs(&[&policy("a", &team("blue")), &ceiling]);
    let expected = "no session can have both policy `a` and policy `b`: rule `one` of policy `a` and rule `one` of policy `b` can match one request and set the header `x-team` to different values";
    assert_eq!(found, [format!("1.yaml:4:10 {expected}")]);
    assert!(pairs(&[&policy("a", &team("blue")), &ceiling.replace("red", "blue")]).is_empty());
}

#[test]
fn policies_that_never_meet_in_one_session_are_silent() {
    let rule = |name: &str, used: &str, head: &str| {
        policy(name, &format!("{{id: one, allow: {{host: a.example.com}}, use: [{used}]}}"))
            .replace("rules:", &format!("{head}rules:"))
    };
    let to = |tenant: &str| format!("applies_to: {{tenants: [{tenant}]}}\n");
    assert!(pairs(&[&rule("a", "x", &to("red")), &rule("b", "y", &to("blue"))]).is_empty());
    assert_eq!(pairs(&[&rule("a", "x", &to("red")), &rule("b", "y", "")]).len(), 1);
    let observing = "mode: observe\nuntil: 2099-01-01\n";
    assert!(pairs(&[&rule("a", "x", observing), &rule("b", "y", "")]).is_empty());
    assert_eq!(pairs(&[&rule("a", "x", observing), &rule("b", "y", observing)]).len(), 1);
    // The same capability in both does not conflict.
    assert!(pairs(&[&rule("a", "x", ""), &rule("b", "x", "")]).is_empty());
}

#[test]
fn the_combination_of_a_known_session_is_an_error() {
    let a = policy("a", "{id: one, allow: {host: a.example.com}, use: [x]}");
    let b = policy("b", "{id: two, allow: {host: a.example.com}, use: [y]}");
    let sources: Vec<PolicySource> = sources(&[&a, &b]);
    let set = compile(&sources).unwrap();
    let (tenant, labels) = (TenantId::default(), BTreeMap::new());
    let of = |policies: &[model::PolicyName]| {
        let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies };
        conflict_of(&set, &sources, &subject, "`sessions.default`")
    };
    assert_eq!(of(&["a".into()]), None);
    let problem = of(&["a".into(), "b".into()]).unwrap();
    assert_eq!((problem.severity, problem.file.as_str(), problem.line), (Severity::Error, "1.yaml", 3));
    assert!(problem.message.starts_with("the policies of `sessions.default` cannot be used together: rule `one`"));
}
