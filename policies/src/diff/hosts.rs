//! Hosts in groups that no host pattern of either side distinguishes, with the rules that can match each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::Host;

use super::{BeforeAfter, Side};
use crate::denied::is_special;
use crate::pattern::HostPattern;
use crate::rule::Rule;

/// Hosts for which the same rules count on both sides, in the same order of exactness.
#[derive(Debug)]
pub(super) struct HostGroup {
    /// One of them.
    pub(super) host: Host,
    /// The rules that can match, by their places.
    pub(super) rules: BeforeAfter<Vec<usize>>,
    /// For each kind of host in the group: the patterns that match it, the most exact first.
    members: Vec<Vec<usize>>,
}

/// The groups of all hosts.
#[derive(Debug)]
pub(super) struct Hosts<'a> {
    pub(super) groups: Vec<HostGroup>,
    patterns: Vec<Pattern<'a>>,
}

#[derive(Debug)]
struct Pattern<'a> {
    pattern: &'a HostPattern,
    rules: BeforeAfter<Vec<usize>>,
    /// Shared by patterns that have the same rules.
    kind: usize,
}

impl<'a> Hosts<'a> {
    /// Groups all hosts by the patterns of these rules.
    pub(super) fn of(rules: BeforeAfter<&'a [Arc<Rule>]>) -> Self {
        let patterns = patterns(rules);
        let places: HashMap<&HostPattern, usize> =
            patterns.iter().enumerate().map(|(at, pattern)| (pattern.pattern, at)).collect();
        let mut groups: BTreeMap<(Vec<usize>, bool), HostGroup> = BTreeMap::new();
        for host in witnesses(&places) {
            let matching = matching(&host, &places);
            let kinds = matching.iter().map(|at| patterns[*at].kind).collect();
            let group = groups.entry((kinds, is_special(&host))).or_insert_with(|| {
                let all = |side: Side| {
                    let rules: BTreeSet<usize> =
                        matching.iter().flat_map(|at| patterns[*at].rules.side(side)).copied().collect();
                    rules.into_iter().collect()
                };
                HostGroup { host, rules: BeforeAfter { old: all(Side::Old), new: all(Side::New) }, members: Vec::new() }
            });
            group.members.push(matching);
        }
        Self { groups: groups.into_values().collect(), patterns }
    }

    /// The most exact patterns by which one of these rules reaches the hosts of a group.
    pub(super) fn patterns_of(&self, group: &HostGroup, rules: &[(Side, usize)]) -> BTreeSet<String> {
        let names = |at: &&usize| rules.iter().any(|(side, rule)| self.patterns[**at].rules.side(*side).contains(rule));
        let most_exact =
            |member: &Vec<usize>| member.iter().find(names).map(|at| self.patterns[*at].pattern.to_string());
        group.members.iter().filter_map(most_exact).collect()
    }
}

impl Hosts<'_> {
    /// Whether each pattern of the group has the same rules on both sides, by the numbers of their contents.
    pub(super) fn is_unchanged(&self, group: &HostGroup, contents: &BeforeAfter<Vec<usize>>) -> bool {
        let says = |side: Side, at: usize| {
            let mut found: Vec<usize> =
                self.patterns[at].rules.side(side).iter().map(|rule| contents.side(side)[*rule]).collect();
            found.sort_unstable();
            found
        };
        let alike = |at: &usize| says(Side::Old, *at) == says(Side::New, *at);
        group.members.first().is_some_and(|member| member.iter().all(alike))
    }
}

/// Every pattern of both sides, with the rules that name it.
fn patterns<'a>(rules: BeforeAfter<&'a [Arc<Rule>]>) -> Vec<Pattern<'a>> {
    let mut patterns: Vec<Pattern<'a>> = Vec::new();
    let mut places: HashMap<&HostPattern, usize> = HashMap::new();
    for side in [Side::Old, Side::New] {
        for (rule, own) in rules.side(side).iter().enumerate() {
            for pattern in &own.hosts {
                let at = *places.entry(pattern).or_insert_with(|| {
                    patterns.push(Pattern { pattern, rules: BeforeAfter::default(), kind: 0 });
                    patterns.len() - 1
                });
                patterns[at].rules.side_mut(side).push(rule);
            }
        }
    }
    let mut kinds: HashMap<BeforeAfter<Vec<usize>>, usize> = HashMap::new();
    for pattern in &mut patterns {
        let next = kinds.len();
        pattern.kind = *kinds.entry(pattern.rules.clone()).or_insert(next);
    }
    patterns
}

/// The patterns that match a host, the most exact first, as the index visits them.
fn matching(host: &Host, places: &HashMap<&HostPattern, usize>) -> Vec<usize> {
    let mut found = Vec::new();
    let mut add = |pattern: &HostPattern| found.extend(places.get(pattern));
    add(&HostPattern::Exact(host.clone()));
    let mut rest = host.name().unwrap_or_default();
    let mut child = true;
    while let Some((_, tail)) = rest.split_once('.') {
        if child {
            add(&HostPattern::Child(tail.into()));
        }
        add(&HostPattern::Below(tail.into()));
        child = false;
        rest = tail;
    }
    add(&HostPattern::Any);
    found
}

/// A host of each kind: every one that is named; below each wildcard, one that is one label longer and one that
/// is two labels longer than it, for which there is no more exact pattern; one of no wildcard; and addresses that
/// are not named, one for each way to judge them.
fn witnesses(places: &HashMap<&HostPattern, usize>) -> Vec<Host> {
    let (mut hosts, mut tails, mut labels) = (BTreeSet::new(), BTreeSet::new(), HashSet::new());
    for pattern in places.keys() {
        match pattern {
            HostPattern::Exact(host) => {
                labels.extend(host.name().unwrap_or_default().split('.'));
                hosts.insert(host.to_string());
            }
            HostPattern::Child(tail) | HostPattern::Below(tail) => {
                labels.extend(tail.split('.'));
                tails.insert(tail);
            }
            HostPattern::Any => {}
        }
    }
    let is_new = |label: &String| !labels.contains(label.as_str());
    let numbered = (0..).map(|n| format!("x{n}"));
    let label = std::iter::once("x".to_owned()).chain(numbered).find(is_new).unwrap_or_default();
    let mut found: Vec<Host> = hosts.iter().filter_map(|text| Host::parse(text).ok()).collect();
    for tail in tails {
        // Where no longer name is possible, there is no such host.
        found.extend(Host::parse(&format!("{label}.{tail}")).ok());
        found.extend(Host::parse(&format!("{label}.{label}.{tail}")).ok());
    }
    found.extend(Host::parse(&format!("{label}.{label}")).ok());
    let mut unnamed = |mut candidates: Box<dyn Iterator<Item = Host>>| {
        found.extend(candidates.find(|host| !hosts.contains(&host.to_string())));
    };
    let (public, private) = (u32::from(Ipv4Addr::new(1, 1, 1, 1)), u32::from(Ipv4Addr::new(10, 0, 0, 1)));
    let v6 = Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 1);
    unnamed(Box::new((public..).map(|bits| Host::V4(bits.into()))));
    unnamed(Box::new((private..).map(|bits| Host::V4(bits.into()))));
    unnamed(Box::new((u128::from(v6)..).map(|bits| Host::V6(bits.into()))));
    unnamed(Box::new((u128::from(Ipv6Addr::LOCALHOST)..).map(|bits| Host::V6(bits.into()))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_have_hosts_that_nothing_more_exact_names() {
        let patterns: Vec<HostPattern> = ["a.example", "*.a.example", "**.a.example", "x.a.example", "**"]
            .map(|text| HostPattern::parse(text).unwrap())
            .to_vec();
        let places: HashMap<&HostPattern, usize> = patterns.iter().enumerate().map(|(at, p)| (p, at)).collect();
        let found = witnesses(&places);
        let of = |host: &str| matching(&Host::parse(host).unwrap(), &places);
        assert_eq!(of("x.a.example"), [3, 1, 2, 4]);
        assert_eq!(of("x0.a.example"), [1, 2, 4]);
        assert_eq!(of("x0.x0.a.example"), [2, 4]);
        assert_eq!(of("a.example"), [0, 4]);
        let kinds: HashSet<Vec<usize>> = found.iter().map(|host| matching(host, &places)).collect();
        assert_eq!(kinds.len(), 5);
    }
}
