//! Whether one rule matches whatever another one does. What cannot be shown counts as no.

use crate::pattern::{HostPattern, PathPattern};
use crate::rule::{Effect, Rule, covered_unnamed};

/// Whether `wide` matches every request to `host` that `narrow` matches.
pub(super) fn covers(wide: &Rule, narrow: &Rule, host: &HostPattern) -> bool {
    wide.hosts.iter().any(|own| own.contains(host))
        && wide.scheme.is_none_or(|own| narrow.scheme == Some(own))
        && subset(wide.ports.as_ref(), narrow.ports.as_ref(), |own, other| own.is_superset(other))
        && methods(wide, narrow)
        && paths(wide, narrow)
        && (wide.query.is_none() || wide.query == narrow.query)
        && (wide.tools.is_none() || wide.tools == narrow.tools)
        && (wide.websocket == narrow.websocket || (wide.effect == Effect::Deny && !wide.websocket))
        && (wide.pass_through == narrow.pass_through || wide.effect == Effect::Deny)
        && wide.until.is_none_or(|own| narrow.until.is_some_and(|other| own >= other))
}

fn subset<T>(wide: Option<&T>, narrow: Option<&T>, contains: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_none_or(|wide| narrow.is_some_and(|narrow| contains(wide, narrow)))
}

fn methods(wide: &Rule, narrow: &Rule) -> bool {
    match (&wide.methods, &narrow.methods) {
        (None, None) => true,
        (None, Some(named)) => wide.effect == Effect::Deny || named.iter().all(|method| covered_unnamed(method)),
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.is_subset(wide),
    }
}

fn paths(wide: &Rule, narrow: &Rule) -> bool {
    let within = |path: &PathPattern, all: &[PathPattern]| all.iter().any(|own| contains(own, path));
    match (&wide.paths, &narrow.paths) {
        (None, None) => true,
        (None, Some(named)) => wide.effect == Effect::Deny || named.iter().all(|path| path.to_string() != "*"),
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.iter().all(|path| within(path, wide)),
    }
}

/// Shown for equal patterns, for paths without wildcards, and for paths below a `/x/**`.
fn contains(wide: &PathPattern, narrow: &PathPattern) -> bool {
    // Only a deny is folded, and what it covers of an allow is what it covers of the allow's patterns folded.
    let lower = |text: &str| if wide.is_folded() { text.to_ascii_lowercase() } else { text.to_owned() };
    let (text, other) = (wide.text(), lower(narrow.text()));
    let below = text.strip_suffix("**").filter(|prefix| !prefix.contains('*'));
    (text == other && (wide.is_folded() || !narrow.is_folded()))
        || (!other.contains('*') && wide.matches(&other))
        || below.is_some_and(|prefix| lower(narrow.literal_prefix()).starts_with(prefix))
}
