//! A difference in words and in JSON.

use std::fmt;
use std::sync::Arc;

use model::{Destination, Timestamp};
use serde_json::{Value, json};

use super::compare::{Draft, Key};
use super::{BeforeAfter, Change, Diff, Kind, Sample};
use crate::explain::Decision;
use crate::question::Question;
use crate::rules::Rules;

/// How many names of one sort are listed before the rest is only counted.
const MAX_LISTED: usize = 6;

/// The change that was found, with its request put to both sides once more.
pub(super) fn change(rules: BeforeAfter<&Arc<Rules>>, now: Timestamp, key: &Key, draft: Draft) -> Change {
    let words = words(key, &draft, now);
    let decision = |rules: &Arc<Rules>, sample: &Sample| {
        let (destination, path) = sample.asked();
        path.map(|path| {
            let tool = sample.tool.as_deref();
            let (method, websocket, now) = (sample.method.as_str(), sample.websocket, sample.at);
            let question = Question { destination: &destination, method, path: &path, websocket, tool, now };
            Decision::of(rules, &question)
        })
    };
    let old = draft.sample.as_ref().and_then(|sample| decision(rules.old, sample));
    let new = draft.sample.as_ref().and_then(|sample| decision(rules.new, sample));
    let finding = &key.finding;
    Change {
        kind: finding.kind,
        wider: finding.wider,
        words,
        detail: finding.detail.clone(),
        request: draft.sample,
        old,
        new,
        since: draft.since.filter(|since| *since > now),
        ambiguous: key.ambiguous,
    }
}

fn words(key: &Key, draft: &Draft, now: Timestamp) -> String {
    let asked = asked(draft);
    let detail = key.finding.detail.as_deref().unwrap_or_default();
    let mut words = match (key.finding.kind, key.finding.wider) {
        (Kind::Reachable, _) => format!("adds {asked}"),
        (Kind::Unreachable, _) => format!("removes {asked}"),
        (Kind::Observed, _) => format!("lets pass without a rule, because a policy observes: {asked}"),
        (Kind::Unobserved, _) => format!("passes by a rule, and no longer because a policy observes: {asked}"),
        (Kind::Unread, _) => format!("passes through unread {asked}"),
        (Kind::Read, _) => format!("reads what passed through unread: {asked}"),
        (Kind::Asked, true) => format!("asks for what was refused: {asked}"),
        (Kind::Asked, false) => format!("asks before {asked}"),
        (Kind::Unasked, true) => format!("no longer asks before {asked}"),
        (Kind::Unasked, false) => format!("refuses what was asked for: {asked}"),
        (Kind::CredentialUsable, _) => format!("adds credential `{detail}` to {asked}"),
        (Kind::CredentialLost, _) => format!("takes credential `{detail}` from {asked}"),
        (Kind::AddressesWidened, _) => format!("may dial {detail} for {asked}"),
        (Kind::AddressesNarrowed, _) => format!("may no longer dial {detail} for {asked}"),
        (Kind::LimitsLoosened, _) => format!("loosens {detail} for {asked}"),
        (Kind::LimitsTightened, _) => format!("tightens {detail} for {asked}"),
        (Kind::IdentityLoosened | Kind::IdentityTightened, _) => format!("{detail}, for {asked}"),
        (Kind::CeilingDropped | Kind::CeilingAdded | Kind::DenyDropped | Kind::AppliesTo | Kind::Undecided, _) => asked,
    };
    if key.ambiguous {
        words.push_str(", where servers can read the path in two ways");
    }
    if let Some(since) = draft.since.filter(|since| *since > now) {
        words.push_str(&format!(", from {since} on"));
    }
    words
}

/// Methods, places and conditions: `GET and HEAD to https://a.example/v1/**`.
fn asked(draft: &Draft) -> String {
    let methods = match &draft.every_method_but {
        None => listed(draft.methods.iter().cloned(), "and"),
        Some(known) => match listed(known.difference(&draft.methods).cloned(), "and") {
            none if none.is_empty() => "any method".to_owned(),
            others => format!("any method but {others}"),
        },
    };
    let scheme_ports: Vec<&(u16, &str)> = draft.scheme_ports.iter().collect();
    let mut places = Vec::new();
    for (port, scheme) in &scheme_ports {
        for host in &draft.hosts {
            let default = matches!((*scheme, *port), ("https", 443) | ("http", 80));
            let port = if default { String::new() } else { format!(":{port}") };
            places.extend(draft.paths.iter().map(|path| format!("{scheme}://{host}{port}{path}")));
        }
    }
    let mut words = format!("{methods} to {}", listed(places.into_iter(), "and"));
    if !draft.websocket.contains(&false) {
        words.push_str(" for WebSockets");
    }
    if draft.tools != draft.all_tools {
        words.push_str(&format!(" with {}", listed(draft.tools.iter().cloned(), "or")));
    }
    words
}

fn listed(names: impl Iterator<Item = String>, word: &str) -> String {
    let mut names: Vec<String> = names.collect();
    if names.len() > MAX_LISTED {
        let more = names.len() - MAX_LISTED;
        names.truncate(MAX_LISTED);
        names.push(format!("{more} more"));
    }
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} {word} {last}", front.join(", ")),
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url())?;
        if self.websocket {
            f.write_str(", WebSocket handshake")?;
        }
        if let Some(tool) = &self.tool {
            write!(f, ", tool {tool}")?;
        }
        Ok(())
    }
}

impl Sample {
    /// The request's URL; that of the server as a whole ends in ` *`.
    pub fn url(&self) -> String {
        let authority = Destination::new(self.scheme, self.host.clone(), self.port).authority();
        let space = if self.target == "*" { " " } else { "" };
        format!("{}://{authority}{space}{}", self.scheme.as_str(), self.target)
    }

    fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "url": self.url(),
            "websocket": self.websocket,
            "tool": self.tool,
            "at": self.at.to_string(),
        })
    }
}

impl Change {
    /// The change as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.as_str(),
            "wider": self.wider,
            "words": self.words,
            "detail": self.detail,
            "request": self.request.as_ref().map(Sample::to_json),
            "old": self.old.as_ref().map(Decision::to_json),
            "new": self.new.as_ref().map(Decision::to_json),
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.wider { "+" } else { "-" }, self.words)?;
        if let Some(request) = &self.request {
            write!(f, "\n    such as {request}")?;
        }
        for (when, decision) in [("before", &self.old), ("now", &self.new)] {
            if let Some(decision) = decision {
                write!(f, "\n    {when}: {decision}")?;
            }
        }
        Ok(())
    }
}

impl Diff {
    /// The difference as JSON.
    pub fn to_json(&self) -> Value {
        let changes: Vec<Value> = self.changes.iter().map(Change::to_json).collect();
        json!({ "wider": self.is_wider(), "changes": changes })
    }
}

/// Each change with a request; `+` marks what grants more.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing that a request gets is changed\n");
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        let verdict = if self.is_wider() { "grants more than before" } else { "grants nothing more than before" };
        writeln!(f, "{verdict}")
    }
}
