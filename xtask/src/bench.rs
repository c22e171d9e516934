//! `cargo xtask bench`: every benchmark, one after the other. Each prints its figures; the table at the end has one line of each.

use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::run::{cargo, command, fairness, say, stage};

/// One benchmark.
struct Benchmark {
    name: &'static str,
    /// The subject of its figures.
    measures: &'static str,
    program: Program,
}

/// The program that runs it.
enum Program {
    /// The example `bench_NAME` of this crate. With `--short` it repeats less.
    Example(&'static str),
    /// The load of `cargo xtask fairness`, with the seconds of a short and of a long run.
    Fairness { short: &'static str, long: &'static str },
}

/// All of them, the shortest first.
const BENCHMARKS: [Benchmark; 7] = [
    Benchmark {
        name: "leaves",
        measures: "a leaf certificate: signed, and from the cache",
        program: Program::Example("certs"),
    },
    Benchmark {
        name: "decide",
        measures: "a policy decision, and compiling, by the number of rules",
        program: Program::Example("policies"),
    },
    Benchmark {
        name: "conflicts",
        measures: "compiling and combining many rules of one host",
        program: Program::Example("policies"),
    },
    Benchmark {
        name: "hostile",
        measures: "work per byte of the parsers on hostile input, which must not grow",
        program: Program::Example("policies"),
    },
    Benchmark {
        name: "journal",
        measures: "a record: its steps, written, verified, indexed",
        program: Program::Example("audit"),
    },
    Benchmark {
        name: "vault",
        measures: "a lease, a change of the vault, opening it",
        program: Program::Example("vault"),
    },
    Benchmark {
        name: "fairness",
        measures: "requests of a modest session beside a greedy one and a stranger",
        program: Program::Fairness { short: "16", long: "600" },
    },
];

/// Runs the named benchmarks, or all; short runs unless `--long` is among the arguments.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let (options, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| **option != "--long") {
        bail!("unknown option {unknown}; the only one is --long");
    }
    let is_known = |name: &&str| BENCHMARKS.iter().any(|benchmark| benchmark.name == *name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        bail!("unknown benchmark {unknown}; the benchmarks are {}", known.join(", "));
    }
    let is_long = !options.is_empty();
    let mut summary = Vec::new();
    let mut failed = 0;
    for benchmark in BENCHMARKS.iter().filter(|one| names.is_empty() || names.contains(&one.name)) {
        let (started, outcome) = (Instant::now(), benchmark.run(is_long));
        let seconds = started.elapsed().as_secs();
        let result = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => {
                failed += 1;
                format!("failed: {error:#}")
            }
        };
        summary.push(format!("{:<10} {seconds:>5} s  {}: {result}", benchmark.name, benchmark.measures));
    }
    say("== summary (the figures of each are above)");
    summary.iter().for_each(|line| say(line));
    ensure!(failed == 0, "{failed} of {} benchmarks failed", summary.len());
    Ok(())
}

impl Benchmark {
    fn run(&self, is_long: bool) -> Result<()> {
        stage(&format!("{}: {}", self.name, self.measures), || match self.program {
            Program::Example(member) => {
                let (package, example) = (format!("egret-{member}"), format!("bench_{}", self.name));
                let mut run = cargo(&["run", "--locked", "--quiet", "--release", "--package", &package, "--example"]);
                run.arg(example);
                if !is_long {
                    run.args(["--", "--short"]);
                }
                command(&mut run)
            }
            Program::Fairness { short, long } => fairness(if is_long { long } else { short }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::run::root;

    #[test]
    fn every_benchmark_of_the_workspace_is_listed() {
        let mut found = BTreeSet::new();
        for member in std::fs::read_dir(root()).unwrap() {
            let member = member.unwrap();
            let Ok(examples) = std::fs::read_dir(member.path().join("examples")) else { continue };
            for example in examples {
                let name = example.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
                if name.contains("bench") {
                    found.insert((member.file_name().to_str().unwrap().to_owned(), name));
                }
            }
        }
        let listed = BENCHMARKS.iter().filter_map(|benchmark| match benchmark.program {
            Program::Example(member) => Some((member.to_owned(), format!("bench_{}", benchmark.name))),
            Program::Fairness { .. } => None,
        });
        assert_eq!(listed.collect::<BTreeSet<_>>(), found);
    }

    #[test]
    fn what_is_not_known_is_refused_before_anything_runs() {
        let error = |arguments: &[&str]| bench(arguments).unwrap_err().to_string();
        assert_eq!(error(&["--quick"]), "unknown option --quick; the only one is --long");
        let known = "leaves, decide, conflicts, hostile, journal, vault, fairness";
        assert_eq!(error(&["leaf"]), format!("unknown benchmark leaf; the benchmarks are {known}"));
    }
}
