//! `cargo xtask cost`: instructions of the hottest paths, compared with a record. Instructions do not depend on the load of the
//! machine, so a growth of a few percent is a change of the code.
//!
//! Each path is two tests of the crate `proxy`, with few and with many rounds. Both run under callgrind; the difference is the cost of
//! the rounds between, without the setup.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::run::{cargo, root, say, stage};

/// Each path, as the record and its tests name it.
const PATHS: [&str; 8] = [
    "request_head",
    "decision",
    "injection",
    "records_of_a_request",
    "masking_16_kib",
    "leaf_certificate",
    "request_over_http1",
    "request_over_http2",
];

/// How many rounds more `many` runs than `few`.
const ROUNDS: u64 = 200;

/// Growth over this many percent needs a new record.
const TOLERATED_PERCENT: u64 = 3;

/// The record, in the repository.
const RECORD: &str = "bench/cost.txt";

/// Instructions of each path, with the versions that they belong to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    rustc: String,
    lock: String,
    instructions: BTreeMap<String, u64>,
}

impl Record {
    /// The versions of this tree, without instructions.
    fn here() -> Result<Self> {
        let rustc = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
        let lock = std::fs::read(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let lock = Sha256::digest(lock).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string does not fail.
            let _infallible = write!(hex, "{byte:02x}");
            hex
        });
        let rustc = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
        Ok(Self { rustc, lock, instructions: BTreeMap::new() })
    }

    fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) =
                line.split_once(' ').with_context(|| format!("{RECORD}: not a name and a value: {line}"))?;
            match name {
                "compiler" => value.clone_into(&mut record.rustc),
                "cargo-lock-sha256" => value.clone_into(&mut record.lock),
                path => {
                    let value = value.parse().with_context(|| format!("{RECORD}: not a number: {line}"))?;
                    record.instructions.insert(path.to_owned(), value);
                }
            }
        }
        Ok(record)
    }

    fn print(&self) -> String {
        let mut text = "# Instructions of each path, as `cargo xtask cost --record` writes them.\n".to_owned();
        let _infallible = writeln!(text, "compiler {}\ncargo-lock-sha256 {}", self.rustc, self.lock);
        for (path, instructions) in &self.instructions {
            let _infallible = writeln!(text, "{path} {instructions}");
        }
        text
    }

    /// What grew over the tolerance, or is in only one of the two.
    fn grown(&self, measured: &Self) -> Vec<String> {
        let names = self.instructions.keys().chain(measured.instructions.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let one = |name: &&String| match (self.instructions.get(*name), measured.instructions.get(*name)) {
            (Some(before), Some(now)) if is_grown(*before, *now) => {
                Some(format!("{name} grew from {before} to {now} instructions ({:+.1} %)", percent(*before, *now)))
            }
            (Some(_), Some(_)) => None,
            (None, _) => Some(format!("{name} is not in the record")),
            (_, None) => Some(format!("{name} is in the record and was not measured")),
        };
        names.iter().filter_map(one).collect()
    }
}

fn is_grown(before: u64, now: u64) -> bool {
    now * 100 > before * (100 + TOLERATED_PERCENT)
}

#[expect(clippy::cast_precision_loss, reason = "counts of instructions are far below 2^52")]
fn percent(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

/// Counts, and compares with the record or replaces it.
pub(crate) fn cost(replace: bool) -> Result<()> {
    let mut measured = Record::here()?;
    let file = root().join(RECORD);
    let recorded = match replace {
        true => None,
        false => Some(Record::parse(&std::fs::read_to_string(&file).context("cannot read the record")?)?),
    };
    if let Some(recorded) = &recorded {
        ensure!(
            (&recorded.rustc, &recorded.lock) == (&measured.rustc, &measured.lock),
            "the record is of {} and another Cargo.lock or compiler than here; run `cargo xtask cost --record` and commit {RECORD}",
            recorded.rustc
        );
    }
    stage("instructions of the hottest paths", || {
        let binary = test_binary()?;
        for name in PATHS {
            let before = recorded.as_ref().and_then(|record| record.instructions.get(name));
            let first = each(&binary, name)?;
            // A first count within the tolerance is enough.
            let each = match before {
                Some(before) if !is_grown(*before, first) => first,
                Some(_) | None => median([first, each(&binary, name)?, each(&binary, name)?]),
            };
            let change = before.map(|before| format!(" ({:+.1} %)", percent(*before, each))).unwrap_or_default();
            say(&format!("{name:<22} {each:>9}{change}"));
            measured.instructions.insert(name.to_owned(), each);
        }
        Ok(())
    })?;
    let Some(recorded) = recorded else {
        std::fs::write(&file, measured.print()).with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("written to {RECORD}"));
        return Ok(());
    };
    let grown = recorded.grown(&measured);
    if grown.is_empty() {
        return Ok(());
    }
    bail!("{}; make it cheaper, or run `cargo xtask cost --record` and say why in the commit", grown.join("; "))
}

/// The test binary of `proxy`, optimized as the product is.
fn test_binary() -> Result<PathBuf> {
    let mut build = cargo(&["test", "--locked", "--release", "--package", "egret-proxy", "--lib", "--no-run"]);
    let built = build.arg("--message-format=json").current_dir(root()).stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "the tests of egret-proxy do not build");
    let text = String::from_utf8_lossy(&built.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut binaries = messages.filter_map(|message| {
        let is_proxy = message["target"]["name"] == "egret_proxy" && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_proxy).map(PathBuf::from)
    });
    binaries.next().context("cargo names no test binary of egret-proxy")
}

/// The instructions of one round of a path. Hash tables have another seed in each process, so short paths vary by some percent.
fn each(binary: &Path, path: &str) -> Result<u64> {
    let (few, many) = (run(binary, &format!("few::{path}"))?, run(binary, &format!("many::{path}"))?);
    Ok(many.saturating_sub(few) / ROUNDS)
}

fn median(mut three: [u64; 3]) -> u64 {
    three.sort_unstable();
    let [_, median, _] = three;
    median
}

/// The instructions of one run of a test.
fn run(binary: &Path, test: &str) -> Result<u64> {
    let counts = tempfile::NamedTempFile::new().context("cannot make a file for the counts")?;
    let ran = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", counts.path().display()))
        .arg(binary)
        .args(["--exact", &format!("connection::cost::{test}"), "--test-threads=1"])
        .output()
        .context("cannot run valgrind")?;
    let output = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success() && output.contains("1 passed"), "{test} fails under valgrind: {output}");
    total(&std::fs::read_to_string(counts.path())?).with_context(|| format!("callgrind counted nothing for {test}"))
}

/// The total of a file of callgrind.
fn total(counts: &str) -> Option<u64> {
    let line =
        counts.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instructions: &[(&str, u64)]) -> Record {
        let instructions = instructions.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Record { rustc: "rustc 1.0.0 (x)".to_owned(), lock: "00ff".to_owned(), instructions }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let one = record(&[("a", 1), ("b", 200)]);
        assert_eq!(Record::parse(&one.print()).unwrap(), one);
        assert!(Record::parse("a b").is_err() && Record::parse("a").is_err());
    }

    #[test]
    fn growth_over_three_percent_and_missing_paths_are_reported() {
        let before = record(&[("a", 1000), ("b", 1000), ("c", 1000), ("gone", 1)]);
        let now = record(&[("a", 1030), ("b", 1031), ("c", 500), ("new", 1)]);
        let grown = ["b grew from 1000 to 1031 instructions (+3.1 %)"];
        let missing = ["gone is in the record and was not measured", "new is not in the record"];
        assert_eq!(before.grown(&now), [grown.as_slice(), &missing].concat());
        assert!(before.grown(&before).is_empty());
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!([median([1, 2, 3]), median([3, 1, 2]), median([2, 2, 9])], [2, 2, 2]);
    }

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("events: Ir\nfn=(1) x\n1 2\n\ntotals: 4188470\n"), Some(4_188_470));
        assert_eq!(total("summary: 12\n"), Some(12));
        assert_eq!(total("events: Ir\n"), None);
    }
}
