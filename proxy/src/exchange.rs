//! The request half of the line: one request with its response. Read this file first.
//!
//! Every request passes here, whether it came in a tunnel or in absolute form, over HTTP/1.1 or HTTP/2. Each step takes what the
//! step before it made, so none can be left out; `?` is the only way out, and the outer function owns the record.

use std::pin::pin;
use std::sync::Arc;

use http::Response;
use model::Destination;
use sessions::Session;

use crate::Core;
use crate::body::answer::Body;
use crate::contain::contain;
use crate::credentials::access::{CredentialRequest, Methods};
use crate::credentials::client_auth;
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::rules;
use crate::status;
use crate::steps::forward::Outward;
use crate::steps::redact::Redacted;
use crate::steps::respond;
use crate::steps::{authorize, forward, identify, inject, inject_body, limit, redact, route};
use crate::trail::Trail;

/// Serves one request to `destination` for `session`; `open` is its record, which knows the destination already.
///
/// # Cancellation
/// The upstream request is given up, and the record closed with the reason.
pub(crate) async fn exchange(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    asked: Asked,
    mut open: Trail,
) -> Response<Body> {
    open.asked(&asked.head.method, asked.head.target.path(), protocol_of(&asked));
    if status::is_reserved(destination) {
        return respond::respond_with_document(open, status::document(core, session, &asked));
    }
    let outcome = contain(pin!(attempt(core, session, destination, asked, &mut open))).await;
    respond::respond(open, outcome)
}

async fn attempt(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    asked: Asked,
    open: &mut Trail,
) -> Result<Redacted, Refusal> {
    identify::still_live(session)?;
    open.takes(core.proxy.quotas.request(&session.id)?);
    let rules = rules::in_force(&core.proxy, session)?;
    open.snapshot(rules.snapshot());
    let mut routed = route::route(destination, asked)?;
    let tool = session.tool();
    if let Some(call) = session.tool_call() {
        open.tool_call(&call);
    }
    let methods = Methods::of(&routed.method, &routed.path);
    let permit = authorize::authorize(&rules, destination, &routed, tool.as_deref(), open)?;
    open.permit(&permit);
    let asked = authorize::asked(&routed, tool);
    let active = core.active.note(session, destination, asked, &permit, open.connection().clone());
    open.stands(active.clone());
    let under = |refusal: Refusal| refusal.under(permit.rule(), permit.policy());
    open.admitted(limit::limit(core, session, &permit, &mut routed).await?);
    let wanted =
        CredentialRequest { vault: &core.proxy.vault, session, destination, permit: &permit, methods: &methods };
    let armed = inject::inject(wanted, routed, &active, open).map_err(under)?;
    let mut armed = inject_body::fill(core, wanted, armed, open).await.map_err(under)?;
    let part = redact::prepare(&core.proxy.vault, destination, &mut armed).map_err(under)?;
    active.lend(&core.proxy, armed.lent.clone());
    identify::persist_use_count(core, session, &armed.lent).await?;
    open.stripped(armed.stripped.iter().cloned());
    if let Some(trailers) = &armed.trailers {
        open.trailers(trailers.removed());
    }
    let out = Outward { core, session, destination, permit: &permit, active: &active };
    // Addresses that are known refuse the request without a trace outside, so without an opening record.
    let mut way = forward::prepare(out, &armed, open)?;
    open.permitted().await?; // durable before a name is looked up or a byte leaves
    let reply = tokio::select! {
        biased;
        cut = active.cut() => Err(cut.refusal()),
        reply = async {
            forward::locate(out, &mut way, open).await?;
            forward::forward(out, armed, way, open).await
        } => reply,
    };
    let reply = reply.map_err(under)?;
    let whose = (destination, &session.tenant);
    let redacted = redact::redact(reply, part, &core.proxy.vault, whose).map_err(under)?;
    limit::check_response(open.admission(), redacted.hint().exact())?;
    client_auth::note_cookies(session, destination, redacted.response.headers());
    Ok(redacted)
}

fn protocol_of(asked: &Asked) -> &'static str {
    match asked.request.version() {
        http::Version::HTTP_2 => "h2",
        http::Version::HTTP_10 => "http/1.0",
        _ => "http/1.1",
    }
}
