//! What happens to authentication that the client itself sends: `client_auth` of one rule, and of all rules that match a
//! request together.
//!
//! The strictest mode of all matching rules applies. Only the rule that grants the request can be looser than the default; every
//! other rule, and every rule that a session brings itself, can only be stricter.

use model::field::{fold_name, listed_names};

use crate::auth_mode::{AuthMode, RuleClientAuth};
use crate::rule::Rule;

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

    /// Whether no rule has `client_auth`, so that the default applies.
    pub(crate) fn is_default(&self) -> bool {
        !self.matching.clone().any(|rule| rule.client_auth.is_some())
    }
}
