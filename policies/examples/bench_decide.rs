//! Nanoseconds per decision at 10 to 100,000 rules, on hosts of their own and on one host, and how long they
//! compile:
//! `cargo run --release -p egret-policies --example bench_decide [-- --short]`. With `--short` it ends at 1,000 rules.

use std::hint::black_box;
use std::time::{Duration, Instant};

use egret_policies::{ConnectQuery, PolicySource, Question, Rules, compile};
use model::{Destination, Host, PolicyName, RequestPath, Scheme, Timestamp};

/// How many rules one source holds; a file has a bound.
const RULES_A_FILE: usize = 1000;

/// How long one figure is measured.
fn run() -> Duration {
    Duration::from_millis(if is_short() { 30 } else { 300 })
}

/// Whether fewer repetitions suffice.
fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

/// How the rules differ from one another, and what is asked of the middle one.
struct Spread {
    name: &'static str,
    rule: fn(usize) -> String,
    host: fn(usize) -> String,
    target: fn(usize) -> String,
    /// Whether each rule differs by its port alone.
    ports: bool,
    /// A policy over them.
    ceiling: Option<&'static str>,
}

const BY_HOST: Spread = Spread {
    name: "hosts",
    rule: |n| format!("{{host: h{n}.example.com, methods: [GET, HEAD], path: /v1/**}}"),
    host: |n| format!("h{n}.example.com"),
    target: |n| format!("/v1/p{n}/repos/acme/site?state=open"),
    ports: false,
    ceiling: None,
};

const BY_PATH: Spread = Spread {
    name: "paths",
    rule: |n| format!("{{host: h.example.com, methods: [GET, HEAD], path: /v1/p{n}/**}}"),
    host: |_| "h.example.com".to_owned(),
    ..BY_HOST
};

const CEILING: &str = "policy: over\nceiling: true\nrules:\n  - {id: c, allow: {host: \"**\", methods: [GET], path: /v1/**}}\n  - {id: d, deny: {host: \"**\", path: /v1/admin/**}}\n";

const SPREADS: [Spread; 9] = [
    BY_HOST,
    Spread {
        name: "wildcards",
        rule: |n| format!("{{host: \"**.h{n}.example.com\", methods: [GET, HEAD], path: /v1/**}}"),
        host: |n| format!("a.b.h{n}.example.com"),
        ..BY_HOST
    },
    BY_PATH,
    Spread {
        name: "globs",
        rule: |n| format!("{{host: h.example.com, methods: [GET, HEAD], path: /v1/p{n}/*/acme/**}}"),
        ..BY_PATH
    },
    Spread {
        name: "deep globs",
        rule: |n| format!("{{host: h.example.com, methods: [GET, HEAD], path: /v1/*/p{n}/**}}"),
        target: |n| format!("/v1/repos/p{n}/acme/site?state=open"),
        ..BY_PATH
    },
    Spread {
        name: "query",
        rule: |n| format!("{{host: h{n}.example.com, path: /v1/**, query: {{ref: [main, \"release-*\"], x: \"*\"}}}}"),
        target: |n| format!("/v1/p{n}/repos/acme/site?state=open&ref=release-7&x=1"),
        ..BY_HOST
    },
    Spread { name: "ceiling", ceiling: Some(CEILING), ..BY_HOST },
    Spread { name: "globs below", ceiling: Some(CEILING), rule: SPREAD_GLOB, ..BY_PATH },
    // These differ by the port alone.
    Spread { name: "no path", rule: |n| format!("{{host: h.example.com, port: {}}}", port(n)), ports: true, ..BY_PATH },
];

const SPREAD_GLOB: fn(usize) -> String =
    |n| format!("{{host: h.example.com, methods: [GET, HEAD], path: /v1/p{n}/*/acme/**}}");

fn main() {
    print(&format!(
        "{:>8}  {:<12} {:>10} {:>10} {:>10} {:>14} {:>12}",
        "rules", "spread over", "decide", "allow", "deny", "allows a s", "compile"
    ));
    let counts: &[usize] = if is_short() { &[10, 1_000] } else { &[10, 1_000, 10_000, 100_000] };
    for &count in counts {
        SPREADS.iter().for_each(|spread| measure(count, spread));
    }
}

fn port(n: usize) -> usize {
    1 + n % 65_535
}

fn measure(count: usize, spread: &Spread) {
    let started = Instant::now();
    let rules = compiled(count, spread);
    let took = started.elapsed();
    let n = count / 2;
    let host = Host::parse(&(spread.host)(n)).expect("a name");
    let port = if spread.ports { u16::try_from(port(n)).expect("a port") } else { 443 };
    let destination = Destination::new(Scheme::Https, host.clone(), port);
    let path = RequestPath::parse(&(spread.target)(n)).expect("a path");
    let other = RequestPath::parse("/v2/other").expect("a path");
    let now = Timestamp::UNIX_EPOCH;
    let question =
        Question { destination: &destination, method: "GET", path: &path, websocket: false, tool: None, now };
    assert!(rules.authorize(&question).is_ok(), "{}", spread.name);
    let decide = nanoseconds(|| drop(black_box(rules.decide(black_box(&ConnectQuery { host: &host, port, now })))));
    let allow = nanoseconds(|| drop(black_box(rules.authorize(black_box(&question)))));
    let question = Question { path: &other, method: "TRACE", ..question };
    let deny = nanoseconds(|| drop(black_box(rules.authorize(black_box(&question)))));
    print(&format!(
        "{count:>8}  {:<12} {decide:>7.0} ns {allow:>7.0} ns {deny:>7.0} ns {:>14.0} {:>9} ms",
        spread.name,
        1e9 / allow,
        took.as_millis()
    ));
}

fn compiled(count: usize, spread: &Spread) -> std::sync::Arc<Rules> {
    let numbers: Vec<usize> = (0..count).collect();
    let mut sources: Vec<PolicySource> = numbers
        .chunks(RULES_A_FILE)
        .enumerate()
        .map(|(file, numbers)| {
            let rules: String =
                numbers.iter().map(|n| format!("  - {{id: r{n}, allow: {}}}\n", (spread.rule)(*n))).collect();
            PolicySource { name: format!("{file}.yaml"), text: format!("policy: p{file}\nrules:\n{rules}") }
        })
        .collect();
    let over = spread.ceiling.map(|text| PolicySource { name: "over.yaml".to_owned(), text: text.to_owned() });
    sources.extend(over);
    let set = compile(&sources).expect("the policies are right");
    let names: Vec<PolicyName> = set.names().filter(|name| !set.is_ceiling(name)).cloned().collect();
    set.rules_for_policies(&names).expect("no two rules tie")
}

/// The best of several runs, which is the one that was disturbed least.
fn nanoseconds(mut work: impl FnMut()) -> f64 {
    const BATCH: u32 = 1000;
    let end = Instant::now() + run();
    let mut best = f64::MAX;
    while Instant::now() < end {
        let batch = Instant::now();
        (0..BATCH).for_each(|_| work());
        best = best.min(batch.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    best
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(line: &str) {
    println!("{line}");
}
