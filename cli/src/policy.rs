//! `egret policy`: policy files, before they are in force.

use std::path::PathBuf;

use anyhow::anyhow;
use control::{LoadError, read_library, read_path};
use model::Timestamp;
use policies::{CheckResult, PolicySet, PolicySource};

use crate::Context;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Check policy files.
#[derive(clap::Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(clap::Subcommand)]
enum PolicyCommand {
    /// Read policy files, say everything that is wrong with them, and run their checks.
    Check {
        /// Files and folders [default: those of the configuration].
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

impl Policy {
    /// # Errors
    /// 1 where a file is not acceptable or a check fails, 2 where one cannot be read.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        let PolicyCommand::Check { files } = &self.command;
        check(context, files)
    }
}

fn check(context: &Context, files: &[PathBuf]) -> Answer {
    let paths = if files.is_empty() { context.config()?.policies } else { files.to_vec() };
    if paths.is_empty() {
        return Err(Failure::usage(anyhow!(
            "there is nothing to check: name files, or a configuration that does (--config)"
        )));
    }
    let mut sources: Vec<PolicySource> = Vec::new();
    for path in &paths {
        let found = read_path(path).or_usage()?;
        if found.is_empty() {
            return Err(Failure::usage(anyhow!("there is no policy file (*.yaml, *.yml) in {}", path.display())));
        }
        sources.extend(found);
    }
    let own: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    // A file of the library itself may be what is checked.
    let built_in = read_library().into_iter().filter(|one| !sources.iter().any(|own| own.text == one.text));
    sources.extend(built_in.collect::<Vec<_>>());
    let set = policies::compile(&sources).map_err(|problems| {
        let count = problems.len();
        output::print(&format!("{}\n\n", LoadError::Problems(problems)));
        Failure::refused(anyhow!(
            "{count} {} in {} policy {}",
            plural(count, "problem"),
            own.len(),
            plural(own.len(), "file")
        ))
    })?;
    report(&set, &own)
}

fn report(set: &PolicySet, own: &[String]) -> Answer {
    for warning in set.warnings() {
        output::print(&format!("{warning}\n\n"));
    }
    let results: Vec<CheckResult> =
        set.run_checks(Timestamp::now()).into_iter().filter(|result| own.contains(&result.file)).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.problem.as_ref()).collect();
    for failure in &failed {
        output::print(&format!("{failure}\n\n"));
    }
    if !failed.is_empty() {
        let count = failed.len();
        return Err(Failure::refused(anyhow!(
            "{count} of {} {} failed",
            results.len(),
            plural(results.len(), "check")
        )));
    }
    output::print(&format!(
        "{} policy {} and {} {}: all good\n",
        own.len(),
        plural(own.len(), "file"),
        results.len(),
        plural(results.len(), "check")
    ));
    Ok(())
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
