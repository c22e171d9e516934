//! A policy in the making: sets of hosts, a rule for each, and notes on what was left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::{AddressClass, Host};

use super::SCHEMA_LINE;
use crate::pattern::HostPattern;
use crate::suffix::{self, Suffix};

/// How many notes are written out.
const MAX_NOTES: usize = 50;
const MAX_NAME_CHARS: usize = 64;

/// What is found in a list.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) description: &'static str,
    pub(super) rules: Vec<DraftRule>,
    /// What could not be taken over, a sentence each.
    pub(super) notes: Vec<String>,
    /// The list itself allows nothing.
    pub(super) is_closed: bool,
}

/// Hosts that one rule names.
#[derive(Debug, Default)]
pub(super) struct DraftRule {
    pub(super) id: String,
    pub(super) deny: bool,
    pub(super) http: bool,
    pub(super) port: Option<u16>,
    /// Empty: every method.
    pub(super) methods: Vec<String>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) credentials: Vec<String>,
    pub(super) comment: Option<String>,
}

impl Draft {
    pub(super) fn new(description: &'static str) -> Self {
        Self { description, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| rule.hosts.is_empty())
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The rule with this id, which is made where there is none.
    pub(super) fn rule(&mut self, id: &str) -> &mut DraftRule {
        let id = name_of(id);
        let at = self.rules.iter().position(|rule| rule.id == id).unwrap_or_else(|| {
            self.rules.push(DraftRule { id, ..DraftRule::default() });
            self.rules.len() - 1
        });
        &mut self.rules[at]
    }

    /// Adds a host pattern of a line to a rule, or notes why not; returns whether it was added. Line 0: the list has no lines.
    pub(super) fn add(&mut self, id: &str, text: &str, line: usize) -> bool {
        let deny = self.rule(id).deny;
        match pattern(text, deny) {
            Ok(pattern) => {
                let rule = self.rule(id);
                if !rule.hosts.contains(&pattern) {
                    rule.hosts.push(pattern);
                }
                true
            }
            Err(why) => {
                self.note(if line == 0 { why } else { format!("line {line}: {why}") });
                false
            }
        }
    }

    /// The text of the policy.
    pub(super) fn write(&self, name: &str) -> String {
        let mut out = format!("{SCHEMA_LINE}\n");
        if !self.notes.is_empty() {
            out.push_str("# Not taken over:\n");
            for note in self.notes.iter().take(MAX_NOTES) {
                writeln!(out, "# - {}", visible(note)).expect("a string takes every text");
            }
            if self.notes.len() > MAX_NOTES {
                writeln!(out, "# - and {} more", self.notes.len() - MAX_NOTES).expect("a string takes every text");
            }
        }
        write!(out, "policy: {name}\ndescription: {}\n", self.description).expect("a string takes every text");
        let rules: Vec<&DraftRule> = self.rules.iter().filter(|rule| !rule.hosts.is_empty()).collect();
        if rules.is_empty() {
            return out;
        }
        out.push_str("hosts:\n");
        for rule in &rules {
            writeln!(out, "  {}:", rule.id).expect("a string takes every text");
            for host in &rule.hosts {
                writeln!(out, "    - {}", quoted(host)).expect("a string takes every text");
            }
        }
        out.push_str("rules:\n");
        for rule in &rules {
            rule.write(&mut out);
        }
        let checks: Vec<String> = rules.iter().filter_map(|rule| rule.check(&rules)).collect();
        out.push_str("checks:\n");
        checks.iter().for_each(|check| out.push_str(check));
        out.push_str("  - {request: GET https://not-listed.invalid/, expect: deny}\n");
        out
    }
}

impl DraftRule {
    fn write(&self, out: &mut String) {
        if let Some(comment) = &self.comment {
            writeln!(out, "  # {}", visible(comment)).expect("a string takes every text");
        }
        let mut matched = format!("host: \"@{}\"", self.id);
        if let Some(port) = self.port {
            write!(matched, ", port: {port}").expect("a string takes every text");
        }
        if self.http {
            matched.push_str(", scheme: http");
        }
        if !self.methods.is_empty() {
            write!(matched, ", methods: [{}]", self.methods.join(", ")).expect("a string takes every text");
        }
        let effect = if self.deny { "deny" } else { "allow" };
        write!(out, "  - id: {}\n    {effect}: {{{matched}}}\n", self.id).expect("a string takes every text");
        if !self.credentials.is_empty() {
            writeln!(out, "    use: [{}]", self.credentials.join(", ")).expect("a string takes every text");
        }
    }

    /// A check that its first host is judged by it, if no other rule can match.
    fn check(&self, rules: &[&Self]) -> Option<String> {
        let host = self.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Child(tail) | HostPattern::Below(tail) => Host::parse(&format!("any.{tail}")).ok(),
            HostPattern::Any => None,
        })?;
        let elsewhere = rules.iter().filter(|rule| rule.id != self.id).flat_map(|rule| &rule.hosts);
        if elsewhere.into_iter().any(|pattern| pattern.matches(&host)) {
            return None;
        }
        let scheme = if self.http { "http" } else { "https" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let expect = if self.deny { "deny" } else { "allow" };
        let method = self.methods.first().map_or("GET", String::as_str);
        Some(format!("  - {{request: \"{method} {scheme}://{host}{port}/\", expect: {expect}, rule: {}}}\n", self.id))
    }
}

/// One host pattern; the error is a note.
fn pattern(text: &str, deny: bool) -> Result<HostPattern, String> {
    let shown = visible(text);
    let pattern = HostPattern::parse(text).map_err(|_| format!("`{shown}` is not a host"))?;
    match &pattern {
        HostPattern::Any if !deny => Err(format!("`{shown}`: no rule allows every host")),
        HostPattern::Child(tail) | HostPattern::Below(tail) if !deny => match suffix::of(tail) {
            Suffix::Registry => Err(format!("`{shown}`: anyone can get a name below it")),
            Suffix::Owned | Suffix::Service => Ok(pattern),
        },
        HostPattern::Exact(host) => match host.address().map(AddressClass::of) {
            None | Some(AddressClass::Global) => Ok(pattern),
            Some(_) if deny => Ok(pattern),
            Some(_) => Err(format!("`{shown}` is not globally routable: write a rule with `addresses` for it")),
        },
        HostPattern::Any | HostPattern::Child(_) | HostPattern::Below(_) => Ok(pattern),
    }
}

/// A host as an item of a YAML list.
fn quoted(host: &HostPattern) -> String {
    let text = host.to_string();
    let plain = matches!(host, HostPattern::Exact(Host::Name(_)));
    if plain && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.contains('.') {
        text
    } else {
        format!("\"{text}\"")
    }
}

/// A name for a rule, a set or a credential that is as close to the text as the language allows.
pub(super) fn name_of(text: &str) -> String {
    let sign = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(sign).take(MAX_NAME_CHARS).collect();
    let name = name.trim_matches(['-', '_', '.']);
    // What begins otherwise, or is one of the words of YAML, would need quotes.
    let words = ["true", "false", "yes", "no", "on", "off", "null"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !words.contains(&name);
    if plain { name.to_owned() } else { format!("list-{name}").trim_end_matches('-').to_owned() }
}

/// Text for a comment: one line, bounded, without characters that control a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(200).collect()
}

/// Each name once, in order.
pub(super) fn unique(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}
