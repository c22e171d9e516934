//! Step 8: limits. Counts a request against the limits of its session and of every rule that allows it, and bounds its body
//! before the first byte is accepted.
//!
//! Its result is held until the record of the exchange closes. Every exit then returns it.

use std::future::poll_fn;
use std::sync::Arc;

use model::{Limits, Reason};
use policies::Permit;
use sessions::{Scope, Session};
use tokio::time::Instant;

use crate::body::buffered::Payload;
use crate::body::buffered::ReadError;
use crate::context::Exchange;
use crate::limits::admission::Admission;
use crate::limits::allowance::{Allowance, ByteLimit, Limited, body_too_large, exhausted};
use crate::limits::bucket::retry_after;
use crate::limits::counters::Counter;
use crate::refusal::{Refusal, broken_off, trailers_too_large};
use crate::request::Routed;
use crate::{Core, Proxy};

/// The allowance of a tunnel whose bytes are not read.
pub(crate) struct TunnelAdmission {
    pub(crate) admission: Admission,
    /// The client's bytes.
    pub(crate) allowance: Option<Allowance>,
}

/// The limits of one session or rule.
struct Bound {
    scope: Scope,
    limits: Limits,
}

/// Admits one request within its limits.
///
/// # Errors
/// `body_too_large`, `budget_exhausted` and `rate_limited`, with the rule of the limit. No lookup or dial has happened then.
///
/// # Cancellation
/// Counted requests and bytes stay counted.
pub(crate) async fn limit(exchange: Exchange<'_>, permit: &Permit, routed: &mut Routed) -> Result<Admission, Refusal> {
    let Exchange { core, .. } = exchange;
    let session = exchange.session();
    let bounds = bounds(session, permit);
    if bounds.is_empty() {
        return Ok(Admission::default());
    }
    let body = least(&bounds, |limits| limits.request_body);
    if let Some(limit) = &body {
        check_body(core, limit, &mut routed.body).await?;
    }
    let head = head_bytes(routed);
    let announced = head.saturating_add(routed.body.announced().unwrap_or_default());
    check_budgets(session, &bounds, announced)?;
    let admission = admit(&core.proxy, session, &bounds)?;
    if let Some(mut allowance) = Allowance::new(session, &core.proxy.sessions, body, budgets(&bounds)) {
        let spent = poll_fn(|cx| allowance.poll_spend(head, cx)).await;
        spent.map_err(|limited| limited.refusal())?;
        routed.body.bound(allowance);
    }
    Ok(admission)
}

/// Refuses a response that would give the client more than its limit, before its head is sent. A response without a length ends at
/// the limit.
///
/// # Errors
/// `response_too_large`.
pub(crate) fn check_response(admission: &Admission, announced: Option<u64>) -> Result<(), Refusal> {
    match (admission.response_body(), announced) {
        (Some(limit), Some(length)) if length > limit.bytes => {
            let detail = format!("the response exceeds {} bytes", limit.bytes);
            Err(Limited::new(Reason::ResponseTooLarge, "response_body", &limit.scope, detail).refusal())
        }
        _ => Ok(()),
    }
}

/// Admits a tunnel whose bytes are not read. Its requests cannot be distinguished, so the tunnel counts as one request,
/// and all bytes of a direction as one body.
///
/// # Errors
/// `budget_exhausted` and `rate_limited`.
pub(crate) fn limit_tunnel(core: &Core, session: &Arc<Session>, permit: &Permit) -> Result<TunnelAdmission, Refusal> {
    let bounds = bounds(session, permit);
    check_budgets(session, &bounds, 1)?;
    let admission = admit(&core.proxy, session, &bounds)?;
    let body = least(&bounds, |limits| limits.request_body);
    let allowance = Allowance::new(session, &core.proxy.sessions, body, budgets(&bounds));
    Ok(TunnelAdmission { admission, allowance })
}

/// The limits that apply to a request: those of its session, and of every rule that allows it.
fn bounds(session: &Session, permit: &Permit) -> Vec<Bound> {
    let own = (!session.limits.is_empty()).then_some(Bound { scope: Scope::Session, limits: session.limits });
    let rules = permit.limited().map(|(policy, rule, limits)| {
        let scope = Scope::Rule(policy.clone(), rule.clone());
        Bound { scope, limits: *limits }
    });
    own.into_iter().chain(rules).collect()
}

/// The strictest limit of one kind, and its owner.
fn least(bounds: &[Bound], of: impl Fn(&Limits) -> Option<u64>) -> Option<ByteLimit> {
    let limits =
        bounds.iter().filter_map(|bound| Some(ByteLimit { scope: bound.scope.clone(), bytes: of(&bound.limits)? }));
    limits.min_by_key(|limit| limit.bytes)
}

fn budgets(bounds: &[Bound]) -> Vec<ByteLimit> {
    let budgets = bounds.iter();
    budgets.filter_map(|bound| Some(ByteLimit { scope: bound.scope.clone(), bytes: bound.limits.bytes_out? })).collect()
}

/// An announced length is refused before the upstream is dialed. If no body is allowed at all and the length is unknown,
/// the body is waited for: its first byte refuses it, and its end lets the request pass.
async fn check_body(core: &Core, limit: &ByteLimit, body: &mut Payload) -> Result<(), Refusal> {
    let too_large = match body.announced() {
        Some(length) => length > limit.bytes,
        None if limit.bytes == 0 => body.has_content(core.proxy.limits.head_timeout).await.map_err(unread)?,
        None => false,
    };
    if too_large { Err(body_too_large(limit).refusal()) } else { Ok(()) }
}

fn unread(error: ReadError) -> Refusal {
    match error {
        ReadError::Broken => broken_off(),
        ReadError::TrailersTooLarge => trailers_too_large(),
        ReadError::Slow | ReadError::Misplaced | ReadError::Exhausted(_) | ReadError::Over(_) => {
            Refusal::of(Reason::TimeoutHead, "the request body, which may have to be empty, did not come")
                .with_class("body")
        }
    }
}

fn check_budgets(session: &Session, bounds: &[Bound], bytes: u64) -> Result<(), Refusal> {
    match budgets(bounds).iter().find(|budget| !session.budgets.fits(&budget.scope, budget.bytes, bytes)) {
        Some(budget) => Err(exhausted(budget).refusal()),
        None => Ok(()),
    }
}

/// Takes a slot and a token of every limit, or none.
fn admit(proxy: &Proxy, session: &Session, bounds: &[Bound]) -> Result<Admission, Refusal> {
    let counter = |bound: &Bound| proxy.counters.of(&session.id, &bound.scope);
    let mut slots = Vec::new();
    for bound in bounds {
        let Some(max) = bound.limits.concurrent else { continue };
        let slot = counter(bound).enter(max);
        slots.push(slot.ok_or_else(|| too_many_at_once(bound, max).refusal())?);
    }
    let (now, mut taken) = (Instant::now(), Vec::<Arc<Counter>>::new());
    for bound in bounds {
        let Some(rate) = bound.limits.requests else { continue };
        let counter = counter(bound);
        if let Err(wait) = counter.take(rate, now) {
            taken.iter().for_each(|counter| counter.give_back());
            let detail = format!("more than {rate} requests");
            let limited = Limited::new(Reason::RateLimited, "requests", &bound.scope, detail);
            return Err(limited.retry_after(retry_after(wait)).refusal());
        }
        taken.push(counter);
    }
    Ok(Admission::new(slots, least(bounds, |limits| limits.response_body)))
}

fn too_many_at_once(bound: &Bound, max: u64) -> Limited {
    let plural = if max == 1 { "" } else { "s" };
    let detail = format!("more than {max} request{plural} at once");
    // It is unknown when one of them ends.
    Limited::new(Reason::RateLimited, "concurrent", &bound.scope, detail).retry_after(1)
}

/// The bytes of a head as the client sent it: method, target, fields. Attached credentials are not counted.
fn head_bytes(routed: &Routed) -> u64 {
    let fields: usize = routed.fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (routed.method.as_str().len() + routed.path.target().len() + fields) as u64
}

#[cfg(test)]
mod tests;
