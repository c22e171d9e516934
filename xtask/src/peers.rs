//! `cargo xtask bench peers`: builds and runs `bench/`, which compares Egret with other proxies, and writes the result into the
//! page about performance.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::install;
use crate::run::{cargo, command, release_binary, root, say, stage, target};

/// The page with the result.
const PAGE: &str = "docs/performance.md";

/// The lines around the result.
const BEGIN: &str = "<!-- written by cargo xtask bench peers --record -->";
const END: &str = "<!-- end of what cargo xtask bench peers --record writes -->";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// One short repetition.
    Brief,
    Full {
        repetitions: u32,
    },
}

/// Runs the comparison and prints its table; `record` also writes it into the page. A failed request is an error, and nothing is
/// written then.
pub(crate) fn compare(length: Length, record: bool) -> Result<()> {
    let egret = release_binary()?;
    stage("load generator", || command(&mut cargo(&["build", "--locked", "--release", "--package", "egret-bench"])))?;
    let mut run = Command::new(target().join("release").join("egret-bench"));
    run.args(["run", "--egret"]).arg(egret);
    match install::nginx() {
        Ok(nginx) => {
            run.arg("--nginx").arg(nginx);
        }
        Err(error) => say(&format!("nginx is left out: {error:#}")),
    }
    match hudsucker() {
        Ok(hudsucker) => {
            run.arg("--hudsucker").arg(hudsucker);
        }
        Err(error) => say(&format!("hudsucker is left out: {error:#}")),
    }
    match length {
        Length::Brief => run.arg("--brief"),
        Length::Full { repetitions } => run.args(["--reps", &repetitions.to_string()]),
    };
    let output = run.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {run:?}"))?;
    let result = String::from_utf8(output.stdout).context("the result is not text")?;
    say(result.trim_end());
    ensure!(output.status.success(), "the comparison ended with {}", output.status);
    if record {
        let file = root().join(PAGE);
        let page = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        std::fs::write(&file, with_result(&page, &result)?)?;
        say(&format!("written to {PAGE}"));
    }
    Ok(())
}

/// Builds the peer, whose dependencies are not those of the workspace.
fn hudsucker() -> Result<PathBuf> {
    let folder = target().join("peers");
    stage("hudsucker", || {
        let mut build = cargo(&["build", "--locked", "--quiet", "--release", "--manifest-path"]);
        build.arg("bench/peers/hudsucker/Cargo.toml").arg("--target-dir").arg(&folder);
        command(&mut build)
    })?;
    Ok(folder.join("release").join("hudsucker-peer"))
}

/// The page with `result` in place of what is between the two lines.
fn with_result(page: &str, result: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no line {END} after the first"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", result.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_two_lines_is_replaced() {
        let page = format!("# Page\n\n{BEGIN}\nold\n\n| a |\n{END}\n\nText\n");
        let expected = format!("# Page\n\n{BEGIN}\nnew\n\n| b |\n{END}\n\nText\n");
        assert_eq!(with_result(&page, "new\n\n| b |\n").unwrap(), expected);
        assert_eq!(with_result(&expected, "new\n\n| b |\n").unwrap(), expected);
    }

    #[test]
    fn a_page_without_the_lines_is_not_changed() {
        let error = |page: &str| with_result(page, "new").unwrap_err().to_string();
        assert_eq!(error("text\n"), format!("docs/performance.md has no line {BEGIN}"));
        let reversed = format!("{END}\n{BEGIN}\n");
        assert_eq!(error(&reversed), format!("docs/performance.md has no line {END} after the first"));
    }

    #[test]
    fn the_page_has_the_lines() {
        let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
        assert_eq!([page.matches(BEGIN).count(), page.matches(END).count()], [1, 1]);
        assert!(with_result(&page, "new").is_ok());
    }
}
