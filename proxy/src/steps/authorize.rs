//! Step 7: whether this request may pass. The next step requires the permit of this one.

use std::sync::Arc;

use model::Reason;
use policies::{Permit, Question, Rules};

use crate::active::Asked;
use crate::context::Exchange;
use crate::refusal::Refusal;
use crate::request::Routed;
use crate::share;
use crate::trail::Trail;

/// The input for re-evaluating an authorized request while it is in progress.
pub(crate) fn asked(routed: &Routed) -> Asked {
    let tool = routed.tool.clone();
    Asked::Request { method: routed.method.clone(), path: routed.path.clone(), websocket: routed.websocket, tool }
}

/// Asks the policy decision point about one request.
///
/// # Errors
/// The policies' reason, or `denied_upgrade` for a WebSocket, which is not relayed yet even if a rule allows it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::route::route;
    use crate::testing::Bench;

    const HEAD: &str = "Host: api.example.com\r\n\r\n";

    /// The outcome of one request, with its rule or the code of its refusal.
    async fn authorized(bench: &Bench, line: &str) -> Result<Permit, Refusal> {
        let asked = bench.asked(&format!("{line} HTTP/1.1\r\n{HEAD}")).await;
        let routed = route(bench.exchange(), asked).unwrap();
        authorize(bench.exchange(), &bench.rules(), &routed, &mut bench.trail())
    }

    #[tokio::test]
    async fn a_request_passes_under_its_rule_alone() {
        let bench = Bench::new(&[
            "{id: read, allow: {host: api.example.com, methods: [GET], path: /items/**}, use: [token]}",
            "{id: never, deny: {host: api.example.com, methods: [DELETE]}}",
        ]);
        let permit = authorized(&bench, "GET /items/1").await.unwrap();
        assert_eq!(permit.rule().unwrap().as_str(), "read");
        assert_eq!(permit.policy().as_str(), "p");
        assert_eq!(permit.credentials(), ["token".into()]);
        let denied = authorized(&bench, "DELETE /items/1").await.unwrap_err();
        assert_eq!((denied.reason(), denied.rule().unwrap().as_str()), (Reason::DeniedMethod, "never"));
        let unmatched = authorized(&bench, "GET /other").await.unwrap_err();
        assert_eq!((unmatched.reason(), unmatched.rule()), (Reason::DeniedPath, None));
    }

    #[tokio::test]
    async fn a_rule_whose_end_has_passed_allows_nothing() {
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com}, until: 2020-01-01}"]);
        assert_eq!(authorized(&bench, "GET /").await.unwrap_err().reason(), Reason::DeniedHost);
    }

    #[tokio::test]
    async fn a_websocket_that_a_rule_allows_is_not_relayed_yet() {
        let bench = Bench::new(&["{id: ws, allow: {host: api.example.com, upgrade: websocket}}"]);
        let upgrade = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nHost: api.example.com\r\n\r\n";
        let routed = route(bench.exchange(), bench.asked(upgrade).await).unwrap();
        let refusal = authorize(bench.exchange(), &bench.rules(), &routed, &mut bench.trail()).unwrap_err();
        assert_eq!((refusal.reason(), refusal.rule().unwrap().as_str()), (Reason::DeniedUpgrade, "ws"));
        let asked = asked(&routed);
        assert!(matches!(asked, Asked::Request { websocket: true, tool: None, .. }));
    }

    #[tokio::test]
    async fn a_rule_for_a_tool_needs_the_tool() {
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com, tool: fetch}}"]);
        assert_eq!(authorized(&bench, "GET /").await.unwrap_err().reason(), Reason::DeniedTool);
        assert!(bench.session.begin_tool_call(sessions::ToolCall { id: "c".into(), tool: "fetch".into() }));
        assert_eq!(authorized(&bench, "GET /").await.unwrap().rule().unwrap().as_str(), "r");
    }
}
