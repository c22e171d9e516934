//! Checks that would pass with any rules, or that repeat another one.

use std::collections::HashMap;

use model::Host;

use super::Desk;
use crate::check::Check;
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::problem::{Place, code};
use crate::verdict::Verdict;

/// Reports duplicate checks, and refusals expected of hosts that the policy does not name.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    let mut seen = HashMap::new();
    for check in &policy.checks {
        let request = &check.request;
        let asked = (&request.text, &request.tool, request.websocket, request.at);
        let line = check.failure.line;
        let first = *seen.entry(asked).or_insert(line);
        if first != line {
            idle(check, desk, format!("the check on line {first} asks the same"));
        } else if check.expect == Verdict::Deny
            && check.rule.is_none()
            && is_foreign(request.destination.host(), policy)
        {
            let message =
                "no rule has to do with this host: all it tests is that what no rule names is refused".to_owned();
            idle(check, desk, message);
        }
    }
}

fn idle(check: &Check, desk: &mut Desk<'_>, message: String) {
    let failure = &check.failure;
    let at = Place { line: failure.line, column: failure.column, width: failure.width };
    desk.reporter.warn(
        code::IDLE_CHECK,
        at,
        message,
        "ask something that a change could break; to say that all else is refused, ask for a name below .invalid",
    );
}

/// Whether the host shares no registered domain with any host of the rules.
fn is_foreign(host: &Host, policy: &Policy) -> bool {
    let domain = |name: &str| psl::domain_str(name).unwrap_or(name).to_owned();
    let Host::Name(name) = host else { return false };
    // A name that cannot exist (RFC 6761) represents all that no rule names.
    if name.ends_with(".invalid") {
        return false;
    }
    let own = domain(name);
    !policy.rules.iter().flat_map(|rule| &rule.hosts).any(|pattern| match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(Host::Name(name)) => domain(name) == own,
        HostPattern::Child(tail) | HostPattern::Below(tail) => domain(tail) == own,
        HostPattern::Exact(Host::V4(_) | Host::V6(_)) => false,
    })
}
