//! How long many rules of one host compile and combine, by how they differ, at 1,000, 3,000 and 10,000 rules:
//! `cargo run --release -p egret-policies --example bench_conflicts [-- --short]`. With `--short` it ends at 1,000.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use egret_policies::{PolicySource, compile};
use model::PolicyName;

/// How many rules one file holds; a file has a bound.
const RULES_A_FILE: usize = 5_000;

/// A name, and the match of the rule with this number.
type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 9] = [
    ("globs", |n| format!("path: /v1/*/p{n:05}")),
    ("globs of one prefix and end", |n| format!("path: /v1/*/p{n:05}/*/end")),
    ("globs, middles within a segment", |n| format!("path: /v1/*/a-*-p{n:05}-and-so-on/the-end")),
    ("globs of any depth", |n| format!("path: /v1/**/p{n:05}/*/end")),
    ("globs by prefix", |n| format!("path: /v1/p{n:05}-*/x")),
    ("tools", |n| format!("tool: mcp__t{n:05}")),
    ("tool patterns", |n| format!("tool: \"mcp__t{n:05}__*\"")),
    ("query values", |n| format!("query: {{id: v{n:05}}}")),
    ("ports", |n| format!("port: {}", n + 1)),
];

#[expect(clippy::print_stdout, reason = "this is a program of the command line")]
fn main() {
    println!(
        "{:34} {:>8} {:>12} {:>12} {:>14}",
        "rules that differ by", "rules", "compile", "combine", "a rule, in µs"
    );
    let is_short = std::env::args().any(|argument| argument == "--short");
    let counts: &[usize] = if is_short { &[1_000] } else { &[1_000, 3_000, 10_000] };
    for (name, differs) in KINDS {
        for &count in counts {
            let (compiled, combined) = measure(count, differs);
            let each = (compiled + combined).as_secs_f64() * 1e6 / count as f64;
            println!("{name:34} {count:8} {compiled:>12.1?} {combined:>12.1?} {each:>14.1}");
        }
    }
}

/// Each rule gives one of seven credentials, so that no two neighbors give the same.
fn measure(count: usize, differs: fn(usize) -> String) -> (Duration, Duration) {
    let mut sources = Vec::new();
    for (file, first) in (0..count).step_by(RULES_A_FILE).enumerate() {
        let mut text = format!("policy: p{file}\nrules:\n");
        for n in first..count.min(first + RULES_A_FILE) {
            writeln!(text, "  - {{id: r{n}, allow: {{host: a.example.com, {}}}, use: [k{}]}}", differs(n), n % 7)
                .expect("writing to a string does not fail");
        }
        sources.push(PolicySource { name: format!("{file}.yaml"), text });
    }
    let start = Instant::now();
    let set = compile(&sources).unwrap_or_else(|problems| panic!("{}", problems[0]));
    let compiled = start.elapsed();
    let names: Vec<PolicyName> = set.names().cloned().collect();
    let start = Instant::now();
    set.rules_for_policies(&names).expect("no two rules tie");
    (compiled, start.elapsed())
}
