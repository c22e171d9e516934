//! The proof that one request may go, and what applies to it.

use std::net::IpAddr;
use std::sync::Arc;

use model::field::same_name;
use model::{AddressClass, CredentialId, Host, PolicyName, RuleId, SnapshotDigest, Timestamp};

use crate::auth_mode::AuthMode;
use crate::client_auth::Joined;
use crate::conflict::unequal_header;
use crate::denied::Denied;
use crate::rule::{Limits, Rule, Timeouts};
use crate::rules::{MAX_CEILINGS, Rules};
use crate::verdict::Verdict;

/// The proof that one request may go. Only [`Rules`] makes one; cloning it copies a reference.
#[derive(Clone, Debug)]
pub struct Permit {
    rules: Arc<Rules>,
    basis: Basis,
    ceilings: [usize; MAX_CEILINGS],
    ceiling_count: usize,
    /// Every rule that matches and restricts, of the session's own policies and of each ceiling. No two of them set one header to
    /// different values.
    restricting: RuleList,
}

/// How many rules a [`RuleList`] holds without allocating.
const INLINE_RULES: usize = 8;

/// Rules by their index, each once; the first few are stored inline, so that nearly no request allocates.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleList {
    inline: [usize; INLINE_RULES],
    count: usize,
    more: Vec<usize>,
}

impl RuleList {
    fn add(&mut self, rule: usize) {
        if self.iter().any(|own| own == rule) {
            return;
        }
        match self.inline.get_mut(self.count) {
            Some(free) => {
                *free = rule;
                self.count += 1;
            }
            None => self.more.push(rule),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + Clone {
        self.inline.iter().take(self.count).chain(&self.more).copied()
    }
}

#[derive(Clone, Debug)]
enum Basis {
    Rule(usize),
    /// No rule allows it; a policy observes.
    ObserveMode(Box<Denied>),
}

impl Permit {
    pub(crate) fn new(rules: &Arc<Rules>, rule: usize) -> Self {
        Self {
            rules: Arc::clone(rules),
            basis: Basis::Rule(rule),
            ceilings: [0; MAX_CEILINGS],
            ceiling_count: 0,
            restricting: RuleList::default(),
        }
    }

    /// The permit of a request that no rule allows and that passes because a policy observes.
    pub(crate) fn in_observe_mode(rules: &Arc<Rules>, denied: Denied) -> Self {
        Self { basis: Basis::ObserveMode(Box::new(denied)), ..Self::new(rules, 0) }
    }

    /// Notes one more rule that matches and restricts.
    ///
    /// # Errors
    /// The request is ambiguous where the rule sets a header to another value than one that was noted before. Rules that match one
    /// reading of a request never do: `compile` and the combination of a session refuse that. Rules of different readings can.
    pub(crate) fn restrict(&mut self, rule: usize) -> Result<(), Denied> {
        let new = self.rules.rule(rule);
        if !new.set.is_empty() && self.restricting().any(|other| unequal_header(new, other).is_some()) {
            return Err(Denied::ambiguous());
        }
        self.restricting.add(rule);
        Ok(())
    }

    /// Whether another permit of the same rules gives and restricts the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let all = |one: &Self, in_other: &Self| {
            one.restricting.iter().all(|rule| in_other.restricting.iter().any(|own| own == rule))
        };
        self.places() == other.places() && all(self, other) && all(other, self)
    }

    /// Every rule that matches and restricts: `set`, `client_auth` and `limits` of all of them apply together.
    fn restricting(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.restricting.iter().map(|rule| &**self.rules.rule(rule))
    }

    /// The same, by index.
    pub(crate) fn restricting_rules(&self) -> &RuleList {
        &self.restricting
    }

    /// Notes the rule by which one more ceiling allows.
    pub(crate) fn add_ceiling(&mut self, rule: usize) {
        self.ceilings[self.ceiling_count] = rule;
        self.ceiling_count += 1;
    }

    fn granting(&self) -> Option<&Rule> {
        match self.basis {
            Basis::Rule(rule) => Some(self.rules.rule(rule)),
            Basis::ObserveMode(_) => None,
        }
    }

    /// The places of the rule that allows and of those by which each ceiling does.
    pub(crate) fn places(&self) -> (Option<usize>, &[usize]) {
        let rule = match self.basis {
            Basis::Rule(rule) => Some(rule),
            Basis::ObserveMode(_) => None,
        };
        (rule, self.ceilings.get(..self.ceiling_count).unwrap_or_default())
    }

    /// The rules by which each ceiling allows.
    fn ceilings(&self) -> impl Iterator<Item = &Rule> {
        self.ceilings.iter().take(self.ceiling_count).map(|rule| &**self.rules.rule(*rule))
    }

    /// The rule that allows; `None` where none does and a policy observes.
    pub fn rule(&self) -> Option<&RuleId> {
        self.granting().map(|rule| &rule.id)
    }

    /// The policy of that rule, or the one that observes.
    pub fn policy(&self) -> &PolicyName {
        self.granting().map_or_else(|| self.rules.observe_policy(), |rule| &rule.policy)
    }

    /// What would have been refused, where the request passes only because a policy observes.
    pub fn would_deny(&self) -> Option<&Denied> {
        match &self.basis {
            Basis::Rule(_) => None,
            Basis::ObserveMode(denied) => Some(denied),
        }
    }

    /// The policy set that judged.
    pub fn snapshot(&self) -> &SnapshotDigest {
        self.rules.snapshot()
    }

    /// The credentials that may be added here (the rule's `use`), in the order of the file.
    pub fn credentials(&self) -> &[CredentialId] {
        self.granting().map_or(&[], |rule| &rule.credentials)
    }

    /// Whether the data path may dial this address. Without `addresses` every globally routable one; with them
    /// only what they cover, and a metadata service only where it is named exactly. Every ceiling must agree.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let granted = match self.granting() {
            Some(rule) => rule.allows_address(address),
            None => AddressClass::of(address) == AddressClass::Global,
        };
        granted && self.ceilings().all(|rule| rule.allows_address(address))
    }

    /// Whether a rule that does not allow this address has `addresses`.
    pub(crate) fn is_outside_addresses(&self, address: IpAddr) -> bool {
        let refusing = self.granting().into_iter().chain(self.ceilings()).find(|rule| !rule.allows_address(address));
        refusing.is_some_and(|rule| rule.addresses.is_some())
    }

    /// How much may pass: the narrowest of every rule that matches, ceilings included.
    pub fn limits(&self) -> Limits {
        self.restricting().fold(Limits::default(), |limits, rule| limits.narrowed(rule.limits))
    }

    /// Every matching rule with limits, ceilings included: each is counted on its own, per session and rule.
    pub fn limited(&self) -> impl Iterator<Item = (&PolicyName, &RuleId, &Limits)> {
        let limited = self.restricting().filter(|rule| !rule.limits.is_empty());
        limited.map(|rule| (&rule.policy, &rule.id, &rule.limits))
    }

    /// The fixed headers of every matching rule, each once, with names in lower case; a permit never holds two values of one.
    pub fn set(&self) -> impl Iterator<Item = (&str, &str)> {
        let earlier = move |at: usize, name: &str| {
            self.restricting().take(at).any(|rule| rule.set.iter().any(|(own, _)| same_name(own, name)))
        };
        self.restricting().enumerate().flat_map(move |(at, rule)| {
            let own = rule.set.iter().map(|(name, value)| (&**name, &**value));
            own.filter(move |(name, _)| !earlier(at, name))
        })
    }

    /// What happens to authentication that the client itself sends.
    pub fn client_auth(&self) -> ClientAuth<'_> {
        ClientAuth(self)
    }

    pub(crate) fn also_names(&self) -> impl Iterator<Item = &str> {
        self.restricting()
            .filter_map(|rule| rule.client_auth.as_ref())
            .flat_map(|own| own.also.iter().map(|name| &**name))
    }

    pub(crate) fn joined_client_auth(&self) -> Joined<'_, impl Iterator<Item = &Rule> + Clone> {
        Joined::new(self.granting(), self.restricting())
    }

    /// Whether some rule for this host names its methods, deny rules and ceilings included: then a field that renames the
    /// method must not pass.
    pub fn judges_method_at(&self, host: &Host) -> bool {
        self.rules.has_rule_at(host, |rule| rule.methods.is_some())
    }

    /// Whether some rule for this host names its paths, deny rules and ceilings included: then a field that names a second path
    /// must not pass.
    pub fn judges_path_at(&self, host: &Host) -> bool {
        self.rules.has_rule_at(host, |rule| rule.paths.is_some())
    }

    /// How long it may wait: the shortest of the rule and the ceilings.
    pub fn timeouts(&self) -> Timeouts {
        let own = self.granting().map(|rule| rule.timeouts).unwrap_or_default();
        self.ceilings().fold(own, |timeouts, rule| timeouts.narrowed(rule.timeouts))
    }

    /// When it ends; what still streams then must be judged again.
    pub fn until(&self) -> Option<Timestamp> {
        let own = match self.granting() {
            Some(rule) => rule.until,
            None => self.rules.observe_until(),
        };
        self.ceilings().filter_map(|rule| rule.until).chain(own).min()
    }
}

/// What happens to authentication that the client sends with one request: by all rules that match it together.
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

    /// Whether no rule has `client_auth`, so that the default applies.
    pub fn is_default(&self) -> bool {
        self.0.joined_client_auth().is_default()
    }
}

impl Verdict {
    /// What an answer of the rules amounts to.
    pub fn of(answer: &Result<Permit, Denied>) -> Self {
        match answer {
            Ok(permit) if permit.would_deny().is_some() => Self::Observe,
            Ok(_) => Self::Allow,
            Err(denied) if denied.is_ask() => Self::Ask,
            Err(_) => Self::Deny,
        }
    }
}
