//! Building the binary once, and running tests and benchmarks against it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::install;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// Prints one line of progress.
#[expect(clippy::print_stdout, reason = "this is a program of the command line")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Runs a command in the workspace; it must succeed.
pub(crate) fn command(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// `cargo` with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Runs `what`, and prints its duration.
pub(crate) fn stage(title: &str, what: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {title}"));
    let started = Instant::now();
    what()?;
    say(&format!("== {title}: done in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// The path of cargo's build output.
pub(crate) fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    if folder.is_absolute() { folder } else { root().join(folder) }
}

/// Builds the release binary.
pub(crate) fn release_binary() -> Result<PathBuf> {
    stage("release binary", || command(&mut cargo(&["build", "--locked", "--release", "--package", "egret"])))?;
    Ok(target().join("release").join("egret"))
}

/// Threads of the end-to-end tests: two for each core, because most of their time they wait for timers.
fn threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// `cargo test` of the end-to-end binary against `egret`.
fn end_to_end(egret: &Path, filters: &[&str]) -> Command {
    let mut test = cargo(&["test", "--locked", "--package", "egret-tests", "--test", "e2e", "--"]);
    test.arg(format!("--test-threads={}", threads()))
        .args(filters)
        .env("EGRET_BIN", egret)
        .env("EGRET_CLIENTS", install::clients());
    test
}

/// All tests.
pub(crate) fn test() -> Result<()> {
    let started = Instant::now();
    stage("client programs and libraries", install::everything)?;
    stage("tests of the crates", || {
        let mut test = cargo(&["test", "--locked", "--workspace", "--exclude", "egret-tests"]);
        command(test.env("EGRET_CLIENTS", install::clients()).env("EGRET_PARSERS", "installed"))
    })?;
    stage("tidiness of the tree", || {
        command(&mut cargo(&["test", "--locked", "--package", "egret-tests", "--test", "tidy"]))
    })?;
    let egret = release_binary()?;
    stage("end-to-end tests", || command(&mut end_to_end(&egret, &[])))?;
    say(&format!("all tests passed in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Only the end-to-end tests, or some of them.
pub(crate) fn e2e(filters: &[&str]) -> Result<()> {
    install::everything()?;
    let egret = release_binary()?;
    command(&mut end_to_end(&egret, filters))
}

/// Many rounds of the test that CI runs for a few rounds.
pub(crate) fn crash(rounds: &str) -> Result<()> {
    let egret = release_binary()?;
    let mut test = end_to_end(&egret, &["--exact", "lifecycle::t188_killed_under_load", "--nocapture"]);
    command(test.env("EGRET_CRASH_ROUNDS", rounds))?;
    say(&format!("killed and found whole {rounds} times"));
    Ok(())
}

/// Kills within changes of a vault, and sealings, more than in CI.
pub(crate) fn vault(kills: &str) -> Result<()> {
    let mut test = cargo(&["test", "--locked", "--release", "--package", "egret-vault", "--lib"]);
    test.args(["--", "t161_no_salt_or_nonce_repeats", "--nocapture"]);
    command(test.env("EGRET_SEALS", "10000000"))?;
    let mut test = cargo(&["test", "--locked", "--release", "--package", "egret-vault", "--test", "crash"]);
    test.args(["--", "t162_killed_at_any_moment", "--nocapture"]);
    command(test.env("EGRET_VAULT_KILLS", kills))
}

/// The load of the soak test, for longer than in CI.
pub(crate) fn soak(seconds: &str) -> Result<()> {
    let egret = release_binary()?;
    let mut test = end_to_end(&egret, &["--exact", "lifecycle::memory_and_descriptors_stay", "--nocapture"]);
    command(test.env("EGRET_SOAK_SECONDS", seconds))?;
    say(&format!("steady for {seconds} s"));
    Ok(())
}

/// The service of a modest session next to a greedy one and an unidentified client, for longer than in CI, with checked
/// figures.
pub(crate) fn fairness(seconds: &str) -> Result<()> {
    let egret = release_binary()?;
    let name = "contention::t209_a_modest_session_is_served_beside_a_greedy_one_and_a_stranger";
    let mut test = end_to_end(&egret, &["--exact", name, "--nocapture"]);
    command(test.env("EGRET_FAIRNESS_SECONDS", seconds))
}

/// Every example of every crate whose name has this prefix.
pub(crate) fn examples(prefix: &str) -> Result<()> {
    let mut found = 0;
    for member in std::fs::read_dir(root())?.flatten() {
        let Ok(examples) = std::fs::read_dir(member.path().join("examples")) else { continue };
        for example in examples.flatten() {
            let file = example.path();
            let Some(name) = file.file_stem().and_then(|name| name.to_str()).filter(|name| name.starts_with(prefix))
            else {
                continue;
            };
            let package = format!("egret-{}", member.file_name().to_string_lossy());
            found += 1;
            stage(&format!("{package} {name}"), || {
                command(&mut cargo(&["run", "--release", "--package", &package, "--example", name]))
            })?;
        }
    }
    ensure!(found > 0, "no example is named {prefix}*");
    Ok(())
}
