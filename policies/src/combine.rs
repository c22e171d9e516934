//! The policy set, and the combination of the policies of one session.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{PolicyName, SnapshotDigest, Timestamp};

use crate::checks::CheckResult;
use crate::combination_cache::Combinations;
use crate::combine_error::{CombineError, RuleRef};
use crate::conflict::{MAX_SETTING_RULES, SetConflict, mixed, set_conflicts, ties};
use crate::policy::Policy;
use crate::problem::Problem;
use crate::rule::{Effect, Rule};
use crate::rules::{MAX_CEILINGS, Rules};
use crate::selector::Subject;

/// All policies in force: an immutable snapshot.
#[derive(Debug)]
pub struct PolicySet {
    digest: SnapshotDigest,
    policies: BTreeMap<PolicyName, Policy>,
    warnings: Vec<Problem>,
    combinations: Combinations,
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

    /// The description of a policy.
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

    /// What is probably not meant, in files that are acceptable.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// The rules of a session's policies together: those that it names, those that apply to it, and the
    /// ceilings over it. The same answer in any order of names, made once and kept. No policies: rules that
    /// deny everything.
    ///
    /// # Errors
    /// [`CombineError`] where a policy is not in the set or not for this session, or where two rules contradict
    /// each other.
    pub fn rules_for_session(&self, subject: &Subject<'_>) -> Result<Arc<Rules>, CombineError> {
        self.combinations.get(subject, || self.composed(subject, &[], self.digest.clone()))
    }

    pub(crate) fn composed(
        &self,
        subject: &Subject<'_>,
        own: &[Policy],
        view: SnapshotDigest,
    ) -> Result<Rules, CombineError> {
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

    /// The rules of these policies together under the ceilings that are over every session and those that are named,
    /// without a session. If only ceilings are named, they are evaluated as if they granted.
    ///
    /// # Errors
    /// As [`PolicySet::rules_for_session`].
    pub fn rules_for_policies(&self, policies: &[PolicyName]) -> Result<Arc<Rules>, CombineError> {
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

    /// The rules of one policy alone, without ceilings.
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
