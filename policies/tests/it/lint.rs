//! What is probably not meant: one fixture for each class, and what must stay silent.

use std::fs;
use std::path::PathBuf;

use egret_policies::{CredentialFacts, PolicySource, Severity, Surroundings, compile, lint};
use model::Timestamp;

use crate::support::{list, sources};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// What a fixture names in comments: `# audience NAME: HOST, HOST` or `# audience NAME at LOCATION: ..`, `# resolve NAME: ADDRESS`,
/// and `# no other credential`.
fn surroundings(text: &str) -> Surroundings {
    let mut around = Surroundings::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        around.is_complete |= line == "no other credential";
        if let Some((name, address)) = line.strip_prefix("resolve ").and_then(|rest| rest.split_once(": ")) {
            around.resolve.insert(name.to_owned(), address.parse().unwrap());
        }
        let Some((name, hosts)) = line.strip_prefix("audience ").and_then(|rest| rest.split_once(": ")) else {
            continue;
        };
        let (name, location) = name.split_once(" at ").map_or((name, None), |(name, at)| (name, Some(at.to_owned())));
        let audience = hosts.split(", ").map(|host| host.trim_matches('"').to_owned()).collect();
        around.credentials.insert(name.into(), CredentialFacts { audience, location });
    }
    around
}

/// The first line of each file is `# CODE LINE:COLUMN`; that is found, and nothing else.
#[test]
fn each_class_has_a_broken_fixture() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut told = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let sources = [PolicySource { name, text: fs::read_to_string(&path).unwrap() }];
        let text = &sources[0].text;
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let set = compile(&sources).unwrap_or_else(|problems| panic!("{}", list(&problems)));
        let mut found = set.warnings().to_vec();
        found.extend(lint(&set, &sources, now(), &surroundings(text)));
        let places: Vec<String> = found.iter().map(|p| format!("{} {}:{}", p.code, p.line, p.column)).collect();
        assert_eq!(places, [expected], "{}", path.display());
        assert!(found.iter().all(|problem| problem.severity == Severity::Warning && problem.help.is_some()));
        told.push_str(&list(&found));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn t078_a_rule_that_a_deny_shadows_is_named() {
    let sources = sources(&[
        "policy: p\nrules:\n  - {id: closed, deny: {host: [a.example.com, b.example.com]}}\n  - {id: open, allow: {host: [a.example.com, b.example.com], methods: [GET]}}\n",
    ]);
    let set = compile(&sources).unwrap();
    let found = lint(&set, &sources, now(), &Surroundings::default());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "rule `open` never decides: `closed` (line 3) denies all it matches");
}

#[test]
fn a_rule_that_is_shadowed_in_part_is_not_named() {
    for rules in [
        "  - {id: closed, deny: {host: a.example.com}}\n  - {id: open, allow: {host: [a.example.com, b.example.com]}}\n",
        "  - {id: closed, deny: {host: a.example.com, path: /x/**}}\n  - {id: open, allow: {host: a.example.com}}\n",
        "  - {id: closed, deny: {host: a.example.com}, until: 2026-06-01}\n  - {id: open, allow: {host: a.example.com}}\n",
        "  - {id: any, allow: {host: \"*.example.com\"}}\n  - {id: open, allow: {host: a.example.com}}\n",
    ] {
        let sources = sources(&[&format!("policy: p\nrules:\n{rules}")]);
        let set = compile(&sources).unwrap();
        assert_eq!(lint(&set, &sources, now(), &Surroundings::default()), [], "{rules}");
    }
}

#[test]
fn a_rule_that_no_ceiling_lets_pass_never_matches() {
    let sources = sources(&[
        "policy: top\nceiling: true\nrules:\n  - {id: ours, allow: {host: \"**.example.com\", methods: [GET]}}\n",
        "policy: p\nrules:\n  - {id: in, allow: {host: a.example.com, methods: [GET, POST]}}\n  - {id: out, allow: {host: a.example.org, methods: [GET]}}\n",
    ]);
    let set = compile(&sources).unwrap();
    let found = lint(&set, &sources, now(), &Surroundings::default());
    assert_eq!(found.iter().map(|p| (p.code, p.line)).collect::<Vec<_>>(), [("EG0043", 4)]);
}

/// Every key that is enforced, on each effect: none of them is reported as a key without effect.
#[test]
fn keys_that_are_enforced_are_not_reported() {
    let text = "policy: p\nrules:\n  - id: all\n    allow: {host: a.example.com, port: 443, scheme: https, methods: [GET], path: /v1/**, query: {a: b}, tool: t}\n    use: [key]\n    addresses: [10.0.0.0/8]\n    set: {X-Team: red}\n    client_auth: {default: strip, pass: [Cookie], also: [X-Key]}\n    limits: {requests: 1/m, concurrent: 1, request_body: 1, response_body: 1, bytes_out: 1}\n    timeouts: {connect: 1s, first_byte: 1s, idle: 1s}\n    until: 2099-01-01\n  - id: tunnel\n    allow: {host: b.example.com}\n    tls: pass-through\n    limits: {concurrent: 1, bytes_out: 1}\n    timeouts: {connect: 1s, idle: 1s}\n  - id: asked\n    ask: {host: c.example.com, methods: [POST], path: /x}\n    addresses: [10.0.0.0/8]\n    until: 2099-01-01\n    reason: Ask ops.\n  - id: no-sockets\n    deny: {host: a.example.com, upgrade: websocket}\n    reason: No.\n";
    let sources = sources(&[text]);
    let set = compile(&sources).unwrap_or_else(|problems| panic!("{}", list(&problems)));
    assert_eq!(set.warnings(), []);
    assert_eq!(lint(&set, &sources, now(), &Surroundings::default()), []);
    assert_eq!(set.misfits(&Surroundings::default(), |_| true), []);
}

#[test]
fn keys_without_effect_are_reported_where_rules_are_loaded_and_explained() {
    let sources = sources(&[
        "policy: p\nrules:\n  - {id: deploy, ask: {host: a.example.com}, hold: 25s, within: 10m}\n  - {id: read, allow: {host: b.example.com}}\n",
    ]);
    let set = compile(&sources).unwrap();
    let told: Vec<String> = set.misfits(&Surroundings::default(), |_| true).iter().map(ToString::to_string).collect();
    let line = |key: &str| {
        format!(
            "policy `p`: rule `deploy` (0.yaml:3, EG0060): `{key}` has no effect yet: there are no approvals, so an `ask` rule refuses every request with 403 approval_required; remove it, or keep it for a version with approvals"
        )
    };
    assert_eq!(told, [line("hold"), line("within")]);
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    let explained = |url: &str| {
        let (destination, path) = egret_policies::read_url(url).unwrap();
        let question = egret_policies::Question {
            destination: &destination,
            method: "GET",
            path: &path,
            websocket: false,
            tool: None,
            now: now(),
        };
        rules.explain(&question).with_misfits(&rules, &Surroundings::default()).warnings
    };
    assert_eq!(explained("https://a.example.com/"), [line("hold"), line("within")]);
    assert_eq!(explained("https://b.example.com/"), [""; 0]);
}
