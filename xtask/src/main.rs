//! `cargo xtask`: the tasks that cargo alone cannot express.

mod bench;
mod cost;
mod install;
mod long;
mod peers;
mod run;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test             install what the tests need, run every test, the end-to-end tests against the release binary
cargo xtask e2e [FILTER]     only the end-to-end tests, against the release binary
cargo xtask crash [--rounds N]    kill the sidecar under load, 50 times or N
cargo xtask vault [--kills N]     seal 10,000,000 times; kill a process that changes a vault, 2,000 times or N
cargo xtask soak [--seconds N]    mixed load for 600 seconds or N; memory and descriptors must stay
cargo xtask fairness [--seconds N]    a greedy session, a stranger and a modest session for 600 seconds or N
cargo xtask long [--cases N] [--seconds N]    every property of the policies over 1,000,000 cases or N, paths, framing, then fuzz
cargo xtask fuzz [--seconds N]    each fuzz target for 300 seconds or N
cargo xtask paths [--targets N]   1,000,000 targets or N, read by models of servers; 100,000 of them by real parsers
cargo xtask framing          the HTTP/1 messages that Egret writes for its corpus, read by h11
cargo xtask hostile          work per byte of the parsers on hostile input, at 1, 4 and 16 KiB: it must not grow
cargo xtask bench [--long] [NAME]..    every benchmark or those named (leaves decide conflicts hostile journal vault fairness peers); short
cargo xtask bench peers [--reps N] [--record]    Egret, direct, nginx and hudsucker under the same load, 3 times or N; into docs/performance.md
cargo xtask cost [--record]  instructions of the hottest paths, compared with bench/cost.txt, or written to it
cargo xtask install          only install what the tests need";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => run::test(),
        ["e2e", filters @ ..] => run::e2e(filters),
        ["crash"] => run::crash("50"),
        ["crash", "--rounds", rounds] => run::crash(rounds),
        ["vault"] => run::vault("2000"),
        ["vault", "--kills", kills] => run::vault(kills),
        ["soak"] => run::soak("600"),
        ["soak", "--seconds", seconds] => run::soak(seconds),
        ["fairness"] => run::fairness("600"),
        ["fairness", "--seconds", seconds] => run::fairness(seconds),
        ["fuzz"] => long::fuzz("300"),
        ["fuzz", "--seconds", seconds] => long::fuzz(seconds),
        ["long"] => long::long("1000000", "300"),
        ["long", "--cases", cases] => long::long(cases, "300"),
        ["long", "--seconds", seconds] => long::long("1000000", seconds),
        ["long", "--cases", cases, "--seconds", seconds] => long::long(cases, seconds),
        ["paths"] => long::paths("1000000"),
        ["paths", "--targets", targets] => long::paths(targets),
        ["framing"] => long::framing(),
        ["hostile"] => run::examples("bench_hostile"),
        ["bench", arguments @ ..] => bench::bench(arguments),
        ["cost"] => cost::cost(false),
        ["cost", "--record"] => cost::cost(true),
        ["install"] => install::everything(),
        [] | ["help" | "-h" | "--help"] => {
            run::say(USAGE);
            Ok(())
        }
        _ => bail!("unknown task: {}\n{USAGE}", words.join(" ")),
    }
}
