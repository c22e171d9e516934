//! Step 4: whether this session may reach this host and port at all. Precedes any name lookup and any certificate.

use std::net::SocketAddr;
use std::time::Instant;

use model::{Endpoint, Host, Reason, Scheme, Timestamp};

use policies::{ConnectQuery, Permit};

use crate::entry::arrival::Arrival;
use crate::refusal::Refusal;
use crate::rules;
use crate::{Proxy, share, status};

/// How the connection continues.
#[derive(Clone, Debug)]
pub(crate) enum Passage {
    /// Its requests are read and judged one by one.
    Intercept,
    /// Its bytes are not read; this permit covers all of them.
    Passthrough(Permit),
    /// Egret itself answers.
    Reserved,
}

/// Decides on the endpoint of a tunnel or of one request to the proxy.
///
/// # Errors
/// `denied_all`, `denied_host`, `protocol_not_allowed`, `denied_port`, `denied_address`, `denied_self`, `policy_unavailable`.
pub(crate) fn decide<S>(proxy: &Proxy, arrival: &Arrival<S>, endpoint: &Endpoint) -> Result<Passage, Refusal> {
    rules::check_switch(proxy)?;
    if status::is_reserved(&endpoint.host) {
        return Ok(Passage::Reserved);
    }
    if status::is_below(&endpoint.host) {
        return Err(Refusal::of(Reason::DeniedSelf, "there are no names below egret.internal"));
    }
    let Endpoint { host, port } = endpoint;
    let own = match host {
        Host::Name(name) => proxy.own.is_named(name, *port),
        Host::V4(v4) => proxy.own.is(SocketAddr::from((*v4, *port))),
        Host::V6(v6) => proxy.own.is(SocketAddr::from((*v6, *port))),
    };
    if own {
        return Err(Refusal::of(Reason::DeniedSelf, "the destination is a listener of Egret"));
    }
    let connect = ConnectQuery { host, port: *port, now: share::judging_time() };
    // A tunnel does not show which protocol will follow, and counts as https.
    let scheme = arrival.scheme.unwrap_or(Scheme::Https);
    match rules::in_force(proxy, arrival.client.session())?.decide_over(scheme, &connect)? {
        policies::Passage::Intercept => Ok(Passage::Intercept),
        policies::Passage::Tunnel(permit) => Ok(Passage::Passthrough(permit)),
    }
}

/// Counts the work that a request to the proxy may cause: a name lookup, and for a tunnel a leaf certificate.
///
/// # Errors
/// `rate_limited`, `mint_limited`.
pub(crate) fn count_names<S>(proxy: &Proxy, arrival: &Arrival<S>, endpoint: &Endpoint) -> Result<(), Refusal> {
    if status::is_reserved(&endpoint.host) {
        return Ok(());
    }
    let (host, now) = (&endpoint.host, Instant::now());
    let session = arrival.client.session();
    proxy.quotas.name(&session.id, host, now)?;
    let is_tunnel = arrival.scheme.is_none();
    if is_tunnel && !proxy.leaves.has(host, Timestamp::now()) {
        proxy.quotas.mint(&session.id, host, now)
    } else {
        Ok(())
    }
}
