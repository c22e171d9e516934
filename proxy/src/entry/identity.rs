//! Who is asking: the proxy credentials of a head, and the session that they belong to.

use std::sync::Arc;

use model::Reason;
use sessions::{Session, Why};

use crate::refusal::Refusal;
use crate::{Proxy, basic, share};

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

fn required(detail: &'static str) -> Refusal {
    Refusal::of(Reason::SessionRequired, detail)
}
