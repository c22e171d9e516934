//! What policy files probably do not mean: searched when they are checked, never for a request.
//!
//! Everything here is a warning: the files are acceptable and in force as they are written. What makes a file
//! unacceptable is found by `compile`.

mod bodies;
mod checks;
mod cover;
mod ends;
mod never;
mod paths;
mod secrets;
mod shadow;
mod shared;
mod unsigned;

use std::sync::Arc;

use model::Timestamp;

use crate::combine::PolicySet;
use crate::compile::PolicySource;
use crate::misfits::{self, Surroundings};
use crate::policy::Policy;
use crate::problem::{Place, Problem, Reporter};
use crate::rule::Rule;

/// Finds what is probably not meant in the policies of a set, compiled from these sources; `now` decides what has
/// ended, and `around` is what is known of the vault and the configuration. Sorted by file and line.
pub fn lint(set: &PolicySet, sources: &[PolicySource], now: Timestamp, around: &Surroundings) -> Vec<Problem> {
    let mut problems = Vec::new();
    for policy in set.policies() {
        let Some(source) = sources.iter().find(|source| *source.name == *policy.file) else { continue };
        let mut desk = Desk { reporter: Reporter::new(&source.name, &source.text) };
        ends::report(policy, now, &mut desk);
        shadow::report(policy, &mut desk);
        never::report(policy, set, &mut desk);
        bodies::report(policy, &mut desk);
        for rule in &policy.rules {
            misfits::of_rule(rule, around).into_iter().for_each(|one| desk.rule(one.code, rule, one.message, one.help));
        }
        shared::report(policy, &mut desk);
        paths::report(policy, &mut desk);
        unsigned::report(policy, &mut desk);
        secrets::report(&mut desk);
        checks::report(policy, &mut desk);
        problems.extend(desk.reporter.into_problems());
    }
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    problems
}

pub(crate) use secrets::holds_token;

/// Where findings about one file are written down.
struct Desk<'a> {
    reporter: Reporter<'a>,
}

impl Desk<'_> {
    /// A finding about a rule, marked at its id.
    fn rule(&mut self, code: &'static str, rule: &Rule, message: String, help: impl Into<String>) {
        let at = Place::of_id(rule.origin.line, rule.id.as_str(), self.reporter.line(rule.origin.line));
        self.reporter.warn(code, at, message, help);
    }

    /// A finding about a policy, marked at its name.
    fn policy(&mut self, code: &'static str, policy: &Policy, message: String, help: impl Into<String>) {
        self.reporter.warn(code, policy.place, message, help);
    }
}

/// A rule as messages name it.
fn named(rule: &Arc<Rule>) -> String {
    format!("`{}` (line {})", rule.id, rule.origin.line)
}
