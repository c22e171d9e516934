//! Ways out for data on hosts that are otherwise only read.

use super::{Desk, named};
use crate::policy::Policy;
use crate::problem::code;
use crate::rule::{Effect, Rule};

const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Reports an allow of methods that carry a body, without a bound on it, on a host that another rule only reads.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    let grants = |rule: &&std::sync::Arc<Rule>| rule.effect == Effect::Allow && !rule.pass_through;
    let writing = policy.rules.iter().filter(grants).filter(|rule| !only_reads(rule));
    for rule in writing.filter(|rule| rule.limits.request_body.is_none() && rule.limits.bytes_out.is_none()) {
        let reads_same = |other: &&std::sync::Arc<Rule>| {
            only_reads(other) && other.hosts.iter().any(|host| rule.hosts.iter().any(|own| own.contains(host)))
        };
        if let Some(other) = policy.rules.iter().filter(grants).find(reads_same) {
            let message =
                format!("rule `{}` lets bodies of any size out to a host that {} only reads", rule.id, named(other));
            let help = "bound it, such as `limits: {request_body: 1MiB}`, or name methods without a body";
            desk.rule(code::UNLIMITED_BODY, rule, message, help);
        }
    }
}

fn only_reads(rule: &Rule) -> bool {
    rule.methods.as_ref().is_some_and(|methods| methods.iter().all(|method| READING.contains(&&**method)))
}
