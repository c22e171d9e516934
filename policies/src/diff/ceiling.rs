//! A changed ceiling in the words of its rules: one line for each capability.
//!
//! A ceiling is compared over a policy that allows everything, which is cut into many classes by scheme, port, method and upgrade. Those
//! are in no file: what changes is what one rule of the ceiling allows, asks or denies.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{PolicyName, RuleId, Timestamp};

use super::{BeforeAfter, Change, Kind, Sample, words};
use crate::combine::PolicySet;
use crate::question::Question;
use crate::rule::{Effect, Rule};
use crate::rules::Rules;

/// What one line is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_narrower: bool,
    kind: Kind,
    detail: Option<String>,
    since: Option<Timestamp>,
    rules: Option<(Option<RuleId>, Option<RuleId>)>,
    /// Only where no rule of the ceiling is found: then each change stays as it is.
    words: Option<String>,
}

/// The changes of a ceiling, one for each kind of change and rule; `rules` are those of the ceiling over everything.
pub(super) fn in_its_words(
    changes: Vec<Change>,
    rules: &BeforeAfter<Arc<Rules>>,
    sets: BeforeAfter<&PolicySet>,
    name: &PolicyName,
) -> Vec<Change> {
    let mut lines: BTreeMap<Key, Change> = BTreeMap::new();
    for mut change in changes {
        let found = change.request.as_ref().map(|sample| BeforeAfter {
            old: decisive(&rules.old, sample, name),
            new: decisive(&rules.new, sample, name),
        });
        let told = found.as_ref().and_then(|found| told(&change, found, sets, name));
        let ids = found.map(|found| (found.old.map(|rule| rule.id.clone()), found.new.map(|rule| rule.id.clone())));
        let key = Key {
            is_narrower: !change.wider,
            kind: change.kind,
            detail: change.detail.clone(),
            since: change.since,
            rules: ids.filter(|_| told.is_some()),
            words: if told.is_none() { Some(change.words.clone()) } else { None },
        };
        if let Some(words) = told {
            let since = change.since.map(|since| format!(", from {since} on")).unwrap_or_default();
            let ambiguous = if change.ambiguous { ", where servers can read the path in two ways" } else { "" };
            change.words = format!("{words}{ambiguous}{since}");
        }
        match lines.get_mut(&key) {
            // A request that every server reads alike is the better example.
            Some(known) if known.ambiguous && !change.ambiguous => *known = change,
            Some(_) => {}
            None => {
                lines.insert(key, change);
            }
        }
    }
    lines.into_values().collect()
}

/// The rule of the ceiling that decides about a request.
fn decisive<'a>(rules: &'a Arc<Rules>, sample: &Sample, name: &PolicyName) -> Option<&'a Rule> {
    let (destination, path) = sample.asked();
    let path = path?;
    let question = Question {
        destination: &destination,
        method: &sample.method,
        path: &path,
        websocket: sample.websocket,
        tool: sample.tool.as_deref(),
        now: sample.at,
    };
    match rules.judge(&question).answer {
        Ok(permit) => permit.places().1.first().map(|at| &**rules.rule(*at)),
        Err(denied) => {
            let id = denied.rule?;
            rules.all().iter().map(|rule| &**rule).find(|rule| rule.policy == *name && rule.id == id)
        }
    }
}

/// The change in the words of the rule; `None` where no rule is behind it.
fn told(
    change: &Change,
    found: &BeforeAfter<Option<&Rule>>,
    sets: BeforeAfter<&PolicySet>,
    name: &PolicyName,
) -> Option<String> {
    let before = |rule: &Rule| rule_of(sets.old, name, &rule.id).filter(|old| old.effect == rule.effect);
    let after = |rule: &Rule| rule_of(sets.new, name, &rule.id).filter(|new| new.effect == rule.effect);
    let is_deny = |rule: &&Rule| rule.effect == Effect::Deny;
    let detail = change.detail.as_deref().unwrap_or_default();
    Some(match change.kind {
        Kind::Reachable => match (found.old.filter(is_deny), found.new) {
            (Some(deny), _) => differs(deny, ("denies", "less"), Some(deny), after(deny).map(|rule| &**rule)),
            (None, new) => {
                let new = new?;
                differs(new, ("allows", "more"), before(new).map(|rule| &**rule), Some(new))
            }
        },
        Kind::Unreachable => match (found.new.filter(is_deny), found.old) {
            (Some(deny), _) => differs(deny, ("denies", "more"), before(deny).map(|rule| &**rule), Some(deny)),
            (None, old) => {
                let old = old?;
                differs(old, ("allows", "less"), Some(old), after(old).map(|rule| &**rule))
            }
        },
        Kind::Asked => {
            let rule = found.new?;
            format!("rule `{}` asks before {}", rule.id, words::of(rule))
        }
        Kind::Unasked => {
            let rule = found.old?;
            format!("rule `{}` no longer asks before {}", rule.id, words::of(rule))
        }
        Kind::AddressesWidened => format!("may dial {detail} for {}", words::of(found.new.or(found.old)?)),
        Kind::AddressesNarrowed => format!("may no longer dial {detail} for {}", words::of(found.new.or(found.old)?)),
        Kind::LimitsLoosened => format!("loosens {detail} for {}", words::of(found.new.or(found.old)?)),
        Kind::LimitsTightened => format!("tightens {detail} for {}", words::of(found.new.or(found.old)?)),
        Kind::IdentityLoosened | Kind::IdentityTightened => {
            format!("{detail}, for {}", words::of(found.new.or(found.old)?))
        }
        Kind::Observed
        | Kind::Unread
        | Kind::CredentialUsable
        | Kind::CeilingDropped
        | Kind::DenyDropped
        | Kind::AppliesTo
        | Kind::Undecided
        | Kind::Unobserved
        | Kind::Read
        | Kind::CredentialLost
        | Kind::CeilingAdded => return None,
    })
}

/// What a rule allows or denies on both sides. Where its own words are the same, another rule has changed how much of them counts.
fn differs(rule: &Rule, (verb, amount): (&str, &str), old: Option<&Rule>, new: Option<&Rule>) -> String {
    let id = &rule.id;
    match (old.map(words::of), new.map(words::of)) {
        (Some(old), Some(new)) if old == new => format!("rule `{id}` {verb} {amount} of {new}"),
        (Some(old), Some(new)) => format!("rule `{id}` {verb} {new}, where it was {old}"),
        (None, Some(new)) => format!("rule `{id}` {verb} {new}"),
        (Some(old), None) => format!("rule `{id}` no longer {verb} {old}"),
        (None, None) => format!("rule `{id}` {verb} {amount} of {}", words::of(rule)),
    }
}

/// The rule of a policy with this id.
pub(super) fn rule_of<'a>(set: &'a PolicySet, policy: &PolicyName, id: &RuleId) -> Option<&'a Arc<Rule>> {
    let policy = set.policies().find(|own| own.name == *policy)?;
    policy.rules.iter().find(|rule| rule.id == *id)
}
