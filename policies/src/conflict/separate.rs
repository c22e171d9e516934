//! The search for ties among rules of equal rank, without comparing each with each.
//!
//! Two rules tie only if one request can satisfy both, so it is enough to compare rules that share a *key* in each
//! dimension: a port, a method, the number of segments, the first or last characters of a tool, of a query value, of the
//! path or of one of its segments. A rule that a dimension does not limit (or limits only by a wildcard) has no key there and
//! stays a candidate for all. So a group is split dimension by dimension: rules without a key are joined with all others,
//! rules with a key only with those that have the same one. What no dimension separates is compared in pairs, under a budget.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::{MAX_FOUND, Peer, Ties};
use crate::pattern::TextPattern;
use crate::rule::Rule;

/// A list that is compared in pairs at once.
const FEW: usize = 16;
/// How many lengths of one text are tried, the most frequent first.
const MAX_LENGTHS: usize = 6;
/// How many segments of a path, from either end, and how many names of parameters are tried.
const MAX_SEGMENTS: usize = 16;
const MAX_NAMES: usize = 8;
/// How many dimensions are tried, the most selective first.
const MAX_DIMENSIONS: usize = 24;

/// A dimension that can distinguish rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Dimension<'a> {
    Port,
    Method,
    Segments,
    /// So many characters at the beginning or the end of a text.
    Text(Field<'a>, Side, usize),
}

/// A text that a rule limits, by patterns with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Field<'a> {
    Path,
    Tool,
    Parameter(&'a str),
    /// A segment of the path, counted from its beginning.
    Segment(usize),
    /// A segment of the path, counted from its end.
    LastSegment(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Front,
    Back,
}

/// The keys of one rule in one dimension; `None` where it is a candidate for all.
type Keys<'a> = Option<Vec<Cow<'a, [u8]>>>;

/// A search over all groups of one set of rules.
pub(super) struct Search<'s> {
    pub(super) budget: u64,
    matters: &'s dyn Fn(usize, usize) -> bool,
    pub(super) found: HashSet<(usize, usize)>,
    unsearched: Option<usize>,
}

impl<'s> Search<'s> {
    pub(super) fn new(budget: u64, matters: &'s dyn Fn(usize, usize) -> bool) -> Self {
        Self { budget, matters, found: HashSet::new(), unsearched: None }
    }

    /// Searches rules of equal rank.
    pub(super) fn group(&mut self, peers: &[Peer<'_>]) {
        // Most groups are large only where all their rules give the same.
        if have_one_effect(peers) {
            return;
        }
        let plan = if peers.len() > FEW { plan(peers) } else { Vec::new() };
        self.within(peers, &plan);
    }

    pub(super) fn into_ties(self) -> Ties {
        let mut pairs: Vec<_> = self.found.into_iter().collect();
        pairs.sort_unstable();
        Ties { pairs, unsearched: self.unsearched }
    }

    fn within(&mut self, peers: &[Peer<'_>], plan: &[Dimension<'_>]) {
        if self.is_over() || have_one_effect(peers) {
            return;
        }
        let Some((dimension, rest)) = plan.split_first().filter(|_| peers.len() > FEW) else {
            return self.pairs_within(peers);
        };
        self.spend(peers, peers.len());
        let (free, keyed) = split(peers, *dimension);
        self.within(&free, rest);
        let mut bound: Vec<Peer<'_>> = Vec::new();
        for bucket in keyed.values() {
            self.within(bucket, rest);
            bound.extend(bucket);
        }
        self.across(&free, &bound, rest);
    }

    fn across(&mut self, some: &[Peer<'_>], others: &[Peer<'_>], plan: &[Dimension<'_>]) {
        if self.is_over() || some.is_empty() || others.is_empty() || have_one_effect_both(some, others) {
            return;
        }
        let few = some.len().saturating_mul(others.len()) <= FEW * (some.len() + others.len());
        let Some((dimension, rest)) = plan.split_first().filter(|_| !few) else {
            return self.pairs_across(some, others);
        };
        self.spend(some, some.len() + others.len());
        let (some_free, some_keyed) = split(some, *dimension);
        let (others_free, others_keyed) = split(others, *dimension);
        self.across(&some_free, others, rest);
        let bound: Vec<Peer<'_>> = some_keyed.values().flatten().copied().collect();
        self.across(&bound, &others_free, rest);
        for (key, bucket) in &some_keyed {
            if let Some(same) = others_keyed.get(key) {
                self.across(bucket, same, rest);
            }
        }
    }

    fn pairs_within(&mut self, peers: &[Peer<'_>]) {
        let mut peers = peers.to_vec();
        // Rules that grant the same are in one group, so that none of them is compared with another.
        peers.sort_unstable_by_key(|peer| (peer.effect, peer.at));
        let mut after = 0;
        for (n, peer) in peers.iter().enumerate() {
            if n == after {
                after = n + peers[n..].iter().take_while(|other| other.effect == peer.effect).count();
            }
            for other in &peers[after..] {
                self.compare(peer, other);
                if self.is_over() {
                    return;
                }
            }
        }
    }

    fn pairs_across(&mut self, some: &[Peer<'_>], others: &[Peer<'_>]) {
        for peer in some {
            for other in others.iter().filter(|other| other.effect != peer.effect) {
                self.compare(peer, other);
                if self.is_over() {
                    return;
                }
            }
        }
    }

    fn compare(&mut self, a: &Peer<'_>, b: &Peer<'_>) {
        let pair = (a.at.min(b.at), a.at.max(b.at));
        if !(self.matters)(pair.0, pair.1) {
            return;
        }
        self.spend(std::slice::from_ref(a), cost(a, b));
        if self.unsearched.is_none() && overlap(a, b) {
            self.found.insert(pair);
        }
    }

    fn spend(&mut self, peers: &[Peer<'_>], cost: usize) {
        match self.budget.checked_sub(cost as u64) {
            Some(left) => self.budget = left,
            None => self.unsearched = peers.first().map(|peer| peer.at),
        }
    }

    fn is_over(&self) -> bool {
        self.unsearched.is_some() || self.found.len() >= MAX_FOUND
    }
}

fn have_one_effect(peers: &[Peer<'_>]) -> bool {
    peers.iter().all(|peer| peer.effect == peers[0].effect)
}

fn have_one_effect_both(some: &[Peer<'_>], others: &[Peer<'_>]) -> bool {
    some.iter().chain(others).all(|peer| peer.effect == some[0].effect)
}

/// Those without a key, and those with one by their keys; a rule with several keys is under each of them.
fn split<'a>(peers: &[Peer<'a>], dimension: Dimension<'_>) -> (Vec<Peer<'a>>, BTreeMap<Vec<u8>, Vec<Peer<'a>>>) {
    let mut free = Vec::new();
    let mut keyed: BTreeMap<Vec<u8>, Vec<Peer<'a>>> = BTreeMap::new();
    for peer in peers {
        match keys(peer, dimension) {
            None => free.push(*peer),
            Some(keys) => {
                for key in keys {
                    keyed.entry(key.into_owned()).or_default().push(*peer);
                }
            }
        }
    }
    (free, keyed)
}

fn keys<'a>(peer: &Peer<'a>, dimension: Dimension<'_>) -> Keys<'a> {
    let Rule { ports, methods, .. } = peer.rule;
    match dimension {
        Dimension::Port => Some(ports.as_ref()?.iter().map(|port| Cow::Owned(port.to_be_bytes().to_vec())).collect()),
        Dimension::Method => Some(methods.as_ref()?.iter().map(|method| Cow::Borrowed(method.as_bytes())).collect()),
        Dimension::Segments => {
            let path = separable(peer)?;
            let count = path.split('/').count();
            (!path.contains("**")).then(|| vec![Cow::Owned(count.to_be_bytes().to_vec())])
        }
        Dimension::Text(field, side, length) => {
            let texts = texts(peer, field)?;
            let mut keys: Vec<_> = texts.into_iter().map(|text| key(text, side, length)).collect::<Option<_>>()?;
            keys.sort_unstable();
            keys.dedup();
            Some(keys.into_iter().map(Cow::Borrowed).collect())
        }
    }
}

/// The path of a rule where its characters can be relied on: an escape has more readings than one.
fn separable<'a>(peer: &Peer<'a>) -> Option<&'a str> {
    peer.path.map(|path| path.as_str()).filter(|path| !path.contains('%'))
}

/// The patterns of which a request's text must match one; `None` where the rule does not limit it.
fn texts<'a>(peer: &Peer<'a>, field: Field<'_>) -> Option<Vec<&'a str>> {
    let all = |patterns: &'a [TextPattern]| patterns.iter().map(TextPattern::as_str).collect();
    match field {
        Field::Path => Some(vec![separable(peer)?]),
        Field::Tool => peer.rule.tools.as_deref().map(all),
        Field::Parameter(name) => peer.rule.query.as_ref()?.get(name).map(|values| all(values)),
        // Beyond a `**` no segment has a place.
        Field::Segment(n) => {
            let segment = separable(peer)?.split('/').take_while(|segment| *segment != "**").nth(n)?;
            Some(vec![segment])
        }
        Field::LastSegment(n) => {
            let segment = separable(peer)?.rsplit('/').take_while(|segment| *segment != "**").nth(n)?;
            Some(vec![segment])
        }
    }
}

/// The first or last characters that each text has which matches the pattern: `length` of them, or all of a shorter text
/// without wildcard. `None` where the pattern fixes fewer.
fn key(pattern: &str, side: Side, length: usize) -> Option<&[u8]> {
    let (fixed, is_exact) = literal(pattern, side);
    match side {
        _ if fixed.len() < length => is_exact.then_some(fixed),
        Side::Front => fixed.get(..length),
        Side::Back => fixed.get(fixed.len() - length..),
    }
}

/// The text before the first wildcard, or after the last, and whether that is all.
fn literal(pattern: &str, side: Side) -> (&[u8], bool) {
    let part = match side {
        Side::Front => pattern.split('*').next(),
        Side::Back => pattern.rsplit('*').next(),
    };
    (part.unwrap_or_default().as_bytes(), !pattern.contains('*'))
}

/// The dimensions that distinguish these rules, the most selective first.
fn plan<'a>(peers: &[Peer<'a>]) -> Vec<Dimension<'a>> {
    let mut dimensions = vec![Dimension::Port, Dimension::Method, Dimension::Segments];
    for field in fields(peers) {
        for side in [Side::Front, Side::Back] {
            let lengths = frequent_lengths(peers, field, side);
            dimensions.extend(lengths.into_iter().map(|length| Dimension::Text(field, side, length)));
        }
    }
    let mut selective: Vec<(usize, Dimension<'a>)> = Vec::new();
    for dimension in dimensions {
        let (_, keyed) = split(peers, dimension);
        if keyed.len() > 1 {
            selective.push((keyed.len(), dimension));
        }
    }
    // Stable, so that of equal ones the longer text goes first.
    selective.sort_by_key(|(keys, _)| std::cmp::Reverse(*keys));
    selective.into_iter().take(MAX_DIMENSIONS).map(|(_, dimension)| dimension).collect()
}

fn fields<'a>(peers: &[Peer<'a>]) -> Vec<Field<'a>> {
    let mut names: HashMap<&'a str, usize> = HashMap::new();
    let mut segments = 0;
    for peer in peers {
        for name in peer.rule.query.iter().flat_map(|query| query.keys()) {
            *names.entry(name).or_default() += 1;
        }
        segments = segments.max(separable(peer).map_or(0, |path| path.split('/').count()));
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let parameters = names.into_iter().take(MAX_NAMES).map(|(name, _)| Field::Parameter(name));
    let segments = 0..segments.min(MAX_SEGMENTS);
    [Field::Path, Field::Tool]
        .into_iter()
        .chain(parameters)
        .chain(segments.clone().map(Field::Segment))
        .chain(segments.map(Field::LastSegment))
        .collect()
}

/// The lengths of what the patterns fix, the most frequent ones, the longest first.
fn frequent_lengths(peers: &[Peer<'_>], field: Field<'_>, side: Side) -> Vec<usize> {
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for text in peers.iter().filter_map(|peer| texts(peer, field)).flatten() {
        *lengths.entry(literal(text, side).0.len()).or_default() += 1;
    }
    lengths.remove(&0);
    let mut lengths: Vec<_> = lengths.into_iter().collect();
    lengths.sort_unstable_by_key(|(length, count)| (std::cmp::Reverse(*count), *length));
    let mut lengths: Vec<_> = lengths.into_iter().take(MAX_LENGTHS).map(|(length, _)| length).collect();
    lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
    lengths
}

/// Whether some port, some method and some path are covered by both.
pub(super) fn overlap(a: &Peer<'_>, b: &Peer<'_>) -> bool {
    let ports = a.rule.ports.as_ref().zip(b.rule.ports.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    let methods = a.rule.methods.as_ref().zip(b.rule.methods.as_ref()).is_none_or(|(a, b)| !a.is_disjoint(b));
    let tools = a.rule.tools.as_ref().zip(b.rule.tools.as_ref()).is_none_or(|(a, b)| either(a, b));
    let queries = a.rule.query.as_ref().zip(b.rule.query.as_ref()).is_none_or(|(a, b)| {
        // Where the rules ask for other parameters, one request can bring them all.
        a.iter().all(|(name, values)| b.get(name).is_none_or(|others| either(values, others)))
    });
    ports && methods && tools && queries && a.path.zip(b.path).is_none_or(|(a, b)| a.meets(b))
}

/// Whether one of the patterns meets one of the others; those without wildcards are looked up.
fn either(some: &[TextPattern], others: &[TextPattern]) -> bool {
    let is_wild = |pattern: &&TextPattern| pattern.as_str().contains('*');
    let (some_wild, some_exact): (Vec<_>, Vec<_>) = some.iter().partition(is_wild);
    let (others_wild, others_exact): (Vec<_>, Vec<_>) = others.iter().partition(is_wild);
    let exact: HashSet<&str> = some_exact.iter().map(|pattern| pattern.as_str()).collect();
    others_exact.iter().any(|pattern| exact.contains(pattern.as_str()))
        || some_wild.iter().any(|pattern| others.iter().any(|other| pattern.meets(other)))
        || others_wild.iter().any(|pattern| some_exact.iter().any(|other| pattern.meets(other)))
}

/// How many characters [`overlap`] compares at most, about.
pub(super) fn cost(a: &Peer<'_>, b: &Peer<'_>) -> usize {
    let segments = |path: &str| path.split('/').count();
    let paths = a.path.zip(b.path).map_or(0, |(a, b)| {
        let (a, b) = (a.as_str(), b.as_str());
        segments(a) * b.len() + segments(b) * a.len()
    });
    let lists = |a: &[TextPattern], b: &[TextPattern]| {
        let size = |all: &[TextPattern]| all.iter().map(|pattern| pattern.as_str().len() + 1).sum::<usize>();
        let wild = |all: &[TextPattern]| all.iter().filter(|pattern| pattern.as_str().contains('*')).count();
        size(a) + size(b) + wild(a) * size(b) + wild(b) * size(a)
    };
    let tools = a.rule.tools.as_ref().zip(b.rule.tools.as_ref()).map_or(0, |(a, b)| lists(a, b));
    let parameters =
        a.rule.query.as_ref().zip(b.rule.query.as_ref()).map_or(0, |(a, b)| {
            a.iter().map(|(name, values)| b.get(name).map_or(1, |others| lists(values, others))).sum()
        });
    let sets =
        |rule: &Rule| rule.ports.as_ref().map_or(0, |all| all.len()) + rule.methods.as_ref().map_or(0, |all| all.len());
    1 + paths + tools + parameters + sets(a.rule) + sets(b.rule)
}
