//! Why policies cannot be used together.

use model::{PolicyName, RuleId};
use thiserror::Error;

use crate::conflict::MAX_SETTING_RULES;
use crate::rules::MAX_CEILINGS;

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
