//! Step 4: may this session reach this host and port at all. Comes before any name lookup and any certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{Destination, Host, Reason};
use policies::{Knock, Own, Permit, Rules, Subject};
use sessions::Session;

use crate::refusal::Refusal;
use crate::{Proxy, reserved, share};

/// How the connection goes on.
#[derive(Clone, Debug)]
pub(crate) enum Passage {
    /// Its requests are read and judged one by one.
    Intercept,
    /// Its bytes are not read; all of them go under this permit.
    Unread(Permit),
    /// Egret itself answers.
    Reserved,
}

/// The session's combination of the policies in force; one exchange uses it from start to end.
///
/// # Errors
/// `policy_unavailable` where a policy of the session is not loaded or its policies contradict each other.
pub(crate) fn rules(proxy: &Proxy, session: &Session) -> Result<Arc<Rules>, Refusal> {
    proxy.policies.rules_for(&subject(session), own(session)).map_err(|error| {
        model::log_limited!(warn, session = %session.id, %error, "the session's policies are not usable");
        Refusal::of(
            Reason::PolicyUnavailable,
            "the session's policies cannot be used together, or one of them is not loaded; the operator finds the cause in the record",
        )
        .with_note(error.to_string())
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

/// Decides on the destination of a CONNECT or of an absolute-form request.
///
/// # Errors
/// `denied_host`, `protocol_not_allowed`, `denied_port`, `denied_address`, `denied_self`, `policy_unavailable`.
pub(crate) fn decide(proxy: &Proxy, session: &Session, destination: &Destination) -> Result<Passage, Refusal> {
    if reserved::is_reserved(destination) {
        return Ok(Passage::Reserved);
    }
    if reserved::is_below(destination) {
        return Err(Refusal::of(Reason::DeniedSelf, "there are no names below egret.internal"));
    }
    let own = match destination.host() {
        Host::Name(name) => proxy.own.is_named(name, destination.port()),
        Host::V4(v4) => proxy.own.is(SocketAddr::from((*v4, destination.port()))),
        Host::V6(v6) => proxy.own.is(SocketAddr::from((*v6, destination.port()))),
    };
    if own {
        return Err(Refusal::of(Reason::DeniedSelf, "the destination is a listener of Egret"));
    }
    let knock = Knock { host: destination.host(), port: destination.port(), now: share::judging_time() };
    // A CONNECT does not say what will follow, and counts as https.
    match rules(proxy, session)?.decide_over(destination.scheme(), &knock)? {
        policies::Passage::Intercept => Ok(Passage::Intercept),
        policies::Passage::Tunnel(permit) => Ok(Passage::Unread(permit)),
    }
}
