//! Step 2: who is asking. Takes the proxy credentials of a head, gives the session they belong to.

use std::sync::Arc;

use model::Reason;
use sessions::{Session, Why};

use crate::credentials::access::Lent;
use crate::refusal::Refusal;
use crate::{Core, Proxy, basic, share};

/// Whose request it is. Only [`identify`] and the tunnel of an identified request make one, and the reader of heads takes one: of a
/// request that nobody answers for, nothing but its proxy credentials is read.
#[derive(Clone, Debug)]
pub(crate) struct Identified(Arc<Session>);

impl Identified {
    /// Requests in a tunnel belong to the session that opened it.
    pub(crate) fn in_tunnel_of(session: &Arc<Session>) -> Self {
        Self(session.clone())
    }

    /// The session.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

/// The session of a request that came over a shared listener, by the value of its Proxy-Authorization field.
///
/// # Errors
/// `session_required` where no readable credentials came, `session_invalid` where they are not those of a live session:
/// unknown, wrong, ended and expired alike.
pub(crate) fn identify(proxy: &Proxy, credentials: Option<&[u8]>) -> Result<Identified, Refusal> {
    let Some(field) = credentials else {
        let default = proxy.default_session.clone();
        return default.map(Identified).ok_or_else(|| required("no proxy credentials were sent"));
    };
    let pair = basic::pair(field).ok_or_else(|| required("the proxy credentials are not of the Basic scheme"))?;
    let colon = memchr::memchr(b':', &pair).ok_or_else(|| required("the proxy credentials have no password"))?;
    let (id, token) = pair.split_at(colon);
    let id = std::str::from_utf8(id).unwrap_or_default();
    let token = token.get(1..).unwrap_or_default();
    proxy.sessions.authenticate(id, token, share::judging_time()).map(Identified).map_err(|invalid| {
        let why = match invalid.why {
            Why::Unknown => "unknown",
            Why::WrongToken => "wrong_token",
            Why::VoidToken => "void_token",
            Why::Ended => "ended",
            Why::Expired => "expired",
        };
        let refusal = Refusal::of(Reason::SessionInvalid, "the proxy credentials are not those of a running session");
        refusal.with_note(why)
    })
}

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
pub(crate) async fn keep_count(core: &Core, session: &Arc<Session>, lent: &[Lent]) -> Result<(), Refusal> {
    if !lent.iter().any(|one| one.counts) {
        return Ok(());
    }
    let (sessions, session) = (core.proxy.sessions.clone(), session.clone());
    let kept = tokio::task::spawn_blocking(move || sessions.keep_count(&session)).await;
    match kept {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let detail = "how often the credential was used cannot be written down";
            Err(Refusal::of(Reason::CredentialUnavailable, detail).with_class("not_counted"))
        }
    }
}

fn required(detail: &'static str) -> Refusal {
    Refusal::of(Reason::SessionRequired, detail)
}
