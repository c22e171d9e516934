//! What policies that observe beside others would have refused.

use std::sync::Arc;

use model::PolicyName;

use crate::denied::Denied;
use crate::question::Question;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// What an observing policy would have refused, where others enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldDeny {
    /// The policy that observes.
    pub policy: PolicyName,
    /// Deny or ask.
    pub verdict: Verdict,
    /// Its denial.
    pub denied: Denied,
}

impl Rules {
    /// What each policy that observes beside others would have refused.
    pub fn would_deny(&self, question: &Question<'_>) -> Vec<WouldDeny> {
        let judge = |(policy, rules): &(PolicyName, Arc<Self>)| {
            // It has no effect after its end.
            if !rules.observes(question.now) {
                return None;
            }
            // An observer alone allows what it would refuse, and its permit has the reason.
            let denied = match rules.authorize(question) {
                Ok(permit) => permit.would_deny()?.clone(),
                Err(denied) => denied,
            };
            let verdict = if denied.is_ask() { Verdict::Ask } else { Verdict::Deny };
            Some(WouldDeny { policy: policy.clone(), verdict, denied })
        };
        self.observers.iter().filter_map(judge).collect()
    }
}
