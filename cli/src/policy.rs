//! `egret policy`: policy files, before they are in force.

mod check;
mod convert;
mod create;
mod difference;
mod explain;
mod layout;
mod learn;
mod sources;
mod surroundings;

use crate::Context;
use crate::exit::Answer;
use crate::output;

/// Check policy files, and explain them.
#[derive(clap::Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(clap::Subcommand)]
enum PolicyCommand {
    /// Read policy files, report everything that is wrong with them, and run their checks.
    Check(check::Check),
    /// Say what policies answer to a request and why; or what the code of a problem means.
    Explain(explain::Explain),
    /// Lay policy files out in one way; comments, order and meaning stay.
    Fmt(layout::Fmt),
    /// Convert a list of hosts of another tool to a policy.
    Import(convert::Import),
    /// Write a policy as the networking block of a hosted agent or container.
    Export(convert::Export),
    /// Say what a change of policy files grants and takes away.
    Diff(difference::Diff),
    /// Write a policy that allows what was recorded.
    Propose(learn::Propose),
    /// Judge recorded requests by a candidate, and list what would be answered otherwise.
    Replay(learn::Replay),
    /// Print a policy file made from a template.
    New(create::New),
    /// Print the JSON Schema of policy files, for editors.
    Schema,
}

impl Policy {
    /// # Errors
    /// 1 if the answer is no: a file is not acceptable, a check fails, a request is refused, a block cannot
    /// express a policy; 2 if something cannot be read; 3 if a session must be asked for and no sidecar answers.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        match &self.command {
            PolicyCommand::Check(check) => check.execute(context),
            PolicyCommand::Explain(explain) => explain.execute(context),
            PolicyCommand::Fmt(fmt) => fmt.execute(context),
            PolicyCommand::Import(import) => import.execute(),
            PolicyCommand::Export(export) => export.execute(context),
            PolicyCommand::Diff(diff) => diff.execute(context),
            PolicyCommand::Propose(propose) => propose.execute(context),
            PolicyCommand::Replay(replay) => replay.execute(context),
            PolicyCommand::New(new) => new.execute(),
            PolicyCommand::Schema => {
                output::print(&policies::schema());
                Ok(())
            }
        }
    }
}

/// A number with its noun, such as `1 check` or `3 checks`.
fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
