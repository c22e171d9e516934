//! Rules that contradict each other in a way that no rank settles: two allows, or two asks, that can match one
//! request, rank equal and differ in what they give; and reading a host beside not reading it. Errors, because
//! neither file order nor rule order may choose.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{CredentialId, Scheme};

use crate::index::Rank;
use crate::pattern::{HostPattern, PathPattern, TextPattern};
use crate::rule::{Effect, Limits, Rule, Timeouts};

/// How many ties of one group are looked for.
const MAX_TIES: usize = 1000;

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
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.effect != Effect::Deny) {
        let next = effects.len();
        let effect = *effects.entry(Given::by(rule)).or_insert(next);
        for host in &rule.hosts {
            for (place, path) in ways(rule) {
                let prefix = path.map(PathPattern::literal_prefix);
                let peers =
                    Peers { effect: rule.effect, host, scheme: rule.scheme, prefix, rank: Rank::of(rule, place) };
                groups.entry(peers).or_default().push(Peer { at, rule, path, effect });
            }
        }
    }
    let mut found: Vec<_> = groups.values().flat_map(|group| ties_within(group)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What a rule gives to the request that it is chosen for.
#[derive(PartialEq, Eq, Hash)]
struct Given<'a> {
    credentials: Vec<&'a CredentialId>,
    addresses: Option<&'a BTreeSet<IpNet>>,
    limits: Limits,
    timeouts: Timeouts,
    within: Option<Duration>,
}

impl<'a> Given<'a> {
    fn by(rule: &'a Rule) -> Self {
        Self {
            credentials: sorted(&rule.credentials),
            addresses: rule.addresses.as_ref(),
            limits: rule.limits,
            timeouts: rule.timeouts,
            within: rule.within,
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

fn ties_within(group: &[Peer<'_>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // Most groups are large only where all their rules give the same.
    if group.iter().all(|peer| peer.effect == group[0].effect) {
        return found;
    }
    for (n, a) in group.iter().enumerate() {
        // Nobody reads more, and a file of nothing but ties must not stop the reader.
        if found.len() >= MAX_TIES {
            break;
        }
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
    let either = |a: &[TextPattern], b: &[TextPattern]| a.iter().any(|a| b.iter().any(|b| a.meets(b)));
    let tools = a.rule.tools.as_ref().zip(b.rule.tools.as_ref()).is_none_or(|(a, b)| either(a, b));
    let queries = a.rule.query.as_ref().zip(b.rule.query.as_ref()).is_none_or(|(a, b)| {
        // Where the rules ask for other parameters, one request can bring them all.
        a.iter().all(|(name, values)| b.get(name).is_none_or(|others| either(values, others)))
    });
    ports && methods && tools && queries && a.path.zip(b.path).is_none_or(|(a, b)| a.meets(b))
}

/// How many rules with `set` one session may have: every one is compared with every other.
pub(crate) const MAX_SETTING_RULES: usize = 512;

/// Two rules, by their indexes, that can match one request and set one header to different values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SetConflict {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) header: Box<str>,
}

/// The pairs of rules that set one header to different values for one request. Unlike a tie, the rank does not matter: `set` of
/// every matching rule applies.
pub(crate) fn set_conflicts(rules: &[&Rule]) -> Vec<SetConflict> {
    let mut found = Vec::new();
    for (first, a) in rules.iter().enumerate() {
        for (second, b) in rules.iter().enumerate().skip(first + 1) {
            if let Some(header) = unequal_header(a, b)
                && found.len() < MAX_TIES
                && can_match_one(a, b)
            {
                found.push(SetConflict { first, second, header: header.into() });
            }
        }
    }
    found
}

/// A header that both set, to different values. Spellings with `_` for `-` are one header.
fn unequal_header<'a>(a: &'a Rule, b: &Rule) -> Option<&'a str> {
    let differs = |(name, value): &&(Box<str>, Box<str>)| {
        b.set.iter().any(|(other, theirs)| model::field::same_name(name, other) && value != theirs)
    };
    a.set.iter().find(differs).map(|(name, _)| &**name)
}

/// Whether some request can match both rules.
fn can_match_one(a: &Rule, b: &Rule) -> bool {
    let hosts = || a.hosts.iter().any(|one| b.hosts.iter().any(|other| one.meets(other)));
    let paths = || {
        ways(a).any(|(_, path)| {
            let a = Peer { at: 0, rule: a, path, effect: 0 };
            ways(b).any(|(_, path)| overlap(&a, &Peer { at: 0, rule: b, path, effect: 0 }))
        })
    };
    a.scheme == b.scheme && a.websocket == b.websocket && hosts() && paths()
}

/// The pairs of rules, by their places, of which one passes a host and port through and the other must read it.
pub(crate) fn mixed(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let passing = rules.iter().enumerate().filter(|(_, rule)| rule.pass_through);
    let mut found = Vec::new();
    for (at, passing) in passing {
        for (other, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.must_read()) {
            let ports = passing.ports.as_ref().zip(rule.ports.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
            let hosts = || passing.hosts.iter().any(|a| rule.hosts.iter().any(|b| a.meets(b)));
            if ports && hosts() {
                found.push((at, other));
            }
        }
    }
    found
}
