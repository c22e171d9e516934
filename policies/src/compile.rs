//! Documents to a [`PolicySet`], or every problem found, each with file, line and column.

mod applying;
mod identity;
mod parts;
mod policy;
mod rule;
mod sets;

pub use parts::instant as read_instant;
pub(crate) use parts::method_error;

use std::collections::HashMap;

use model::PolicyName;

pub(crate) use policy::check_of;

use crate::combine::PolicySet;
use crate::digest::digest;
use crate::document::{Document, place};
use crate::parse::parse;
use crate::policy::Policy;
use crate::problem::{Place, Problem, Reporter, Severity, code, quote};

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// What messages call the file.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Compiles all policies that shall be in force together.
///
/// # Errors
/// Every problem found, by file and line, when at least one of them is an error.
pub fn compile(sources: &[PolicySource]) -> Result<PolicySet, Vec<Problem>> {
    let (compiled, mut problems) = compile_all(sources, |_, _| true);
    if !has_errors(&problems) {
        problems.extend(applying::conflicts(&compiled));
    }
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if has_errors(&problems) {
        return Err(problems);
    }
    let digest = digest(compiled.iter().map(|(policy, source)| (policy.name.clone(), source.text.as_str())).collect());
    Ok(PolicySet::new(digest, compiled.into_iter().map(|(policy, _)| policy).collect(), problems))
}

/// Compiles each source; `admits` may report what these sources must not carry, and refuse to compile one.
pub(crate) fn compile_all(
    sources: &[PolicySource],
    mut admits: impl FnMut(&Document, &mut Reporter<'_>) -> bool,
) -> (Vec<(Policy, &PolicySource)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut compiled = Vec::new();
    let mut taken: HashMap<PolicyName, &str> = HashMap::new();
    for source in sources {
        let mut reporter = Reporter::new(&source.name, &source.text);
        if let Some(document) = parse(&mut reporter)
            && admits(&document, &mut reporter)
        {
            let policy = policy::compile(&document, &source.name, &mut reporter);
            claim(&policy, &source.name, place(&document.policy), &mut taken, &mut reporter);
            compiled.push((policy, source));
        }
        problems.extend(reporter.into_problems());
    }
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    (compiled, problems)
}

pub(crate) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// Notes the policy's name, which no other file may have.
fn claim<'a>(
    policy: &Policy,
    file: &'a str,
    at: Place,
    taken: &mut HashMap<PolicyName, &'a str>,
    reporter: &mut Reporter<'_>,
) {
    if let Some(other) = taken.insert(policy.name.clone(), file) {
        let message = format!("policy {} is also defined in {other}", quote(policy.name.as_str()));
        reporter.error(code::DUPLICATE_POLICY, at, message, "give each policy a name of its own");
    }
}
