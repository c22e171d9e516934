//! Two policy sets compared: each policy as if a session had it alone, all of them as if one session had them
//! together, and what no policy shows alone: ceilings, denies beside other policies, and whom a policy applies to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use model::{PolicyName, RuleId, Scheme, Timestamp};
use serde_json::{Value, json};

use super::ceiling::{in_its_words, rule_of};
use super::{BeforeAfter, Change, Diff, Kind, Side, diff, words};
use crate::combine::PolicySet;
use crate::combine_error::CombineError;
use crate::explain::Decision;
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::rule::{Effect, Limits, Origin, Rule, Timeouts};
use crate::rules::Rules;

/// What the names of the built-in policies begin with: they are the same on both sides.
const LIBRARY: &str = "library/";

/// What differs for one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDiff {
    /// The policy.
    pub policy: PolicyName,
    /// What differs for a session that has it alone; of a ceiling, for one to which everything else is allowed.
    pub diff: Diff,
}

/// What differs between two policy sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetDiff {
    /// Each policy in which something differs, by name. What a changed ceiling changes for a policy that is the same on both sides
    /// is listed once, under the ceiling; what a ceiling that is new or gone changes for the built-in policies is not listed.
    pub policies: Vec<PolicyDiff>,
    /// All policies as if one session had them; `None` where there is one at most, or where they contradict each other on one
    /// of the sides.
    pub together: Option<Diff>,
}

/// Compares two policy sets from `now` on.
///
/// Each policy is judged alone, under the ceilings of its set, and all but those of the library together. Of other combinations it is
/// certain that no policy denies less in them than before; where one policy's allow is more exact than another's,
/// compare the rules of that session with [`diff`].
pub fn diff_sets(old: &PolicySet, new: &PolicySet, now: Timestamp) -> SetDiff {
    let sets = BeforeAfter { old, new };
    let names: BTreeSet<&PolicyName> = old.names().chain(new.names()).collect();
    let backdrop = backdrop(sets);
    let one = |name: &PolicyName| PolicyDiff { policy: name.clone(), diff: one(sets, name, &backdrop, now) };
    let mut policies: Vec<PolicyDiff> = names.iter().map(|name| one(name)).collect();
    let of_ceilings = ceiling_changes(sets, &policies);
    for found in policies.iter_mut().filter(|found| is_same(sets, &found.policy)) {
        found.diff.changes.retain(|change| !of_ceilings.iter().any(|known| known.covers(change)));
    }
    // A ceiling that is new or gone changes most built-in policies; its own line covers all of them.
    let is_by_ceiling = |name: &PolicyName| name.as_str().starts_with(LIBRARY) && is_same(sets, name);
    if names.iter().any(|name| old.is_ceiling(name) != new.is_ceiling(name)) {
        policies.retain(|found| !is_by_ceiling(&found.policy));
    }
    policies.retain(|found| !found.diff.is_empty());
    let own = |set: &PolicySet| -> Vec<PolicyName> {
        set.names().filter(|name| !set.is_ceiling(name) && !name.as_str().starts_with(LIBRARY)).cloned().collect()
    };
    let all = |set: &PolicySet| set.rules_for_policies(&own(set));
    // One policy alone was compared above.
    let several = own(old).len() > 1 || own(new).len() > 1;
    let mut together = match (all(old), all(new)) {
        (Ok(old), Ok(new)) if several => Some(diff(&old, &new, now)),
        (_, _) => None,
    };
    let are_same = own(old) == own(new) && own(old).iter().all(|name| is_same(sets, name));
    if let Some(together) = together.as_mut().filter(|_| are_same) {
        together.changes.retain(|change| !of_ceilings.iter().any(|known| known.covers(change)));
    }
    SetDiff { policies, together }
}

/// The sort of a change that a ceiling has.
///
/// A ceiling is compared over everything that can be allowed. So each change of an unchanged policy below it is a part of a change of the
/// ceiling, of the same kind. Addresses are the exception: everything contains only those that are globally routable.
struct CeilingChange {
    kind: Kind,
    wider: bool,
    detail: Option<String>,
}

impl CeilingChange {
    fn covers(&self, change: &Change) -> bool {
        let is_of_addresses = matches!(self.kind, Kind::AddressesWidened | Kind::AddressesNarrowed);
        (self.kind, self.wider) == (change.kind, change.wider) && (!is_of_addresses || self.detail == change.detail)
    }
}

/// The changes of the policies that are ceilings on both sides.
fn ceiling_changes(sets: BeforeAfter<&PolicySet>, policies: &[PolicyDiff]) -> Vec<CeilingChange> {
    let is_ceiling = |found: &&PolicyDiff| sets.old.is_ceiling(&found.policy) && sets.new.is_ceiling(&found.policy);
    let changes = policies.iter().filter(is_ceiling).flat_map(|found| found.diff.changes());
    changes
        .filter(|change| change.kind != Kind::Undecided)
        .map(|change| CeilingChange { kind: change.kind, wider: change.wider, detail: change.detail.clone() })
        .collect()
}

/// Whether a policy below the ceilings is the same on both sides, apart from its place.
fn is_same(sets: BeforeAfter<&PolicySet>, name: &PolicyName) -> bool {
    let find = |set: &PolicySet| {
        let policy = set.policies().find(|policy| policy.name == *name).filter(|policy| !policy.ceiling)?;
        let rules: Vec<Rule> =
            policy.rules.iter().map(|rule| Rule { origin: Origin::default(), ..Rule::clone(rule) }).collect();
        Some(format!("{:?}", (policy.observe, policy.until, &policy.applies_to, rules)))
    };
    find(sets.old).is_some_and(|old| find(sets.new) == Some(old))
}

fn one(sets: BeforeAfter<&PolicySet>, name: &PolicyName, backdrop: &Policy, now: Timestamp) -> Diff {
    let find = |set: &'_ PolicySet| set.is_known(name).then(|| set.is_ceiling(name));
    let mut changes = match (find(sets.old), find(sets.new)) {
        (Some(true), Some(true)) => over_everything(sets, name, backdrop, now),
        (Some(true), other) => {
            let words = format!("drops the ceiling `{name}`, for the built-in policies too");
            let mut changes = vec![Change::without_request(Kind::CeilingDropped, true, words)];
            if other.is_some() {
                changes.extend(alone(sets, name, now));
            }
            changes
        }
        (before, Some(true)) => {
            let words = format!("adds the ceiling `{name}`, for the built-in policies too");
            let mut changes = vec![Change::without_request(Kind::CeilingAdded, false, words)];
            if before.is_some() {
                changes.extend(alone(sets, name, now));
            }
            changes
        }
        (_, _) => {
            let mut changes = alone(sets, name, now);
            changes.extend(denies(sets, name, backdrop, now));
            changes
        }
    };
    changes.extend(applies_to(sets, name));
    Diff { changes }
}

/// A session with this policy and no other.
fn alone(sets: BeforeAfter<&PolicySet>, name: &PolicyName, now: Timestamp) -> Vec<Change> {
    let rules = |set: &PolicySet| -> Result<Arc<Rules>, CombineError> {
        let grants = set.is_known(name) && !set.is_ceiling(name);
        if grants { set.rules_for_policies(std::slice::from_ref(name)) } else { set.rules_for_policies(&[]) }
    };
    match (rules(sets.old), rules(sets.new)) {
        (Ok(old), Ok(new)) => {
            let changes = diff(&old, &new, now).changes.into_iter();
            changes.map(|change| with_rest(change, sets, name)).collect()
        }
        (_, Err(error)) => {
            let words = format!("no session can have `{name}` alone now: {error}");
            vec![Change::without_request(Kind::Unreachable, false, words)]
        }
        (Err(error), Ok(_)) => {
            let words = format!("no session could have `{name}` alone before: {error}");
            vec![Change::without_request(Kind::Undecided, true, words)]
        }
    }
}

/// A ceiling over a session to which everything is allowed.
fn over_everything(sets: BeforeAfter<&PolicySet>, name: &PolicyName, backdrop: &Policy, now: Timestamp) -> Vec<Change> {
    let rules = |set: &PolicySet| {
        let ceiling: Vec<&Policy> = set.policies().filter(|policy| policy.name == *name).collect();
        Arc::new(Rules::new(set.digest().clone(), vec![backdrop], ceiling))
    };
    let rules = BeforeAfter { old: rules(sets.old), new: rules(sets.new) };
    let found = diff(&rules.old, &rules.new, now).changes;
    let mut found = in_its_words(found, &rules, sets, name);
    // The rules of the backdrop are in no file.
    for change in &mut found {
        for decision in [&mut change.old, &mut change.new] {
            let is_backdrop = |one: &Decision| one.rule.as_ref().is_some_and(|rule| rule.policy == backdrop.name);
            *decision = decision.take().filter(|one| !is_backdrop(one));
        }
    }
    found
}

/// What the policy denies beside others that allow it; alone it may not have been allowed anyway.
fn denies(sets: BeforeAfter<&PolicySet>, name: &PolicyName, backdrop: &Policy, now: Timestamp) -> Vec<Change> {
    let own = |set: &PolicySet| set.policies().find(|policy| policy.name == *name).map(denying);
    let policies = BeforeAfter { old: own(sets.old), new: own(sets.new) };
    let applies = |set: &PolicySet| set.policies().any(|policy| policy.name == *name && policy.applies_to.is_some());
    // No session that names a policy which is gone can run.
    if policies.new.is_none() && !applies(sets.old) {
        return Vec::new();
    }
    let rules = |side: Side| {
        let (set, policy) = match side {
            Side::Old => (sets.old, policies.old.as_ref()),
            Side::New => (sets.new, policies.new.as_ref()),
        };
        Arc::new(Rules::new(set.digest().clone(), policy.into_iter().chain([backdrop]).collect(), Vec::new()))
    };
    let found = diff(&rules(Side::Old), &rules(Side::New), now).changes.into_iter().filter(|change| change.wider);
    // The backdrop is cut into many classes, by port, scheme and upgrade; the capability that changes is one deny.
    let mut by_rule: BTreeMap<RuleId, Change> = BTreeMap::new();
    let mut others = Vec::new();
    for change in found {
        let id = change.old.as_ref().and_then(|old| old.rule.as_ref()).map(|place| place.rule.clone());
        match id.and_then(|id| rule_of(sets.old, name, &id)) {
            Some(rule) => {
                by_rule.entry(rule.id.clone()).or_insert_with(|| Change {
                    kind: Kind::DenyDropped,
                    words: no_longer_denied(rule, rule_of(sets.new, name, &rule.id)),
                    // The rule of the backdrop is in no file.
                    new: None,
                    ..change
                });
            }
            None => {
                let what = change.words.strip_prefix("adds ").unwrap_or(&change.words);
                let words = format!("denies no longer, beside policies that allow it, {what}");
                others.push(Change { kind: Kind::DenyDropped, words, new: None, ..change });
            }
        }
    }
    by_rule.into_values().chain(others).collect()
}

fn no_longer_denied(old: &Rule, new: Option<&Arc<Rule>>) -> String {
    let (id, before) = (&old.id, words::of(old));
    match new.filter(|new| new.effect == Effect::Deny) {
        None => format!("rule `{id}` no longer denies {before}, which other policies may allow"),
        Some(new) => format!(
            "rule `{id}` denies less: {}, where it was {before}; other policies may allow the rest",
            words::of(new)
        ),
    }
}

/// With what the same rule of the other side still covers: a class of requests is cut by the patterns of both sides, and its name is
/// the wider of them.
fn with_rest(mut change: Change, sets: BeforeAfter<&PolicySet>, name: &PolicyName) -> Change {
    let is_removed = change.kind == Kind::Unreachable;
    if !is_removed && change.kind != Kind::Reachable {
        return change;
    }
    let (decision, verb) = if is_removed { (&change.old, "still allows") } else { (&change.new, "allowed before") };
    let Some(place) = decision.as_ref().and_then(|decision| decision.rule.as_ref()) else { return change };
    let pair = (rule_of(sets.old, name, &place.rule), rule_of(sets.new, name, &place.rule));
    let (Some(old), Some(new)) = pair else { return change };
    let (own, other) = if is_removed { (old, new) } else { (new, old) };
    // Another path, query or tool cuts the class; other hosts, ports and methods are classes of their own.
    let paths = |rule: &Rule| rule.paths.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
    let cut = paths(own) != paths(other) || own.query != other.query || own.tools != other.tools;
    if cut && own.effect == other.effect {
        change.words.push_str(&format!(", except what rule `{}` {verb}: {}", place.rule, words::of(other)));
    }
    change
}

/// The policy without what it grants; one that observes denies nothing beside others.
fn denying(policy: &Policy) -> Policy {
    let denies = |rule: &&Arc<Rule>| rule.effect == Effect::Deny && !policy.observe;
    Policy {
        name: policy.name.clone(),
        file: Arc::clone(&policy.file),
        place: policy.place,
        description: None,
        observe: false,
        ceiling: false,
        until: None,
        applies_to: None,
        rules: policy.rules.iter().filter(denies).cloned().collect(),
        checks: Vec::new(),
    }
}

fn applies_to(sets: BeforeAfter<&PolicySet>, name: &PolicyName) -> Option<Change> {
    let selector = |set: &PolicySet| {
        let policy = set.policies().find(|policy| policy.name == *name)?;
        Some(format!("{:?}", policy.applies_to))
    };
    let (old, new) = (selector(sets.old)?, selector(sets.new)?);
    let words = format!("`{name}` applies to other sessions, and which they are is not compared");
    (old != new).then(|| Change::without_request(Kind::AppliesTo, true, words))
}

/// A policy that allows everything through every port that either set names, and through one that none does.
fn backdrop(sets: BeforeAfter<&PolicySet>) -> Policy {
    let rules = sets.old.policies().chain(sets.new.policies()).flat_map(|policy| &policy.rules);
    let mut ports: BTreeSet<u16> = rules.flat_map(|rule| rule.ports.iter().flatten().copied()).collect();
    ports.extend([80, 443]);
    ports.extend((1..=u16::MAX).rev().find(|port| !ports.contains(port)));
    let name = PolicyName::new("*");
    let unnamed: BTreeSet<Box<str>> = ["TRACE", "TRACK"].into_iter().map(Into::into).collect();
    let mut rules = Vec::new();
    for scheme in [Scheme::Https, Scheme::Http] {
        for websocket in [false, true] {
            for methods in [None, Some(unnamed.clone())] {
                rules.push(Arc::new(Rule {
                    policy: name.clone(),
                    id: RuleId::new(format!("everything-{}", rules.len())),
                    origin: Origin { file: "every other policy".into(), line: 0 },
                    effect: Effect::Allow,
                    hosts: vec![HostPattern::Any],
                    scheme: Some(scheme),
                    ports: Some(ports.clone()),
                    methods,
                    paths: None,
                    query: None,
                    tools: None,
                    websocket,
                    until: None,
                    hold: None,
                    approval_timeout: None,
                    pass_through: false,
                    addresses: None,
                    credentials: Vec::new(),
                    limits: Limits::default(),
                    timeouts: Timeouts::default(),
                    set: Vec::new(),
                    client_auth: None,
                    of_session: false,
                    author_message: None,
                }));
            }
        }
    }
    Policy {
        name,
        file: "every other policy".into(),
        place: crate::problem::Place::default(),
        description: None,
        observe: false,
        ceiling: false,
        until: None,
        applies_to: None,
        rules,
        checks: Vec::new(),
    }
}

impl SetDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.together.as_ref().is_none_or(Diff::is_empty)
    }

    /// Whether anything grants more than before, or could.
    pub fn is_wider(&self) -> bool {
        self.policies.iter().any(|policy| policy.diff.is_wider()) || self.together.as_ref().is_some_and(Diff::is_wider)
    }

    /// The difference as JSON.
    pub fn to_json(&self) -> Value {
        let policies: BTreeMap<&str, Value> =
            self.policies.iter().map(|found| (found.policy.as_str(), found.diff.to_json())).collect();
        json!({
            "wider": self.is_wider(),
            "policies": policies,
            "together": self.together.as_ref().map(Diff::to_json),
        })
    }
}

/// Each policy with its changes; those that only the combination shows are at the end.
impl fmt::Display for SetDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.policies {
            writeln!(f, "policy `{}`", found.policy)?;
            for change in found.diff.changes() {
                writeln!(f, "{change}")?;
            }
        }
        let told = |change: &&Change| {
            !self.policies.iter().flat_map(|found| found.diff.changes()).any(|known| known.words == change.words)
        };
        let more: Vec<&Change> = self.together.iter().flat_map(Diff::changes).filter(told).collect();
        if !more.is_empty() {
            writeln!(f, "all policies in one session")?;
        }
        for change in more {
            writeln!(f, "{change}")?;
        }
        f.write_str(match (self.is_empty(), self.is_wider()) {
            (true, _) => "nothing that a request gets is changed\n",
            (false, true) => "grants more than before\n",
            (false, false) => "grants nothing more than before\n",
        })
    }
}
