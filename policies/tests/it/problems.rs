//! Problems as an author sees them, and that one run finds all of them.

use egret_policies::Severity;

use crate::support::{list, problems, set};

#[test]
fn one_run_finds_every_problem() {
    let text = r#"policy: "no good"
mode: observe
hosts:
  unused: [a.example]
  index: [b.example, "*.com", 12]
rules:
  - id: r
    allow: {host: ["@index", "@unknown", "a*.example"], port: [0, 70000], methods: [get], path: [x, "/a?b"]}
    use: ["not a name"]
    addresses: [10.0.0.1/8, 169.254.0.0/16]
  - id: r
    allow: {host: []}
  - id: both
    allow: {host: a.example}
    deny: {host: a.example}
  - id: neither
  - id: plain
    allow: {host: a.example, scheme: http}
    use: [token]
  - id: never
    deny: {host: a.example}
    use: [token]
    addresses: [1.1.1.1]
checks:
  - {request: GET a.example, expect: allow}
  - {request: GET https://a.example, expect: allow, rule: other}
"#;
    insta::assert_snapshot!(list(&problems(&[text])));
}

#[test]
fn warnings_do_not_refuse_a_policy() {
    let set = set(&[
        "policy: p\nhosts: {s: [a.example]}\nrules:\n  - {id: r, allow: {host: a.example}, addresses: [0.0.0.0/0], reason: None.}\n",
    ]);
    assert!(set.warnings().iter().all(|warning| warning.severity == Severity::Warning));
    insta::assert_snapshot!(list(set.warnings()));
}

#[test]
fn the_columns_count_characters() {
    let found = problems(&["policy: p\nrules:\n  - {id: r, allow: {host: [bücher.example, \"a*.example\"]}}\n"]);
    assert_eq!((found[0].line, found[0].column, found[0].width), (3, 44, 12));
    assert!(found[0].to_string().contains("^^^^^^^^^^^^"));
}

#[test]
fn problems_of_all_files_are_told() {
    let found = problems(&["policy: p\nrules: [x]\n", "policy: q\nbad: 1\n"]);
    assert_eq!(
        found.iter().map(|p| (p.file.as_str(), p.code)).collect::<Vec<_>>(),
        [("0.yaml", "EG0008"), ("1.yaml", "EG0006")]
    );
}

#[test]
fn problems_beyond_a_bound_are_not_told() {
    let rules: String = (0..5000).map(|n| format!("  - {{id: r{n}, allow: {{host: \"a*.b\"}}}}\n")).collect();
    assert_eq!(problems(&[&format!("policy: p\nrules:\n{rules}")]).len(), 100);
}

#[test]
fn json_is_read_as_well() {
    set(&[r#"{"policy": "p", "rules": [{"id": "r", "allow": {"host": "a.example", "port": 443}}]}"#]);
}

#[test]
fn line_ends_of_either_kind_are_read() {
    let found = problems(&["policy: p\r\nrules:\r\n  - {id: r, allow: {host: a b}}\r\n"]);
    assert_eq!(
        (found[0].line, found[0].column, found[0].source_line.as_str()),
        (3, 27, "  - {id: r, allow: {host: a b}}")
    );
}
