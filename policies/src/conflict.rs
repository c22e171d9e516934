//! Two allows that can match one request, rank equal and differ in what they give: an error, because
//! neither file order nor rule order may choose.

use std::collections::HashMap;
use std::sync::Arc;

use model::{CredentialId, Scheme};

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

/// One way in which one rule of a group matches.
struct Peer<'a> {
    at: usize,
    rule: &'a Rule,
    path: Option<&'a PathPattern>,
    effect: usize,
}

/// The pairs of rules, by their places, that no rank tells apart.
pub(crate) fn ties(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let mut groups: HashMap<Peers<'_>, Vec<Peer<'_>>> = HashMap::new();
    let mut effects = HashMap::new();
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.effect == Effect::Allow) {
        let next = effects.len();
        let effect = *effects.entry((sorted(&rule.credentials), &rule.addresses)).or_insert(next);
        for host in &rule.hosts {
            for (place, path) in ways(rule) {
                let prefix = path.map(PathPattern::literal_prefix);
                let peers = Peers { host, scheme: rule.scheme, prefix, rank: Rank::of(rule, place) };
                groups.entry(peers).or_default().push(Peer { at, rule, path, effect });
            }
        }
    }
    let mut found: Vec<_> = groups.values().flat_map(|group| ties_within(group)).collect();
    found.sort_unstable();
    found.dedup();
    found
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

fn ties_within(group: &[Peer<'_>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (n, a) in group.iter().enumerate() {
        for b in group.iter().skip(n + 1).filter(|b| a.effect != b.effect && overlap(a, b)) {
            found.push((a.at.min(b.at), a.at.max(b.at)));
        }
    }
    found
}

/// Whether some port, some method and some path are covered by both.
fn overlap(a: &Peer<'_>, b: &Peer<'_>) -> bool {
    let ports = a.rule.ports.as_ref().zip(b.rule.ports.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    let methods = a.rule.methods.as_ref().zip(b.rule.methods.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    ports && methods && a.path.zip(b.path).is_none_or(|(a, b)| a.meets(b))
}
