//! `hosts`: named sets of host patterns, which rules refer to as `"@name"`.

use std::collections::BTreeMap;

use super::parts::{check_name, host_pattern, texts};
use crate::document::{OneOrMany, Pairs, Spanned, place};
use crate::pattern::HostPattern;
use crate::problem::{Place, Reporter, code, quote};

/// The sets of one policy, with the marks of which are used.
#[derive(Debug, Default)]
pub(super) struct HostSets<'a> {
    sets: BTreeMap<&'a str, HostSet>,
}

#[derive(Debug)]
struct HostSet {
    patterns: Vec<HostPattern>,
    at: Place,
    used: bool,
}

impl<'a> HostSets<'a> {
    pub(super) fn compile(document: &'a Pairs<Spanned<OneOrMany>>, reporter: &mut Reporter<'_>) -> Self {
        let mut sets = BTreeMap::new();
        for (name, hosts) in &document.0 {
            check_name("set of hosts", &name.value, place(name), reporter);
            let mut patterns = Vec::new();
            for (text, at) in texts(&name.value, hosts, reporter) {
                if text.starts_with('@') {
                    reporter.error(
                        code::HOST_PATTERN,
                        at,
                        "a set cannot name another set",
                        "list the hosts themselves",
                    );
                } else {
                    patterns.extend(host_pattern(text, at, reporter));
                }
            }
            sets.insert(name.value.as_str(), HostSet { patterns, at: place(name), used: false });
        }
        Self { sets }
    }

    /// The hosts of a set, which is in use from now on; none if the set is not defined.
    pub(super) fn resolve(&mut self, name: &str, at: Place, reporter: &mut Reporter<'_>) -> Vec<HostPattern> {
        if let Some(set) = self.sets.get_mut(name) {
            set.used = true;
            return set.patterns.clone();
        }
        let known: Vec<String> = self.sets.keys().map(|name| format!("\"@{name}\"")).collect();
        let help = match known.as_slice() {
            [] => "define it at the top of the file: `hosts: {name: [..]}`".to_owned(),
            _ => format!("the sets of this policy are {}", known.join(", ")),
        };
        reporter.error(code::UNKNOWN_SET, at, format!("there is no set {}", quote(name)), help);
        Vec::new()
    }

    pub(super) fn report_unused(&self, reporter: &mut Reporter<'_>) {
        for (name, set) in self.sets.iter().filter(|(_, set)| !set.used) {
            let message = format!("no rule uses the set `{name}`");
            reporter.warn(code::UNUSED_SET, set.at, message, format!("refer to it as \"@{name}\", or remove it"));
        }
    }
}
