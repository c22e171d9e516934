//! Step 2: the session of the client, by the proof of its channel or of its request.

use std::sync::Arc;

use model::Reason;
use sessions::{Identified, Proof, Session, Why};

use crate::active::REPLACED_TOKEN;
use crate::credentials::access::IssuedCredential;
use crate::entry::channel::Channel;
use crate::entry::entrance::Entrance;
use crate::refusal::Refusal;
use crate::{Core, Proxy, share};

/// Identifies the client of a request on a connection: by the credentials that it sent or, without any, by its channel.
///
/// # Errors
/// `session_required` if nothing identifies it. `session_invalid` if the credentials are not of a live session (unknown, wrong,
/// ended and expired alike) or belong to another session than the connection. `session_quota`, `overloaded`.
pub(crate) fn identify(entrance: &Entrance, sent: Option<Proof<'_>>) -> Result<Identified, Refusal> {
    let proxy = entrance.proxy();
    let client = match sent {
        Some(proof) => proven(proxy, proof)?,
        None => by_channel(proxy, entrance.channel())?,
    };
    entrance.admit(&client)?;
    Ok(client)
}

/// A client that sent no credentials.
fn by_channel(proxy: &Proxy, channel: &Channel) -> Result<Identified, Refusal> {
    match (channel, channel.proof()) {
        (Channel::Listener(..), Some(proof)) => return proven(proxy, proof),
        // A user whose session has ended is refused: with the default session, the end would widen what it may reach.
        (Channel::SharedSocket(peer), Some(proof)) if proxy.sessions.has_peer(*peer) => return proven(proxy, proof),
        (Channel::SharedSocket(_) | Channel::Network(_), _) | (Channel::Listener(..), None) => {}
    }
    let required = || Refusal::of(Reason::SessionRequired, "no proxy credentials were sent");
    proxy.default_session.clone().ok_or_else(required)
}

fn proven(proxy: &Proxy, proof: Proof<'_>) -> Result<Identified, Refusal> {
    let detail = match proof {
        Proof::Token { .. } => "the proxy credentials are not those of a running session",
        Proof::Listener { .. } | Proof::Peer(_) => "the listener is not for this client, or its session has ended",
    };
    proxy.sessions.identify(proof, share::judging_time()).map_err(|invalid| {
        let why = match invalid.why {
            Why::Unknown => "unknown",
            Why::WrongToken => "wrong_token",
            Why::VoidToken => "void_token",
            Why::WrongPeer => "wrong_peer",
            Why::Ended => "ended",
            Why::Expired => "expired",
        };
        Refusal::of(Reason::SessionInvalid, detail).with_note(why)
    })
}

/// Checks that the client of a tunnel is still allowed when the next request arrives in it.
///
/// # Errors
/// `session_invalid` if its session has ended, or its token was replaced.
pub(crate) fn still_live(client: &Identified) -> Result<(), Refusal> {
    if client.is_live(share::judging_time()) {
        return Ok(());
    }
    let why = if client.token_is_replaced() { REPLACED_TOKEN } else { "ended" };
    Err(Refusal::of(Reason::SessionInvalid, "the session has ended, or its token was replaced").with_note(why))
}

/// Persists how often the session's credentials were attached to requests, if a grant counts them: a restart returns no use.
///
/// # Errors
/// `credential_unavailable` if it cannot be written.
///
/// # Cancellation
/// It is written anyway.
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
            let detail = "the use of the credential could not be stored";
            Err(Refusal::of(Reason::CredentialUnavailable, detail).with_class("not_counted"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use sessions::{Means, UnixPeer};

    use super::*;
    use crate::testing::Bench;

    fn entrance(bench: &Bench, channel: Channel) -> Arc<Entrance> {
        let slot = bench.core.proxy.slots.arrive(channel.source()).unwrap();
        Entrance::new(&bench.core.proxy, slot, channel)
    }

    fn bench() -> Bench {
        Bench::new(&["{id: r, allow: {host: api.example.com}}"])
    }

    fn reason(identified: Result<Identified, Refusal>) -> (Reason, Option<String>) {
        let refusal = identified.err().unwrap();
        (refusal.reason(), refusal.detail().map(str::to_owned))
    }

    #[test]
    fn a_connection_belongs_to_its_first_client() {
        let bench = bench();
        let network = Channel::Network(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let entrance = entrance(&bench, network);
        assert_eq!(reason(identify(&entrance, None)).0, Reason::SessionRequired);
        let wrong = Proof::Token { id: bench.session.id.as_str(), token: b"egt_wrong" };
        assert_eq!(reason(identify(&entrance, Some(wrong))), (Reason::SessionInvalid, Some("wrong_token".to_owned())));
        let (_, token) = bench.core.proxy.sessions.renew_token(&bench.session.id, clock::now()).unwrap();
        let right = || Proof::Token { id: bench.session.id.as_str(), token: token.as_bytes() };
        let client = identify(&entrance, Some(right())).unwrap();
        assert_eq!((client.means(), &client.session().id), (Means::ProxyCredentials, &bench.session.id));
        let other = bench.core.proxy.sessions.create(sessions::NewSession::default(), clock::now()).unwrap();
        let proof = Proof::Token { id: other.session.id.as_str(), token: other.token.as_bytes() };
        assert_eq!(reason(identify(&entrance, Some(proof))).0, Reason::SessionInvalid);
        assert!(identify(&entrance, Some(right())).is_ok());
    }

    #[test]
    fn a_channel_identifies_a_client_that_sends_nothing() {
        let bench = bench();
        let shared = entrance(&bench, Channel::SharedSocket(UnixPeer { uid: 1000 }));
        assert_eq!(reason(identify(&shared, None)).0, Reason::SessionRequired);
        let listener = Channel::Listener(bench.session.clone(), UnixPeer { uid: 1000 });
        // The session of the bench has no listener, and was not announced for one.
        let refused = reason(identify(&entrance(&bench, listener.clone()), None));
        assert_eq!(refused, (Reason::SessionInvalid, Some("unknown".to_owned())));
        bench.core.proxy.sessions.announce(&bench.session);
        let client = identify(&entrance(&bench, listener), None).unwrap();
        assert_eq!(client.means(), Means::Listener);
    }

    #[test]
    fn a_replaced_token_and_an_ended_session_end_what_they_opened() {
        let bench = bench();
        assert!(still_live(&bench.client).is_ok());
        let why = |client: &Identified| still_live(client).unwrap_err().detail().map(str::to_owned);
        bench.core.proxy.sessions.renew_token(&bench.session.id, clock::now()).unwrap();
        assert_eq!(why(&bench.client).as_deref(), Some(REPLACED_TOKEN));
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
        bench.core.proxy.sessions.end(&bench.session.id, clock::now()).unwrap();
        assert_eq!(why(&bench.client).as_deref(), Some("ended"));
    }
}
