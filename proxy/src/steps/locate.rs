//! Step 12: how the upstream is reached. Nothing leaves before the opening record is durable, no name lookup either.

use http::Version;
use model::Scheme;

use crate::context::{Exchange, Permitted};
use crate::refusal::Refusal;
use crate::steps::inject::Armed;
use crate::trail::Trail;
use crate::upstream::dial::{self, AllowedAddresses, HttpVersions, Target};
use crate::upstream::establish;
use crate::upstream::pool::{Key, Upstream};

/// A way to the upstream that the rule may take.
pub(crate) struct UpstreamChoice {
    pub(crate) key: Key,
    pub(crate) kind: UpstreamKind,
}

/// What leads there.
pub(crate) enum UpstreamKind {
    /// A connection that was used before.
    Pooled(Upstream),
    /// Addresses that the rule allows.
    Addresses(AllowedAddresses),
    /// The name has to be looked up.
    Name,
}

/// Finds a way without anything leaving for it: a kept connection whose address passes the rule, or addresses that are known.
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
        // Before the dial: a connection that is verified with a later trust is only thrown away too early.
        trust: core.proxy.trust.load().serial(),
    };
    let passes = |address| dial::check_address(&core.proxy.own, permit, address).is_ok();
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

/// Looks the name up where the way needs it; the opening record is durable by now.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`.
///
/// # Cancellation
/// The lookup is given up.
pub(crate) async fn locate(
    permitted: Permitted<'_>,
    choice: &mut UpstreamChoice,
    open: &mut Trail,
) -> Result<(), Refusal> {
    if matches!(choice.kind, UpstreamKind::Name) {
        // Boxed, as whatever only some exchanges need: every exchange would be as large as its largest part.
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
