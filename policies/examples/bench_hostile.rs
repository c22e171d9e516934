//! Work per byte of every parser of the model and of the policies on hostile input, at 1, 4 and 16 KiB: it must not grow
//! with the length. `cargo xtask hostile` runs this and every other example whose name begins with `bench_hostile`, so a
//! crate adds its own parsers with an example of that name and a table like [`PARSERS`].

#![expect(clippy::print_stdout, reason = "this is a program of the command line")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use egret_policies::{PolicySource, Question, Rules, compile};
use model::{Authority, Destination, Host, RequestPath, Scheme, Timestamp};

const KIB: [usize; 3] = [1, 4, 16];

/// How much more work per byte the longest input may take than the shortest.
const MAX_GROWTH: f64 = 3.0;

/// A parser, the piece that its hostile input repeats, and what comes before it.
struct Parser {
    name: &'static str,
    before: &'static str,
    piece: &'static str,
    run: fn(&str),
}

fn path(text: &str) {
    let _parsed = black_box(RequestPath::parse(text));
}

fn host(text: &str) {
    let _parsed = black_box(Host::parse(text));
}

fn authority(text: &str) {
    let _parsed = black_box(Authority::parse(text, false));
}

const POLICY: &str = "policy: p
rules:
  - {id: a, allow: {host: a.example, path: [/a/**, \"/a/*/b/*/c\", \"/**/x\", \"/a*\"]}}
  - {id: q, allow: {host: q.example, query: {ref: [main, \"a*b*c\"]}}}
  - {id: d, deny: {host: \"**\", path: [/admin/**, \"/**/secret/*\"], query: {force: \"*\"}}}
";

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let set = compile(&[PolicySource { name: "p.yaml".to_owned(), text: POLICY.to_owned() }]).expect("a policy");
    set.rules_for_policies(&["p".into()]).expect("rules")
});

fn decide(host: &str, text: &str) {
    let Ok(path) = RequestPath::parse(text) else { return };
    let destination = Destination::new(Scheme::Https, Host::parse(host).expect("a host"), 443);
    let (websocket, tool, now) = (false, None, Timestamp::UNIX_EPOCH);
    let question = Question { destination: &destination, method: "GET", path: &path, websocket, tool, now };
    let _answer = black_box(RULES.authorize(&question));
}

fn decision(text: &str) {
    decide("a.example", text);
}

fn query(text: &str) {
    decide("q.example", text);
}

const PARSERS: [Parser; 28] = [
    Parser { name: "path, nested escapes", before: "/%", piece: "25", run: path },
    Parser { name: "path, escapes of escapes", before: "/", piece: "%25%32%66", run: path },
    Parser { name: "path, double escapes", before: "/", piece: "%252f", run: path },
    Parser { name: "path, encoded slashes", before: "/a", piece: "%2fa", run: path },
    Parser { name: "path, encoded delimiters", before: "/", piece: "%3f%23", run: path },
    Parser { name: "path, dot segments", before: "/", piece: "../", run: path },
    Parser { name: "path, slashes", before: "/", piece: "/", run: path },
    Parser { name: "path, parameters", before: "/", piece: "a;", run: path },
    Parser { name: "path, segments with parameters", before: "/", piece: "a;b/", run: path },
    Parser { name: "path, percent signs", before: "/", piece: "%25", run: path },
    Parser { name: "path, unicode", before: "/", piece: "%EF%BC%8E", run: path },
    Parser { name: "path, plain", before: "/", piece: "a/", run: path },
    Parser { name: "host, labels", before: "", piece: "a.", run: host },
    Parser { name: "host, punycode", before: "", piece: "xn--a.", run: host },
    Parser { name: "host, unicode", before: "", piece: "\u{fc}\u{df}", run: host },
    Parser { name: "host, numbers", before: "", piece: "0x7f.", run: host },
    Parser { name: "host, brackets", before: "[", piece: "0:", run: host },
    Parser { name: "authority, colons", before: "a", piece: ":1", run: authority },
    Parser { name: "authority, at signs", before: "a", piece: "@", run: authority },
    Parser { name: "decision, folders", before: "/a/", piece: "b/", run: decision },
    Parser { name: "decision, empty segments", before: "/a/", piece: "/", run: decision },
    Parser { name: "decision, encoded slashes", before: "/a/", piece: "b%2fc", run: decision },
    Parser { name: "decision, parameters", before: "/a/", piece: "b;c/", run: decision },
    Parser { name: "decision, double escapes", before: "/a/", piece: "%2562", run: decision },
    Parser { name: "query, limited names", before: "/?", piece: "ref=main&", run: query },
    Parser { name: "query, nested escapes", before: "/?ref=%", piece: "25", run: query },
    Parser { name: "query, separators", before: "/?", piece: "&;?", run: query },
    Parser { name: "query, values for stars", before: "/?ref=", piece: "ab", run: query },
];

/// The least time of several runs, in nanoseconds for each byte.
fn per_byte(parser: &Parser, bytes: usize) -> f64 {
    let mut text = parser.before.to_owned();
    while text.len() + parser.piece.len() <= bytes {
        text.push_str(parser.piece);
    }
    let runs = (1 << 20) / bytes;
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..runs {
            (parser.run)(black_box(&text));
        }
        let spent = begin.elapsed().as_secs_f64() * 1e9;
        least = least.min(spent / (runs * text.len()) as f64);
    }
    least
}

fn main() -> ExitCode {
    let mut grows = false;
    println!("{:34} {:>9} {:>9} {:>9}  ns/byte at 1, 4 and 16 KiB", "", "1", "4", "16");
    for parser in &PARSERS {
        let spent = KIB.map(|kib| per_byte(parser, kib * 1024));
        let grown = spent[2] > spent[0] * MAX_GROWTH;
        grows |= grown;
        let mark = if grown { "  GROWS" } else { "" };
        println!("{:34} {:9.2} {:9.2} {:9.2}{mark}", parser.name, spent[0], spent[1], spent[2]);
    }
    if grows { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
