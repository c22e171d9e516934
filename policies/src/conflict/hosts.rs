//! The search for hosts that one rule passes through and another must read, by lookups instead of pairs.
//!
//! Two host patterns meet only if the name that one is anchored at is the other's or an ancestor of it. So the patterns of
//! one side are filed by kind, anchor and port, and those of the other side look under their own anchor and its ancestors;
//! then the sides change places.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::Host;

use super::MAX_FOUND;
use crate::pattern::HostPattern;
use crate::rule::Rule;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Exact,
    Child,
    Below,
}

/// The rules of one side, by their places.
#[derive(Default)]
struct Filed<'a> {
    addresses: HashMap<(&'a Host, Option<u16>), Vec<usize>>,
    names: HashMap<(Kind, &'a str, Option<u16>), Vec<usize>>,
    /// Those that name every host.
    any: HashMap<Option<u16>, Vec<usize>>,
    /// All of them.
    all: HashMap<Option<u16>, Vec<usize>>,
}

/// The pairs of rules, by their places, of which one passes a host and port through and the other must read it; sorted.
pub(crate) fn mixed(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let side = |belongs: fn(&Rule) -> bool| -> Vec<(usize, &Rule)> {
        rules.iter().enumerate().filter(|(_, rule)| belongs(rule)).map(|(at, rule)| (at, &**rule)).collect()
    };
    let passing = side(|rule| rule.pass_through);
    if passing.is_empty() {
        return Vec::new();
    }
    let reading = side(Rule::must_read);
    let mut found = BTreeSet::new();
    let mut note = |passing, reading| {
        found.insert((passing, reading));
        found.len() < MAX_FOUND
    };
    search(&passing, &Filed::of(&reading), &mut note);
    search(&reading, &Filed::of(&passing), |reading, passing| note(passing, reading));
    found.into_iter().collect()
}

impl<'a> Filed<'a> {
    fn of(rules: &[(usize, &'a Rule)]) -> Self {
        let mut filed = Self::default();
        for (at, rule) in rules {
            for port in ports(rule) {
                filed.all.entry(port).or_default().push(*at);
                for host in &rule.hosts {
                    let place = match host {
                        HostPattern::Any => filed.any.entry(port).or_default(),
                        HostPattern::Exact(Host::Name(name)) => {
                            filed.names.entry((Kind::Exact, name, port)).or_default()
                        }
                        HostPattern::Exact(host) => filed.addresses.entry((host, port)).or_default(),
                        HostPattern::Child(tail) => filed.names.entry((Kind::Child, tail, port)).or_default(),
                        HostPattern::Below(tail) => filed.names.entry((Kind::Below, tail, port)).or_default(),
                    };
                    place.push(*at);
                }
            }
        }
        filed
    }

    /// The rules that meet this host pattern and are anchored at its name or above it.
    fn above<'s>(&'s self, host: &'s HostPattern, port: Option<u16>) -> impl Iterator<Item = usize> + 's {
        let mut lists: Vec<Option<&'s Vec<usize>>> = vec![self.any.get(&port)];
        if let HostPattern::Any = host {
            lists.push(self.all.get(&port));
        }
        if let HostPattern::Exact(address) = host {
            lists.push(self.addresses.get(&(address, port)));
        }
        let mut look = |kind, name: &'s str| lists.push(self.names.get(&(kind, name, port)));
        match host {
            HostPattern::Any | HostPattern::Exact(Host::V4(_) | Host::V6(_)) => {}
            HostPattern::Exact(Host::Name(name)) => {
                look(Kind::Exact, name);
                for (distance, tail) in ancestors(name).enumerate() {
                    if distance == 0 {
                        look(Kind::Child, tail);
                    }
                    look(Kind::Below, tail);
                }
            }
            HostPattern::Child(tail) | HostPattern::Below(tail) => {
                look(Kind::Child, tail);
                look(Kind::Below, tail);
                ancestors(tail).for_each(|above| look(Kind::Below, above));
            }
        }
        lists.into_iter().flatten().flatten().copied()
    }
}

/// The names above this one, the longest first.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.').map(|(_, rest)| rest), |rest| rest.split_once('.').map(|(_, rest)| rest))
}

/// Its ports, or `None` for all of them.
fn ports(rule: &Rule) -> Vec<Option<u16>> {
    rule.ports.as_ref().map_or_else(|| vec![None], |ports| ports.iter().copied().map(Some).collect())
}

/// Calls `found` for each pair until it returns false for the bound; a pair may be found twice.
fn search<'a>(rules: &[(usize, &'a Rule)], others: &Filed<'a>, mut found: impl FnMut(usize, usize) -> bool) {
    // A rule for all ports meets those of every port that the others name.
    let named: Vec<Option<u16>> = others.all.keys().copied().collect();
    for (at, rule) in rules {
        let own = ports(rule);
        let ports: Vec<Option<u16>> = match own.contains(&None) {
            true => named.clone(),
            false => own.into_iter().chain([None]).collect(),
        };
        for host in &rule.hosts {
            for port in &ports {
                for other in others.above(host, *port) {
                    if !found(*at, other) {
                        return;
                    }
                }
            }
        }
    }
}
