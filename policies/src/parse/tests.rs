//! The problem that the decoder reports for each kind of fault, and the value that it continues with.

use super::*;
use crate::document::{OneOrMany, Scalar, place};
use crate::problem::Problem;

fn read(text: &str) -> (Option<Document>, Vec<Problem>) {
    let mut reporter = Reporter::new("p.yaml", text);
    let document = parse(&mut reporter);
    (document, reporter.into_problems())
}

fn found(text: &str) -> Vec<String> {
    read(text).1.iter().map(|p| format!("{} {}:{}", p.code, p.line, p.column)).collect()
}

/// The value of `use` in this text.
fn value(written: &str) -> Scalar {
    let (document, problems) = read(&format!("policy: p\nrules:\n- {{id: r, use: {written}}}\n"));
    assert!(problems.is_empty(), "{written}: {problems:?}");
    match document.unwrap().rules.remove(0).credentials.unwrap().value {
        OneOrMany::One(value) => value,
        OneOrMany::Many(_) => panic!("{written} is no list"),
    }
}

#[test]
fn what_stands_without_quotes_is_what_every_reader_takes_it_for() {
    for number in ["0", "443", "-7"] {
        assert_eq!(value(number), Scalar::Number(number.parse().unwrap()), "{number}");
    }
    for other in [
        "10.0",
        "1e3",
        "+1",
        "0x1bb",
        "0o17",
        "0b11",
        "1_000",
        "010",
        "-01",
        ".5",
        "5.",
        ".inf",
        "-.INF",
        ".nan",
        "99999999999999999999",
        "true",
        "false",
        "1_0.5e-3",
    ] {
        assert_eq!(value(other), Scalar::Other(other.to_owned()), "{other}");
    }
    for text in [
        "\"443\"",
        "'true'",
        "a",
        "10.0.0.1",
        "2026-12-01",
        "600/m",
        "10s",
        "1MiB",
        "e3",
        "1e",
        "x1",
        "-a",
        "_1",
        "1-2",
        "0x",
        "0xg",
        ".e1",
        "..5",
    ] {
        assert_eq!(value(text), Scalar::Text(text.trim_matches(['"', '\'']).to_owned()), "{text}");
    }
}

#[test]
fn values_have_the_places_where_they_stand() {
    let (document, problems) = read("policy: p\nhosts: {a: [b, \"c\"]}\nrules:\n  - id: r\n    deny: {host: \"**\"}\n");
    assert!(problems.is_empty());
    let document = document.unwrap();
    let at = |line, column, width| Place { line, column, width };
    assert_eq!(place(&document.policy), at(1, 9, 1));
    let (name, hosts) = &document.hosts.0[0];
    assert_eq!(place(name), at(2, 9, 1));
    assert_eq!(OneOrMany::items(hosts).iter().map(|(_, at)| *at).collect::<Vec<_>>(), [at(2, 13, 1), at(2, 16, 3)]);
    assert_eq!(place(&document.rules[0].deny.as_ref().unwrap().value.host), at(5, 18, 4));
}

#[test]
fn every_fault_of_a_file_is_found_in_one_run() {
    let text = "policy: 7\nmode: maybe\nceiling: yes\nhosts: [a.b]\nruls: 1\nrules:\n  - id: one\n    allow: {hots: a.b, port: {}, port: 1}\n    use:\n  - deny: {host: *.b.c, scheme: https}\n    tls: [intercept]\n    host: a.b\n  - nothing\nchecks:\n  - {request: GET https://a.b, expct: deny}\n";
    assert_eq!(
        found(text),
        [
            "EG0005 3:10",
            "EG0005 9:8",
            "EG0003 10:18",
            "EG0006 5:1",
            "EG0005 1:9",
            "EG0008 2:7",
            "EG0008 4:8",
            "EG0006 8:13",
            "EG0004 8:34",
            "EG0008 8:30",
            "EG0006 12:5",
            "EG0007 10:5",
            "EG0008 11:10",
            "EG0008 13:5",
            "EG0006 15:32",
        ]
    );
}

#[test]
fn names_of_sets_without_quotes_are_all_told() {
    let text = "policy: p\nrules:\n  - id: a\n    allow: {host: @one}\n  - id: b\n    allow: {host: [@two, 1.5, `x`], use: []}\n";
    assert_eq!(found(text), ["EG0002 4:19", "EG0002 6:20", "EG0002 6:31", "EG0006 6:37"]);
    let (document, _) = read(text);
    let hosts = document.unwrap().rules.remove(0).allow.unwrap().value.host.value;
    assert!(matches!(hosts, OneOrMany::One(Scalar::Text(text)) if text == "@one"));
}

#[test]
fn what_is_no_mapping_is_told_once() {
    for (text, expected) in [
        ("", "EG0007 1:1"),
        ("# nothing\n", "EG0007 2:1"),
        ("[]", "EG0008 1:1"),
        ("text", "EG0008 1:1"),
        ("~", "EG0005 1:1"),
        ("---\n", "EG0005 1:4"),
        ("{[a]: b}", "EG0008 1:2"),
        ("{}", "EG0007 1:1"),
        ("policy: p\nrules: {a: b}", "EG0008 2:8"),
        ("policy: p\n1: b", "EG0005 2:1"),
        ("policy: p\n---\npolicy: q\n", "EG0001 2:1"),
        ("%YAML 1.2\n---\npolicy: p\n", "EG0002 1:1"),
    ] {
        let mut found = found(text);
        found.dedup();
        if text == "{[a]: b}" {
            found.truncate(1);
        }
        assert_eq!(found, [expected], "{text:?}");
    }
}

#[test]
fn bombs_are_refused_by_their_bounds() {
    let deep = |open: &str, n: usize| format!("policy: p\nrules: {}", open.repeat(n));
    let lines = |n: usize| (0..n).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
    let aliases = "policy: p\na: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n".to_owned();
    for (what, text) in [
        ("size", " ".repeat(MAX_FILE_BYTES + 1)),
        ("flow lists", deep("[", 10_000)),
        ("flow mappings", deep("{a: ", 10_000)),
        ("block lists", deep("\n", 1) + &"- ".repeat(10_000)),
        ("block mappings", lines(1000)),
        ("mixed", deep("[{a: ", 100)),
        ("values", deep("[", 1) + &"a,".repeat(250_000) + "]"),
        ("repairs", deep("[", 1) + &"@a,".repeat(250_000) + "]"),
    ] {
        let (_, problems) = read(&text);
        assert!(!problems.is_empty(), "{what}");
        let bounded = problems.iter().all(|p| p.code == "EG0001" || (what == "repairs" && p.code == "EG0002"));
        assert!(bounded, "{what}: {:?}", problems.iter().map(|p| (p.code, &p.message)).collect::<Vec<_>>());
    }
    assert!(found(&aliases).iter().all(|problem| problem.starts_with("EG0003") || problem.starts_with("EG0006")));
}

#[test]
fn no_more_is_told_than_anyone_reads() {
    let text = format!("policy: p\nrules:\n{}", "  - {id: a, x: y}\n".repeat(1000));
    assert_eq!(read(&text).1.len(), 100);
}

#[test]
fn what_does_not_show_as_it_is_read_is_refused() {
    for sign in ['\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{1b}', '\u{0}', '\u{7f}', '\r'] {
        let text = format!("policy: p\nrules:\n  # x{sign}\n  - {{id: a, allow: {{host: a.example}}}}\n  # {sign}x\n");
        // A carriage return before a line feed is part of the line end.
        let (line, column) = if sign == '\r' { (5, 5) } else { (3, 6) };
        let source = crate::PolicySource { name: "p.yaml".to_owned(), text };
        let problems = crate::compile(std::slice::from_ref(&source)).unwrap_err();
        let told: Vec<_> = problems.iter().map(|problem| (problem.code, problem.line, problem.column)).collect();
        assert_eq!(told, [("EG0002", line, column)], "{sign:?}");
    }
}
