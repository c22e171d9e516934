//! Step 7: may this request pass. The permit it gives is the key to the next step.

use std::sync::Arc;

use model::Reason;
use policies::{Permit, Question, Rules};

use crate::active::Asked;
use crate::context::Exchange;
use crate::refusal::Refusal;
use crate::request::Routed;
use crate::share;
use crate::trail::Trail;

/// What a request that was authorized is judged by again while it is under way.
pub(crate) fn asked(routed: &Routed) -> Asked {
    let tool = routed.tool.clone();
    Asked::Request { method: routed.method.clone(), path: routed.path.clone(), websocket: routed.websocket, tool }
}

/// Asks the policy decision point about one request.
///
/// # Errors
/// The policies' reason, or `denied_upgrade` for a WebSocket, which is not relayed yet even where a rule allows it.
pub(crate) fn authorize(
    exchange: Exchange<'_>,
    rules: &Arc<Rules>,
    routed: &Routed,
    open: &mut Trail,
) -> Result<Permit, Refusal> {
    let question = Question {
        destination: exchange.destination,
        method: routed.method.as_str(),
        path: &routed.path,
        websocket: routed.websocket,
        tool: routed.tool.as_deref(),
        now: share::judging_time(),
    };
    if rules.has_observers() {
        open.would_deny(&rules.would_deny(&question));
    }
    let permit = rules.authorize(&question)?;
    if routed.websocket {
        let refusal =
            Refusal::of(Reason::DeniedUpgrade, "a rule allows the WebSocket, but this version does not relay upgrades");
        return Err(refusal.under(permit.rule(), permit.policy()));
    }
    Ok(permit)
}
