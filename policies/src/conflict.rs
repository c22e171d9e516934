//! Two allows that can match one request, rank equal and differ in what they give: an error, because
//! neither file order nor rule order may choose.

use std::collections::HashMap;
use std::sync::Arc;

use model::Scheme;

use crate::index::Rank;
use crate::pattern::{HostPattern, PathPattern};
use crate::rule::{Effect, Rule};

/// What two allows must share to rank equal for some request. Wildcards that match one host and fix as
/// many labels are the same pattern; path patterns with literal prefixes of one length that match one
/// path have the same prefix.
#[derive(PartialEq, Eq, Hash)]
struct Peers<'a> {
    host: &'a HostPattern,
    scheme: Option<Scheme>,
    prefix: Option<&'a str>,
    rank: Rank,
}

/// The pairs of rules, by their places, that no rank tells apart.
pub(crate) fn ties(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let mut groups: HashMap<Peers<'_>, Vec<(usize, Option<&PathPattern>)>> = HashMap::new();
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.effect == Effect::Allow) {
        for host in &rule.hosts {
            for (path, pattern) in ways(rule) {
                let peers = Peers {
                    host,
                    scheme: rule.scheme,
                    prefix: pattern.map(PathPattern::literal_prefix),
                    rank: Rank::of(rule, path),
                };
                groups.entry(peers).or_default().push((at, pattern));
            }
        }
    }
    let mut found: Vec<_> = groups.values().flat_map(|group| ties_within(rules, group)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The ways in which a rule matches a path: by each of its patterns, or by none.
fn ways(rule: &Rule) -> impl Iterator<Item = (Option<usize>, Option<&PathPattern>)> {
    let pathless = rule.paths.is_none().then_some((None, None));
    rule.paths.iter().flatten().enumerate().map(|(at, pattern)| (Some(at), Some(pattern))).chain(pathless)
}

fn ties_within(rules: &[Arc<Rule>], group: &[(usize, Option<&PathPattern>)]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (n, (first, a)) in group.iter().enumerate() {
        for (second, b) in group.iter().skip(n + 1) {
            let (x, y) = (&rules[*first], &rules[*second]);
            let paths_meet = a.zip(*b).is_none_or(|(a, b)| a.meets(b));
            if first != second && !x.same_effect(y) && overlap(x, y) && paths_meet {
                found.push((*first.min(second), *first.max(second)));
            }
        }
    }
    found
}

/// Whether some port and some method are covered by both.
fn overlap(a: &Rule, b: &Rule) -> bool {
    let ports = a.ports.as_ref().zip(b.ports.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    let methods = a.methods.as_ref().zip(b.methods.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    ports && methods
}
