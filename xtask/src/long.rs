//! Tests that take too long for every change: the properties over a million cases each, readers in other languages, and the fuzz
//! targets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::install;
use crate::run::{cargo, command, root, say, stage, target};

/// The version of cargo-fuzz that `fuzz/` was written with.
const CARGO_FUZZ: &str = "0.13.2";

/// Each fuzz target, with the longest input that it is given, in bytes.
const TARGETS: [(&str, &str); 6] = [
    ("policy", "4096"),
    ("host", "300"),
    ("path", "512"),
    ("masking", "1024"),
    ("http1_request", "1024"),
    ("http1_response", "1024"),
];

/// The properties, then readers in other languages, then the fuzz targets.
pub(crate) fn long(cases: &str, seconds: &str) -> Result<()> {
    properties(cases)?;
    paths(cases)?;
    framing()?;
    fuzz(seconds)
}

/// The HTTP/1 messages that the corpus of `proxy` causes, read by h11.
pub(crate) fn framing() -> Result<()> {
    install::everything()?;
    let folder = tempfile::tempdir().context("cannot make a folder for the messages")?;
    stage("HTTP/1 messages, written by the corpus", || {
        let mut test = cargo(&["test", "--locked", "--package", "egret-proxy", "--lib", "http1::tests"]);
        command(test.env("EGRET_FRAMING", folder.path()))
    })?;
    stage("HTTP/1 messages, read by h11", || {
        let script = root().join("tests").join("framing_reader.py");
        command(Command::new(install::python()).arg(script).arg(folder.path()))
    })
}

/// Tests this many targets: each is judged and read by models of servers, and some by real parsers.
pub(crate) fn paths(targets: &str) -> Result<()> {
    install::everything()?;
    stage(&format!("{targets} targets, read by models of servers and by real parsers"), || {
        let mut test = cargo(&["test", "--locked", "--release", "--package", "egret-policies", "--test", "readings"]);
        test.args(["--", "--nocapture"]).env("EGRET_TARGETS", targets);
        command(test.env("EGRET_CLIENTS", install::clients()).env("EGRET_PARSERS", "installed"))
    })
}

/// The number of cases for the isolation of sessions through the API, where each case sends some forty requests.
const API_CASES: &str = "100000";

/// Every property of the model and of the policies, in a release build, because each case compiles policies. Then the property
/// that no answer and no record of one session depends on the documents of another.
fn properties(cases: &str) -> Result<()> {
    stage(&format!("properties, {cases} cases each"), || {
        let packages = ["--package", "egret-model", "--package", "egret-policies"];
        let mut test = cargo(&["test", "--locked", "--release"]);
        test.args(packages).args(["--lib", "--test", "it"]);
        // The cases that a strategy discards are counted over the whole run.
        test.env("PROPTEST_CASES", cases).env("PROPTEST_MAX_LOCAL_REJECTS", u32::MAX.to_string());
        command(&mut test)
    })?;
    stage(&format!("sessions through the API, {API_CASES} cases"), || {
        let mut test = cargo(&["test", "--locked", "--release", "--package", "egret-control", "--lib", "t200_"]);
        command(test.env("PROPTEST_CASES", API_CASES))
    })
}

/// Every fuzz target, for this time each.
pub(crate) fn fuzz(seconds: &str) -> Result<()> {
    let program = cargo_fuzz()?;
    let folder = root().join("fuzz");
    seed(&folder.join("corpus"))?;
    for (name, longest) in TARGETS {
        stage(&format!("fuzz {name} for {seconds} s"), || {
            let mut run = Command::new(&program);
            // None of the code under test is unsafe, so a sanitizer would find nothing, and the stable compiler suffices.
            run.args(["run", "--sanitizer", "none", "--fuzz-dir"]).arg(&folder).arg(name).arg("--");
            run.args([format!("-max_total_time={seconds}"), format!("-max_len={longest}")]);
            run.args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
            command(run.env("CARGO_TARGET_DIR", target().join("fuzz")))
        })?;
    }
    Ok(())
}

/// The program; installs it next to the build output if it is missing.
fn cargo_fuzz() -> Result<PathBuf> {
    let tools = target().join("tools");
    let program = tools.join("bin").join("cargo-fuzz");
    if !program.exists() {
        stage("install cargo-fuzz", || {
            let mut install = cargo(&["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"]);
            command(install.arg(&tools))
        })?;
    }
    Ok(program)
}

/// The first inputs: the policies of the fixtures and of the library, and the lines of `fuzz/seeds`.
fn seed(corpus: &Path) -> Result<()> {
    let mut seeds: BTreeMap<(&str, String), Vec<u8>> = BTreeMap::new();
    let policies = root().join("policies");
    for file in yaml_files(&[policies.join("tests").join("fixtures"), policies.join("library")])? {
        let name = file.strip_prefix(&policies)?.to_string_lossy().replace(['/', '\\'], "-");
        seeds.insert(("policy", name), fs::read(&file)?);
    }
    for target in ["host", "path", "masking", "http1_request", "http1_response"] {
        let file = root().join("fuzz").join("seeds").join(format!("{target}.txt"));
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for (n, line) in lines.lines().enumerate() {
            // A line of a file cannot contain the line ends of HTTP.
            let line = match target.starts_with("http1") {
                true => line.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t"),
                false => line.to_owned(),
            };
            seeds.insert((target, format!("seed-{n}")), line.into_bytes());
        }
    }
    ensure!(seeds.keys().any(|(target, _)| *target == "policy"), "there are no policies to begin with");
    for ((target, name), bytes) in seeds {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    say(&format!("the inputs are in {}", corpus.display()));
    Ok(())
}

fn yaml_files(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut left = folders.to_vec();
    let mut found = Vec::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    Ok(found)
}
