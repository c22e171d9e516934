//! Step 2: who is asking. Takes the proxy credentials of a head, gives the session they belong to.

use std::sync::Arc;

use model::Reason;
use sessions::Session;

use crate::credentials::access::IssuedCredential;
use crate::refusal::Refusal;
use crate::{Core, share};

/// That the session of a tunnel is still live when the next request comes in it.
///
/// # Errors
/// `session_invalid` where it has ended.
pub(crate) fn still_live(session: &Session) -> Result<(), Refusal> {
    match session.is_live(share::judging_time()) {
        true => Ok(()),
        false => Err(Refusal::of(Reason::SessionInvalid, "the session has ended").with_note("ended")),
    }
}

/// Writes down how often the session's credentials went on requests, where a grant counts them: a restart gives no use back.
///
/// # Errors
/// `credential_unavailable` where it cannot be written.
///
/// # Cancellation
/// It is written all the same.
pub(crate) async fn persist_use_count(
    core: &Core,
    session: &Arc<Session>,
    lent: &[IssuedCredential],
) -> Result<(), Refusal> {
    if !lent.iter().any(|one| one.counts) {
        return Ok(());
    }
    let (sessions, session) = (core.proxy.sessions.clone(), session.clone());
    let kept = tokio::task::spawn_blocking(move || sessions.persist_use_count(&session)).await;
    match kept {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let detail = "how often the credential was used cannot be written down";
            Err(Refusal::of(Reason::CredentialUnavailable, detail).with_class("not_counted"))
        }
    }
}
