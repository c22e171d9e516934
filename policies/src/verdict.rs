//! The verdict of rules in one word.

/// The answer of rules to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is refused.
    Deny,
    /// It is refused until someone approves.
    Ask,
    /// No rule allows it, and it passes because a policy observes.
    Observe,
    /// A rule allows it.
    Allow,
}

impl Verdict {
    /// The word for it, as in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Ask => "ask",
            Self::Observe => "observe",
            Self::Allow => "allow",
        }
    }
}
