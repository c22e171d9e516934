//! What happens to authentication that the client itself sends: `client_auth` of one rule, and of all rules that match a
//! request together.
//!
//! The strictest mode of all matching rules applies. Only the rule that grants the request can be looser than the default; every
//! other rule, and every rule that a session brings itself, can only be stricter.

use std::collections::BTreeSet;

use model::field::{fold_name, listed_names};

use crate::authorize::Permit;
use crate::rule::Rule;

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
    fn permits(&self, folded: &str) -> bool {
        match self.mode {
            None | Some(AuthMode::Allow) => true,
            Some(AuthMode::Strip | AuthMode::Refuse) => self.pass.contains(folded),
        }
    }
}

/// What happens to authentication that the client sends with one request: what all rules that match it say together.
#[derive(Clone, Copy, Debug)]
pub struct ClientAuth<'a>(pub(crate) &'a Permit);

impl ClientAuth<'_> {
    /// The mode that applies where `default` would apply if no rule had a `client_auth`.
    pub fn mode(&self, default: AuthMode) -> AuthMode {
        self.0.joined_client_auth().mode(default)
    }

    /// Whether authentication under this name passes in every mode: the granting rule passes it, and no other rule that
    /// strips or refuses leaves it out.
    pub fn passes(&self, name: &str) -> bool {
        self.0.joined_client_auth().passes(name)
    }

    /// Whether some rule counts this name as authentication.
    pub fn also(&self, name: &str) -> bool {
        self.0.joined_client_auth().also(name)
    }

    /// Every name that some rule counts as authentication, folded.
    pub fn also_names(&self) -> impl Iterator<Item = &str> {
        self.0.also_names()
    }

    /// Whether no rule says anything, so that the default applies as it is.
    pub fn is_default(&self) -> bool {
        self.0.joined_client_auth().is_default()
    }
}

/// The `client_auth` of all rules that match one request, joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined<'a, I> {
    granting: Option<&'a Rule>,
    matching: I,
}

impl<'a, I: Iterator<Item = &'a Rule> + Clone> Joined<'a, I> {
    /// `matching` are all rules that apply; the one that grants may be among them.
    pub(crate) fn new(granting: Option<&'a Rule>, matching: I) -> Self {
        Self { granting, matching }
    }

    /// The mode that applies where `default` would apply if no rule had a `client_auth`.
    pub(crate) fn mode(&self, default: AuthMode) -> AuthMode {
        let own = self.granting.and_then(|rule| Some((rule, rule.client_auth.as_ref()?.mode?)));
        let own = match own {
            Some((rule, mode)) if !rule.of_session => mode,
            Some(_) | None => default,
        };
        self.matching.clone().filter_map(|rule| rule.client_auth.as_ref()?.mode).fold(own, AuthMode::max)
    }

    /// Whether authentication under this name passes in every mode: the granting rule passes it, and no other rule that
    /// strips or refuses leaves it out.
    pub(crate) fn passes(&self, name: &str) -> bool {
        let Some(rule) = self.granting.filter(|rule| !rule.of_session) else { return false };
        let Some(own) = rule.client_auth.as_ref().filter(|own| !own.pass.is_empty()) else { return false };
        let folded = fold_name(name);
        own.pass.contains(&*folded)
            && self.matching.clone().filter_map(|rule| rule.client_auth.as_ref()).all(|other| other.permits(&folded))
    }

    /// Whether some rule counts this name as authentication.
    pub(crate) fn also(&self, name: &str) -> bool {
        let mut named =
            self.matching.clone().filter_map(|rule| rule.client_auth.as_ref()).filter(|own| !own.also.is_empty());
        let Some(first) = named.next() else { return false };
        let names = listed_names(name);
        let lists = |own: &RuleClientAuth| names.iter().any(|name| own.also.contains(name.as_str()));
        lists(first) || named.any(lists)
    }

    /// Whether no rule says anything, so that the default applies as it is.
    pub(crate) fn is_default(&self) -> bool {
        !self.matching.clone().any(|rule| rule.client_auth.is_some())
    }
}
