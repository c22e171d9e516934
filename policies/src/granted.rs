//! What a request of a session is refused for although its rules allow it: a credential that cannot go on it, an address that may
//! not be dialed. For explanations: the data path asks the vault itself, in the same order.
//!
//! The request is one without a placeholder and without authentication of its own: only method and URL are known.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::field::same_name;
use model::{CredentialId, Host, Reason};

use crate::decide::Judgement;
use crate::explain::Explanation;
use crate::misfits::{CredentialFacts, Surroundings, covers, same_location};
use crate::permit::Permit;
use crate::question::Question;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// What a session may use, on one request.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Whether the session is running: if not, requests go without credentials.
    pub is_running: bool,
    /// The credentials that it was granted.
    pub credentials: BTreeMap<CredentialId, GrantState>,
}

/// What becomes of one granted credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// It may go on the request.
    Usable,
    /// The grant leaves out the method: the request goes without it.
    OtherMethod,
    /// The request is refused, because of the grant.
    Refused(Reason, String),
    /// The credential itself has expired.
    Expired,
}

type Refused = (Reason, String);

impl Explanation {
    /// With what the session's grants refuse the request for, after its rules have allowed it.
    pub fn with_grants(self, question: &Question<'_>, around: &Surroundings, grants: &Grants) -> Self {
        if self.decision.verdict != Verdict::Allow || self.decision.unread {
            return self;
        }
        match self.credential_refusal(question, around, grants) {
            Err((reason, detail)) => self.refuse(reason, detail),
            Ok(()) if self.not_relayed => self.refuse(Reason::DeniedUpgrade, "WebSockets are not relayed yet"),
            Ok(()) => self.with_granted_only(grants),
        }
    }

    /// Without credentials that the session was not granted for this method.
    fn with_granted_only(mut self, grants: &Grants) -> Self {
        let is_granted =
            |id: &CredentialId| matches!(grants.credentials.get(id), Some(GrantState::Usable | GrantState::Expired));
        if let Some(given) = &mut self.given {
            given.credentials.retain(|id| grants.is_running && is_granted(id));
        }
        self
    }

    /// With what the address refuses the request for that its host has without a lookup: a literal, or one of `upstream.resolve`.
    pub fn with_address(self, rules: &Arc<Rules>, question: &Question<'_>, around: &Surroundings) -> Self {
        if !matches!(self.decision.verdict, Verdict::Allow | Verdict::Observe) {
            return self;
        }
        let Judgement { answer: Ok(permit), .. } = rules.judge(question) else { return self };
        match address_refusal(&permit, question.destination.host(), around) {
            Some((reason, detail)) => self.refuse(reason, detail),
            None => self,
        }
    }

    /// Without rules: they are not evaluated for the request.
    pub fn outside_rules(mut self) -> Self {
        (self.decision.rule, self.decision.policy, self.closest) = (None, None, None);
        (self.author_message, self.approval_timeout, self.ambiguous) = (None, None, false);
        (self.not_relayed, self.decision.unread, self.decision.outside_rules) = (false, false, true);
        self.readings.clear();
        self.others.clear();
        self.ceilings.clear();
        self.would_deny.clear();
        self.warnings.clear();
        self
    }

    /// It is answered without an upstream, as this sentence describes.
    pub fn answered(mut self, detail: impl Into<String>) -> Self {
        (self.decision.verdict, self.decision.code, self.given) = (Verdict::Allow, None, None);
        self.detail = Some(detail.into());
        self
    }

    /// With what refuses every request of the session, whatever its rules say.
    pub fn refuse(mut self, reason: Reason, detail: impl Into<String>) -> Self {
        self.decision.verdict = Verdict::Deny;
        self.decision.code = Some(reason);
        self.given = None;
        self.detail = Some(detail.into());
        self
    }

    /// As `added` of the data path chooses credentials, and as `set` is applied after it.
    fn credential_refusal(
        &self,
        question: &Question<'_>,
        around: &Surroundings,
        grants: &Grants,
    ) -> Result<(), Refused> {
        let Some(given) = self.given.as_ref().filter(|_| grants.is_running) else { return Ok(()) };
        let mut added: Vec<(&CredentialId, &str)> = Vec::new();
        for id in &given.credentials {
            let Some(state) = grants.credentials.get(id) else { continue };
            let Some(facts) = around.credentials.get(id) else {
                if around.is_complete {
                    return Err((Reason::CredentialUnavailable, format!("credential `{id}` is not in the vault")));
                }
                continue;
            };
            let Some(location) = location(question, facts) else { continue };
            match state {
                GrantState::Usable | GrantState::Expired => {}
                GrantState::OtherMethod => continue,
                GrantState::Refused(reason, detail) => return Err((*reason, format!("credential `{id}`: {detail}"))),
            }
            if let Some((other, _)) = added.iter().find(|(_, taken)| same_location(taken, location)) {
                let rule =
                    self.decision.rule.as_ref().map_or_else(String::new, |rule| format!("rule `{}` ", rule.rule));
                let detail = format!(
                    "{rule}uses `{other}` and `{id}` in one location; send the placeholder of one of them there, grant the session only one, or write a rule for each"
                );
                return Err((Reason::CredentialConflict, detail));
            }
            added.push((id, location));
        }
        let takes =
            |name: &str| added.iter().any(|(_, at)| at.strip_prefix("header ").is_some_and(|own| same_name(own, name)));
        if let Some((name, _)) = given.set.iter().find(|(name, _)| takes(name)) {
            let detail = format!(
                "`set` of a rule names `{name}`, in which a credential goes; remove it there, or the credential from `use`"
            );
            return Err((Reason::CredentialConflict, detail));
        }
        let has_expired = |id: &CredentialId| grants.credentials.get(id) == Some(&GrantState::Expired);
        match added.iter().find(|(id, _)| has_expired(id)) {
            Some((id, _)) => Err((Reason::CredentialUnavailable, format!("credential `{id}` has expired"))),
            None => Ok(()),
        }
    }
}

/// Where a rule attaches the credential by itself; `None` where it does not.
fn location<'f>(question: &Question<'_>, facts: &'f CredentialFacts) -> Option<&'f str> {
    let (host, port) = (question.destination.host(), question.destination.port());
    facts.location.as_deref().filter(|_| covers(facts, host, port))
}

fn address_refusal(permit: &Permit, host: &Host, around: &Surroundings) -> Option<Refused> {
    let fixed = || around.resolve.get(host.name()?).copied();
    let address = host.address().or_else(fixed).filter(|address| !permit.allows_address(*address))?;
    let detail = match (host.name(), permit.is_outside_addresses(address)) {
        (Some(name), true) => {
            format!("`upstream.resolve` gives {address} for `{name}`, which `addresses` of the rule do not cover")
        }
        (Some(name), false) => format!(
            "`upstream.resolve` gives {address} for `{name}`, which is not globally routable; the rule has no `addresses`"
        ),
        (None, true) => format!("`addresses` of the rule do not cover {address}"),
        (None, false) => format!("{address} is not globally routable; the rule has no `addresses`"),
    };
    Some((Reason::DeniedAddress, detail))
}

#[cfg(test)]
mod tests;
