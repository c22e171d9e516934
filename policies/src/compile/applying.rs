//! Contradictions between policies that apply to the same sessions without being named: each file is valid alone, and
//! every session that both select would be left without rules.

use std::sync::Arc;

use crate::compile::PolicySource;
use crate::conflict::{mixed, ties_between};
use crate::policy::Policy;
use crate::problem::{Place, Problem, Reporter, code};
use crate::rule::{Effect, Rule};

/// How many contradictions are reported.
const MAX_REPORTED: usize = 20;

/// The contradictions between policies whose `applies_to` can select one session, and the ceilings over it.
pub(super) fn conflicts(compiled: &[(Policy, &PolicySource)]) -> Vec<Problem> {
    let applies = |policy: &Policy| policy.applies_to.is_some() && !policy.observe && !policy.ceiling;
    let granting = rules_for_policies(compiled, applies, |_| true);
    let together = |a: usize, b: usize| meet(&compiled[a].0, &compiled[b].0);
    let (owners, rules): (Vec<usize>, Vec<Arc<Rule>>) = granting.iter().cloned().unzip();
    let ties = ties_between(&rules, |a, b| together(owners[a], owners[b]));
    let mut problems: Vec<Problem> = Vec::new();
    for (first, second) in ties.pairs.into_iter().take(MAX_REPORTED) {
        let message = format!(
            "{} and {} can match one request, rank equal and differ in what they give, and both policies apply to one session",
            named(&rules[first]),
            named(&rules[second])
        );
        let help = "make one of them more exact in host, path, methods or ports, or select other sessions";
        problems.push(problem(compiled[owners[second]].1, &rules[second], code::TIE, message, help));
    }
    if let Some(at) = ties.unsearched {
        let message =
            format!("{} is like too many others of its host: they cannot be searched for ties", named(&rules[at]));
        let help = "give the rules that give the same to a request one rule with a list of paths, tools or values";
        problems.push(problem(compiled[owners[at]].1, &rules[at], code::BUDGET, message, help));
    }
    let over = rules_for_policies(compiled, |policy| policy.ceiling, |rule| rule.effect == Effect::Deny);
    let (owners, rules): (Vec<usize>, Vec<Arc<Rule>>) = granting.into_iter().chain(over).unzip();
    let unread =
        mixed(&rules).into_iter().filter(|(a, b)| owners[*a] != owners[*b] && together(owners[*a], owners[*b]));
    for (passing, reading) in unread.take(MAX_REPORTED) {
        let message = format!(
            "{} passes a host and port through unread, {} must read it, and both policies apply to one session",
            named(&rules[passing]),
            named(&rules[reading])
        );
        let help = "read it in both, or name hosts and ports that do not overlap, or select other sessions";
        problems.push(problem(compiled[owners[passing]].1, &rules[passing], code::MIXED, message, help));
    }
    problems
}

/// The rules of some policies, each with the place of its policy.
fn rules_for_policies(
    compiled: &[(Policy, &PolicySource)],
    policies: impl Fn(&Policy) -> bool,
    rules: impl Fn(&Rule) -> bool,
) -> Vec<(usize, Arc<Rule>)> {
    let chosen = compiled.iter().enumerate().filter(|(_, (policy, _))| policies(policy));
    let all = chosen.flat_map(|(at, (policy, _))| policy.rules.iter().map(move |rule| (at, rule.clone())));
    all.filter(|(_, rule)| rules(rule)).collect()
}

/// Whether both can be over one session; a policy is over itself, and what contradicts itself is reported elsewhere.
fn meet(a: &Policy, b: &Policy) -> bool {
    let both = a.applies_to.as_ref().zip(b.applies_to.as_ref());
    a.name != b.name && both.is_none_or(|(a, b)| a.meets(b))
}

fn named(rule: &Rule) -> String {
    format!("rule `{}` of policy `{}`", rule.id, rule.policy)
}

fn problem(source: &PolicySource, rule: &Rule, code: &'static str, message: String, help: &str) -> Problem {
    let at = Place { line: rule.origin.line, column: 1, width: 1 };
    Reporter::new(&source.name, &source.text).problem(code, at, message, Some(help.to_owned()))
}
