//! The command `egret`: the only crate that reads arguments and the environment.

mod audit_command;
mod ca;
mod child;
mod client;
mod config;
mod data_dir;
mod demo;
mod environment;
mod evidence;
mod exit;
mod explain;
mod foundation;
mod harden;
mod logging;
mod man;
mod memory;
mod output;
mod policy;
mod run;
mod serve;
mod session;
mod session_options;
mod sidecar;
mod status;
mod timekeeper;
mod tries;
mod variables;
mod vault_command;
mod warnings;
mod wipe;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use config::Config;
use data_dir::{DataDir, Places};
use exit::{Answer, OrFail as _};

#[global_allocator]
static ALLOCATOR: wipe::Wiping = wipe::Wiping;

/// Egress proxy and credential vault for agent sandboxes.
#[derive(Parser)]
#[command(name = "egret", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    config: Option<PathBuf>,
    /// The data folder [default: $EGRET_DATA_DIR, the configuration's, $XDG_DATA_HOME/egret, ~/.local/share/egret].
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the sidecar.
    Serve(serve::Serve),
    /// Show the state of the sidecar, the policies in force, and problems.
    Status(status::Status),
    /// Run one command in a session of its own.
    Run(run::Run),
    /// Store and manage credentials.
    Vault(vault_command::Vault),
    /// Check, explain, compare and generate policy files.
    Policy(policy::Policy),
    /// Create, list and end sessions.
    Session(session::Session),
    /// Query and verify the records.
    Audit(audit_command::Audit),
    /// Show the CA that clients must trust.
    Ca(ca::Ca),
    /// Show the product on a loopback origin of its own, and clean up.
    Demo(demo::Demo),
    /// Print what the code of a refusal, a record or a policy's problem means.
    Explain(explain::Explain),
    /// Print the manual page (roff): egret man | man -l -
    Man,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The environment of a command.
#[derive(Clone)]
struct Context {
    common: Common,
    places: Places,
    before: harden::Before,
}

impl Context {
    /// The configuration, or the defaults if no file is named.
    fn config(&self) -> Answer<Config> {
        match &self.common.config {
            Some(path) => config::load(path, self.places.home.as_deref()).or_usage(),
            None => Ok(Config::default()),
        }
    }

    fn data_dir(&self, config: &Config) -> Answer<DataDir> {
        DataDir::resolve(self.common.data_dir.as_deref(), config.data_dir.as_deref(), &self.places).or_usage()
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _gone = error.print();
            return ExitCode::from(code);
        }
    };
    let done = begin(arguments.common).and_then(|context| dispatch(arguments.command, &context));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                output::say(&format!("egret: {text}"));
            }
            ExitCode::from(failure.code())
        }
    }
}

fn begin(common: Common) -> Answer<Context> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = Places { data_dir: path("EGRET_DATA_DIR"), xdg_data_home: path("XDG_DATA_HOME"), home: path("HOME") };
    let before = harden::harden().or_unreachable()?;
    Ok(Context { common, places, before })
}

fn dispatch(command: Command, context: &Context) -> Answer {
    match command {
        Command::Serve(serve) => serve.execute(context),
        Command::Status(status) => with_logs(|| status.execute(context)),
        Command::Demo(demo) => demo.execute(context),
        Command::Run(run) => run.execute(context),
        Command::Vault(vault) => with_logs(|| vault.execute(context)),
        Command::Policy(policy) => with_logs(|| policy.execute(context)),
        Command::Session(session) => with_logs(|| session.execute(context)),
        Command::Audit(audit) => with_logs(|| audit.execute(context)),
        Command::Ca(ca) => with_logs(|| ca.execute(context)),
        Command::Explain(explain) => with_logs(|| explain.execute()),
        Command::Man => man::print(Arguments::command()),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "egret", &mut text);
            output::print(&String::from_utf8_lossy(&text));
            Ok(())
        }
    }
}

/// Commands other than the sidecar print only errors.
fn with_logs(work: impl FnOnce() -> Answer) -> Answer {
    logging::start("warn", false)?;
    work()
}

#[cfg(test)]
mod tests;
