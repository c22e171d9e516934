//! Lists of hosts that other tools keep, to policy files. What a rule cannot express, or may not allow as widely, is left out and
//! listed in a comment: a person decides about it.

mod block;
mod draft;
mod lines;
mod squid;

use thiserror::Error;

use crate::compile::{PolicySource, compile};
use crate::fmt::fmt;
use crate::problem::Problem;

pub(crate) use block::{MANAGERS, MANAGERS_ID};

/// The line that lets an editor complete a policy file, if the schema is in the same folder.
pub const SCHEMA_LINE: &str = "# yaml-language-server: $schema=egret-policy.schema.json";

/// The source of a list of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A domain on each line; `*.b` is one more label, `.b` the domain and all below it.
    Domains,
    /// `acl NAME dstdomain ..` of a squid configuration, or a file that such a line names.
    Squid,
    /// Allowed endpoints of a workflow: `host:port`, separated by blanks or lines, alone or within the workflow.
    Github,
    /// The networking block of a managed agent's environment, in JSON or YAML.
    ManagedAgent,
    /// The network policy of a hosted container, in JSON or YAML.
    OpenAi,
}

/// Why nothing could be made of a list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// It is not of the form it should be.
    #[error("{0}")]
    Unreadable(String),
    /// It opens everything, which no policy does.
    #[error("the network is unrestricted, and no policy opens every host; observe what is used and propose from that")]
    Unrestricted,
    /// A line that cannot be left out: what it denies would be allowed.
    #[error("line {line}: {why}")]
    Refused {
        /// The line, counted from 1.
        line: usize,
        /// Why not, and what to do.
        why: String,
    },
    /// It names no host that a rule may name.
    #[error("no host could be taken over: {0}")]
    Nothing(String),
    /// The policy that it makes is not acceptable.
    #[error("the policy that this makes is not acceptable: {}", .0.first().map_or("", |problem| problem.message.as_str()))]
    Unacceptable(Vec<Problem>),
}

/// Makes a policy file with this name of what other tools keep. It compiles, and its checks pass.
///
/// # Errors
/// [`ImportError`] if nothing of it can be expressed as a policy.
pub fn import(origin: Origin, name: &str, text: &str) -> Result<String, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let draft = match origin {
        Origin::Domains => lines::domains(text)?,
        Origin::Squid => squid::acls(text)?,
        Origin::Github => lines::endpoints(text),
        Origin::ManagedAgent => block::managed_agent(text)?,
        Origin::OpenAi => block::network_policy(text)?,
    };
    let is_closed = origin == Origin::OpenAi && draft.is_closed;
    if draft.is_empty() && !is_closed {
        let first = draft.notes.first().cloned();
        return Err(ImportError::Nothing(first.unwrap_or_else(|| "the list is empty".to_owned())));
    }
    let source = PolicySource { name: format!("{name}.yaml"), text: draft.write(name) };
    compile(std::slice::from_ref(&source)).map_err(ImportError::Unacceptable)?;
    fmt(&source).map_err(ImportError::Unacceptable)
}

#[cfg(test)]
mod tests;
