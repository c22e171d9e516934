//! Step 7: may this request pass. The permit it gives is the key to the next step.

use model::{Destination, Reason};
use policies::{Permit, Question, Rules};

use crate::refusal::Refusal;
use crate::steps::route::Routed;

/// Asks the policy decision point about one request.
///
/// # Errors
/// The policies' reason, or `denied_upgrade` for a WebSocket, which no rule can allow yet.
pub(crate) fn authorize(rules: &Rules, destination: &Destination, routed: &Routed) -> Result<Permit, Refusal> {
    let permit = rules.authorize(&Question { destination, method: routed.method.as_str(), path: &routed.path })?;
    if routed.websocket {
        let refusal = Refusal::of(Reason::DeniedUpgrade, "no rule allows an upgrade of the connection here");
        return Err(refusal.under(permit.rule(), permit.policy()));
    }
    Ok(permit)
}
