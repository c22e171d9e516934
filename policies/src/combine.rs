//! The policy set, and what the policies of one session say together.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use model::{PolicyName, RuleId, SnapshotDigest};
use thiserror::Error;

use crate::checks::{Check, CheckResult};
use crate::conflict::ties;
use crate::index::Index;
use crate::problem::Problem;
use crate::rule::{Effect, Rule};

/// How many combinations are kept; a sidecar that meets more begins again.
const MAX_COMBINATIONS: usize = 1024;

/// One compiled policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) description: Option<String>,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) checks: Vec<Check>,
}

/// All policies in force: an immutable snapshot.
#[derive(Debug)]
pub struct PolicySet {
    digest: SnapshotDigest,
    policies: BTreeMap<PolicyName, Policy>,
    warnings: Vec<Problem>,
    combinations: RwLock<HashMap<Box<[PolicyName]>, Arc<Rules>>>,
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
    /// Two rules that can match one request, rank equal and differ in effect.
    #[error("{first} and {second} can match one request, rank equal and differ in `use` or `addresses`")]
    Tie {
        /// One of them.
        first: RuleRef,
        /// The other.
        second: RuleRef,
    },
}

impl PolicySet {
    pub(crate) fn new(digest: SnapshotDigest, policies: Vec<Policy>, warnings: Vec<Problem>) -> Self {
        let policies = policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect();
        Self { digest, policies, warnings, combinations: RwLock::default() }
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

    /// What is probably not meant as it is written, though the files are acceptable.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// What these policies say together. The same answer for the same policies in any order, made once
    /// and kept. No policies: rules that deny everything.
    ///
    /// # Errors
    /// [`CombineError`] where a policy is not in the set, or where two of their rules tie.
    pub fn rules_for(&self, policies: &[PolicyName]) -> Result<Arc<Rules>, CombineError> {
        if let Some(rules) = self.combinations.read().unwrap_or_else(PoisonError::into_inner).get(policies) {
            return Ok(Arc::clone(rules));
        }
        let rules = Arc::new(self.combine(policies)?);
        let mut kept = self.combinations.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_COMBINATIONS {
            kept.clear();
        }
        kept.insert(policies.into(), Arc::clone(&rules));
        Ok(rules)
    }

    /// Judges the `checks` of each policy, with the rules of that policy alone.
    pub fn run_checks(&self) -> Vec<CheckResult> {
        let run = |policy: &Policy| {
            let rules = Rules::new(self.digest.clone(), policy.rules.clone());
            policy.checks.iter().map(|check| check.run(&policy.name, &rules)).collect::<Vec<_>>()
        };
        self.policies.values().flat_map(run).collect()
    }

    fn combine(&self, policies: &[PolicyName]) -> Result<Rules, CombineError> {
        let mut names: Vec<&PolicyName> = policies.iter().collect();
        names.sort_unstable();
        names.dedup();
        let mut rules = Vec::new();
        for name in names {
            let policy = self.policies.get(name).ok_or_else(|| CombineError::UnknownPolicy(name.clone()))?;
            rules.extend(policy.rules.iter().cloned());
        }
        match ties(&rules).first() {
            None => Ok(Rules::new(self.digest.clone(), rules)),
            Some((first, second)) => {
                Err(CombineError::Tie { first: reference(&rules[*first]), second: reference(&rules[*second]) })
            }
        }
    }
}

fn reference(rule: &Rule) -> RuleRef {
    RuleRef { policy: rule.policy.clone(), rule: rule.id.clone() }
}

/// What one session's policies say together: immutable, shared by every exchange of such sessions.
#[derive(Debug)]
pub struct Rules {
    snapshot: SnapshotDigest,
    rules: Vec<Arc<Rule>>,
    pub(crate) allows: Index,
    pub(crate) denies: Index,
}

impl Rules {
    pub(crate) fn new(snapshot: SnapshotDigest, mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by(|a, b| (&a.policy, &a.id).cmp(&(&b.policy, &b.id)));
        let (mut allows, mut denies) = (Index::default(), Index::default());
        for (at, rule) in rules.iter().enumerate() {
            match rule.effect {
                Effect::Allow => allows.insert(at, rule),
                Effect::Deny => denies.insert(at, rule),
            }
        }
        Self { snapshot, rules, allows, denies }
    }

    /// The digest of the policy set that these rules are from.
    pub fn snapshot(&self) -> &SnapshotDigest {
        &self.snapshot
    }

    /// What the rules allow, one line a rule, for whoever is inside to read.
    pub fn reach(&self) -> Vec<ReachLine> {
        self.rules.iter().filter(|rule| rule.effect == Effect::Allow).map(|rule| ReachLine::of(rule)).collect()
    }

    pub(crate) fn rule(&self, at: usize) -> &Arc<Rule> {
        &self.rules[at]
    }
}

/// What one rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachLine {
    /// The policy of the rule.
    pub policy: PolicyName,
    /// The rule.
    pub rule: RuleId,
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
            scheme: rule.scheme.unwrap_or(model::Scheme::Https).as_str(),
            hosts: rule.hosts.iter().map(ToString::to_string).collect(),
            ports: rule.ports.iter().flatten().copied().collect(),
            methods: rule.methods.iter().flatten().map(ToString::to_string).collect(),
            paths: rule.paths.iter().flatten().map(ToString::to_string).collect(),
        }
    }
}
