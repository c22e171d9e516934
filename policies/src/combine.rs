//! The policy set, and what the policies of one session say together.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{PolicyName, RuleId, SnapshotDigest, Timestamp};
use thiserror::Error;

use crate::authorize::Question;
use crate::checks::{Check, CheckResult, Verdict};
use crate::compile::digest_of;
use crate::conflict::{MAX_SETTING_RULES, SetConflict, mixed, set_conflicts, ties};
use crate::decide::Denied;
use crate::explain::RulePlace;
use crate::index::Index;
use crate::problem::{Place, Problem};
use crate::rule::{Effect, Rule};
use crate::selector::{Combinations, Selector, Subject};
use crate::session_documents::SessionDocuments;

/// How many ceilings may be over one session.
pub(crate) const MAX_CEILINGS: usize = 8;

/// One compiled policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) file: Arc<str>,
    /// Where its name stands.
    pub(crate) place: Place,
    pub(crate) description: Option<String>,
    pub(crate) observe: bool,
    pub(crate) ceiling: bool,
    pub(crate) until: Option<Timestamp>,
    pub(crate) applies_to: Option<Selector>,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) checks: Vec<Check>,
}

/// All policies in force: an immutable snapshot.
#[derive(Debug)]
pub struct PolicySet {
    digest: SnapshotDigest,
    policies: BTreeMap<PolicyName, Policy>,
    warnings: Vec<Problem>,
    combinations: Combinations,
}

/// A rule, by its policy and its id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rule `{rule}` of policy `{policy}`")]
pub struct RuleRef {
    /// The policy.
    pub policy: PolicyName,
    /// The rule's `id`.
    pub rule: RuleId,
}

/// Why policies cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CombineError {
    /// No policy of the set has this name.
    #[error("policy `{0}` is not loaded")]
    UnknownPolicy(PolicyName),
    /// A ceiling was named like a policy that grants.
    #[error("policy `{0}` is a ceiling: it is over every session it applies to, and no session names it")]
    Ceiling(PolicyName),
    /// A policy was named for a session that its `applies_to` leaves out.
    #[error("policy `{0}` does not apply to this session: its `applies_to` selects others")]
    DoesNotApply(PolicyName),
    /// More ceilings than a session can be under.
    #[error("more than {MAX_CEILINGS} ceilings apply to one session")]
    TooManyCeilings,
    /// Two rules that can match one request, rank equal and differ in effect.
    #[error("{first} and {second} can match one request, rank equal and differ in what they give")]
    Tie {
        /// One of them.
        first: RuleRef,
        /// The other.
        second: RuleRef,
    },
    /// Two rules that can match one request and set one header to different values.
    #[error("{first} and {second} can match one request and set the header `{header}` to different values")]
    SetConflict {
        /// One of them.
        first: RuleRef,
        /// The other.
        second: RuleRef,
        /// The header.
        header: String,
    },
    /// More rules with `set` than are compared with each other.
    #[error("more than {MAX_SETTING_RULES} rules of one session have `set`, or they are too large to be compared")]
    TooManySets,
    /// Rules that are too alike to be searched for contradictions.
    #[error("{rule} is like too many others of its host: they cannot be searched for contradictions")]
    Unsearched {
        /// One of them.
        rule: RuleRef,
    },
    /// The documents that the session brought are not usable: they are lost, changed or broken.
    #[error("the policy documents that the session brought are not usable")]
    DocumentsUnavailable,
    /// A host and port that one rule passes through and another must read.
    #[error("{passing} passes a host and port through unread, and {reading} must read it")]
    Mixed {
        /// The rule with `tls: pass-through`.
        passing: RuleRef,
        /// The one that must read.
        reading: RuleRef,
    },
}

impl CombineError {
    /// Whether policies that are usable alone contradict each other; otherwise one of them is not there, or not for this
    /// session.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::TooManyCeilings
            | Self::Tie { .. }
            | Self::SetConflict { .. }
            | Self::TooManySets
            | Self::Unsearched { .. }
            | Self::Mixed { .. } => true,
            Self::UnknownPolicy(_) | Self::Ceiling(_) | Self::DoesNotApply(_) | Self::DocumentsUnavailable => false,
        }
    }
}

/// What an observing policy would have refused, where others enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The policy that observes.
    pub policy: PolicyName,
    /// Deny or ask.
    pub verdict: Verdict,
    /// What it would have said.
    pub denied: Denied,
}

impl PolicySet {
    pub(crate) fn new(digest: SnapshotDigest, policies: Vec<Policy>, warnings: Vec<Problem>) -> Self {
        let policies = policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect();
        Self { digest, policies, warnings, combinations: Combinations::default() }
    }

    /// The digest of everything the set was compiled from; the order of the sources does not matter.
    pub fn digest(&self) -> &SnapshotDigest {
        &self.digest
    }

    /// The policies of the set, by name.
    pub fn names(&self) -> impl Iterator<Item = &PolicyName> {
        self.policies.keys()
    }

    /// What a policy says about itself.
    pub fn description(&self, policy: &PolicyName) -> Option<&str> {
        self.policies.get(policy)?.description.as_deref()
    }

    /// Whether the set has a policy of this name.
    pub fn is_known(&self, policy: &PolicyName) -> bool {
        self.policies.contains_key(policy)
    }

    /// Whether the policy is over sessions rather than granting them something.
    pub fn is_ceiling(&self, policy: &PolicyName) -> bool {
        self.policies.get(policy).is_some_and(|policy| policy.ceiling)
    }

    /// Whether the policy only observes.
    pub fn is_observing(&self, policy: &PolicyName) -> bool {
        self.policies.get(policy).is_some_and(|policy| policy.observe)
    }

    /// What is probably not meant as it is written, though the files are acceptable.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// What the policies of a session say together: those that it names, those that apply to it, and the
    /// ceilings over it. The same answer in any order of names, made once and kept. No policies: rules that
    /// deny everything.
    ///
    /// # Errors
    /// [`CombineError`] where a policy is not in the set or not for this session, or where two rules contradict
    /// each other.
    pub fn rules_for(&self, subject: &Subject<'_>) -> Result<Arc<Rules>, CombineError> {
        self.combinations.get(subject, || self.composed(subject, &[], self.digest.clone()))
    }

    /// The same together with the documents that the session brought. Not kept: see [`crate::InForce`].
    ///
    /// # Errors
    /// As [`PolicySet::rules_for`].
    pub fn rules_with(&self, subject: &Subject<'_>, own: &SessionDocuments) -> Result<Rules, CombineError> {
        self.composed(subject, own.policies(), view_digest(&self.digest, own.digest()))
    }

    fn composed(&self, subject: &Subject<'_>, own: &[Policy], view: SnapshotDigest) -> Result<Rules, CombineError> {
        let mut named = subject.policies.iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
        for policy in &named {
            if policy.ceiling {
                return Err(CombineError::Ceiling(policy.name.clone()));
            }
            if policy.applies_to.as_ref().is_some_and(|selector| !selector.selects(subject)) {
                return Err(CombineError::DoesNotApply(policy.name.clone()));
            }
        }
        let applying = |policy: &&Policy| policy.applies_to.as_ref().is_some_and(|own| own.selects(subject));
        named.extend(self.policies.values().filter(|policy| !policy.ceiling).filter(applying));
        named.extend(own);
        let over = |policy: &&Policy| policy.applies_to.as_ref().is_none_or(|own| own.selects(subject));
        let ceilings = self.policies.values().filter(|policy| policy.ceiling).filter(over).collect();
        combine(view, named, ceilings)
    }

    /// What these policies say together under the ceilings that are over every session and those that are named,
    /// for whoever is not a session. Where nothing but ceilings is named, they speak as if they granted.
    ///
    /// # Errors
    /// As [`PolicySet::rules_for`].
    pub fn rules_of(&self, policies: &[PolicyName]) -> Result<Arc<Rules>, CombineError> {
        let named = policies.iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
        let (over, granting): (Vec<_>, Vec<_>) = named.iter().copied().partition(|policy| policy.ceiling);
        if granting.is_empty() {
            return combine(self.digest.clone(), over, Vec::new()).map(Arc::new);
        }
        let is_over = |policy: &&Policy| {
            policy.ceiling && (policy.applies_to.is_none() || over.iter().any(|own| own.name == policy.name))
        };
        combine(self.digest.clone(), granting, self.policies.values().filter(is_over).collect()).map(Arc::new)
    }

    /// What one policy says alone, without ceilings.
    pub(crate) fn alone(&self, policy: &Policy) -> Arc<Rules> {
        Arc::new(Rules::new(self.digest.clone(), vec![policy], Vec::new()))
    }

    /// Judges the `checks` of each policy, with the rules of that policy alone.
    pub fn run_checks(&self, now: Timestamp) -> Vec<CheckResult> {
        let run = |policy: &Policy| {
            let rules = self.alone(policy);
            policy.checks.iter().map(|check| check.run(&policy.name, &rules, now)).collect::<Vec<_>>()
        };
        self.policies.values().flat_map(run).collect()
    }

    fn named(&self, name: &PolicyName) -> Result<&Policy, CombineError> {
        self.policies.get(name).ok_or_else(|| CombineError::UnknownPolicy(name.clone()))
    }
}

/// The digest of what judges a session that brought documents: of the snapshot and of the documents.
fn view_digest(snapshot: &SnapshotDigest, own: &SnapshotDigest) -> SnapshotDigest {
    digest_of(["egret session view", snapshot.as_str(), own.as_str()])
}

fn combine(snapshot: SnapshotDigest, mut named: Vec<&Policy>, ceilings: Vec<&Policy>) -> Result<Rules, CombineError> {
    named.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    named.dedup_by(|a, b| a.name == b.name);
    if ceilings.len() > MAX_CEILINGS {
        return Err(CombineError::TooManyCeilings);
    }
    let enforcing = named.iter().any(|policy| !policy.observe);
    let granting: Vec<Arc<Rule>> = named
        .iter()
        .filter(|policy| !enforcing || !policy.observe)
        .flat_map(|policy| policy.rules.iter().cloned())
        .collect();
    let ties = ties(&granting);
    if let Some((first, second)) = ties.pairs.first() {
        let (first, second) = (reference(&granting[*first]), reference(&granting[*second]));
        return Err(CombineError::Tie { first, second });
    }
    if let Some(at) = ties.unsearched {
        return Err(CombineError::Unsearched { rule: reference(&granting[at]) });
    }
    check_sets(&granting, &ceilings)?;
    let denies = ceilings.iter().flat_map(|policy| &policy.rules).filter(|rule| rule.effect == Effect::Deny);
    let all: Vec<_> = granting.iter().chain(denies).cloned().collect();
    if let Some((passing, reading)) = mixed(&all).first() {
        let (passing, reading) = (reference(&all[*passing]), reference(&all[*reading]));
        return Err(CombineError::Mixed { passing, reading });
    }
    Ok(Rules::new(snapshot, named, ceilings))
}

/// No request may be given two values of one header, by the policies of the session or by the ceilings over it.
fn check_sets(granting: &[Arc<Rule>], ceilings: &[&Policy]) -> Result<(), CombineError> {
    let over = ceilings.iter().flat_map(|policy| &policy.rules);
    let setting: Vec<&Rule> =
        granting.iter().chain(over).map(|rule| &**rule).filter(|rule| !rule.set.is_empty()).collect();
    if setting.len() > MAX_SETTING_RULES {
        return Err(CombineError::TooManySets);
    }
    let conflicts = set_conflicts(&setting);
    if conflicts.is_unfinished {
        return Err(CombineError::TooManySets);
    }
    if let Some(SetConflict { first, second, header }) = conflicts.pairs.first() {
        let (first, second) = (reference(setting[*first]), reference(setting[*second]));
        return Err(CombineError::SetConflict { first, second, header: header.to_string() });
    }
    Ok(())
}

fn reference(rule: &Rule) -> RuleRef {
    RuleRef { policy: rule.policy.clone(), rule: rule.id.clone() }
}

/// What one session's policies say together: immutable, shared by every exchange of such sessions.
#[derive(Debug)]
pub struct Rules {
    snapshot: SnapshotDigest,
    rules: Vec<Arc<Rule>>,
    /// What the session's own policies allow and ask.
    pub(crate) granting: Layer,
    /// Every one of these must allow too.
    pub(crate) ceilings: Vec<Layer>,
    /// Of all of them.
    pub(crate) denies: Index,
    pub(crate) has_pass_through: bool,
    observing: Option<Observing>,
    /// Policies that observe beside others that enforce, each alone.
    observers: Vec<(PolicyName, Arc<Self>)>,
}

/// The allows and asks of policies that speak as one.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The policy, where it is one; of the session's own, the first.
    pub(crate) policy: PolicyName,
    pub(crate) allows: Index,
    pub(crate) asks: Index,
    /// Those of both that restrict what the request or the client's authentication may be: `limits`, `set`, `client_auth`.
    pub(crate) restricting: Index,
}

/// That no policy of the session enforces.
#[derive(Debug)]
struct Observing {
    policy: PolicyName,
    until: Timestamp,
}

impl Rules {
    pub(crate) fn new(snapshot: SnapshotDigest, named: Vec<&Policy>, ceilings: Vec<&Policy>) -> Self {
        let enforcing = named.iter().any(|policy| !policy.observe);
        let (observers, speaking): (Vec<&Policy>, Vec<&Policy>) =
            named.into_iter().partition(|policy| enforcing && policy.observe);
        let longest = speaking.iter().filter(|policy| policy.observe).max_by_key(|policy| policy.until);
        let observing =
            longest.and_then(|policy| Some(Observing { policy: policy.name.clone(), until: policy.until? }));
        let observers = observers
            .into_iter()
            .map(|policy| (policy.name.clone(), Arc::new(Self::new(snapshot.clone(), vec![policy], Vec::new()))))
            .collect();

        let mut made = Self {
            snapshot,
            rules: Vec::new(),
            granting: Layer::of(speaking.first().map(|policy| &policy.name)),
            ceilings: Vec::new(),
            denies: Index::of_denies(),
            has_pass_through: false,
            observing,
            observers,
        };
        let mut own: Vec<&Arc<Rule>> = speaking.iter().flat_map(|policy| &policy.rules).collect();
        own.sort_by(|a, b| (&a.policy, &a.id).cmp(&(&b.policy, &b.id)));
        let mut granting = std::mem::replace(&mut made.granting, Layer::of(None));
        own.into_iter().for_each(|rule| made.insert(rule, &mut granting));
        made.granting = granting;
        for ceiling in ceilings {
            let mut layer = Layer::of(Some(&ceiling.name));
            let mut rules: Vec<_> = ceiling.rules.iter().collect();
            rules.sort_by(|a, b| a.id.cmp(&b.id));
            rules.into_iter().for_each(|rule| made.insert(rule, &mut layer));
            made.ceilings.push(layer);
        }
        made
    }

    fn insert(&mut self, rule: &Arc<Rule>, layer: &mut Layer) {
        let at = self.rules.len();
        if rule.restricts() {
            layer.restricting.insert(at, rule);
        }
        match rule.effect {
            Effect::Allow => layer.allows.insert(at, rule),
            Effect::Ask => layer.asks.insert(at, rule),
            Effect::Deny => self.denies.insert(at, rule),
        }
        self.has_pass_through |= rule.pass_through;
        self.rules.push(Arc::clone(rule));
    }

    /// The digest of the policy set that these rules are from.
    pub fn snapshot(&self) -> &SnapshotDigest {
        &self.snapshot
    }

    /// What the session's own rules allow, one line a rule, for the agent to read. Rules for WebSockets are left out: they are
    /// decided, and not relayed yet.
    pub fn reach(&self) -> Vec<ReachLine> {
        let ceilings: Vec<&PolicyName> = self.ceilings.iter().map(|layer| &layer.policy).collect();
        let grants =
            |rule: &&Arc<Rule>| rule.effect != Effect::Deny && !rule.websocket && !ceilings.contains(&&rule.policy);
        self.rules.iter().filter(grants).map(|rule| ReachLine::of(rule)).collect()
    }

    /// What each policy that observes beside others would have refused.
    pub fn observed(&self, question: &Question<'_>) -> Vec<Observed> {
        let judge = |(policy, rules): &(PolicyName, Arc<Self>)| {
            // What it says is worth nothing after its end.
            if !rules.observes(question.now) {
                return None;
            }
            // An observer alone lets pass what it would refuse, and knows why.
            let denied = match rules.authorize(question) {
                Ok(permit) => permit.observed()?.clone(),
                Err(denied) => denied,
            };
            let verdict = if denied.is_ask() { Verdict::Ask } else { Verdict::Deny };
            Some(Observed { policy: policy.clone(), verdict, denied })
        };
        self.observers.iter().filter_map(judge).collect()
    }

    /// The place of a rule of a policy that observes beside others.
    pub(crate) fn observer_rule(&self, policy: &PolicyName, rule: &RuleId) -> Option<RulePlace> {
        let (_, rules) = self.observers.iter().find(|(name, _)| name == policy)?;
        rules.all().iter().find(|own| own.id == *rule).map(|rule| RulePlace::of(rule))
    }

    /// Whether some policy observes beside others that enforce.
    pub fn has_observers(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Whether some rule limits the query of requests to this host.
    pub(crate) fn judges_query_at(&self, host: &model::Host) -> bool {
        self.has_rule_at(host, |rule| rule.query.is_some())
    }

    /// Whether some rule for this host, of any effect, is such a one.
    pub(crate) fn has_rule_at(&self, host: &model::Host, is_such: impl Fn(&Rule) -> bool) -> bool {
        self.rules.iter().any(|rule| is_such(rule) && rule.hosts.iter().any(|pattern| pattern.matches(host)))
    }

    pub(crate) fn rule(&self, at: usize) -> &Arc<Rule> {
        &self.rules[at]
    }

    pub(crate) fn all(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Whether what no rule allows passes, because no policy of the session enforces.
    pub(crate) fn observes(&self, now: Timestamp) -> bool {
        self.observed_until().is_some_and(|until| now < until)
    }

    /// Whether the rule that gave a permit is still there and has not ended. Without a rule, whether the policy still observes.
    pub fn still_has(&self, policy: &PolicyName, rule: Option<&RuleId>, now: Timestamp) -> bool {
        match rule {
            None => self.observes(now),
            Some(id) => self.rules.iter().any(|rule| rule.id == *id && rule.policy == *policy && rule.is_in_force(now)),
        }
    }

    pub(crate) fn observed_until(&self) -> Option<Timestamp> {
        self.observing.as_ref().map(|observing| observing.until)
    }

    /// The policy by which it passes.
    pub(crate) fn observing(&self) -> &PolicyName {
        self.observing.as_ref().map_or(&self.granting.policy, |observing| &observing.policy)
    }
}

impl Layer {
    fn of(policy: Option<&PolicyName>) -> Self {
        let policy = policy.cloned().unwrap_or_else(|| PolicyName::new(""));
        Self { policy, allows: Index::default(), asks: Index::default(), restricting: Index::default() }
    }
}

/// What one rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachLine {
    /// The policy of the rule.
    pub policy: PolicyName,
    /// The rule.
    pub rule: RuleId,
    /// Whether somebody is asked first.
    pub asks: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host patterns.
    pub hosts: Vec<String>,
    /// The ports.
    pub ports: Vec<u16>,
    /// The methods; empty where any may be used but CONNECT and TRACE.
    pub methods: Vec<String>,
    /// The path patterns; empty where any path may be asked for.
    pub paths: Vec<String>,
}

impl ReachLine {
    fn of(rule: &Rule) -> Self {
        Self {
            policy: rule.policy.clone(),
            rule: rule.id.clone(),
            asks: rule.effect == Effect::Ask,
            scheme: rule.scheme.unwrap_or(model::Scheme::Https).as_str(),
            hosts: rule.hosts.iter().map(ToString::to_string).collect(),
            ports: rule.ports.iter().flatten().copied().collect(),
            methods: rule.methods.iter().flatten().map(ToString::to_string).collect(),
            paths: rule.paths.iter().flatten().map(ToString::to_string).collect(),
        }
    }
}
