//! The request half of the line: one request with its response. Read this file first.
//!
//! Every request passes here, in a tunnel or in absolute form, over HTTP/1.1 or HTTP/2. Each step consumes the result of the
//! step before it, so no step can be skipped. `?` is the only early exit, and the outer function owns the record.

use std::pin::pin;

use model::reserved::is_reserved;

use crate::body::answer::Body;
use crate::contain::contain;
use crate::context::Exchange;
use crate::credentials::access::{CredentialRequest, Methods};
use crate::credentials::client_auth;
use crate::held::Held;
use crate::message::Response;
use crate::permitted::Permitted;
use crate::refusal::{Form, Refusal};
use crate::request::Asked;
use crate::rules;
use crate::share;
use crate::status;
use crate::steps::redact::Redacted;
use crate::steps::respond;
use crate::steps::{authorize, forward, identify, inject, inject_body, limit, locate, redact, route};
use crate::trail::Trail;

/// Serves one request; `trail` is its record, which already has the destination.
///
/// # Cancellation
/// Abandons the upstream request and closes the record with the reason.
pub(crate) async fn exchange(exchange: Exchange<'_>, asked: Asked, mut trail: Trail) -> Response<Body> {
    trail.asked(&asked.head.method, asked.head.target.path(), protocol_of(&asked));
    if is_reserved(exchange.destination.host()) {
        return respond::respond_with_document(trail, status::document(exchange, &asked));
    }
    let form = Form::for_client(&asked.fields);
    let outcome = contain(pin!(attempt(exchange, asked, &mut trail))).await;
    if let Err(refusal) = &outcome
        && refusal.client_left()
        && !exchange.client.is_live(share::judging_time())
    {
        // The end of the session closed the connection, and the body broke off with it: the client did not leave.
        trail.abort();
        return respond::closing(Response::new(Body::own(Vec::new())));
    }
    respond::respond(trail, outcome, form)
}

async fn attempt(exchange: Exchange<'_>, asked: Asked, trail: &mut Trail) -> Result<(Redacted, Held), Refusal> {
    let Exchange { core, client, destination, .. } = exchange;
    identify::still_live(client)?;
    let session = client.session();
    let slot = core.proxy.quotas.request(&session.id)?;
    let rules = rules::in_force(&core.proxy, session)?;
    trail.snapshot(rules.snapshot());
    let mut routed = route::route(exchange, asked)?;
    if let Some(call) = session.tool_call() {
        trail.tool_call(&call);
    }
    let permit = authorize::authorize(exchange, &rules, &routed, trail)?;
    trail.permit(&permit);
    let active = core.active.add(exchange, authorize::asked(&routed), &permit);
    let permitted = Permitted { exchange, permit: &permit, active: &active };
    let under = |refusal: Refusal| refusal.under(permit.rule(), permit.policy());
    let held = Held::new(slot, limit::limit(exchange, &permit, &mut routed).await?, &active);
    let methods = Methods::of(&routed.method, &routed.path);
    let wanted =
        CredentialRequest { vault: &core.proxy.vault, session, destination, permit: &permit, methods: &methods };
    let mut armed = inject::inject(wanted, routed, &active, trail).map_err(under)?;
    inject_body::inject_body(core, wanted, &mut armed, trail).await.map_err(under)?;
    let part = redact::prepare(exchange, &mut armed).map_err(under)?;
    let lent = active.note_credentials(&core.proxy, std::mem::take(&mut armed.lent));
    identify::persist_use_count(core, session, lent).await?;
    trail.stripped(std::mem::take(&mut armed.stripped));
    // With known addresses, a request can be refused before any network traffic, so it needs no opening record.
    let mut choice = locate::prepare(permitted, &armed, trail)?;
    trail.permitted().await?; // durable before a name is looked up or a byte leaves
    // Boxed, so that neither half of an exchange is moved or held as part of the other one.
    let reached = Box::pin(async {
        locate::locate(permitted, &mut choice, trail).await?;
        let reply = forward::forward(permitted, armed, choice, trail).await?;
        redact::redact(exchange, reply, part).await
    });
    let redacted = tokio::select! {
        biased;
        terminated = active.terminated() => Err(terminated.refusal()),
        redacted = reached => redacted,
    };
    let redacted = redacted.map_err(under)?;
    limit::check_response(&held.admission, redacted.hint().exact())?;
    client_auth::note_cookies(session, destination, &redacted.response.fields);
    Ok((redacted, held))
}

fn protocol_of(asked: &Asked) -> &'static str {
    match asked.version {
        http::Version::HTTP_2 => "h2",
        http::Version::HTTP_10 => "http/1.0",
        _ => "http/1.1",
    }
}

#[cfg(test)]
mod tests;
