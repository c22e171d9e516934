//! The search finds what comparing each with each finds, and needs far less than that for rules that differ somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{PolicySource, compile};

/// The rules of some entries; each gives the same as the others or something else, by `gives`.
fn rules(entries: &[String]) -> Vec<Arc<Rule>> {
    // One policy a rule, so that their contradictions do not keep them from being compiled.
    let source = |(n, entry): (usize, &String)| PolicySource {
        name: format!("{n}.yaml"),
        text: format!("policy: p{n:05}\nrules:\n  - {{id: r, {entry}}}\n"),
    };
    let sources: Vec<_> = entries.iter().enumerate().map(source).collect();
    let set = compile(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
    set.policies().flat_map(|policy| policy.rules.iter().cloned()).collect()
}

/// What comparing each with each finds.
fn plain(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let mut found = BTreeSet::new();
    for (first, a) in rules.iter().enumerate() {
        for (second, b) in rules.iter().enumerate().skip(first + 1) {
            if a.effect != b.effect || a.effect == Effect::Deny || Given::by(a) == Given::by(b) || a.scheme != b.scheme
            {
                continue;
            }
            for ((a_place, a_path), (b_place, b_path)) in ways(a).flat_map(|a| ways(b).map(move |b| (a, b))) {
                let same_host = a.hosts.iter().any(|host| b.hosts.contains(host));
                let same_prefix = a_path.map(PathPattern::literal_prefix) == b_path.map(PathPattern::literal_prefix);
                let same_rank = Rank::of(a, a_place) == Rank::of(b, b_place);
                let peer = |rule, path| Peer { at: 0, rule, path, effect: 0 };
                if same_host && same_prefix && same_rank && separate::overlap(&peer(a, a_path), &peer(b, b_path)) {
                    found.insert((first, second));
                }
            }
        }
    }
    found.into_iter().collect()
}

fn plain_mixed(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, passing) in rules.iter().enumerate().filter(|(_, rule)| rule.pass_through) {
        for (other, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.must_read()) {
            let ports = passing.ports.as_ref().zip(rule.ports.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
            if ports && passing.hosts.iter().any(|a| rule.hosts.iter().any(|b| a.meets(b))) {
                found.push((at, other));
            }
        }
    }
    found
}

fn entry() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just(""),
        Just(", path: /x/*/a"),
        Just(", path: /x/*/b"),
        Just(", path: /x/*a"),
        Just(", path: /x/*b"),
        Just(", path: /x/**/a"),
        Just(", path: /x/**/b/*"),
        Just(", path: /x/*/b/*"),
        Just(", path: [/x/*/aa, /x/*/ba, /x/*/a]"),
        Just(", path: /x/*%2fa"),
    ];
    let more = prop_oneof![
        Just(""),
        Just(", methods: [GET]"),
        Just(", methods: [PUT]"),
        Just(", methods: [GET, PUT]"),
        Just(", port: [443, 8443]"),
        Just(", port: [8443, 9443]"),
        Just(", tool: a"),
        Just(", tool: b"),
        Just(", tool: [\"a*\", c]"),
        Just(", tool: \"*b\""),
        Just(", query: {ref: main}"),
        Just(", query: {ref: \"rel*\"}"),
        Just(", query: {ref: rel1}"),
        Just(", query: {tag: main}"),
    ];
    let host = prop_oneof![Just("a.example"), Just("[a.example, b.example]"), Just("\"*.a.example\"")];
    let gives = prop_oneof![Just(""), Just(", use: [one]"), Just(", use: [two]")];
    (host, path, more, gives)
        .prop_map(|(host, path, more, gives)| format!("allow: {{host: {host}{path}{more}}}{gives}"))
}

fn passing_or_reading() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just("a.example"),
        Just("b.a.example"),
        Just("c.b.a.example"),
        Just("\"*.a.example\""),
        Just("\"**.a.example\""),
        Just("\"*.b.a.example\""),
        Just("[a.example, \"**.b.a.example\"]"),
        Just("8.8.8.8"),
    ];
    let port = prop_oneof![Just(""), Just(", port: 8443"), Just(", port: [443, 8443]")];
    let kind = prop_oneof![
        Just(("allow", "", ", tls: pass-through")),
        Just(("allow", "", "")),
        Just(("deny", ", path: /x", ""))
    ];
    (host, port, kind)
        .prop_map(|(host, port, (effect, path, tls))| format!("{effect}: {{host: {host}{port}{path}}}{tls}"))
}

proptest! {
    #![proptest_config(ProptestConfig { max_local_rejects: u32::MAX, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_pairs_find(entries in prop::collection::vec(entry(), 1..60)) {
        let rules = rules(&entries);
        let found = ties(&rules);
        prop_assert_eq!(found.unsearched, None);
        prop_assert_eq!(found.pairs, plain(&rules));
    }

    #[test]
    fn unread_hosts_are_found_as_by_pairs(entries in prop::collection::vec(passing_or_reading(), 1..20)) {
        let rules = rules(&entries);
        prop_assert_eq!(mixed(&rules), plain_mixed(&rules));
    }
}

/// What a search of these many rules costs.
fn spent(count: usize, entry: impl Fn(usize) -> String) -> u64 {
    let mut text = "policy: p\nrules:\n".to_owned();
    for n in 0..count {
        writeln!(text, "  - {{id: r{n}, {}, use: [k{}]}}", entry(n), n % 7).unwrap();
    }
    let set = compile(&[PolicySource { name: "p.yaml".to_owned(), text }])
        .unwrap_or_else(|problems| panic!("{}", problems[0]));
    let rules: Vec<_> = set.policies().flat_map(|policy| policy.rules.iter().cloned()).collect();
    let all = |_, _| true;
    let mut search = Search::new(u64::MAX, &all);
    let peers: Vec<Peer<'_>> = rules
        .iter()
        .enumerate()
        .map(|(at, rule)| Peer { at, rule, path: rule.paths.as_ref().and_then(|paths| paths.first()), effect: at % 7 })
        .collect();
    search.group(&peers);
    assert_eq!(search.found.len(), 0);
    u64::MAX - search.budget
}

#[test]
fn t223_the_search_is_linear_in_rules_that_differ_somewhere() {
    type Kind = (&'static str, fn(usize) -> String);
    let kinds: [Kind; 8] = [
        ("segments", |n| format!("allow: {{host: a.example, path: /x/*/m{n:05}/*/y}}")),
        ("ends", |n| format!("allow: {{host: a.example, path: /x/*-{n:05}}}")),
        ("ends of many lengths", |n| {
            format!("allow: {{host: a.example, path: /x/*/{}{}}}", "y".repeat(n % 5), n + 10_000)
        }),
        ("same ends", |n| format!("allow: {{host: a.example, path: /x/*/m{n:05}-and-the-rest/*/the-same-end}}")),
        ("any depth", |n| format!("allow: {{host: a.example, path: /x/**/m{n:05}/*/y}}")),
        ("tools", |n| format!("allow: {{host: a.example, tool: mcp__t{n:05}}}")),
        ("tool patterns", |n| format!("allow: {{host: a.example, tool: \"mcp__t{n:05}__*\"}}")),
        ("values", |n| format!("allow: {{host: a.example, query: {{id: v{n:05}}}}}")),
    ];
    for (kind, entry) in kinds {
        let (few, many) = (spent(500, entry), spent(2_000, entry));
        assert!(many < few * 6, "{kind}: {few} for 500 rules, {many} for 2,000");
    }
}

#[test]
fn t223_rules_that_nothing_tells_apart_are_refused_within_the_budget() {
    // Each pair differs in a segment of its own, so each segment separates two rules of thirty.
    let count = 30;
    let entry = |n: usize| {
        let mut segments = vec!["*".to_owned()];
        for (a, b) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
            segments.push(
                if a == n {
                    "a"
                } else if b == n {
                    "b"
                } else {
                    "*"
                }
                .to_owned(),
            );
        }
        format!("allow: {{host: a.example, path: /{}}}, use: [k{n}]", segments.join("/"))
    };
    let entries: Vec<_> = (0..count).map(entry).collect();
    let found = ties(&rules(&entries));
    assert_eq!((found.pairs, found.unsearched.is_some()), (Vec::new(), true));
    let lines: String = entries.iter().enumerate().map(|(n, entry)| format!("  - {{id: r{n}, {entry}}}\n")).collect();
    let problems = compile(&[PolicySource { name: "p.yaml".to_owned(), text: format!("policy: p\nrules:\n{lines}") }]);
    let codes: Vec<_> = problems.unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["EG0001"]);
}
