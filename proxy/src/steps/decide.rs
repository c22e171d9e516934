//! Step 4: whether this session may reach this host and port at all. Precedes any name lookup and any certificate.

use std::time::Instant;

use model::reserved::{is_below_reserved, is_reserved};
use model::{Endpoint, Reason, Scheme, Timestamp};

use policies::{ConnectQuery, Permit};

use crate::entry::arrival::Arrival;
use crate::refusal::Refusal;
use crate::rules;
use crate::{Proxy, share};

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
    if is_reserved(&endpoint.host) {
        return Ok(Passage::Reserved);
    }
    if is_below_reserved(&endpoint.host) {
        return Err(Refusal::of(Reason::DeniedSelf, "there are no names below egret.internal"));
    }
    if proxy.self_address.is_named_by(endpoint) {
        return Err(Refusal::of(Reason::DeniedSelf, "the destination is a listener of Egret"));
    }
    let Endpoint { host, port } = endpoint;
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
    if is_reserved(&endpoint.host) {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use model::Host;

    use super::*;
    use crate::testing::{Bench, Setup};

    const RULES: [&str; 2] =
        ["{id: read, allow: {host: api.example.com}}", "{id: raw, allow: {host: raw.example.com}, tls: pass-through}"];

    fn decided(bench: &Bench, host: &str, port: u16, scheme: Option<Scheme>) -> Result<Passage, Reason> {
        let endpoint = Endpoint { host: Host::parse(host).unwrap(), port };
        let client = bench.client.clone();
        let arrival = Arrival { client, endpoint: None, repeated: None, scheme, stream: () };
        decide(&bench.core.proxy, &arrival, &endpoint).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn the_endpoint_and_the_scheme_decide() {
        let bench = Bench::new(&RULES);
        let tunnel = |host: &str, port: u16| decided(&bench, host, port, None);
        assert!(matches!(tunnel("api.example.com", 443), Ok(Passage::Intercept)));
        assert!(matches!(tunnel("raw.example.com", 443), Ok(Passage::Passthrough(_))));
        assert!(matches!(tunnel("egret.internal", 80), Ok(Passage::Reserved)));
        assert_eq!(tunnel("v1.egret.internal", 80).unwrap_err(), Reason::DeniedSelf);
        assert_eq!(tunnel("other.example.com", 443).unwrap_err(), Reason::DeniedHost);
        assert_eq!(tunnel("api.example.com", 8443).unwrap_err(), Reason::DeniedPort);
        // A rule that passes bytes through is for TLS: a request for http:// is read, and judged by itself.
        let plain = decided(&bench, "raw.example.com", 443, Some(Scheme::Http));
        assert!(!matches!(plain, Ok(Passage::Passthrough(_))), "{plain:?}");
    }

    #[test]
    fn a_listener_of_egret_and_the_switch_come_before_the_rules() {
        let mut setup = Setup::new(&["{id: own, allow: {host: localhost, port: 3128}}"]);
        setup.listening = vec![SocketAddr::from(([127, 0, 0, 1], 3128))];
        let bench = setup.build();
        assert_eq!(decided(&bench, "localhost", 3128, None).unwrap_err(), Reason::DeniedSelf);
        assert_eq!(decided(&bench, "127.0.0.1", 3128, None).unwrap_err(), Reason::DeniedSelf);
        let mut setup = Setup::new(&RULES);
        setup.config.deny_all = true;
        assert_eq!(decided(&setup.build(), "api.example.com", 443, None).unwrap_err(), Reason::DeniedAll);
    }
}
