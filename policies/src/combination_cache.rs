//! The combinations of policies that were made, by who asked.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, RwLock};

use model::{PolicyName, TenantId};

use crate::combine_error::CombineError;
use crate::rules::Rules;
use crate::selector::Subject;

/// How many combinations are kept; a sidecar that meets more begins again.
const MAX_COMBINATIONS: usize = 1024;

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
