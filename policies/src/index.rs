//! Rules by host, then by path: a question meets only the rules that could match it.
//!
//! An exact name is found by its hash, a wildcard by walking the name's ends; within a host, a rule
//! with paths is found by the folders of the path, and by the last segment that it fixes. Nothing here allocates while it is asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::map::FastMap;
use model::{Host, PathReading, Scheme, Timestamp};

use crate::pattern::{HostPattern, PathPattern, PathRank};
use crate::rule::{Rule, covered_unnamed};

/// How exactly an entry matches what its host matches; greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank {
    path: PathRank,
    tool: bool,
    upgrade: bool,
    parameters: usize,
    fewer_methods: Reverse<usize>,
    fewer_ports: Reverse<usize>,
}

impl Rank {
    /// The rank of a rule where it matches by this path pattern, or by none.
    pub(crate) fn of(rule: &Rule, path: Option<usize>) -> Self {
        let count = |set: Option<usize>| Reverse(set.unwrap_or(usize::MAX));
        let path = path.and_then(|at| rule.paths.as_ref()?.get(at));
        Self {
            path: path.map(|p| p.rank()).unwrap_or_default(),
            tool: rule.tools.is_some(),
            upgrade: rule.websocket,
            parameters: rule.query.as_ref().map_or(0, |query| query.len()),
            fewer_methods: count(rule.methods.as_ref().map(|m| m.len())),
            fewer_ports: count(rule.ports.as_ref().map(|p| p.len())),
        }
    }
}

/// One way in which one rule matches: by one of its paths, or by any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) rule: usize,
    pub(crate) path: Option<usize>,
    pub(crate) rank: Rank,
}

/// The rules of one host pattern.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    scheme_ports: BTreeMap<(bool, u16), Methods>,
    unconditional: ByPort<usize>,
    pathless: ByPort<Entry>,
    by_path: FastMap<Box<str>, Folder>,
    /// The lengths of the keys of `by_path`: no other part of a path is looked up, however many folders it has.
    key_lengths: BTreeSet<usize>,
    /// The last end of a rule with a path.
    paths_until: Option<Timestamp>,
}

/// The entries of one folder, or of one whole path.
#[derive(Debug, Default)]
struct Folder {
    entries: Vec<Entry>,
    /// Those that name one more segment, further down and below a wildcard: by its place, then by itself.
    by_segment: BTreeMap<usize, FastMap<Box<str>, Vec<Entry>>>,
}

impl Folder {
    fn insert(&mut self, pattern: &PathPattern, entry: Entry) {
        match pattern.fixed_segment() {
            None => self.entries.push(entry),
            Some((place, segment)) => {
                let segments = self.by_segment.entry(place).or_default();
                segments.entry(segment.into()).or_default().push(entry);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        let named = self.by_segment.values().flat_map(|named| named.values().flatten());
        self.entries.iter().chain(named)
    }

    fn entries<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Entry> {
        let named = self.by_segment.iter().filter_map(|(place, named)| named.get(path.split('/').nth(*place)?));
        self.entries.iter().chain(named.flatten())
    }
}

/// The methods that some rule covers on one scheme and port, each with the last end of such a rule.
#[derive(Debug, Default)]
struct Methods {
    unnamed: Option<Timestamp>,
    named: BTreeMap<Box<str>, Timestamp>,
}

impl Methods {
    fn note(&mut self, rule: &Rule) {
        let end = rule.until.unwrap_or(Timestamp::MAX);
        match &rule.methods {
            None => self.unnamed = self.unnamed.max(Some(end)),
            Some(named) => {
                for method in named {
                    let last = self.named.entry(method.clone()).or_insert(end);
                    *last = end.max(*last);
                }
            }
        }
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.unnamed.is_some_and(|end| now < end) || self.named.values().any(|end| now < *end)
    }

    fn covers(&self, method: &str, now: Timestamp) -> bool {
        self.named.get(method).is_some_and(|end| now < *end)
            || (covered_unnamed(method) && self.unnamed.is_some_and(|end| now < end))
    }
}

/// A scheme and a port of a host, at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemePort {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
    pub(crate) now: Timestamp,
}

/// How far the rules of a host go along with a request, by the first thing that none of them covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Host,
    Scheme,
    Port,
    Method,
    Path,
}

/// The rules of one effect, by host pattern.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Its patterns are folded, so that paths are looked up folded.
    folded: bool,
    exact: FastMap<Host, Bucket>,
    tails: FastMap<Box<str>, Tail>,
    deepest_tail: usize,
    any: Bucket,
}

#[derive(Debug, Default)]
struct Tail {
    child: Bucket,
    below: Bucket,
}

impl Index {
    /// The index of rules that deny.
    pub(crate) fn of_denies() -> Self {
        Self { folded: true, ..Self::default() }
    }

    /// The text by which a path is looked up and matched here.
    pub(crate) fn text<'a>(&self, path: PathReading<'a>) -> &'a str {
        if self.folded { path.folded() } else { path.text() }
    }

    /// Whether a rule in force for this host has a path.
    pub(crate) fn limits_paths(&self, host: &Host, now: Timestamp) -> bool {
        let found = self.visit(host, |bucket| match bucket.limits_paths(now) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        found.is_break()
    }

    /// Files a rule under each of its hosts.
    pub(crate) fn insert(&mut self, at: usize, rule: &Rule) {
        for pattern in &rule.hosts {
            let bucket = match pattern {
                HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
                HostPattern::Child(tail) => &mut self.tail(tail).child,
                HostPattern::Below(tail) => &mut self.tail(tail).below,
                HostPattern::Any => &mut self.any,
            };
            bucket.insert(at, rule);
        }
    }

    fn tail(&mut self, tail: &str) -> &mut Tail {
        self.deepest_tail = self.deepest_tail.max(tail.split('.').count());
        self.tails.entry(tail.into()).or_default()
    }

    /// Whether no rule is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.tails.is_empty() && self.any.is_empty()
    }

    /// Visits the buckets whose host pattern matches, the most exact first.
    pub(crate) fn visit<B>(&self, host: &Host, mut see: impl FnMut(&Bucket) -> ControlFlow<B>) -> ControlFlow<B> {
        if let Some(bucket) = self.exact.get(host) {
            see(bucket)?;
        }
        if let Host::Name(name) = host
            && !self.tails.is_empty()
        {
            self.visit_tails(name, &mut see)?;
        }
        see(&self.any)
    }

    /// The longest tail first; of one tail, `*` before `**`. Tails longer than any in the index are skipped unread.
    fn visit_tails<B>(&self, name: &str, see: &mut impl FnMut(&Bucket) -> ControlFlow<B>) -> ControlFlow<B> {
        let dots = name.bytes().filter(|b| *b == b'.').count();
        let mut labels_left = dots + 1;
        let mut front_has_dot = false;
        let mut rest = name;
        while let Some((_, tail)) = rest.split_once('.') {
            labels_left -= 1;
            if labels_left <= self.deepest_tail
                && let Some(found) = self.tails.get(tail)
            {
                if !front_has_dot {
                    see(&found.child)?;
                }
                see(&found.below)?;
            }
            front_has_dot = true;
            rest = tail;
        }
        ControlFlow::Continue(())
    }
}

/// What rules that differ by nothing but their ports are found by.
#[derive(Debug)]
struct ByPort<T> {
    every: Vec<T>,
    named: FastMap<u16, Vec<T>>,
}

impl<T> Default for ByPort<T> {
    fn default() -> Self {
        Self { every: Vec::new(), named: FastMap::default() }
    }
}

impl<T: Copy> ByPort<T> {
    fn insert(&mut self, rule: &Rule, item: T) {
        match &rule.ports {
            None => self.every.push(item),
            Some(ports) => ports.iter().for_each(|port| self.named.entry(*port).or_default().push(item)),
        }
    }

    fn is_empty(&self) -> bool {
        self.every.is_empty() && self.named.is_empty()
    }

    fn at(&self, port: u16) -> impl Iterator<Item = &T> {
        self.every.iter().chain(self.named.get(&port).into_iter().flatten())
    }
}

impl Bucket {
    fn insert(&mut self, at: usize, rule: &Rule) {
        self.note_scheme_ports(rule);
        if rule.is_unconditional() {
            self.unconditional.insert(rule, at);
        }
        let Some(paths) = &rule.paths else {
            self.pathless.insert(rule, Entry { rule: at, path: None, rank: Rank::of(rule, None) });
            return;
        };
        self.paths_until = self.paths_until.max(Some(rule.until.unwrap_or(Timestamp::MAX)));
        for (n, pattern) in paths.iter().enumerate() {
            let key = pattern.index_key();
            self.key_lengths.insert(key.len());
            let entry = Entry { rule: at, path: Some(n), rank: Rank::of(rule, Some(n)) };
            self.by_path.entry(key.into()).or_default().insert(pattern, entry);
        }
    }

    fn is_empty(&self) -> bool {
        self.pathless.is_empty() && self.by_path.is_empty()
    }

    /// Only an allow or an ask is listed: it always names its scheme and ports.
    fn note_scheme_ports(&mut self, rule: &Rule) {
        let Some(scheme) = rule.scheme else { return };
        for port in rule.ports.iter().flatten() {
            self.scheme_ports.entry((scheme == Scheme::Https, *port)).or_default().note(rule);
        }
    }

    /// Whether some rule in force covers the scheme and the port.
    pub(crate) fn is_open(&self, scheme_port: SchemePort) -> bool {
        self.scheme_ports
            .get(&(scheme_port.scheme == Scheme::Https, scheme_port.port))
            .is_some_and(|methods| methods.is_open(scheme_port.now))
    }

    /// How far the rules in force go along; beyond the method, the path and what follows it are left to stop them.
    pub(crate) fn stage(&self, scheme_port: SchemePort, method: &str) -> Stage {
        let https = scheme_port.scheme == Scheme::Https;
        let open = |methods: &Methods| methods.is_open(scheme_port.now);
        match self.scheme_ports.get(&(https, scheme_port.port)) {
            Some(methods) if methods.covers(method, scheme_port.now) => Stage::Path,
            Some(methods) if open(methods) => Stage::Method,
            _ if self.scheme_ports.range((https, 0)..=(https, u16::MAX)).any(|(_, methods)| open(methods)) => {
                Stage::Port
            }
            _ if self.scheme_ports.values().any(open) => Stage::Scheme,
            _ => Stage::Host,
        }
    }

    /// The rules that match by host, port and scheme alone, of those that could match this port.
    pub(crate) fn unconditional(&self, port: u16) -> impl Iterator<Item = usize> {
        self.unconditional.at(port).copied()
    }

    /// Every rule that could match this port, with any conditions on requests; one with several paths more than once.
    pub(crate) fn all_rules(&self, port: u16) -> impl Iterator<Item = usize> {
        let by_path = self.by_path.values().flat_map(Folder::all);
        self.pathless.at(port).chain(by_path).map(|entry| entry.rule)
    }

    /// The entries that could match this port and path, in no order.
    pub(crate) fn entries<'a>(&'a self, port: u16, path: &'a str) -> impl Iterator<Item = &'a Entry> {
        let folders = keys(path, &self.key_lengths).filter_map(|key| self.by_path.get(key));
        self.pathless.at(port).chain(folders.flat_map(|folder| folder.entries(path)))
    }

    /// Whether a rule in force has a path.
    fn limits_paths(&self, now: Timestamp) -> bool {
        self.paths_until.is_some_and(|until| now < until)
    }
}

/// The folders of a path with their slash, and the path itself, of those lengths.
fn keys<'a>(path: &'a str, lengths: &BTreeSet<usize>) -> impl Iterator<Item = &'a str> {
    let fitting = lengths.iter().take_while(|length| **length <= path.len());
    fitting.filter_map(|length| path.get(..*length)).filter(|key| key.len() == path.len() || key.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_looked_up_by_its_folders_and_itself() {
        let all = |path, lengths: &[usize]| keys(path, &lengths.iter().copied().collect()).collect::<Vec<_>>();
        assert_eq!(all("/a/bc/d", &[1, 2, 3, 4, 6, 7, 9]), ["/", "/a/", "/a/bc/", "/a/bc/d"]);
        assert_eq!(all("/a/bc/d", &[1, 3]), ["/", "/a/"]);
        assert_eq!(all("/a/", &[1, 3, 4]), ["/", "/a/"]);
        assert_eq!(all("/é/", &[1, 2, 4]), ["/", "/é/"]);
        assert_eq!(all("*", &[1]), ["*"]);
        assert!(all("/a", &[]).is_empty());
    }
}
