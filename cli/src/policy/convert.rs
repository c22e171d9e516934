//! `egret policy import` and `export`: lists of hosts of other tools.

use std::path::PathBuf;

use anyhow::anyhow;
use policies::{ImportError, Origin, Target, render};

use super::sources::{named, read_input};
use crate::Context;
use crate::exit::{Answer, Failure};
use crate::output;

/// Convert a list of hosts of another tool to a policy. Comments list what cannot be converted.
#[derive(clap::Args)]
pub(super) struct Import {
    /// What the list comes from.
    #[arg(long, value_enum)]
    from: From,
    /// The list; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the policy [default: that of the file].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Where a list comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// A domain on each line.
    Domains,
    /// `acl .. dstdomain` of squid's configuration, or a file of domains for it.
    Squid,
    /// Allowed endpoints of a workflow on GitHub, alone or within the workflow.
    Github,
    /// The networking block of a managed agent's environment.
    ManagedAgent,
    /// The network policy of an OpenAI container.
    Openai,
}

impl Import {
    /// # Errors
    /// 2 if the list cannot be read, or contains nothing usable.
    pub(super) fn execute(&self) -> Answer {
        let text = read_input(&self.file)?;
        let origin = match self.from {
            From::Domains => Origin::Domains,
            From::Squid => Origin::Squid,
            From::Github => Origin::Github,
            From::ManagedAgent => Origin::ManagedAgent,
            From::Openai => Origin::OpenAi,
        };
        let policy = policies::import(origin, &self.name(), &text).map_err(|error| {
            if let ImportError::Unacceptable(problems) = &error {
                output::say(render::human(problems).trim_end());
            }
            Failure::usage(error)
        })?;
        output::print(&policy);
        let left = policy.lines().filter(|line| line.starts_with("# Not taken over")).count();
        if left > 0 {
            output::say("some of the list was not taken over; the comments at the top of the policy say what and why");
        }
        Ok(())
    }

    /// The given name, or one derived from the file's name.
    fn name(&self) -> String {
        let given = self.name.clone();
        given.unwrap_or_else(|| {
            let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let sign = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
            let name: String = stem.chars().map(sign).take(64).collect();
            let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
            if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
        })
    }
}

/// Write a policy as the networking block of a hosted agent or container. What such a block cannot express is refused.
#[derive(clap::Args)]
pub(super) struct Export {
    /// What the block is for.
    #[arg(long, value_enum)]
    to: To,
    /// The policy, by name or file.
    #[arg(long, value_name = "NAME|FILE")]
    policy: String,
}

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// A managed agent's environment.
    ManagedAgent,
    /// A container of OpenAI's.
    Openai,
}

impl Export {
    /// # Errors
    /// 1 if the block cannot express the policy; 2 if the policy cannot be read.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        let target = match self.to {
            To::ManagedAgent => Target::ManagedAgent,
            To::Openai => Target::OpenAi,
        };
        let named = named(context, std::slice::from_ref(&self.policy))?;
        let [policy] = named.policies.as_slice() else {
            return Err(Failure::usage(anyhow!("{} holds more than one policy; name one file", self.policy)));
        };
        let block = policies::export(target, &named.set, policy).map_err(|reasons| {
            reasons.iter().for_each(|reason| output::say(reason));
            Failure::refused(anyhow!("the block cannot express policy `{policy}`"))
        })?;
        output::print(&block);
        Ok(())
    }
}
