//! Policies that are valid alone and that no session can have together, found in the files alone.
//!
//! Conflicts are between two rules, so it is enough to look at pairs of policies. Which sessions there will be is not in the
//! files: a pair is a warning, and becomes an error where a combination is known to be used (`sessions.default`). Policies
//! that apply to the same sessions by `applies_to` are judged when files are compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::PolicyName;

use crate::combine::PolicySet;
use crate::combine_error::{CombineError, RuleRef};
use crate::compile::PolicySource;
use crate::conflict::{MAX_SETTING_RULES, mixed, set_conflicts, ties_between};
use crate::policy::Policy;
use crate::problem::{Place, Problem, Reporter, Severity, code};
use crate::rule::{Effect, Rule};
use crate::selector::Subject;

/// How many pairs of policies are reported.
const MAX_REPORTED: usize = 20;

/// The pairs of policies of these sources that no session can have together, with the first conflict of each.
pub fn conflicting_pairs(set: &PolicySet, sources: &[PolicySource]) -> Vec<Problem> {
    let is_checked = |policy: &&Policy| sources.iter().any(|source| *source.name == *policy.file);
    let policies: Vec<&Policy> = set.policies().filter(is_checked).collect();
    let mut problems = Vec::new();
    for ((first, second), error) in conflicts(&policies).into_iter().take(MAX_REPORTED) {
        let message = format!("no session can have both policy `{first}` and policy `{second}`: {error}");
        problems.extend(problem(set, sources, &error, message, Severity::Warning));
    }
    problems
}

/// The conflict within a combination that is known to be used, such as that of `sessions.default`.
pub fn conflict_of(set: &PolicySet, sources: &[PolicySource], subject: &Subject<'_>, whose: &str) -> Option<Problem> {
    let error = set.rules_for_session(subject).err()?;
    let message = format!("the policies of {whose} cannot be used together: {error}");
    problem(set, sources, &error, message, Severity::Error)
}

fn conflicts(policies: &[&Policy]) -> BTreeMap<(PolicyName, PolicyName), CombineError> {
    let mut found = BTreeMap::new();
    let mut note = |a: &Rule, b: &Rule, error: CombineError| {
        let (a, b) = (a.policy.clone(), b.policy.clone());
        found.entry(if a < b { (a, b) } else { (b, a) }).or_insert(error);
    };
    let granting = rules_for_policies(policies, |policy| !policy.ceiling, |_| true);
    let (owners, rules): (Vec<&Policy>, Vec<Arc<Rule>>) = granting.iter().cloned().unzip();
    for (a, b) in ties_between(&rules, |a, b| meet(owners[a], owners[b])).pairs {
        let error = CombineError::Tie { first: reference(&rules[a]), second: reference(&rules[b]) };
        note(&rules[a], &rules[b], error);
    }
    let denies = rules_for_policies(policies, |policy| policy.ceiling, |rule| rule.effect == Effect::Deny);
    let (owners, rules): (Vec<&Policy>, Vec<Arc<Rule>>) = granting.into_iter().chain(denies).unzip();
    for (passing, reading) in mixed(&rules).into_iter().filter(|(a, b)| meet(owners[*a], owners[*b])) {
        let error = CombineError::Mixed { passing: reference(&rules[passing]), reading: reference(&rules[reading]) };
        note(&rules[passing], &rules[reading], error);
    }
    let setting = rules_for_policies(policies, |_| true, |rule| !rule.set.is_empty());
    let (owners, rules): (Vec<&Policy>, Vec<Arc<Rule>>) = setting.into_iter().unzip();
    let compared: Vec<&Rule> = rules.iter().take(MAX_SETTING_RULES).map(|rule| &**rule).collect();
    for conflict in set_conflicts(&compared).pairs {
        let (a, b) = (compared[conflict.first], compared[conflict.second]);
        if meet(owners[conflict.first], owners[conflict.second]) {
            let header = conflict.header.to_string();
            note(a, b, CombineError::SetConflict { first: reference(a), second: reference(b), header });
        }
    }
    found
}

/// Some rules of some policies, each with its policy.
fn rules_for_policies<'a>(
    policies: &[&'a Policy],
    chosen: impl Fn(&Policy) -> bool,
    fits: impl Fn(&Rule) -> bool,
) -> Vec<(&'a Policy, Arc<Rule>)> {
    let chosen = policies.iter().filter(|policy| chosen(policy));
    let all = chosen.flat_map(|policy| policy.rules.iter().map(|rule| (*policy, rule.clone())));
    all.filter(|(_, rule)| fits(rule)).collect()
}

/// Whether one session can have both. Beside a policy that enforces, one that observes is judged alone.
fn meet(a: &Policy, b: &Policy) -> bool {
    let selected = a.applies_to.as_ref().zip(b.applies_to.as_ref()).is_none_or(|(a, b)| a.meets(b));
    a.name != b.name && selected && (a.ceiling || b.ceiling || a.observe == b.observe)
}

fn reference(rule: &Rule) -> RuleRef {
    RuleRef { policy: rule.policy.clone(), rule: rule.id.clone() }
}

/// The problem at the rule that the error names last, where it is one of these sources, else at the one that it names first.
fn problem(
    set: &PolicySet,
    sources: &[PolicySource],
    error: &CombineError,
    message: String,
    severity: Severity,
) -> Option<Problem> {
    let (rules, help) = match error {
        CombineError::Tie { first, second } => (
            vec![second, first],
            "make one of them more exact in host, path, methods or ports, or give both the same `use`, `addresses`, `limits` and `timeouts`",
        ),
        CombineError::SetConflict { first, second, .. } => {
            (vec![second, first], "set the header to one value in both, or in one of them only")
        }
        CombineError::Mixed { passing, reading } => {
            (vec![passing, reading], "read it in both, or name hosts and ports that do not overlap")
        }
        CombineError::Unsearched { rule } => (
            vec![rule],
            "put the rules that give the same to a request into one rule with a list of paths, tools or values",
        ),
        CombineError::UnknownPolicy(_)
        | CombineError::Ceiling(_)
        | CombineError::DoesNotApply(_)
        | CombineError::TooManyCeilings
        | CombineError::TooManySets
        | CombineError::DocumentsUnavailable => return None,
    };
    let rule = |wanted: &RuleRef| {
        let policy = set.policies().find(|policy| policy.name == wanted.policy)?;
        let source = sources.iter().find(|source| *source.name == *policy.file)?;
        policy.rules.iter().find(|rule| rule.id == wanted.rule).map(|rule| (rule, source))
    };
    let (rule, source) = rules.into_iter().find_map(rule)?;
    let reporter = Reporter::new(&source.name, &source.text);
    let at = Place::of_id(rule.origin.line, rule.id.as_str(), reporter.line(rule.origin.line));
    Some(Problem { severity, ..reporter.problem(code::COMBINATION, at, message, Some(help.to_owned())) })
}
