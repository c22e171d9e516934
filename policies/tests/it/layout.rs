//! `fmt` over files as people write them: it gives one layout, the same the second time, and no other answers.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use model::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;

use egret_policies::{PolicySource, compile, fmt, library};

use crate::support::list;

fn laid_out(text: &str) -> String {
    let source = PolicySource { name: "p.yaml".into(), text: text.to_owned() };
    fmt(&source).unwrap_or_else(|problems| panic!("{}\n{text}", list(&problems)))
}

/// Lays out twice, and compares what the compiler makes of it.
fn check(text: &str) -> String {
    let once = laid_out(text);
    assert_eq!(laid_out(&once), once, "laid out again:\n{text}");
    let signs = |text: &str| text.matches('#').count();
    assert_eq!(signs(text), signs(&once), "comments:\n{text}\n{once}");
    let codes = |text: &str| match compile(&[PolicySource { name: "p.yaml".into(), text: text.to_owned() }]) {
        Ok(set) => set.run_checks(Timestamp::UNIX_EPOCH).iter().map(|result| format!("{:?}", result.actual)).collect(),
        Err(problems) => problems.iter().map(|problem| problem.code.to_owned()).collect::<Vec<_>>(),
    };
    let sorted = |text| {
        let mut codes = codes(text);
        codes.sort_unstable();
        codes
    };
    assert_eq!(sorted(text), sorted(&once), "{text}\n{once}");
    once
}

#[test]
fn ready_made_policies_are_laid_out_already() {
    for policy in library() {
        assert_eq!(check(policy.text), policy.text, "{}", policy.name);
    }
}

#[test]
fn every_fixture_that_is_strict_can_be_laid_out() {
    let mut count = 0;
    for folder in ["good", "broken"] {
        for entry in fs::read_dir(Path::new("tests/fixtures").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let source = PolicySource { name: "p.yaml".into(), text: fs::read_to_string(&path).unwrap() };
            if fmt(&source).is_ok() && !source.text.contains("host: *") {
                check(&source.text);
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count} files could be laid out");
}

/// How one generated file is written.
#[derive(Clone, Debug)]
struct Style {
    step: usize,
    dash: &'static str,
    lists_under_keys: bool,
    order: Vec<usize>,
    flow: Vec<bool>,
    between: Vec<&'static str>,
    behind: Vec<&'static str>,
    quote: Vec<&'static str>,
    brackets: &'static str,
}

fn style() -> impl Strategy<Value = Style> {
    let between = select(vec!["", "", "", "\n", "\n\n\n", "# note\n", "        # far\n", "\n  # a\n\n# b\n", "   \n"]);
    let behind = select(vec!["", "", "   ", " # why", "  # it's: \"so\" [", "\t# tab"]);
    (
        (1..5usize, select(vec!["- ", "-   "]), any::<bool>(), Just(vec![0, 1, 2, 3]).prop_shuffle()),
        prop::collection::vec(any::<bool>(), 8),
        prop::collection::vec(between, 24),
        prop::collection::vec(behind, 24),
        prop::collection::vec(select(vec!["", "'", "\""]), 8),
        select(vec!["[]", "[ ]", "[\n      ,]", "[ # x\n  ,\n  # y\n ]"]),
    )
        .prop_map(|((step, dash, lists_under_keys, order), flow, between, behind, quote, brackets)| Style {
            step,
            dash,
            lists_under_keys,
            order,
            flow,
            between,
            behind,
            quote,
            brackets,
        })
}

impl Style {
    fn write(&self) -> String {
        let mut out = String::new();
        let mut number = 0;
        let mut line = |out: &mut String, indent: usize, text: &str| {
            let (before, behind) = (self.between[number % 24], self.behind[number % 24]);
            number += 1;
            writeln!(out, "{before}{:indent$}{text}{behind}", "").unwrap();
        };
        let list = |hosts: &[String]| match self.brackets {
            "[]" => format!("[{}]", hosts.join(",")),
            "[ ]" => format!("[ {} ]", hosts.join(" , ")),
            "[\n      ,]" => format!("[{}]", hosts.join("\n      , ")),
            _ => format!("[ # x\n      {},\n      # y\n     ]", hosts.join(", # z\n      ")),
        };
        line(&mut out, 0, "policy: p");
        line(&mut out, 0, "hosts:");
        let quoted = |name: &str, n: usize| format!("{0}{name}{0}", self.quote[n]);
        line(&mut out, self.step, &format!("s: {}", list(&[quoted("a.example.com", 0), quoted("b.example.com", 1)])));
        line(&mut out, 0, "rules:");
        let at = if self.lists_under_keys { 0 } else { self.step };
        for rule in 0..3 {
            let host = if rule == 2 { "\"@s\"".to_owned() } else { quoted(&format!("r{rule}.example.com"), rule + 2) };
            let methods = ["GET".to_owned(), "HEAD".to_owned()];
            let allow = if self.flow[rule] {
                vec![format!("allow: {{path: /x/**, methods : {}, host: {host} }}", list(&methods))]
            } else {
                vec![
                    "allow:".into(),
                    "  path: /x/**".into(),
                    format!("  host:  {host}"),
                    "  methods:".into(),
                    "  - GET".into(),
                ]
            };
            let parts =
                [vec![format!("id: r{rule}")], allow, vec!["use: x".into()], vec!["limits: {request_body: 0}".into()]];
            for (n, part) in self.order.iter().enumerate() {
                for (m, text) in parts[*part].iter().enumerate() {
                    if n == 0 && m == 0 {
                        line(&mut out, at, &format!("{}{text}", self.dash));
                    } else {
                        line(&mut out, at + self.dash.len(), text);
                    }
                }
            }
        }
        line(&mut out, 0, "checks:");
        line(&mut out, 2, "- {request: GET https://r0.example.com/x/1, expect: allow}");
        line(&mut out, 2, "- {request: GET https://b.example.com/x/1 , expect : allow,\n     rule: r2 }");
        out
    }
}

proptest! {
    #[test]
    fn files_in_any_style_are_laid_out_and_say_the_same(style in style()) {
        let once = check(&style.write());
        prop_assert!(!once.lines().any(|line| line.ends_with(' ')), "blanks at the end of a line:\n{}", once);
        prop_assert!(!once.contains("\n\n\n"), "two blank lines:\n{}", once);
        let order: Vec<_> = once.match_indices("id: r").map(|(at, _)| at).collect();
        prop_assert!(order.len() == 3);
    }
}
