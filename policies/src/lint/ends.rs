//! What has ended already.

use model::Timestamp;

use super::Desk;
use crate::policy::Policy;
use crate::problem::code;

/// Reports a policy or a rule whose end has passed.
pub(super) fn report(policy: &Policy, now: Timestamp, desk: &mut Desk<'_>) {
    let over = |until: Option<Timestamp>| until.filter(|until| *until <= now);
    if let Some(until) = over(policy.until) {
        let message = format!("policy `{}` ended at {until}: it grants nothing any more", policy.name);
        desk.policy(code::EXPIRED, policy, message, "remove it, or move its end");
        return;
    }
    for rule in &policy.rules {
        if let Some(until) = over(rule.until) {
            let message = format!("rule `{}` ended at {until}", rule.id);
            desk.rule(code::EXPIRED, rule, message, "remove it, or move its end");
        }
    }
}
