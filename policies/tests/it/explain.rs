//! The decision of the data path, with its explanation.

use std::sync::Arc;

use egret_policies::{Explanation, Question, Rules, Verdict};
use model::{Authority, Destination, RequestPath, Scheme};
use proptest::prelude::*;

use crate::diff_properties::{asked, book};
use crate::support::{config, policy, question, rules};

pub(crate) fn explain(rules: &Arc<Rules>, request: &str) -> Explanation {
    let (method, url) = request.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let (authority, target) = rest.split_at(rest.find('/').unwrap());
    let destination = Destination::of(scheme, Authority::parse(authority, true).unwrap());
    let path = RequestPath::parse(target).unwrap();
    rules.explain(&question(&destination, method, &path))
}

fn nearest(rules: &Arc<Rules>, request: &str) -> String {
    explain(rules, request)
        .closest
        .map(|closest| format!("{} {}", closest.rule.rule, closest.unmet_conditions))
        .unwrap_or_default()
}

#[test]
fn an_allowed_request_is_told_with_what_it_gets_and_who_lost() {
    let policies = rules(&[
        "policy: p\nrules:\n  - {id: all, allow: {host: \"*.a.example\"}}\n  - {id: v1, allow: {host: x.a.example, path: /v1/**}}\n  - {id: read, allow: {host: x.a.example, methods: [GET], path: /v1/models/**}, use: [key], limits: {requests: 600/m, request_body: 0}, timeouts: {idle: 5m}, until: 2026-12-01}\n",
        "policy: top\nceiling: true\nrules:\n  - {id: get, allow: {host: \"**\", methods: [GET]}, limits: {concurrent: 4}}\n",
    ]);
    let told = explain(&policies, "GET https://x.a.example/v1/models/x");
    insta::assert_snapshot!(told.to_string());
    insta::assert_json_snapshot!(told.to_json());
}

#[test]
fn a_refused_request_is_told_what_the_nearest_rule_lacks() {
    let rules = policy(
        "  - {id: read, allow: {host: api.a.example, methods: [GET, HEAD], path: /v1/**}}\n  - {id: port, allow: {host: p.a.example, port: 8443}}\n  - {id: sub, allow: {host: \"*.b.example\"}}\n  - {id: old, allow: {host: old.example}, until: 1969-01-01}\n  - {id: tool, allow: {host: t.example, tool: reader}}\n  - {id: ref, allow: {host: q.example, query: {ref: [main, release-*]}}}\n  - {id: ws, allow: {host: w.example, upgrade: websocket}}\n",
    );
    for (request, want) in [
        ("POST https://api.a.example/v1/x", "read allows GET, HEAD here; this is POST"),
        ("GET https://api.a.example/v2", "read allows /v1/**; this is /v2"),
        ("GET https://api.a.example/v1%2fx", "read allows /v1/**; this is /v1%2Fx"),
        (
            "GET https://api.a.example/v1/../v2",
            "read does not cover a path with a dot segment, a backslash or more than one kind of ambiguity, because parsers read it differently",
        ),
        ("GET http://api.a.example/v1/x", "read allows https here; this is http; allows port 443 here; this is 80"),
        ("GET https://p.a.example/", "port allows port 8443 here; this is 443"),
        ("GET https://b.example/", "sub names `*.b.example`, which never includes b.example itself"),
        (
            "GET https://x.y.b.example/",
            "sub names `*.b.example`, which is one label, and x.y.b.example has more: `**.b.example` would cover it",
        ),
        (
            "GET https://x.api.a.example/",
            "read names api.a.example, and x.api.a.example is a name below it: `**.api.a.example` would cover it",
        ),
        ("GET https://old.example/", "old allows it no longer: it ended on 1969-01-02T00:00:00Z"),
        ("GET https://t.example/", "tool allows tool reader; this is no known tool"),
        (
            "GET https://q.example/?ref=x",
            "ref allows the query parameter ref=main or release-*, exactly once and in this spelling",
        ),
        ("GET https://w.example/", "ws allows WebSocket handshakes; this is none"),
        ("GET https://c.example/", ""),
    ] {
        assert_eq!(nearest(&rules, request), want, "{request}");
    }
}

#[test]
fn a_websocket_that_a_rule_allows_is_told_as_not_relayed() {
    let rules = policy(
        "  - {id: live, allow: {host: a.example, upgrade: websocket}}\n  - {id: deploy, ask: {host: a.example, path: /d}}\n",
    );
    let destination = Destination::of(Scheme::Https, Authority::parse("a.example", true).unwrap());
    let path = RequestPath::parse("/x").unwrap();
    let asked = |websocket| rules.explain(&Question { websocket, ..question(&destination, "GET", &path) });
    let (told, other) = (asked(true), asked(false));
    assert!(told.not_relayed && told.to_string().contains("\n  not relayed yet: "), "{told}");
    assert_eq!((told.decision.verdict, other.not_relayed), (Verdict::Allow, false));
    // A credential that cannot be used is not listed as usable.
    let reach: Vec<_> = rules.reach().into_iter().map(|line| (line.rule.to_string(), line.asks)).collect();
    assert_eq!(reach, [("deploy".to_owned(), true)]);
}

#[test]
fn a_deny_is_told_with_what_it_beats() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: careful, ask: {host: a.example, path: /admin/**}, within: 5m, reason: Ask first.}\n  - {id: never, deny: {host: a.example, methods: [DELETE]}, reason: Deleting is not allowed.}\n",
    );
    insta::assert_snapshot!(explain(&rules, "DELETE https://a.example/admin/x").to_string());
    insta::assert_snapshot!(explain(&rules, "GET https://a.example/admin/x").to_string());
}

#[test]
fn every_reading_is_told_with_its_rule() {
    let rules = policy(
        "  - {id: a, allow: {host: a.example, path: /a/**}}\n  - {id: b, allow: {host: a.example, path: /b/**}}\n",
    );
    insta::assert_snapshot!(explain(&rules, "GET https://a.example/a%2fx").to_string());
    insta::assert_snapshot!(explain(&rules, "GET https://a.example/a/../b/x").to_string());
}

#[test]
fn ceilings_and_observers_are_told_one_by_one() {
    let policies = rules(&[
        "policy: p\nrules:\n  - {id: a, allow: {host: a.example}}\n",
        "policy: top\nceiling: true\nrules:\n  - {id: get, allow: {host: \"**\", methods: [GET]}}\n",
        "policy: watch\nmode: observe\nuntil: 2030-01-01\nrules:\n  - {id: never, deny: {host: a.example, path: /no}}\n",
    ]);
    insta::assert_snapshot!(explain(&policies, "POST https://a.example/no").to_string());
}

#[test]
fn what_passes_unread_says_so() {
    let rules = policy("  - {id: pinned, allow: {host: a.example}, tls: pass-through}\n");
    let told = explain(&rules, "GET https://a.example/x");
    assert!(told.decision.unread && told.decision.verdict == Verdict::Allow, "{told}");
    assert!(!explain(&rules, "GET http://a.example:443/x").decision.unread);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_explanation_says_what_the_data_path_does(
        rules in book().prop_filter_map("policies", |book| book.rules()),
        asked in prop::collection::vec(asked(), 100),
    ) {
        for asked in &asked {
            let (told, judged) = asked.with(|question| (rules.explain(question), rules.judge(question)));
            let (answer, unread) = (judged.answer, judged.unread);
            let (code, rule) = match &answer {
                Ok(permit) => (permit.would_deny().map(|denied| denied.reason), permit.rule()),
                Err(denied) => (Some(denied.reason), denied.rule.as_ref()),
            };
            prop_assert_eq!(told.decision.verdict, Verdict::of(&answer));
            prop_assert_eq!(told.decision.code, code);
            prop_assert_eq!(told.decision.rule.as_ref().map(|place| &place.rule), rule);
            prop_assert_eq!(told.decision.unread, unread);
            prop_assert_eq!(told.given.is_some(), answer.is_ok());
            if let (Some(given), Ok(permit)) = (&told.given, &answer) {
                prop_assert_eq!(&*given.credentials, permit.credentials());
                prop_assert_eq!(given.limits, permit.limits());
                prop_assert_eq!(given.until, permit.until());
            }
            // A rule that decides has not lost, and a deny that matches is never beaten by what allows.
            prop_assert!(told.others.iter().all(|lost| told.decision.rule.as_ref() != Some(&lost.rule)));
            if told.decision.verdict == Verdict::Allow {
                prop_assert!(told.others.iter().all(|lost| lost.rule.effect == "allow"), "{}", told);
            }
            prop_assert!(!told.to_string().is_empty() && told.to_json().is_object());
        }
    }
}
