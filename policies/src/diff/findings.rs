//! What it means that a request gets one thing on the old side and another on the new.

use std::time::Duration;

use ipnet::IpNet;
use model::CredentialId;
use model::limits::print_bytes;

use super::addresses::difference;
use super::identity;
use super::outcome::{Grant, Outcome, SideRules};
use super::{BeforeAfter, Kind};
use crate::rule::{Limits, Rate, Rule, Timeouts};

/// How many ranges of addresses are named before the rest is only counted.
const MAX_RANGES: usize = 8;

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// Whether it grants more.
    pub(super) wider: bool,
    /// The credential, the addresses or the limit.
    pub(super) detail: Option<String>,
}

/// Everything that changes for a request that gets the one and then the other.
pub(super) fn findings(sides: BeforeAfter<SideRules<'_>>, old: &Outcome, new: &Outcome) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind, wider, detail| found.push(Finding { kind, wider, detail });
    match (old, new) {
        (Outcome::Refused(_), Outcome::Refused(_))
        | (Outcome::Asked { .. }, Outcome::Asked { .. })
        | (Outcome::Passes(_), Outcome::Passes(_)) => {}
        (Outcome::Refused(_), Outcome::Asked { .. }) => add(Kind::Asked, true, None),
        (Outcome::Passes(_), Outcome::Asked { .. }) => add(Kind::Asked, false, None),
        (Outcome::Asked { .. }, Outcome::Refused(_)) => add(Kind::Unasked, false, None),
        (Outcome::Asked { .. }, Outcome::Passes(_)) => add(Kind::Unasked, true, None),
        (Outcome::Refused(_), Outcome::Passes(grant)) if grant.rule.is_some() => add(Kind::Reachable, true, None),
        (Outcome::Refused(_), Outcome::Passes(_)) => add(Kind::Observed, true, None),
        (Outcome::Passes(_), Outcome::Refused(_)) => add(Kind::Unreachable, false, None),
    }
    if let (Some(before), Some(after)) = (old.grant(), new.grant()) {
        match (before.unread, after.unread) {
            (false, true) => add(Kind::Unread, true, None),
            (true, false) => add(Kind::Read, false, None),
            (true, true) | (false, false) => {}
        }
        match (before.rule, after.rule) {
            (Some(_), None) => add(Kind::Observed, true, None),
            (None, Some(_)) => add(Kind::Unobserved, false, None),
            (Some(_), Some(_)) | (None, None) => {}
        }
        bounds(sides, before, after, &mut add);
        identity::findings(sides, before, after, &mut add);
    }
    let (before, after) = (credentials(sides.old, old), credentials(sides.new, new));
    for credential in after.iter().filter(|one| !before.contains(one)) {
        add(Kind::CredentialUsable, true, Some(credential.to_string()));
    }
    for credential in before.iter().filter(|one| !after.contains(one)) {
        add(Kind::CredentialLost, false, Some(credential.to_string()));
    }
    found
}

fn credentials<'a>(side: SideRules<'a>, outcome: &Outcome) -> &'a [CredentialId] {
    let rule = outcome.grant().and_then(|grant| grant.rule);
    rule.map_or(&[], |rule| &side.rule(rule).credentials)
}

fn bounds(
    sides: BeforeAfter<SideRules<'_>>,
    before: &Grant,
    after: &Grant,
    add: &mut impl FnMut(Kind, bool, Option<String>),
) {
    let rules: BeforeAfter<Vec<&Rule>> =
        BeforeAfter { old: sides.old.behind(before).collect(), new: sides.new.behind(after).collect() };
    let named = |rules: &[&Rule]| rules.iter().map(|rule| rule.addresses.clone()).collect::<Vec<_>>();
    let observed = BeforeAfter { old: before.rule.is_none(), new: after.rule.is_none() };
    if named(&rules.old) != named(&rules.new) || observed.old != observed.new {
        let difference = difference(&rules, &observed);
        if !difference.gained.is_empty() {
            add(Kind::AddressesWidened, true, Some(ranges(&difference.gained)));
        }
        if !difference.lost.is_empty() {
            add(Kind::AddressesNarrowed, false, Some(ranges(&difference.lost)));
        }
    }
    let limits = |side: SideRules<'_>, grant: &Grant| {
        side.restricting(grant).fold(Limits::default(), |all, rule| all.narrowed(rule.limits))
    };
    let timeouts = |rules: &[&Rule]| rules.iter().fold(Timeouts::default(), |all, rule| all.narrowed(rule.timeouts));
    let (old, new) = (limits(sides.old, before), limits(sides.new, after));
    let concurrent = amount("concurrent", old.concurrent, new.concurrent, |n| n.to_string());
    let mut amounts = vec![rate(old.requests, new.requests), concurrent];
    for (name, old, new) in [
        ("request_body", old.request_body, new.request_body),
        ("response_body", old.response_body, new.response_body),
        ("bytes_out", old.bytes_out, new.bytes_out),
    ] {
        amounts.push(amount(name, old, new, print_bytes));
    }
    let (old, new) = (timeouts(&rules.old), timeouts(&rules.new));
    for (name, old, new) in [
        ("connect", old.connect, new.connect),
        ("first_byte", old.first_byte, new.first_byte),
        ("idle", old.idle, new.idle),
    ] {
        amounts.push(amount(name, old, new, |span: Duration| format!("{span:?}")));
    }
    for (wider, words) in amounts.into_iter().flatten() {
        add(if wider { Kind::LimitsLoosened } else { Kind::LimitsTightened }, wider, Some(words));
    }
}

fn ranges(nets: &[IpNet]) -> String {
    let shown: Vec<String> = nets.iter().take(MAX_RANGES).map(ToString::to_string).collect();
    match nets.len().saturating_sub(MAX_RANGES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more ranges", shown.join(", ")),
    }
}

/// Whether a bound became looser or tighter, with the words; none is the loosest.
fn amount<T: Copy + Ord>(
    name: &str,
    old: Option<T>,
    new: Option<T>,
    shown: impl Fn(T) -> String,
) -> Option<(bool, String)> {
    let wider = match (old, new) {
        (None, None) => return None,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) if old == new => return None,
        (Some(old), Some(new)) => new > old,
    };
    let shown = |value: Option<T>| value.map_or_else(|| "unlimited".to_owned(), &shown);
    Some((wider, format!("{name}: {} instead of {}", shown(new), shown(old))))
}

/// A rate is looser where it lets more through on average, or more at once.
fn rate(old: Option<Rate>, new: Option<Rate>) -> Option<(bool, String)> {
    let shown = |rate: Rate| rate.to_string();
    let (Some(before), Some(after)) = (old, new) else {
        return amount("requests", old, new, shown);
    };
    if before == after {
        return None;
    }
    let often = |one: Rate, other: Rate| u128::from(one.count).saturating_mul(other.per.as_nanos());
    let wider = often(after, before) > often(before, after) || after.count > before.count;
    Some((wider, format!("requests: {} instead of {}", shown(after), shown(before))))
}
