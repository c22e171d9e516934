//! Whose rules: which policies a session has, by name or because they apply to it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, RwLock};

use model::{PolicyName, TenantId};

use crate::combine::{CombineError, Rules};
use crate::pattern::TextPattern;

/// How many combinations are kept; a sidecar that meets more begins again.
const MAX_COMBINATIONS: usize = 1024;

/// Who asks: what policies can select sessions by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The isolation boundary.
    pub tenant: &'a TenantId,
    /// The agent's name.
    pub agent: Option<&'a str>,
    /// Set by the control API alone.
    pub labels: &'a BTreeMap<String, String>,
    /// The policies that the session names.
    pub policies: &'a [PolicyName],
}

/// `applies_to`: where a field is `None`, it does not limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) tenants: Option<Vec<TextPattern>>,
    pub(crate) agents: Option<Vec<TextPattern>>,
    pub(crate) labels: Option<BTreeMap<Box<str>, Vec<TextPattern>>>,
}

impl Selector {
    pub(crate) fn selects(&self, subject: &Subject<'_>) -> bool {
        let fits = |patterns: &[TextPattern], text: &str| patterns.iter().any(|pattern| pattern.matches(text));
        let tenant = self.tenants.as_ref().is_none_or(|own| fits(own, subject.tenant.as_str()));
        let agent = self.agents.as_ref().is_none_or(|own| subject.agent.is_some_and(|agent| fits(own, agent)));
        let labels = self
            .labels
            .iter()
            .flatten()
            .all(|(name, values)| subject.labels.get(&**name).is_some_and(|value| fits(values, value)));
        tenant && agent && labels
    }

    /// Whether some session is one that both select.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let either = |a: &[TextPattern], b: &[TextPattern]| a.iter().any(|a| b.iter().any(|b| a.meets(b)));
        let fit = |a: &Option<Vec<TextPattern>>, b: &Option<Vec<TextPattern>>| {
            a.as_ref().zip(b.as_ref()).is_none_or(|(a, b)| either(a, b))
        };
        let labels = self.labels.iter().flatten().all(|(name, values)| {
            let others = other.labels.as_ref().and_then(|labels| labels.get(name));
            others.is_none_or(|others| either(values, others))
        });
        fit(&self.tenants, &other.tenants) && fit(&self.agents, &other.agents) && labels
    }
}

/// The combinations that were made, by who asked.
#[derive(Debug, Default)]
pub(crate) struct Combinations {
    hasher: RandomState,
    kept: RwLock<BTreeMap<u64, Vec<Kept>>>,
}

/// The rules of one who asked; several share a place where their hashes do.
type Kept = (Asker, Combined);

/// The rules, or why there are none: a contradiction is not searched for again by each request.
type Combined = Result<Arc<Rules>, CombineError>;

#[derive(Debug)]
struct Asker {
    tenant: TenantId,
    agent: Option<Box<str>>,
    labels: BTreeMap<String, String>,
    policies: Box<[PolicyName]>,
}

impl Asker {
    fn is(&self, subject: &Subject<'_>) -> bool {
        *self.policies == *subject.policies
            && self.tenant == *subject.tenant
            && self.agent.as_deref() == subject.agent
            && self.labels == *subject.labels
    }
}

impl Combinations {
    /// The rules of this subject, made by `make` where they are not kept. Allocates nothing where they are.
    pub(crate) fn get(
        &self,
        subject: &Subject<'_>,
        make: impl FnOnce() -> Result<Rules, CombineError>,
    ) -> Result<Arc<Rules>, CombineError> {
        let hash = self.hasher.hash_one((subject.tenant, subject.agent, subject.labels, subject.policies));
        {
            let kept = model::sync::read(&self.kept);
            if let Some((_, rules)) = kept.get(&hash).and_then(|all| all.iter().find(|(asker, _)| asker.is(subject))) {
                return rules.clone();
            }
        }
        let rules = make().map(Arc::new);
        let asker = Asker {
            tenant: subject.tenant.clone(),
            agent: subject.agent.map(Into::into),
            labels: subject.labels.clone(),
            policies: subject.policies.into(),
        };
        let mut kept = model::sync::write(&self.kept);
        if kept.len() >= MAX_COMBINATIONS {
            kept.clear();
        }
        kept.entry(hash).or_default().push((asker, rules.clone()));
        rules
    }
}
