//! The context for checking policies when they are loaded, when a session is created and when a request is explained:
//! the credentials of the vault, without their values, and the fixed addresses of the configuration.

use std::collections::BTreeSet;

use model::{CredentialId, PolicyName, TenantId};
use policies::{Misfit, PolicySet, Rules, Surroundings};
use sessions::Session;
use vault::{CredentialShape, Kind, Slot};

use crate::Control;
use crate::load_error::LoadError;

impl Control {
    /// Reads the policy files again: see [`crate::Loader::reload`]. Rules that do not match the vault or `upstream.resolve`
    /// are logged, each once.
    ///
    /// # Errors
    /// As [`crate::Loader::reload`].
    pub fn reload_policies(&self) -> Result<bool, LoadError> {
        let loaded = self.policies.reload(&self.sessions, &self.journal);
        self.policies.log_misfits(self.misfits_in_force().iter().map(Misfit::to_string).collect());
        loaded
    }

    /// The rules in force that do not match: of the configured policies, and of the built-in ones that a live session
    /// names.
    pub(crate) fn misfits_in_force(&self) -> Vec<Misfit> {
        let set = self.policies.snapshot();
        let now = clock::now();
        let live = self.sessions.list();
        let named: BTreeSet<&PolicyName> =
            live.iter().filter(|session| session.is_live(now)).flat_map(|session| &session.policies).collect();
        let is_built_in = |name: &PolicyName| policies::library().iter().any(|built_in| built_in.name == name.as_str());
        let chosen = |name: &PolicyName| named.contains(name) || !is_built_in(name);
        let around = self.around_all(&set, chosen);
        set.misfits(&around, chosen)
    }

    /// The context of one tenant's rules.
    pub(crate) fn around(&self, tenant: &TenantId, rules: &Rules) -> Surroundings {
        self.surroundings(std::slice::from_ref(tenant), rules.credentials())
    }

    /// A policy may be for the sessions of any tenant.
    fn around_all(&self, set: &PolicySet, chosen: impl Fn(&PolicyName) -> bool) -> Surroundings {
        let tenants: Vec<TenantId> = self.vault.keys().into_iter().map(|(tenant, _)| tenant).collect();
        self.surroundings(&tenants, set.credentials(chosen))
    }

    fn surroundings<'a>(
        &self,
        tenants: &[TenantId],
        credentials: impl IntoIterator<Item = &'a CredentialId>,
    ) -> Surroundings {
        let mut around = Surroundings { is_complete: true, resolve: self.resolve.clone(), ..Surroundings::default() };
        for credential in credentials.into_iter().collect::<BTreeSet<_>>() {
            for summary in tenants.iter().filter_map(|tenant| self.vault.show(tenant, credential)) {
                let shape = self.vault.shape(&summary.tenant, credential);
                let facts = around.credentials.entry(credential.clone()).or_default();
                facts.audience.extend(summary.spec.audience.patterns());
                facts.location = shape.filter(CredentialShape::is_added).and_then(|shape| location(shape.kind()));
            }
        }
        around
    }

    /// Warnings for the creator of a session: rules that do not match, and credentials that no rule uses.
    pub(crate) fn warnings_for(&self, session: &Session) -> Vec<String> {
        let Ok(rules) = self.policies.rules_for_session(session) else { return Vec::new() };
        let misfits = rules.misfits(&self.around(&session.tenant, &rules));
        let unused = session.grants.iter().filter(|grant| rules.credentials().all(|used| *used != grant.credential));
        let unused = unused.map(|grant| {
            format!(
                "credential `{0}` is granted, and no rule of the session's policies has `use: [{0}]`",
                grant.credential
            )
        });
        misfits.iter().map(Misfit::to_string).chain(unused).collect()
    }
}

/// The location of a credential of this kind in the head of a request.
pub(crate) fn location(kind: &Kind) -> Option<String> {
    Some(match kind.slot()? {
        Slot::Header(name) => format!("header {}", name.to_ascii_lowercase()),
        Slot::Query(name) => format!("query {name}"),
        Slot::Cookie(name) => format!("cookie {name}"),
    })
}
