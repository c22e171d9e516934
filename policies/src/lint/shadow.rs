//! Rules that never decide, because others always go before them.

use std::sync::Arc;

use super::cover::covers;
use super::{Desk, named};
use crate::policy::Policy;
use crate::problem::code;
use crate::rule::{Effect, Rule};

/// Reports every allow and ask whose requests are all denied or asked by others, and duplicate rules.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    for (at, rule) in policy.rules.iter().enumerate() {
        let stronger = |other: &&Arc<Rule>| other.effect > rule.effect;
        let covering = |others: &mut dyn Iterator<Item = &Arc<Rule>>| -> Option<Vec<Arc<Rule>>> {
            let others: Vec<_> = others.collect();
            rule.hosts
                .iter()
                .map(|host| others.iter().find(|other| covers(other, rule, host)).map(|other| Arc::clone(other)))
                .collect()
        };
        if let Some(winners) = covering(&mut policy.rules.iter().filter(stronger)).filter(|all| !all.is_empty()) {
            let verb =
                if winners.iter().all(|winner| winner.effect == Effect::Deny) { "denies" } else { "goes before" };
            let message = format!("rule `{}` never decides: {} {verb} all it matches", rule.id, list(&winners));
            desk.rule(code::SHADOWED, rule, message, "remove it, or narrow the rule that goes before it");
            continue;
        }
        let before = policy.rules.iter().take(at).filter(|other| other.effect == rule.effect);
        let twin = before.into_iter().find(|other| {
            rule.hosts.iter().all(|host| covers(other, rule, host))
                && other.hosts.iter().all(|host| covers(rule, other, host))
        });
        if let Some(twin) = twin {
            let message = format!("rule `{}` matches exactly what {} matches", rule.id, named(twin));
            desk.rule(code::SHADOWED, rule, message, "keep one of them");
        }
    }
}

fn list(rules: &[Arc<Rule>]) -> String {
    let mut names: Vec<String> = rules.iter().map(named).collect();
    names.sort();
    names.dedup();
    names.join(" and ")
}
