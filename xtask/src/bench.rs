//! `cargo xtask bench`: every benchmark, one after the other. Each prints its figures; the table at the end has one line of each.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::peers::{self, Length};
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
    /// The comparison of `bench/`: brief, unless it is named or the run is long.
    Peers,
}

/// All of them, the shortest first.
const BENCHMARKS: [Benchmark; 8] = [
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
    Benchmark {
        name: PEERS,
        measures: "Egret, direct, nginx and hudsucker under the same load",
        program: Program::Peers,
    },
];

/// The benchmark that has options.
const PEERS: &str = "peers";

/// Repetitions of a full comparison.
const REPETITIONS: u32 = 3;

/// The arguments of `cargo xtask bench`.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    is_long: bool,
    /// The benchmarks to run; all if it is empty.
    names: Vec<&'a str>,
    length: Length,
    /// Whether the comparison is written into the page about performance.
    record: bool,
}

impl<'a> Options<'a> {
    fn parse(arguments: &[&'a str]) -> Result<Self> {
        let (mut is_long, mut record, mut repetitions, mut names) = (false, false, None, Vec::new());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--long" => is_long = true,
                "--record" => record = true,
                "--reps" => {
                    let number = rest.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                    repetitions = Some(number.context("--reps needs a number above 0")?);
                }
                option if option.starts_with('-') => {
                    bail!("unknown option {option}; the options are --long, --reps N and --record");
                }
                name if BENCHMARKS.iter().any(|benchmark| benchmark.name == name) => names.push(name),
                unknown => {
                    let known: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
                    bail!("unknown benchmark {unknown}; the benchmarks are {}", known.join(", "));
                }
            }
        }
        let is_full = is_long || names.contains(&PEERS);
        ensure!(
            names.contains(&PEERS) || (repetitions.is_none() && !record),
            "--reps and --record are options of `cargo xtask bench {PEERS}`"
        );
        let length = match is_full {
            true => Length::Full { repetitions: repetitions.unwrap_or(REPETITIONS) },
            false => Length::Brief,
        };
        Ok(Self { is_long, names, length, record })
    }
}

/// Runs the named benchmarks, or all; short runs unless `--long` is among the arguments.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let is_selected = |one: &&Benchmark| options.names.is_empty() || options.names.contains(&one.name);
    let mut summary = Vec::new();
    let mut failed = 0;
    for benchmark in BENCHMARKS.iter().filter(is_selected) {
        let (started, outcome) = (Instant::now(), benchmark.run(&options));
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
    fn run(&self, options: &Options<'_>) -> Result<()> {
        stage(&format!("{}: {}", self.name, self.measures), || match self.program {
            Program::Example(member) => {
                let (package, example) = (format!("egret-{member}"), format!("bench_{}", self.name));
                let mut run = cargo(&["run", "--locked", "--quiet", "--release", "--package", &package, "--example"]);
                run.arg(example);
                if !options.is_long {
                    run.args(["--", "--short"]);
                }
                command(&mut run)
            }
            Program::Fairness { short, long } => fairness(if options.is_long { long } else { short }),
            Program::Peers => peers::compare(options.length, options.record),
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
            Program::Fairness { .. } | Program::Peers => None,
        });
        assert_eq!(listed.collect::<BTreeSet<_>>(), found);
    }

    #[test]
    fn what_is_not_known_is_refused_before_anything_runs() {
        let error = |arguments: &[&str]| bench(arguments).unwrap_err().to_string();
        assert_eq!(error(&["--quick"]), "unknown option --quick; the options are --long, --reps N and --record");
        let known = "leaves, decide, conflicts, hostile, journal, vault, fairness, peers";
        assert_eq!(error(&["leaf"]), format!("unknown benchmark leaf; the benchmarks are {known}"));
    }

    #[test]
    fn the_comparison_is_full_if_it_is_named_or_the_run_is_long() {
        let parsed = |arguments: &[&'static str]| Options::parse(arguments).unwrap();
        assert_eq!(parsed(&[]).length, Length::Brief);
        assert_eq!(parsed(&["--long"]).length, Length::Full { repetitions: 3 });
        assert_eq!(parsed(&["peers"]).length, Length::Full { repetitions: 3 });
        let expected =
            Options { is_long: false, names: vec!["peers"], length: Length::Full { repetitions: 5 }, record: true };
        assert_eq!(parsed(&["peers", "--reps", "5", "--record"]), expected);
    }

    #[test]
    fn options_of_the_comparison_need_its_name_and_a_number() {
        let error = |arguments: &[&str]| Options::parse(arguments).unwrap_err().to_string();
        let unnamed = "--reps and --record are options of `cargo xtask bench peers`";
        assert_eq!(error(&["--record"]), unnamed);
        assert_eq!(error(&["decide", "--reps", "2"]), unnamed);
        assert_eq!(error(&["peers", "--reps"]), "--reps needs a number above 0");
        assert_eq!(error(&["peers", "--reps", "0"]), "--reps needs a number above 0");
    }
}
