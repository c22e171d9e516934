//! Rules that contradict each other in a way that no rank settles: two allows, or two asks, that can match one
//! request, rank equal and differ in what they give; and reading a host beside not reading it. Errors, because
//! neither file order nor rule order may choose.
//!
//! The time is near-linear in rules and bounded in any case: rules are compared in pairs only if nothing distinguishes them
//! apart at once (`separate.rs`, `hosts.rs`), and rules that would need more comparisons than the budget has are refused.

mod hosts;
mod separate;
mod settings;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{CredentialId, Scheme};

use crate::index::Rank;
use crate::pattern::{HostPattern, PathPattern};
use crate::rule::{Effect, Limits, Rule, Timeouts};

pub(crate) use hosts::mixed;
use separate::Search;
pub(crate) use settings::{MAX_SETTING_RULES, SetConflict, set_conflicts, unequal_header};

/// How many contradictions are searched for; no one reads more.
const MAX_FOUND: usize = 1000;

/// What the comparisons of one set of rules may cost, in compared characters: so much, and so much more for each way in
/// which a rule matches.
const BUDGET: u64 = 50_000_000;
const BUDGET_A_WAY: u64 = 40_000;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    /// The pairs of rules, by their places, that no rank distinguishes; sorted.
    pub(crate) pairs: Vec<(usize, usize)>,
    /// A rule, by its place, that is like so many others that the search was given up.
    pub(crate) unsearched: Option<usize>,
}

/// What two allows must share to rank equal for some request. Wildcards that match one host and fix as
/// many labels are the same pattern; path patterns with literal prefixes of one length that match one
/// path have the same prefix.
#[derive(PartialEq, Eq, Hash)]
struct Peers<'a> {
    effect: Effect,
    host: &'a HostPattern,
    scheme: Option<Scheme>,
    prefix: Option<&'a str>,
    rank: Rank,
}

/// One way in which one rule of a group matches.
#[derive(Clone, Copy)]
struct Peer<'a> {
    at: usize,
    rule: &'a Rule,
    path: Option<&'a PathPattern>,
    effect: usize,
}

/// The pairs of rules that no rank distinguishes.
pub(crate) fn ties(rules: &[Arc<Rule>]) -> Ties {
    ties_between(rules, |_, _| true)
}

/// The same among the pairs that `matters` names by their places.
pub(crate) fn ties_between(rules: &[Arc<Rule>], matters: impl Fn(usize, usize) -> bool) -> Ties {
    let mut groups: HashMap<Peers<'_>, Vec<Peer<'_>>> = HashMap::new();
    let mut effects = HashMap::new();
    let mut ways_in_all = 0;
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.effect != Effect::Deny) {
        let next = effects.len();
        let effect = *effects.entry(Given::by(rule)).or_insert(next);
        for host in &rule.hosts {
            for (place, path) in ways(rule) {
                let prefix = path.map(PathPattern::literal_prefix);
                let peers =
                    Peers { effect: rule.effect, host, scheme: rule.scheme, prefix, rank: Rank::of(rule, place) };
                groups.entry(peers).or_default().push(Peer { at, rule, path, effect });
                ways_in_all += 1;
            }
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    // The same answer every time: the map has no order.
    groups.sort_unstable_by_key(|group| group.first().map(|peer| peer.at));
    let mut search = Search::new(BUDGET + BUDGET_A_WAY * ways_in_all, &matters);
    for group in &groups {
        search.group(group);
    }
    search.into_ties()
}

/// What a rule gives to the request that it is chosen for.
#[derive(PartialEq, Eq, Hash)]
struct Given<'a> {
    credentials: Vec<&'a CredentialId>,
    addresses: Option<&'a BTreeSet<IpNet>>,
    limits: Limits,
    timeouts: Timeouts,
    hold: Option<Duration>,
    approval_timeout: Option<Duration>,
}

impl<'a> Given<'a> {
    fn by(rule: &'a Rule) -> Self {
        Self {
            credentials: sorted(&rule.credentials),
            addresses: rule.addresses.as_ref(),
            limits: rule.limits,
            timeouts: rule.timeouts,
            hold: rule.hold,
            approval_timeout: rule.approval_timeout,
        }
    }
}

fn sorted(credentials: &[CredentialId]) -> Vec<&CredentialId> {
    let mut sorted: Vec<_> = credentials.iter().collect();
    sorted.sort_unstable();
    sorted
}

/// The ways in which a rule matches a path: by each of its patterns, or by none.
fn ways(rule: &Rule) -> impl Iterator<Item = (Option<usize>, Option<&PathPattern>)> {
    let pathless = rule.paths.is_none().then_some((None, None));
    rule.paths.iter().flatten().enumerate().map(|(at, pattern)| (Some(at), Some(pattern))).chain(pathless)
}

#[cfg(test)]
mod tests;
