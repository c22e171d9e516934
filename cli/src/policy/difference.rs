//! `egret policy diff`: the permissions that a change of policy files adds and removes.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use control::read_path;
use model::Timestamp;
use policies::PolicySet;

use super::sources::{compiled, with_library};
use crate::Context;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Say in words what becomes reachable, unreachable, asked, or usable as a credential.
#[derive(clap::Args)]
pub(super) struct Diff {
    /// A policy file or folder as it is.
    old: PathBuf,
    /// As it would be.
    new: PathBuf,
    /// Exit with 1 where the new policies grant anything that the old ones do not.
    #[arg(long)]
    fail_if_wider: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

impl Diff {
    /// # Errors
    /// 1 if the new policies are wider and that was asked for, 2 if files cannot be used.
    pub(super) fn execute(&self, _context: &Context) -> Answer {
        let found = policies::diff_sets(&set(&self.old)?, &set(&self.new)?, Timestamp::now());
        match self.format {
            output::Format::Json => output::print(&format!("{:#}\n", found.to_json())),
            output::Format::Table if found.is_empty() => output::print("nothing changes\n"),
            output::Format::Table => output::print(&format!("{}\n", found.to_string().trim_end())),
        }
        if self.fail_if_wider && found.is_wider() {
            return Err(Failure::refused(anyhow!("the new policies grant more than the old ones")));
        }
        Ok(())
    }
}

fn set(path: &Path) -> Answer<PolicySet> {
    compiled(&with_library(read_path(path).or_usage()?))
}
