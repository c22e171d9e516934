//! `client_auth` of one rule: the mode, and the names that it passes or adds.

use std::collections::BTreeSet;

/// What happens to authentication of the client. The order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMode {
    /// It passes.
    Allow,
    /// It is removed, and named in the record; what cannot be removed refuses the request.
    Strip,
    /// The request is refused with `foreign_credential`.
    Refuse,
}

impl AuthMode {
    /// The word for it in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Strip => "strip",
            Self::Refuse => "refuse",
        }
    }
}

/// `client_auth` of one rule. Names are folded: lower case, with `-` for every character that is not a letter or digit.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleClientAuth {
    /// `None` where the rule leaves the default as it is.
    pub(crate) mode: Option<AuthMode>,
    /// Fields and parameters that pass.
    pub(crate) pass: BTreeSet<Box<str>>,
    /// Fields and parameters that count as authentication besides those of the table.
    pub(crate) also: BTreeSet<Box<str>>,
}

impl RuleClientAuth {
    pub(crate) fn permits(&self, folded: &str) -> bool {
        match self.mode {
            None | Some(AuthMode::Allow) => true,
            Some(AuthMode::Strip | AuthMode::Refuse) => self.pass.contains(folded),
        }
    }
}
