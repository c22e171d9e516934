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
/// `policy_unavailable` where a policy of the session is not loaded or its policies contradict each other.
pub(crate) fn in_force(proxy: &Proxy, session: &Session) -> Result<Arc<Rules>, Refusal> {
    proxy.policies.rules_for(&subject(session), own(session)).map_err(|error| {
        model::log_limited!(warn, session = %session.id, %error, "the session's policies are not usable");
        Refusal::of(
            Reason::PolicyUnavailable,
            "a policy of the session is not loaded, or its policies contradict each other",
        )
    })
}

/// The documents that the session brought.
fn own(session: &Session) -> Option<Own<'_>> {
    session.documents.as_ref().map(|documents| Own { session: &session.id, digest: &documents.digest })
}

/// What policies can select the session by.
fn subject(session: &Session) -> Subject<'_> {
    Subject {
        tenant: &session.tenant,
        agent: session.agent.as_deref(),
        labels: &session.labels,
        policies: &session.policies,
    }
}
