//! Whether a credential may be attached to a request, and its lease. All preconditions are checked here: the rule uses it, the
//! session has a grant for it within valid bounds, the audience contains the destination, and the destination is reached over
//! TLS.

use std::sync::Arc;

use audit::CredentialUse;
use model::{CredentialId, Destination, Reason, RequestPath, Scheme, Timestamp};
use policies::Permit;
use sessions::{CallSerial, Session, Withheld};
use vault::{CredentialShape, Lease, LeaseError, Slot, Vault};

use crate::credentials::client_auth::query::folded;
use crate::refusal::Refusal;
use crate::share;

/// A credential that was attached in an exchange.
#[derive(Clone)]
pub(crate) struct IssuedCredential {
    /// Its name, and the version that was attached.
    pub(crate) used: CredentialUse,
    /// When it has to be returned.
    pub(crate) until: Option<Timestamp>,
    /// The tool call; the credential has to be returned when it ends.
    pub(crate) call: Option<CallSerial>,
    /// Whether a grant counts the use across restarts.
    pub(crate) counts: bool,
}

/// The properties of one request that credentials depend on.
#[derive(Clone, Copy)]
pub(crate) struct CredentialRequest<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) destination: &'a Destination,
    pub(crate) permit: &'a Permit,
    pub(crate) methods: &'a Methods,
}

/// The method of a request, and those that its query requests (`_method`): a server may run any of them.
pub(crate) struct Methods {
    own: http::Method,
    overrides: Vec<String>,
}

impl Methods {
    pub(crate) fn of(method: &http::Method, path: &RequestPath) -> Self {
        let overrides = path.query().map(model::method_overrides).unwrap_or_default();
        Self { own: method.clone(), overrides }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.own.as_str()).chain(self.overrides.iter().map(String::as_str))
    }
}

impl<'a> CredentialRequest<'a> {
    /// Whether a placeholder of this credential may be substituted on the request, at any location. Opens no secret.
    ///
    /// # Errors
    /// `denied_plaintext`, `placeholder_misplaced`, `credential_unavailable`, `budget_exhausted`.
    pub(crate) fn check_substitution(&self, credential: &CredentialId) -> Result<CredentialShape, Refusal> {
        self.over_tls()?;
        if !self.permit.credentials().contains(credential) {
            return Err(misplaced("the rule in force does not use the credential of a placeholder"));
        }
        if !self.session.is_running(share::judging_time()) {
            return Err(misplaced("credentials are used only while the session is running"));
        }
        let shape = self.shape(credential)?;
        if !shape.covers(self.destination) {
            return Err(misplaced("the host is outside the audience of the credential"));
        }
        match self.check_use(credential, share::judging_time()) {
            Ok(()) => Ok(shape),
            Err(Withheld::Method) => Err(misplaced("the session's grant of the credential leaves out this method")),
            Err(withheld) => Err(refused(withheld)),
        }
    }

    /// The credentials that the rule attaches by itself, without those that `is_replaced`: a placeholder of the client selects them,
    /// or selects another credential at their location. Policy, audience and the methods of a grant intersect; outside of them the
    /// request passes without the credential.
    ///
    /// # Errors
    /// As [`CredentialRequest::check_substitution`], except for conditions under which the request passes without the credential;
    /// `credential_conflict` if two of them have the same location.
    pub(crate) fn added(
        &self,
        is_replaced: impl Fn(&CredentialId, &CredentialShape) -> bool,
    ) -> Result<Vec<&'a CredentialId>, Refusal> {
        let now = share::judging_time();
        if !self.session.is_running(now) {
            return Ok(Vec::new());
        }
        let mut added: Vec<(&'a CredentialId, CredentialShape)> = Vec::new();
        for id in self.permit.credentials().iter().filter(|id| self.session.grants(id)) {
            self.over_tls()?;
            let shape = self.shape(id)?;
            if !shape.is_added() || !shape.covers(self.destination) || is_replaced(id, &shape) {
                continue;
            }
            match self.check_use(id, now) {
                Ok(()) => {}
                Err(Withheld::Method) => continue,
                Err(withheld) => return Err(refused(withheld)),
            }
            if let Some((other, _)) = added.iter().find(|(_, other)| is_same_location(other, &shape)) {
                return Err(self.conflict(other, id));
            }
            added.push((id, shape));
        }
        Ok(added.into_iter().map(|(id, _)| id).collect())
    }

    /// Two credentials that the rule attaches to one location, of which the client selected none.
    fn conflict(&self, first: &CredentialId, second: &CredentialId) -> Refusal {
        let rule = self.permit.rule().map(|rule| format!("rule `{rule}`")).unwrap_or_else(|| "the rule".to_owned());
        let both = format!("{rule} uses `{first}` and `{second}` in one location");
        let help = "send the placeholder of one of them there, grant the session only one, or write a rule for each";
        Refusal::of(Reason::CredentialConflict, format!("{both}; {help}")).with_note(both)
    }

    /// Why the request passes without a credential that its rule uses, for the record; the first of them.
    pub(crate) fn left_out(&self, attached: impl Fn(&CredentialId, &CredentialShape) -> bool) -> Option<String> {
        let running = self.session.is_running(share::judging_time());
        self.permit.credentials().iter().find_map(|id| {
            let Some(shape) = self.vault.shape(&self.session.tenant, id) else {
                return Some(format!("without credential `{id}`: it is not in the vault"));
            };
            if !shape.is_added() || attached(id, &shape) {
                return None;
            }
            let why = if !self.session.grants(id) {
                "the session was not granted it"
            } else if !shape.covers(self.destination) {
                "its audience does not include this host and port"
            } else if !running {
                "credentials are used only while the session is running"
            } else {
                "the session's grant leaves out this method"
            };
            Some(format!("without credential `{id}`: {why}"))
        })
    }

    /// The credentials that may be attached to the body of the request, with their locations. Opens no secret.
    pub(crate) fn in_bodies(&self) -> Vec<(&'a CredentialId, CredentialShape)> {
        let usable = |id: &&CredentialId| self.session.grants(id);
        let shape = |id: &'a CredentialId| Some((id, self.vault.shape(&self.session.tenant, id)?));
        let fits = |(_, shape): &(_, CredentialShape)| !shape.body().is_empty() && shape.covers(self.destination);
        self.permit.credentials().iter().filter(usable).filter_map(shape).filter(fits).collect()
    }

    /// Issues it for this request, and counts the use.
    ///
    /// # Errors
    /// As [`CredentialRequest::check_substitution`].
    pub(crate) fn issue(&self, credential: &CredentialId) -> Result<(Lease, IssuedCredential), Refusal> {
        let now = share::judging_time();
        self.check_use(credential, now).map_err(refused)?;
        let grant_use = self.session.record_use(credential, self.methods.own.as_str(), now).map_err(refused)?;
        let lease = self.vault.lease(&self.session.tenant, credential, self.destination).map_err(unavailable)?;
        let ends = [grant_use.until, lease.shape().expires()];
        let lent = IssuedCredential {
            used: CredentialUse { name: lease.id().clone(), version: lease.version() },
            until: ends.into_iter().flatten().min(),
            call: grant_use.call,
            counts: grant_use.counts,
        };
        Ok((lease, lent))
    }

    /// Whether the grant covers every method that a server may run for this request.
    fn check_use(&self, credential: &CredentialId, now: Timestamp) -> Result<(), Withheld> {
        self.methods.all().try_for_each(|method| self.session.check_use(credential, method, now))
    }

    /// Name and version, for a record.
    pub(crate) fn named(&self, credential: &CredentialId) -> CredentialUse {
        let version = self.vault.shape(&self.session.tenant, credential).map_or(0, |shape| shape.version());
        CredentialUse { name: credential.clone(), version }
    }

    fn over_tls(&self) -> Result<(), Refusal> {
        match self.destination.scheme() {
            Scheme::Https => Ok(()),
            Scheme::Http => Err(unavailable(LeaseError::Plaintext)),
        }
    }

    fn shape(&self, credential: &CredentialId) -> Result<CredentialShape, Refusal> {
        self.vault.shape(&self.session.tenant, credential).ok_or_else(|| unavailable(LeaseError::Unknown))
    }
}

/// Whether both have the same header, query parameter or cookie.
fn is_same_location(one: &CredentialShape, other: &CredentialShape) -> bool {
    match (one.kind().slot(), other.kind().slot()) {
        (Some(Slot::Header(a)), Some(Slot::Header(b))) => model::field::same_name(a, b),
        (Some(Slot::Query(a)), Some(Slot::Query(b))) => folded(a) == folded(b),
        (Some(Slot::Cookie(a)), Some(Slot::Cookie(b))) => a == b,
        (Some(Slot::Header(_) | Slot::Query(_) | Slot::Cookie(_)) | None, _) => false,
    }
}

/// A placeholder at a location that is not allowed.
pub(crate) fn misplaced(detail: &'static str) -> Refusal {
    Refusal::of(Reason::PlaceholderMisplaced, detail)
}

fn refused(withheld: Withheld) -> Refusal {
    let (reason, detail) = match withheld {
        Withheld::NotGranted => (Reason::CredentialUnavailable, "the credential was taken away from the session"),
        Withheld::Method => {
            (Reason::CredentialUnavailable, "the session's grant of the credential leaves out this method")
        }
        Withheld::NoToolCall => (
            Reason::CredentialUnavailable,
            "the credential is lent by the tool call, and the request belongs to none that is known",
        ),
        Withheld::Expired => {
            (Reason::CredentialUnavailable, "the time for which the session was granted the credential is over")
        }
        Withheld::Exhausted => (Reason::BudgetExhausted, "the granted number of uses of the credential is exhausted"),
    };
    Refusal::of(reason, detail).with_class(withheld.as_str())
}

pub(crate) fn unavailable(error: LeaseError) -> Refusal {
    match error {
        LeaseError::Audience => misplaced("the host is outside the audience of the credential"),
        LeaseError::Plaintext => Refusal::of(Reason::DeniedPlaintext, "credentials are not sent in cleartext"),
        LeaseError::Expired => {
            Refusal::of(Reason::CredentialUnavailable, "the credential has expired").with_class("expired")
        }
        LeaseError::Unknown => Refusal::of(Reason::CredentialUnavailable, "the credential is not in the vault"),
        LeaseError::Corrupt => {
            Refusal::of(Reason::CredentialUnavailable, "the vault's record of the credential was changed")
                .with_class("vault_corrupt")
        }
        LeaseError::Invalid => Refusal::of(
            Reason::VaultValueInvalid,
            "the stored value of the credential cannot be sent in a request; put it again with `egret vault put`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t087_a_stored_value_that_no_request_may_carry_is_a_fault_of_ours() {
        let refusal = unavailable(LeaseError::Invalid);
        let problem: serde_json::Value = serde_json::from_slice(&refusal.problem("rec_1")).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&503.into(), &"vault_value_invalid".into()));
        assert_eq!(problem["retry"], "never");
    }
}
