//! What a change of policies grants and takes away, in words.

use std::sync::Arc;

use egret_policies::{Diff, Kind, Rules, SetDiff, diff, diff_sets};
use model::Timestamp;

use crate::support::{policy, set};

fn compare(old: &Arc<Rules>, new: &Arc<Rules>) -> Diff {
    diff(old, new, Timestamp::UNIX_EPOCH)
}

/// The words of each change, with `+` for what is wider.
fn told(old: &str, new: &str) -> Vec<String> {
    let sign = |wider| if wider { '+' } else { '-' };
    let found = compare(&policy(old), &policy(new));
    found.changes().iter().map(|change| format!("{} {}", sign(change.wider), change.words)).collect()
}

fn sets(old: &[&str], new: &[&str]) -> SetDiff {
    diff_sets(&set(old), &set(new), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_change_is_told_with_a_request_and_both_rules() {
    let old = policy("  - {id: read, allow: {host: a.example, methods: [GET], path: /v1/**}}\n");
    let new = policy("  - {id: read, allow: {host: a.example, methods: [GET, POST], path: /v1/**}}\n");
    let found = compare(&old, &new);
    assert!(found.is_wider() && !compare(&new, &old).is_wider());
    insta::assert_snapshot!(found.to_string(), @"
    + adds POST to https://a.example/v1/**
        such as POST https://a.example/v1/x
        before: deny (denied_method), because no rule allows it
        now: allow by rule `read` of policy `p` (0.yaml:3)
    grants more than before
    ");
    insta::assert_json_snapshot!(found.to_json());
}

#[test]
fn the_words_are_those_of_the_rules() {
    let read = "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**}}\n";
    for (new, want) in [
        (
            "  - {id: r, allow: {host: \"**.a.example\", methods: [GET], path: /v1/**}}\n",
            vec!["+ adds GET to https://**.a.example/v1/**"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", path: /v1/**}}\n",
            vec!["+ adds any method but GET to https://*.a.example/v1/**"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**, port: [443, 8443]}}\n",
            vec!["+ adds GET to https://*.a.example:8443/v1/**"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**}, use: [key]}\n",
            vec!["+ adds credential `key` to GET to https://*.a.example/v1/**"],
        ),
        (
            "  - {id: r, ask: {host: \"*.a.example\", methods: [GET], path: /v1/**}}\n",
            vec!["- asks before GET to https://*.a.example/v1/**"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**, tool: reader}}\n",
            vec!["- removes GET to https://*.a.example/v1/** with any other tool or no known tool"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**}, addresses: [10.0.0.0/8, 1.0.0.0/8]}\n",
            vec!["+ may dial 10.0.0.0/8 for GET to https://*.a.example/v1/**", "- may no longer dial"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**}, limits: {concurrent: 5}}\n",
            vec!["- tightens concurrent: 5 instead of unlimited for GET to https://*.a.example/v1/**"],
        ),
        (
            "  - {id: r, allow: {host: \"*.a.example\", methods: [GET], path: /v1/**}, until: 1970-01-02}\n",
            vec!["- removes GET to https://*.a.example/v1/**, from 1970-01-03T00:00:00Z on"],
        ),
    ] {
        let found = told(read, new);
        let alike = found.len() == want.len() && found.iter().zip(&want).all(|(found, want)| found.starts_with(want));
        assert!(alike, "{found:#?}");
    }
}

#[test]
fn two_rules_that_become_one_let_pass_what_reads_as_both() {
    let two =
        "  - {id: a, allow: {host: a.example, path: \"/a*\"}}\n  - {id: b, allow: {host: a.example, path: /a/**}}\n";
    let one = "  - {id: a, allow: {host: a.example, path: [\"/a*\", /a/**]}}\n";
    let found = compare(&policy(two), &policy(one));
    assert!(found.is_wider());
    assert!(found.changes().iter().any(|change| change.words.ends_with("can read the path in two ways")), "{found}");
    assert!(!compare(&policy(one), &policy(two)).is_wider());
    // No path begins in both folders, in any reading.
    let two =
        "  - {id: a, allow: {host: a.example, path: /a/**}}\n  - {id: b, allow: {host: a.example, path: /b/**}}\n";
    let one = "  - {id: a, allow: {host: a.example, path: [/a/**, /b/**]}}\n";
    assert!(!compare(&policy(two), &policy(one)).is_wider());
}

#[test]
fn a_path_that_no_rule_has_lets_pass_what_is_not_interpreted() {
    let every = "  - {id: a, allow: {host: a.example, path: /**}}\n";
    let none = "  - {id: a, allow: {host: a.example, methods: [GET]}}\n";
    let found = compare(&policy(&every.replace("path: /**", "methods: [GET], path: /**")), &policy(none));
    assert!(
        found
            .changes()
            .iter()
            .any(|change| { change.wider && change.request.as_ref().is_some_and(|request| request.target == "/..") }),
        "{found}"
    );
}

#[test]
fn a_deny_is_compared_in_both_cases() {
    let allow = "  - {id: a, allow: {host: a.example, methods: [GET], path: /a/**}}\n";
    let deny = |path: &str| format!("{allow}  - {{id: d, deny: {{host: a.example, path: {path}}}}}\n");
    assert!(compare(&policy(&deny("/a/b")), &policy(&deny("/a/B"))).is_empty());
    assert!(compare(&policy(&deny("/A/**")), &policy(allow)).is_wider());
    assert!(!compare(&policy(allow), &policy(&deny("/a/b"))).is_wider());
}

/// What two rules allow, each in one reading, is refused where policies are enforced and passes where one observes.
#[test]
fn a_policy_that_begins_to_observe_lets_pass_what_two_rules_kept_apart() {
    let made = |mode: &str| {
        let rules =
            "  - {id: some, allow: {host: a.example, path: \"/a*\"}}\n  - {id: all, allow: {host: a.example}}\n";
        let text = format!("policy: p\nuntil: 2031-01-01\n{mode}rules:\n{rules}");
        set(&[&text]).rules_for_policies(&["p".into()]).unwrap()
    };
    let (enforced, observed) = (made(""), made("mode: observe\n"));
    let found = compare(&enforced, &observed);
    assert!(found.changes().iter().any(|change| change.kind == Kind::Observed && change.wider), "{found}");
    assert!(!compare(&observed, &enforced).is_wider());
}

/// What no wildcard leads to needs no warning.
#[test]
fn two_exact_paths_that_become_one_rule_are_the_same() {
    let two = "  - {id: a, allow: {host: a.example, path: /a}}\n  - {id: b, allow: {host: a.example, path: /b}}\n";
    let one = "  - {id: a, allow: {host: a.example, path: [/a, /b]}}\n";
    assert_eq!(told(two, one), Vec::<String>::new());
}

/// If two rules match, the more exact one decides.
#[test]
fn what_a_deny_kept_back_is_told_in_its_words() {
    let allow = "  - {id: all, allow: {host: a.example, methods: [PUT], path: /site/**}}\n";
    let deny = "  - {id: flows, deny: {host: \"**\", path: /site/flows/**}}\n";
    let found = told(&format!("{allow}{deny}"), allow);
    assert_eq!(found, ["+ adds PUT to https://a.example/site/flows/**"]);
    let turned = "  - {id: all, ask: {host: a.example, methods: [PUT], path: /site/**}}\n";
    assert_eq!(told(allow, turned), ["- asks before PUT to https://a.example/site/**"]);
}

#[test]
fn a_deny_counts_beside_other_policies_too() {
    let denying = "policy: p\nrules:\n  - {id: never, deny: {host: a.example, methods: [DELETE]}}\n  - {id: b, allow: {host: b.example}}\n";
    let without = "policy: p\nrules:\n  - {id: b, allow: {host: b.example}}\n";
    let found = sets(&[denying], &[without]);
    let change = &found.policies[0].diff.changes()[0];
    assert_eq!(change.kind, Kind::DenyDropped);
    assert_eq!(change.words, "rule `never` no longer denies DELETE to a.example, which other policies may allow");
    assert_eq!(change.new, None);
    assert!(found.is_wider() && !sets(&[without], &[denying]).is_wider());
}

#[test]
fn one_removed_deny_is_one_line_for_each_capability() {
    let rest = "policy: p\nrules:\n  - {id: read, allow: {host: api.a.example, path: /repos/acme/**}}\n";
    let deny = "  - {id: never, deny: {host: [a.example, \"**.a.example\"], methods: [DELETE]}}\n";
    insta::assert_snapshot!(sets(&[&format!("{rest}{deny}")], &[rest]).to_string(), @"
    policy `p`
    + adds DELETE to https://api.a.example/repos/acme/**
        such as DELETE https://api.a.example/repos/acme/x
        before: deny (denied_method) by rule `never` of policy `p` (0.yaml:4)
        now: allow by rule `read` of policy `p` (0.yaml:3)
    + rule `never` no longer denies DELETE to a.example and **.a.example, which other policies may allow
        such as DELETE http://a.example/
        before: deny (denied_method) by rule `never` of policy `p` (0.yaml:4)
    grants more than before
    ");
    let narrower = deny.replace("[a.example, \"**.a.example\"]", "a.example");
    let found = sets(&[&format!("{rest}{deny}")], &[&format!("{rest}{narrower}")]);
    let words: Vec<_> = found.policies[0].diff.changes().iter().map(|change| change.words.as_str()).collect();
    assert_eq!(
        words,
        [
            "adds DELETE to https://api.a.example/repos/acme/**",
            "rule `never` denies less: DELETE to a.example, where it was DELETE to a.example and **.a.example; other policies may allow the rest"
        ]
    );
}

#[test]
fn a_narrowed_path_names_what_stays() {
    let wide = "policy: p\nrules:\n  - {id: read, allow: {host: a.example, methods: [GET], path: /repos/acme/**}}\n";
    let narrow = wide.replace("/acme/**", "/acme/site/**");
    let words = |old: &str, new: &str| sets(&[old], &[new]).policies[0].diff.changes()[0].words.clone();
    assert_eq!(
        words(wide, &narrow),
        "removes GET to https://a.example/repos/acme/**, except what rule `read` still allows: GET to a.example with path /repos/acme/site/**"
    );
    assert_eq!(
        words(&narrow, wide),
        "adds GET to https://a.example/repos/acme/**, except what rule `read` allowed before: GET to a.example with path /repos/acme/site/**"
    );
}

#[test]
fn a_ceiling_that_goes_or_grows_is_wider() {
    let policy = "policy: p\nrules:\n  - {id: a, allow: {host: a.example}}\n";
    let ceiling = "policy: c\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\", methods: [GET]}}\n";
    let higher = "policy: c\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\", methods: [GET, PUT]}}\n";
    let kinds = |found: &SetDiff| -> Vec<(String, Kind)> {
        let each = |one: &egret_policies::PolicyDiff| {
            one.diff.changes().iter().map(|change| (one.policy.to_string(), change.kind)).collect::<Vec<_>>()
        };
        found.policies.iter().flat_map(each).collect()
    };
    let dropped = sets(&[policy, ceiling], &[policy]);
    assert!(dropped.is_wider());
    assert_eq!(kinds(&dropped), [("c".into(), Kind::CeilingDropped), ("p".into(), Kind::Reachable)]);
    let added = sets(&[policy], &[policy, ceiling]);
    assert!(!added.is_wider(), "{added}");
    assert_eq!(kinds(&added), [("c".into(), Kind::CeilingAdded), ("p".into(), Kind::Unreachable)]);
    assert!(sets(&[policy, ceiling], &[policy, higher]).is_wider());
    // A built-in policy is the same on both sides: what the ceiling takes from it is not listed.
    let built_in = "policy: library/built-in\nrules:\n  - {id: r, allow: {host: b.test, methods: [PUT]}}\n";
    let added = sets(&[policy, built_in], &[policy, built_in, ceiling]);
    assert_eq!(kinds(&added), [("c".into(), Kind::CeilingAdded), ("p".into(), Kind::Unreachable)]);
    let dropped = sets(&[policy, built_in, ceiling], &[policy, built_in]);
    assert!(dropped.is_wider());
    assert!(!dropped.to_string().contains("library/"), "{dropped}");
    assert!(!sets(&[policy, higher], &[policy, ceiling]).is_wider());
}

/// The changes of the ceiling `c` between these rules, as a terminal shows them.
fn of_ceiling(old: &str, new: &str) -> String {
    let text = |rules: &str| format!("policy: c\nceiling: true\nrules:\n{rules}");
    sets(&[&text(old)], &[&text(new)]).to_string()
}

#[test]
fn a_changed_ceiling_is_one_line_for_each_capability() {
    let get = "  - {id: all, allow: {host: \"**\", methods: [GET]}}\n";
    let put = get.replace("[GET]", "[GET, PUT]");
    insta::assert_snapshot!(of_ceiling(get, &put), @"
    policy `c`
    + rule `all` allows GET and PUT to **, where it was GET to **
        such as PUT https://x.x/
        before: deny (denied_method) by policy `c`
    grants more than before
    ");
    insta::assert_snapshot!(of_ceiling(&put, get), @"
    policy `c`
    - rule `all` allows GET to **, where it was GET and PUT to **
        such as PUT https://x.x/
        now: deny (denied_method) by policy `c`
    grants nothing more than before
    ");
    // Every method, port and scheme of a deny is one capability.
    let deny = "  - {id: never, deny: {host: [a.example, \"**.b.example\"]}}\n";
    insta::assert_snapshot!(of_ceiling(&format!("{get}{deny}"), get), @"
    policy `c`
    + rule `never` no longer denies any method to a.example and **.b.example
        such as GET https://a.example/
        before: deny (denied_host) by rule `never` of policy `c` (0.yaml:5)
    grants more than before
    ");
    let fewer = deny.replace("[a.example, \"**.b.example\"]", "a.example");
    insta::assert_snapshot!(of_ceiling(&format!("{get}{deny}"), &format!("{get}{fewer}")), @"
    policy `c`
    + rule `never` denies any method to a.example, where it was any method to a.example and **.b.example
        such as GET https://x.b.example/
        before: deny (denied_host) by rule `never` of policy `c` (0.yaml:5)
    grants more than before
    ");
    insta::assert_snapshot!(of_ceiling(get, &format!("{get}{deny}")), @"
    policy `c`
    - rule `never` denies any method to a.example and **.b.example
        such as GET https://a.example/
        now: deny (denied_host) by rule `never` of policy `c` (0.yaml:5)
    grants nothing more than before
    ");
    // A new rule, another path, a limit, and a rule that asks.
    let api = "  - {id: api, allow: {host: api.example, path: /v1/**}}\n";
    insta::assert_snapshot!(of_ceiling(get, &format!("{get}{api}")), @"
    policy `c`
    + rule `api` allows any method to api.example with path /v1/**
        such as POST https://api.example/v1/x
        before: deny (denied_method) by policy `c`
    - rule `all` allows less of GET to **, where servers can read the path in two ways
        such as GET https://api.example/v1;/x
        now: deny (denied_path) by policy `c`
    grants more than before
    ");
    insta::assert_snapshot!(of_ceiling(api, &api.replace("/v1/**", "/v2/**")), @"
    policy `c`
    + rule `api` allows any method to api.example with path /v2/**, where it was any method to api.example with path /v1/**
        such as GET https://api.example/v2/x
        before: deny (denied_path) by policy `c`
    - rule `api` allows any method to api.example with path /v2/**, where it was any method to api.example with path /v1/**
        such as GET https://api.example/v1/x
        now: deny (denied_path) by policy `c`
    grants more than before
    ");
    let limited = |bytes: &str| get.replace("}}", &format!("}}, limits: {{request_body: {bytes}}}}}"));
    insta::assert_snapshot!(of_ceiling(&limited("10"), &limited("20")), @"
    policy `c`
    + loosens request_body: 20 instead of 10 for GET to **
        such as GET https://x.x/
    grants more than before
    ");
    insta::assert_snapshot!(of_ceiling(get, &get.replace("allow", "ask")), @"
    policy `c`
    - rule `all` asks before GET to **
        such as GET https://x.x/
        now: ask (approval_required) by rule `all` of policy `c` (0.yaml:4)
    grants nothing more than before
    ");
}

#[test]
fn a_changed_ceiling_is_not_repeated_for_the_policies_below_it() {
    let ceiling = "policy: c\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\"}, limits: {requests: 60/m, response_body: 1GiB}}\n";
    let higher = ceiling.replace("60/m", "600/m").replace("1GiB", "1536MiB");
    let p = "policy: p\nrules:\n  - {id: a, allow: {host: a.example}}\n";
    let q = "policy: q\nrules:\n  - {id: b, allow: {host: b.example}, limits: {requests: 100/m}}\n";
    let found = sets(&[p, q, ceiling], &[q, p, &higher]);
    insta::assert_snapshot!(found.to_string(), @"
    policy `c`
    + loosens requests: 600/m instead of 60/m for any method to **
        such as GET https://x.x/
    + loosens response_body: 1536MiB instead of 1GiB for any method to **
        such as GET https://x.x/
    grants more than before
    ");
    assert_eq!(found.together, Some(Diff::default()));
    // A policy that is changed itself is compared with all that it gets.
    let more = p.replace("a.example", "aa.example");
    insta::assert_snapshot!(sets(&[p, q, ceiling], &[&more, q, &higher]).to_string(), @"
    policy `c`
    + loosens requests: 600/m instead of 60/m for any method to **
        such as GET https://x.x/
    + loosens response_body: 1536MiB instead of 1GiB for any method to **
        such as GET https://x.x/
    policy `p`
    + adds any method to https://aa.example
        such as GET https://aa.example/
        before: deny (denied_host), because no rule allows it
        now: allow by rule `a` of policy `p` (0.yaml:3)
    - removes any method to https://a.example
        such as GET https://a.example/
        before: allow by rule `a` of policy `p` (0.yaml:3)
        now: deny (denied_host), because no rule allows it
    all policies in one session
    + loosens requests: 100/m instead of 60/m for any method to https://b.example
        such as GET https://b.example/
        before: allow by rule `b` of policy `q` (1.yaml:3)
        now: allow by rule `b` of policy `q` (1.yaml:3)
    + loosens response_body: 1536MiB instead of 1GiB for any method to https://b.example
        such as GET https://b.example/
        before: allow by rule `b` of policy `q` (1.yaml:3)
        now: allow by rule `b` of policy `q` (1.yaml:3)
    grants more than before
    ");
    // Everything contains no private address: what a policy may dial because of the ceiling is listed.
    let private = "policy: p\nrules:\n  - {id: a, allow: {host: a.example}, addresses: [10.0.0.0/8]}\n";
    let dial = |nets: &str| ceiling.replace("limits:", &format!("addresses: [{nets}], limits:"));
    insta::assert_snapshot!(sets(&[private, &dial("10.1.0.0/16")], &[private, &dial("10.0.0.0/8")]).to_string(), @"
    policy `p`
    + may dial 10.0.0.0/16, 10.2.0.0/15, 10.4.0.0/14, 10.8.0.0/13, 10.16.0.0/12, 10.32.0.0/11, 10.64.0.0/10, 10.128.0.0/9 for any method to https://a.example
        such as GET https://a.example/
        before: allow by rule `a` of policy `p` (0.yaml:3)
        now: allow by rule `a` of policy `p` (0.yaml:3)
    grants more than before
    ");
}

#[test]
fn a_policy_that_is_new_or_gone_is_compared_with_nothing() {
    let (p, q) = ("policy: p\nrules:\n  - {id: a, allow: {host: a.example}}\n", "policy: q\nrules: []\n");
    let found = sets(&[q], &[p, q]);
    assert!(found.is_wider() && found.together.as_ref().is_some_and(Diff::is_wider), "{found}");
    assert!(!sets(&[p, q], &[q]).is_wider());
    assert!(found.to_string().contains("policy `p`") && found.to_json()["policies"]["p"]["wider"] == true);
}

#[test]
fn whom_a_policy_applies_to_is_not_passed_over() {
    let rules = "rules:\n  - {id: a, allow: {host: a.example}}\n";
    let (named, applied) = (format!("policy: p\n{rules}"), format!("policy: p\napplies_to: {{agents: [x]}}\n{rules}"));
    let found = sets(&[&named], &[&applied]);
    assert!(found.is_wider() && found.policies[0].diff.changes()[0].kind == Kind::AppliesTo, "{found}");
}

#[test]
fn passing_through_unread_is_wider_than_reading() {
    let read = "  - {id: a, allow: {host: a.example}}\n";
    let unread = "  - {id: a, allow: {host: a.example}, tls: pass-through}\n";
    let kinds = |old, new| compare(&policy(old), &policy(new)).changes().iter().map(|c| c.kind).collect::<Vec<_>>();
    assert!(kinds(read, unread).contains(&Kind::Unread));
    assert!(kinds(unread, read).contains(&Kind::Read));
}

#[test]
fn a_thousand_hosts_are_compared() {
    let text = |methods: &str| -> String {
        let rule = |n| format!("  - {{id: r{n}, allow: {{host: h{n}.example, methods: {methods}, path: /v1/**}}}}\n");
        (0..1000).map(rule).collect()
    };
    let (old, new) = (policy(&text("[GET]")), policy(&text("[GET, POST]")));
    assert_eq!(compare(&old, &new).changes().len(), 1000);
    assert!(!compare(&new, &old).is_wider() && compare(&new, &new).is_empty());
}
