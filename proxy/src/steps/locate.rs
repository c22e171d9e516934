//! Step 12: the path to the upstream. No traffic leaves before the opening record is durable, not even a name lookup.

use http::Version;
use model::Scheme;

use crate::context::Exchange;
use crate::permitted::Permitted;
use crate::refusal::Refusal;
use crate::steps::inject::Armed;
use crate::trail::Trail;
use crate::upstream::dial::{self, AllowedAddresses, HttpVersions, Target};
use crate::upstream::establish;
use crate::upstream::pool::{Key, Upstream};

/// A path to the upstream that the rule allows.
pub(crate) struct UpstreamChoice {
    pub(crate) key: Key,
    pub(crate) kind: UpstreamKind,
}

/// The kind of path.
pub(crate) enum UpstreamKind {
    /// A connection that was used before.
    Pooled(Upstream),
    /// Addresses that the rule allows.
    Addresses(AllowedAddresses),
    /// A name that has to be looked up.
    Name,
}

/// Finds a path without any traffic: a pooled connection whose address passes the rule, or known addresses.
///
/// # Errors
/// `denied_address`, `denied_self`, `session_quota`, `overloaded`.
pub(crate) fn prepare(permitted: Permitted<'_>, armed: &Armed, open: &mut Trail) -> Result<UpstreamChoice, Refusal> {
    let Permitted { exchange, permit, .. } = permitted;
    let Exchange { core, destination, .. } = exchange;
    let session = exchange.session();
    let versions = match (destination.scheme(), armed.version) {
        (Scheme::Https, Version::HTTP_2) => HttpVersions::Http2OrHttp1,
        _ => HttpVersions::Http1,
    };
    let key = Key {
        session: session.id.clone(),
        destination: destination.clone(),
        versions,
        credentials: armed.leases.iter().map(|lease| (lease.id().clone(), lease.version())).collect(),
        // Read before the dial: at worst, a connection verified with a later trust is discarded too early.
        trust: core.proxy.trust.load().serial(),
    };
    let passes = |address| dial::check_address(&core.proxy.self_address, permit, address).is_ok();
    if let Some(mut kept) = core.pool.take(&key, passes) {
        if kept.slot.is_none() {
            kept.slot = Some(establish::upstream_slot(exchange)?);
        }
        open.address(kept.address.ip());
        return Ok(UpstreamChoice { key, kind: UpstreamKind::Pooled(kept) });
    }
    let kind = match Target::new(core, destination, permit).known()? {
        Some(located) => UpstreamKind::Addresses(noted(located, open)),
        None => UpstreamKind::Name,
    };
    Ok(UpstreamChoice { key, kind })
}

/// Looks the name up if the path needs it; the opening record is durable by now.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`.
///
/// # Cancellation
/// Abandons the lookup.
pub(crate) async fn locate(
    permitted: Permitted<'_>,
    choice: &mut UpstreamChoice,
    open: &mut Trail,
) -> Result<(), Refusal> {
    if matches!(choice.kind, UpstreamKind::Name) {
        // Boxed, like every part that only some exchanges need: every exchange would be as large as its largest part.
        choice.kind = UpstreamKind::Addresses(noted(Box::pin(addresses(permitted)).await?, open));
    }
    Ok(())
}

/// Looks the name up.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`.
pub(crate) async fn addresses(permitted: Permitted<'_>) -> Result<AllowedAddresses, Refusal> {
    let Exchange { core, destination, .. } = permitted.exchange;
    let session = permitted.exchange.session();
    let target = Target::new(core, destination, permitted.permit);
    target.resolve_allowed(&core.proxy.lookups, &session.id).await
}

fn noted(located: AllowedAddresses, open: &mut Trail) -> AllowedAddresses {
    if let Some(first) = located.first() {
        open.address(first.ip());
    }
    located
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use model::Reason;
    use vault::Kind;

    use super::*;
    use crate::steps::inject::inject;
    use crate::steps::route::route;
    use crate::testing::{ADDRESS, Bench, HOST, Line, Setup, credential, upstream};

    const RULE: &str = "{id: r, allow: {host: api.example.com}, use: [token], addresses: [192.0.2.0/24]}";
    const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

    fn bench() -> Bench {
        Setup::new(&[RULE]).credential("token", Kind::bearer()).build()
    }

    async fn armed(bench: &Bench, line: &Line<'_>) -> Armed {
        let routed = route(bench.exchange(), bench.asked(GET).await).unwrap();
        inject(line.wanted(), routed, &line.active, &mut bench.trail()).unwrap()
    }

    /// The path of a request to its upstream: `pooled`, `addresses` or `name`.
    async fn choice(bench: &Bench) -> Result<(Key, &'static str), Refusal> {
        let line = bench.line("GET", "/");
        let choice = prepare(line.permitted(), &armed(bench, &line).await, &mut bench.trail())?;
        let kind = match choice.kind {
            UpstreamKind::Pooled(_) => "pooled",
            UpstreamKind::Addresses(_) => "addresses",
            UpstreamKind::Name => "name",
        };
        Ok((choice.key, kind))
    }

    #[tokio::test]
    async fn a_kept_connection_goes_to_requests_with_the_very_same_key() {
        let bench = bench();
        let (key, kind) = choice(&bench).await.unwrap();
        assert_eq!((key.credentials.clone(), kind), (vec![("token".into(), 1)], "addresses"));
        let (kept, _theirs) = upstream();
        bench.core.pool.put(key.clone(), kept);
        let line = bench.line("GET", "/");
        let armed = armed(&bench, &line).await;
        let mut trail = bench.trail();
        let choice_made = prepare(line.permitted(), &armed, &mut trail).unwrap();
        let UpstreamKind::Pooled(kept) = choice_made.kind else { panic!("not the kept connection") };
        assert!(kept.reused && kept.slot.is_some());
        trail.abort();
        assert_eq!(bench.last_closed()["address"], "192.0.2.7");
        bench.core.pool.put(key, kept);
        // Another value of the credential: the upstream may still treat the connection as one of the old value.
        bench.put(credential("token", Kind::bearer(), HOST), "another-value-9876543210");
        let (key, kind) = choice(&bench).await.unwrap();
        assert_eq!((key.credentials, kind), (vec![("token".into(), 2)], "addresses"));
    }

    #[tokio::test]
    async fn a_kept_connection_to_an_address_that_the_rule_does_not_cover_is_not_used() {
        let bench = bench();
        let (key, _) = choice(&bench).await.unwrap();
        let (mut kept, _theirs) = upstream();
        kept.address = SocketAddr::from(([198, 51, 100, 1], 443));
        bench.core.pool.put(key, kept);
        assert_eq!(choice(&bench).await.unwrap().1, "addresses");
    }

    #[tokio::test]
    async fn a_known_address_refuses_without_a_lookup_and_an_unknown_name_waits_for_one() {
        let refused = |bench: Bench| async move { choice(&bench).await.unwrap_err() };
        let no_addresses = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
        let refusal = refused(no_addresses).await;
        assert_eq!((refusal.reason(), refusal.address()), (Reason::DeniedAddress, Some(ADDRESS.into())));
        assert_eq!(refusal.rule().unwrap().as_str(), "r");
        let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}, addresses: [127.0.0.0/8]}"]);
        setup.config.resolve = [(HOST.to_owned(), [127, 0, 0, 1].into())].into();
        setup.listening = vec![SocketAddr::from(([127, 0, 0, 1], 443))];
        assert_eq!(refused(setup.build()).await.reason(), Reason::DeniedSelf);
        let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}}"]);
        setup.config.resolve = [].into();
        assert_eq!(choice(&setup.build()).await.unwrap().1, "name");
    }

    #[tokio::test]
    async fn http2_is_spoken_where_the_client_does_over_tls() {
        let versions = |scheme, version| async move {
            let mut setup = Setup::new(&[
                "{id: r, allow: {host: api.example.com}, addresses: [192.0.2.0/24]}",
                "{id: c, allow: {host: api.example.com, scheme: http}, addresses: [192.0.2.0/24]}",
            ]);
            setup.scheme = scheme;
            let bench = setup.build();
            let line = bench.line("GET", "/");
            let mut armed = armed(&bench, &line).await;
            armed.version = version;
            prepare(line.permitted(), &armed, &mut bench.trail()).unwrap().key.versions
        };
        assert_eq!(versions(Scheme::Https, Version::HTTP_2).await, HttpVersions::Http2OrHttp1);
        assert_eq!(versions(Scheme::Https, Version::HTTP_11).await, HttpVersions::Http1);
        assert_eq!(versions(Scheme::Http, Version::HTTP_2).await, HttpVersions::Http1);
    }

    #[tokio::test]
    async fn a_session_has_no_more_upstream_connections_than_it_may() {
        let mut setup = Setup::new(&[RULE]);
        setup.config.limits.max_session_upstreams = 1;
        let bench = setup.build();
        let (key, _) = choice(&bench).await.unwrap();
        let (kept, _theirs) = upstream();
        bench.core.pool.put(key, kept);
        let _other = establish::upstream_slot(bench.exchange()).unwrap();
        assert_eq!(choice(&bench).await.unwrap_err().reason(), Reason::SessionQuota);
    }
}
