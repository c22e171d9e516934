//! Rules that no request can ever match.

use std::collections::BTreeSet;

use model::Host;

use super::Desk;
use crate::combine::PolicySet;
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::problem::code;
use crate::rule::{Effect, Rule};

/// Top-level names of private networks (RFC 6762, RFC 8375, and `internal` by ICANN).
const PRIVATE_SUFFIXES: [&str; 7] = ["internal", "local", "localhost", "lan", "corp", "home", "home.arpa"];

/// Reports rules that contradict HTTP, names of private networks that nothing lets be dialed, and rules that a
/// ceiling over every session lets nothing through of.
pub(super) fn report(policy: &Policy, set: &PolicySet, desk: &mut Desk<'_>) {
    for rule in &policy.rules {
        if let Some(why) = contradiction(rule) {
            let message = format!("rule `{}` can never match: {why}", rule.id);
            desk.rule(code::NEVER, rule, message, "correct it, or remove it");
        }
        if rule.effect != Effect::Deny && rule.addresses.is_none() {
            report_private(rule, desk);
        }
        if rule.effect != Effect::Deny && !policy.ceiling {
            report_under(rule, set, desk);
        }
    }
}

fn contradiction(rule: &Rule) -> Option<&'static str> {
    let lacks = |method: &str| rule.methods.as_ref().is_some_and(|methods| !methods.contains(method));
    let server_wide = rule.paths.as_ref().is_some_and(|paths| paths.iter().all(|path| path.to_string() == "*"));
    if rule.websocket && lacks("GET") {
        return Some("a WebSocket begins with a GET, which `methods` leaves out");
    }
    if server_wide && lacks("OPTIONS") {
        return Some("the target `*` goes with OPTIONS alone, which `methods` leaves out");
    }
    None
}

fn report_private(rule: &Rule, desk: &mut Desk<'_>) {
    let private = rule.hosts.iter().find(|pattern| {
        let name = match pattern {
            HostPattern::Exact(Host::Name(name)) => name,
            HostPattern::Child(tail) | HostPattern::Below(tail) => tail,
            HostPattern::Exact(Host::V4(_) | Host::V6(_)) | HostPattern::Any => return false,
        };
        let ends_with =
            |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|front| front.is_empty() || front.ends_with('.'));
        PRIVATE_SUFFIXES.iter().any(ends_with)
    });
    if let Some(pattern) = private {
        let message = format!("`{pattern}` is a name of a private network, and rule `{}` has no `addresses`", rule.id);
        let help = "beside `allow`, list the addresses that may be dialed, such as `addresses: [10.1.0.0/16]`";
        desk.rule(code::PRIVATE_NAME, rule, message, help);
    }
}

fn report_under(rule: &Rule, set: &PolicySet, desk: &mut Desk<'_>) {
    let over_all = |policy: &&Policy| policy.ceiling && policy.applies_to.is_none();
    for ceiling in set.policies().filter(over_all) {
        let lets = |other: &Rule| {
            other.effect != Effect::Deny
                && rule.scheme == other.scheme
                && share(rule.ports.as_ref(), other.ports.as_ref())
                && share(rule.methods.as_ref(), other.methods.as_ref())
                && rule.hosts.iter().any(|host| other.hosts.iter().any(|own| own.meets(host)))
        };
        if !ceiling.rules.iter().any(|other| lets(other)) {
            let message =
                format!("rule `{}` can never match: the ceiling `{}` lets nothing of it pass", rule.id, ceiling.name);
            desk.rule(code::NEVER, rule, message, "remove it, or widen the ceiling");
        }
    }
}

/// Whether the sets have something in common; one that is not there limits nothing.
fn share<T: Ord>(a: Option<&BTreeSet<T>>, b: Option<&BTreeSet<T>>) -> bool {
    a.zip(b).is_none_or(|(a, b)| !a.is_disjoint(b))
}
