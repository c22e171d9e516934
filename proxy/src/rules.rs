//! The rules in force for a session.

use std::sync::Arc;

use model::Reason;
use policies::{Own, Rules, Subject};
use sessions::Session;

use crate::Proxy;
use crate::refusal::Refusal;

/// The session's combination of the policies in force; one exchange uses it from start to end.
///
/// # Errors
/// `denied_all`; `policy_unavailable` if a policy of the session is not loaded or its policies contradict each other.
pub(crate) fn in_force(proxy: &Proxy, session: &Session) -> Result<Arc<Rules>, Refusal> {
    check_switch(proxy)?;
    proxy.policies.rules_for_session(&subject(session), own(session)).map_err(|error| {
        model::log_limited!(warn, session = %session.id, %error, "the session's policies are not usable");
        Refusal::of(
            Reason::PolicyUnavailable,
            "the session's policies cannot be used together, or one of them is not loaded; the operator finds the cause in the record",
        )
        .with_note(error.to_string())
    })
}

/// Whether the operator lets any request pass. Every request needs rules, and every CONNECT a decision, so no request
/// bypasses this check.
///
/// # Errors
/// `denied_all`.
pub(crate) fn check_switch(proxy: &Proxy) -> Result<(), Refusal> {
    if proxy.config.deny_all {
        let detail = "the operator has stopped all requests (`egret serve --deny-all`); sessions are kept";
        return Err(Refusal::of(Reason::DeniedAll, detail));
    }
    Ok(())
}

/// The session's own documents.
fn own(session: &Session) -> Option<Own<'_>> {
    session.documents.as_ref().map(|documents| Own { session: &session.id, digest: &documents.digest })
}

/// The properties by which policies select the session.
fn subject(session: &Session) -> Subject<'_> {
    Subject {
        tenant: &session.tenant,
        agent: session.agent.as_deref(),
        labels: &session.labels,
        policies: &session.policies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, Setup};

    const RULE: &str = "{id: r, allow: {host: api.example.com}}";

    #[test]
    fn an_exchange_has_the_rules_of_its_snapshot() {
        let bench = Bench::new(&[RULE]);
        let before = in_force(&bench.core.proxy, &bench.session).unwrap();
        assert!(
            Arc::ptr_eq(&before, &in_force(&bench.core.proxy, &bench.session).unwrap()),
            "built once for a snapshot"
        );
        bench.replace_rules(&["{id: other, allow: {host: api.example.com}}"]);
        let after = in_force(&bench.core.proxy, &bench.session).unwrap();
        assert_ne!(before.snapshot(), after.snapshot());
    }

    #[test]
    fn the_switch_comes_before_the_policies_and_a_missing_policy_allows_nothing() {
        let mut setup = Setup::new(&[RULE]);
        setup.config.deny_all = true;
        let closed = setup.build();
        assert_eq!(in_force(&closed.core.proxy, &closed.session).unwrap_err().reason(), Reason::DeniedAll);
        let bench = Bench::new(&[RULE]);
        bench.core.proxy.policies.replace(policies::compile(&[]).unwrap());
        let refusal = in_force(&bench.core.proxy, &bench.session).unwrap_err();
        assert_eq!(refusal.reason(), Reason::PolicyUnavailable);
        assert!(refusal.detail().unwrap().contains('p'), "the record names the policy: {:?}", refusal.detail());
    }
}
