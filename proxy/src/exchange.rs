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
use crate::body::Body;
use crate::client_auth;
use crate::contain::contain;
use crate::lending::{Borrower, Methods};
use crate::refusal::{Form, Refusal};
use crate::reserved;
use crate::steps::forward::Outward;
use crate::steps::record::{self, Open};
use crate::steps::redact::Redacted;
use crate::steps::route::Asked;
use crate::steps::{authorize, decide, fill, forward, identify, inject, limit, redact, route};

/// Serves one request to `destination` for `session`; `open` is its record, which knows the destination already.
///
/// # Cancellation
/// The upstream request is given up, and the record closed with the reason.
pub(crate) async fn exchange(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    asked: Asked,
    mut open: Open,
) -> Response<Body> {
    open.asked(&asked.head.method, asked.head.target.path(), protocol_of(&asked));
    if reserved::is_reserved(destination) {
        return reserved::serve(core, session, asked, open);
    }
    let form = Form::for_client(asked.request.headers());
    let outcome = contain(pin!(attempt(core, session, destination, asked, &mut open))).await;
    record::close(open, outcome, form)
}

async fn attempt(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    asked: Asked,
    open: &mut Open,
) -> Result<Redacted, Refusal> {
    identify::still_live(session)?;
    open.takes(core.proxy.quotas.request(&session.id)?);
    let rules = decide::rules(&core.proxy, session)?;
    open.snapshot(rules.snapshot());
    let mut routed = route::route(destination, asked)?;
    let tool = session.tool();
    if let Some(call) = session.tool_call() {
        open.tool_call(&call);
    }
    let methods = Methods::of(&routed);
    let permit = authorize::authorize(&rules, destination, &routed, tool.as_deref(), open)?;
    open.permit(&permit);
    let asked = authorize::asked(&routed, tool);
    let standing = core.live.note(session, destination, asked, &permit, open.connection().clone());
    open.stands(standing.clone());
    let under = |refusal: Refusal| refusal.under(permit.rule(), permit.policy());
    open.admitted(limit::limit(core, session, &permit, &mut routed).await?);
    let borrower = Borrower { vault: &core.proxy.vault, session, destination, permit: &permit, methods: &methods };
    let armed = inject::inject(borrower, routed, &standing, open).map_err(under)?;
    let mut armed = fill::fill(core, borrower, armed, open).await.map_err(under)?;
    let part = redact::prepare(&core.proxy.vault, destination, &mut armed).map_err(under)?;
    standing.lend(&core.proxy, armed.lent.clone());
    identify::keep_count(core, session, &armed.lent).await?;
    open.stripped(armed.stripped.iter().cloned());
    if let Some(trailers) = &armed.trailers {
        open.trailers(trailers.removed());
    }
    let out = Outward { core, session, destination, permit: &permit, standing: &standing };
    // Addresses that are known refuse the request without a trace outside, so without an opening record.
    let mut way = forward::prepare(out, &armed, open)?;
    open.permitted().await?; // durable before a name is looked up or a byte leaves
    let reply = tokio::select! {
        biased;
        cut = standing.cut() => Err(cut.refusal()),
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
