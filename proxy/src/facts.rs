//! What a record says about its client.

use audit::{Attribution, Facts};
use sessions::{Identified, Means};

/// The session of a client, and what proved it.
pub(crate) fn of(client: &Identified) -> Facts {
    let session = client.session();
    Facts {
        tenant: session.tenant.clone(),
        user: session.user.clone(),
        agent: session.agent.clone(),
        session: Some(session.id.clone()),
        attribution: Some(match client.means() {
            Means::ProxyCredentials => Attribution::ProxyCredentials,
            Means::Listener => Attribution::Listener,
            Means::UnixPeer => Attribution::UnixPeer,
            Means::DefaultSession => Attribution::DefaultSession,
        }),
        source: None,
    }
}
