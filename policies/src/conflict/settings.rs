//! Rules that set one header to different values for one request.

use super::separate::{cost, overlap};
use super::{BUDGET, MAX_FOUND, Peer, ways};
use crate::rule::Rule;

/// How many rules with `set` one session may have: every one is compared with every other, under a budget.
pub(crate) const MAX_SETTING_RULES: usize = 512;

/// Two rules, by their indexes, that can match one request and set one header to different values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SetConflict {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) header: Box<str>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SetConflicts {
    pub(crate) pairs: Vec<SetConflict>,
    /// Whether the comparisons would cost more than their budget, so that they were given up.
    pub(crate) is_unfinished: bool,
}

/// The pairs of rules that set one header to different values for one request. Unlike a tie, the rank does not matter: `set` of
/// every matching rule applies.
pub(crate) fn set_conflicts(rules: &[&Rule]) -> SetConflicts {
    let mut found = SetConflicts::default();
    let mut left = BUDGET;
    for (first, a) in rules.iter().enumerate() {
        for (second, b) in rules.iter().enumerate().skip(first + 1) {
            let Some(header) = unequal_header(a, b).filter(|_| found.pairs.len() < MAX_FOUND) else { continue };
            match can_match_one(a, b, &mut left) {
                Some(true) => found.pairs.push(SetConflict { first, second, header: header.into() }),
                Some(false) => {}
                None => {
                    found.is_unfinished = true;
                    return found;
                }
            }
        }
    }
    found
}

/// A header that both set, to different values. Spellings with `_` for `-` are one header.
pub(crate) fn unequal_header<'a>(a: &'a Rule, b: &Rule) -> Option<&'a str> {
    let differs = |(name, value): &&(Box<str>, Box<str>)| {
        b.set.iter().any(|(other, theirs)| model::field::same_name(name, other) && value != theirs)
    };
    a.set.iter().find(differs).map(|(name, _)| &**name)
}

/// Whether some request can match both rules; `None` where that costs more than what is left of the budget.
fn can_match_one(a: &Rule, b: &Rule, left: &mut u64) -> Option<bool> {
    let mut spend = |cost: usize| left.checked_sub(cost as u64).map(|rest| *left = rest);
    spend(a.hosts.len().saturating_mul(b.hosts.len()))?;
    let hosts = || a.hosts.iter().any(|one| b.hosts.iter().any(|other| one.meets(other)));
    if a.scheme != b.scheme || a.websocket != b.websocket || !hosts() {
        return Some(false);
    }
    for (_, path) in ways(a) {
        let a = Peer { at: 0, rule: a, path, effect: 0 };
        for (_, path) in ways(b) {
            let b = Peer { at: 0, rule: b, path, effect: 0 };
            spend(cost(&a, &b))?;
            if overlap(&a, &b) {
                return Some(true);
            }
        }
    }
    Some(false)
}
