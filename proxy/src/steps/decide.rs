//! Step 4: may this session reach this host and port at all. Comes before any name lookup and any certificate.

use std::net::SocketAddr;
use std::time::Instant;

use model::{Destination, Host, Reason, Timestamp};

use policies::{Knock, Permit};
use sessions::Session;

use crate::http1::head::{RequestHead, Target};
use crate::refusal::Refusal;
use crate::rules;
use crate::{Proxy, share, status};

/// How the connection goes on.
#[derive(Clone, Debug)]
pub(crate) enum Passage {
    /// Its requests are read and judged one by one.
    Intercept,
    /// Its bytes are not read; all of them go under this permit.
    Passthrough(Permit),
    /// Egret itself answers.
    Reserved,
}

/// Decides on the destination of a CONNECT or of an absolute-form request.
///
/// # Errors
/// `denied_all`, `denied_host`, `protocol_not_allowed`, `denied_port`, `denied_address`, `denied_self`, `policy_unavailable`.
pub(crate) fn decide(proxy: &Proxy, session: &Session, destination: &Destination) -> Result<Passage, Refusal> {
    rules::check_switch(proxy)?;
    if status::is_reserved(destination) {
        return Ok(Passage::Reserved);
    }
    if status::is_below(destination) {
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
    match rules::in_force(proxy, session)?.decide_over(destination.scheme(), &knock)? {
        policies::Passage::Intercept => Ok(Passage::Intercept),
        policies::Passage::Tunnel(permit) => Ok(Passage::Passthrough(permit)),
    }
}

/// Counts what a CONNECT or a request in absolute form may cause: a name lookup, and for a CONNECT a leaf.
///
/// # Errors
/// `rate_limited`, `mint_limited`.
pub(crate) fn count_names(
    proxy: &Proxy,
    session: &Session,
    destination: &Destination,
    head: &RequestHead,
) -> Result<(), Refusal> {
    if status::is_reserved(destination) {
        return Ok(());
    }
    let (host, now) = (destination.host(), Instant::now());
    proxy.quotas.name(&session.id, host, now)?;
    let is_connect = matches!(head.target, Target::Authority(_));
    if is_connect && !proxy.leaves.has(host, Timestamp::now()) {
        proxy.quotas.mint(&session.id, host, now)
    } else {
        Ok(())
    }
}
