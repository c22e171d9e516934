//! Whose rules: which policies a session has, by name or because they apply to it.

use std::collections::BTreeMap;

use model::{PolicyName, TenantId};

use crate::pattern::TextPattern;

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
