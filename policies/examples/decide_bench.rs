//! Nanoseconds per decision at 10, 1,000 and 100,000 rules, on hosts of their own and on one host:
//! `cargo run --release -p egret-policies --example decide_bench`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use egret_policies::{Knock, PolicySource, Question, Rules, compile};
use model::{Destination, Host, PolicyName, RequestPath, Scheme, Timestamp};

/// How many rules one source holds; a file has a bound.
const RULES_A_FILE: usize = 1000;
const RUN: Duration = Duration::from_millis(300);

fn main() {
    print(&format!(
        "{:>8}  {:<12} {:>10} {:>10} {:>10} {:>12}",
        "rules", "spread over", "decide", "allow", "deny", "compile"
    ));
    for count in [10, 1_000, 100_000] {
        for (spread, rule) in [
            ("hosts", host_rule as fn(usize) -> String),
            ("wildcards", wildcard_rule),
            ("paths", path_rule),
            ("globs", glob_rule),
        ] {
            measure(count, spread, rule);
        }
    }
}

fn host_rule(n: usize) -> String {
    format!("  - {{id: r{n}, allow: {{host: h{n}.example.com, methods: [GET, HEAD], path: /v1/**}}}}\n")
}

fn wildcard_rule(n: usize) -> String {
    format!("  - {{id: r{n}, allow: {{host: \"**.h{n}.example.com\", methods: [GET, HEAD], path: /v1/**}}}}\n")
}

fn path_rule(n: usize) -> String {
    format!("  - {{id: r{n}, allow: {{host: h.example.com, methods: [GET, HEAD], path: /v1/p{n}/**}}}}\n")
}

fn glob_rule(n: usize) -> String {
    format!("  - {{id: r{n}, allow: {{host: h.example.com, methods: [GET, HEAD], path: /v1/p{n}/*/acme/**}}}}\n")
}

fn measure(count: usize, spread: &str, rule: fn(usize) -> String) {
    let started = Instant::now();
    let rules = compiled(count, rule);
    let took = started.elapsed();
    let n = count / 2;
    let host = match spread {
        "hosts" => format!("h{n}.example.com"),
        "wildcards" => format!("a.b.h{n}.example.com"),
        _ => "h.example.com".to_owned(),
    };
    let host = Host::parse(&host).expect("a name");
    let destination = Destination::new(Scheme::Https, host.clone(), 443);
    let path = RequestPath::parse(&format!("/v1/p{n}/repos/acme/site?state=open")).expect("a path");
    let other = RequestPath::parse("/v2/other").expect("a path");
    let question = Question {
        destination: &destination,
        method: "GET",
        path: &path,
        websocket: false,
        tool: None,
        now: Timestamp::UNIX_EPOCH,
    };
    assert!(rules.authorize(&question).is_ok());
    let decide = nanoseconds(|| {
        drop(black_box(rules.decide(black_box(&Knock { host: &host, port: 443, now: Timestamp::UNIX_EPOCH }))))
    });
    let allow = nanoseconds(|| drop(black_box(rules.authorize(black_box(&question)))));
    let question = Question { path: &other, ..question };
    let deny = nanoseconds(|| drop(black_box(rules.authorize(black_box(&question)))));
    print(&format!(
        "{count:>8}  {spread:<12} {decide:>7.0} ns {allow:>7.0} ns {deny:>7.0} ns {:>9} ms",
        took.as_millis()
    ));
}

fn compiled(count: usize, rule: fn(usize) -> String) -> std::sync::Arc<Rules> {
    let numbers: Vec<usize> = (0..count).collect();
    let sources: Vec<PolicySource> = numbers
        .chunks(RULES_A_FILE)
        .enumerate()
        .map(|(file, numbers)| {
            let rules: String = numbers.iter().map(|n| rule(*n)).collect();
            PolicySource { name: format!("{file}.yaml"), text: format!("policy: p{file}\nrules:\n{rules}") }
        })
        .collect();
    let set = compile(&sources).expect("the policies are right");
    let names: Vec<PolicyName> = set.names().cloned().collect();
    set.rules_of(&names).expect("no two rules tie")
}

/// The best of several runs, which is the one that was disturbed least.
fn nanoseconds(mut work: impl FnMut()) -> f64 {
    const BATCH: u32 = 1000;
    let started = Instant::now();
    let mut best = f64::MAX;
    while started.elapsed() < RUN {
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
