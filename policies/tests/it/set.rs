//! The set of all policies: its digest, combinations, checks, the library.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret_policies::{Actual, CombineError, PolicySource, Subject, Verdict, compile, library};
use model::{PolicyName, Reason, TenantId, Timestamp};

use crate::support::{answer, connect, problems, rules, set};

const A: &str = "policy: a\nrules:\n  - {id: r, allow: {host: a.example}, use: [one]}\n";
const B: &str = "policy: b\nrules:\n  - {id: r, allow: {host: a.example}, use: [two]}\n";
const C: &str = "policy: c\ndescription: Closes what others open.\nrules:\n  - {id: never, deny: {host: a.example}}\n";

fn names(names: &[&str]) -> Vec<PolicyName> {
    names.iter().map(|name| PolicyName::from(*name)).collect()
}

#[test]
fn the_digest_is_of_the_contents_in_any_order() {
    let digest = set(&[A, B]).digest().clone();
    assert!(digest.as_str().starts_with("sha256:") && digest.as_str().len() == 7 + 64);
    assert_eq!(set(&[B, A]).digest(), &digest);
    assert_ne!(set(&[A]).digest(), &digest);
    assert_ne!(set(&[A, &B.replace("two", "three")]).digest(), &digest);
}

#[test]
fn policies_are_named_and_described() {
    let set = set(&[C, A]);
    assert_eq!(set.names().map(PolicyName::as_str).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(set.description(&"c".into()), Some("Closes what others open."));
    assert_eq!(set.description(&"a".into()), None);
}

#[test]
fn no_policies_allow_nothing() {
    let rules = set(&[A]).rules_for_policies(&[]).unwrap();
    assert_eq!(connect(&rules, "a.example", 443), "deny denied_host");
    assert!(rules.reach().is_empty());
}

#[test]
fn a_combination_is_made_once_and_is_the_same_in_any_order() {
    let set = set(&[A, C]);
    let (tenant, labels, both) = (TenantId::default(), BTreeMap::new(), names(&["a", "c"]));
    let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies: &both };
    let first = set.rules_for_session(&subject).unwrap();
    assert!(Arc::ptr_eq(&first, &set.rules_for_session(&subject).unwrap()));
    for order in [&["a", "c"][..], &["c", "a"], &["c", "a", "c"]] {
        assert_eq!(
            answer(&set.rules_for_policies(&names(order)).unwrap(), "GET https://a.example/"),
            "deny denied_host never"
        );
    }
    assert_eq!(answer(&set.rules_for_policies(&names(&["a"])).unwrap(), "GET https://a.example/"), "allow r");
    assert_eq!(first.snapshot(), set.digest());
}

#[test]
fn a_combination_with_an_unknown_policy_is_refused() {
    let error = set(&[A]).rules_for_policies(&names(&["a", "x"])).unwrap_err();
    assert_eq!(error, CombineError::UnknownPolicy("x".into()));
    assert_eq!(error.to_string(), "policy `x` is not loaded");
}

#[test]
fn a_combination_with_a_tie_is_refused() {
    let set = set(&[A, B]);
    let error = set.rules_for_policies(&names(&["b", "a"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule `r` of policy `a` and rule `r` of policy `b` can match one request, rank equal and differ in what they give"
    );
}

#[test]
fn rules_that_tie_in_rank_but_not_in_effect_are_one() {
    let rules = rules(&[A, &A.replace("policy: a", "policy: z")]);
    assert_eq!(answer(&rules, "GET https://a.example/"), "allow r");
}

#[test]
fn what_cannot_meet_does_not_tie() {
    for (one, other) in [
        ("host: a.example, methods: [GET]", "host: a.example, methods: [POST]"),
        ("host: a.example, port: 1", "host: a.example, port: 2"),
        ("host: a.example", "host: a.example, port: 8443"),
        ("host: a.example, path: /a/*", "host: a.example, path: /b/*"),
        ("host: a.example, path: /a/*x", "host: a.example, path: /a/*y"),
        ("host: a.example, path: /a", "host: a.example, path: /b"),
        ("host: \"*.a.example\"", "host: \"**.a.example\""),
        ("host: a.example", "host: b.example"),
        ("host: a.example, methods: [GET]", "host: a.example, methods: [GET, HEAD]"),
    ] {
        let text = |a: &str, b: &str| {
            format!(
                "policy: p\nrules:\n  - {{id: a, allow: {{{a}}}, use: [x]}}\n  - {{id: b, allow: {{{b}}}, use: [y]}}\n"
            )
        };
        rules(&[&text(one, other)]);
        rules(&[&text(other, one)]);
    }
}

#[test]
fn what_can_meet_ties() {
    for (one, other) in [
        ("host: a.example", "host: [b.example, a.example]"),
        ("host: a.example, methods: [GET, PUT]", "host: a.example, methods: [GET, POST]"),
        ("host: a.example, port: [1, 2]", "host: a.example, port: [2, 3]"),
        ("host: a.example, path: /a/*b", "host: a.example, path: /a/*b*"),
        ("host: a.example, path: [/z, /a/**/b]", "host: a.example, path: [/y, /a/*/b]"),
        ("host: \"**.a.example\"", "host: \"**.a.example\""),
    ] {
        let text = format!(
            "policy: p\nrules:\n  - {{id: a, allow: {{{one}}}, use: [x]}}\n  - {{id: b, allow: {{{other}}}, use: [y]}}\n"
        );
        let found = problems(&[&text]);
        assert_eq!(found.iter().map(|p| (p.code, p.line)).collect::<Vec<_>>(), [("EG0027", 4)], "{one} | {other}");
    }
}

#[test]
fn one_policy_name_belongs_to_one_file() {
    let found = problems(&[A, A]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].file.as_str(), found[0].line, found[0].column), ("EG0011", "1.yaml", 1, 9));
    assert_eq!(found[0].message, "policy `a` is also defined in 0.yaml");
}

#[test]
fn checks_say_what_was_expected_and_what_is() {
    let set = set(&[
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example}}\n  - {id: never, deny: {host: a.example, path: /x}}\nchecks:\n  - {request: GET https://a.example, expect: allow, rule: r}\n  - {request: GET https://a.example/x, expect: allow}\n  - {request: GET https://b.example/, expect: allow}\n  - request: GET https://a.example/y?z\n    expect: deny\n  - {request: GET https://a.example/x, expect: deny, rule: r}\n",
        "policy: q\nrules:\n  - {id: r, allow: {host: b.example}}\n",
    ]);
    let results = set.run_checks(Timestamp::UNIX_EPOCH);
    assert_eq!(results.iter().map(|r| r.passed()).collect::<Vec<_>>(), [true, false, false, false, false]);
    assert_eq!(
        results[1].actual,
        Actual { verdict: Verdict::Deny, code: Some(Reason::DeniedPath), rule: Some("never".into()) }
    );
    assert_eq!(results[3].actual, Actual { verdict: Verdict::Allow, code: None, rule: Some("r".into()) });
    assert_eq!((results[3].line, results[3].column, results[3].request.as_str()), (9, 14, "GET https://a.example/y?z"));
    let told: String = results.iter().filter_map(|r| r.problem.as_ref()).map(|p| format!("{p}\n\n")).collect();
    insta::assert_snapshot!(told);
}

#[test]
fn the_library_is_right_and_its_checks_pass() {
    let sources: Vec<PolicySource> = library().iter().map(PolicySource::from).collect();
    let set = compile(&sources).unwrap();
    assert_eq!(set.warnings(), []);
    assert_eq!(
        set.names().map(PolicyName::as_str).collect::<Vec<_>>(),
        library().iter().map(|p| p.name).collect::<Vec<_>>()
    );
    assert!(set.names().all(|name| set.description(name).is_some()));
    let results = set.run_checks(Timestamp::UNIX_EPOCH);
    assert!(library().iter().all(|policy| results.iter().any(|result| result.policy.as_str() == policy.name)));
    for result in results {
        assert!(result.passed(), "{result:?}");
    }
}

#[test]
fn reach_tells_what_is_allowed() {
    let rules = rules(&[
        "policy: p\nhosts: {s: [\"**.b.example\", a.example]}\nrules:\n  - {id: r, allow: {host: \"@s\", methods: [POST, GET], path: [/x/**], port: [8443, 443]}}\n  - {id: never, deny: {host: \"**\"}}\n",
    ]);
    insta::assert_debug_snapshot!(rules.reach());
}
