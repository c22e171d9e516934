//! Step 7: may this request pass. The permit it gives is the key to the next step.

use std::sync::Arc;

use model::{Destination, Reason, Timestamp};
use policies::{Permit, Question, Rules};

use crate::live::Asked;
use crate::refusal::Refusal;
use crate::steps::route::Routed;

/// What a request that was authorized is judged by again while it is under way.
pub(crate) fn asked(routed: &Routed) -> Asked {
    Asked::Request { method: routed.method.clone(), path: routed.path.clone(), websocket: routed.websocket, tool: None }
}

/// Asks the policy decision point about one request.
///
/// # Errors
/// The policies' reason, or `denied_upgrade` for a WebSocket, which no rule can allow yet.
pub(crate) fn authorize(rules: &Arc<Rules>, destination: &Destination, routed: &Routed) -> Result<Permit, Refusal> {
    let permit = rules.authorize(&Question {
        destination,
        method: routed.method.as_str(),
        path: &routed.path,
        websocket: routed.websocket,
        tool: None,
        now: Timestamp::now(),
    })?;
    if routed.websocket {
        let refusal = Refusal::of(Reason::DeniedUpgrade, "no rule allows an upgrade of the connection here");
        return Err(refusal.under(permit.rule(), permit.policy()));
    }
    Ok(permit)
}
