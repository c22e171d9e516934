//! `http://egret.internal/`: the information that Egret offers to agents. It lists the session, the hosts it may reach, and
//! the names of its placeholders; never a value, never another session.

use model::Reason;
use model::reserved::check_reserved;
use serde_json::json;

use crate::context::Exchange;
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::rules;

/// The answer to one request to the reserved name; no traffic leaves the machine.
///
/// # Errors
/// `denied_self` for the control API, `denied_path`, `denied_method`, `policy_unavailable`.
pub(crate) fn document(exchange: Exchange<'_>, asked: &Asked) -> Result<Vec<u8>, Refusal> {
    let (core, session) = (exchange.core, exchange.session());
    let path = asked.head.target.path().map_or("", |path| path.as_sent());
    check_reserved(asked.head.method.as_str(), path).map_err(|(reason, detail)| Refusal::of(reason, detail))?;
    let rules = rules::in_force(&core.proxy, session)?;
    let placeholders: Vec<_> =
        session.grants.iter().map(|grant| json!({"credential": grant.credential.as_str(), "env": grant.env})).collect();
    let document = json!({
        "session": session.id.as_str(),
        "tenant": session.tenant.as_str(),
        "user": session.user.as_deref(),
        "agent": session.agent.as_deref(),
        "expires": session.expires.map(|end| end.to_string()),
        "policies": session.policies.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "documents": session.documents.iter().flat_map(|own| &own.policies).map(policies::name_in_session).collect::<Vec<_>>(),
        "reach": rules.reach().iter().map(reach).collect::<Vec<_>>(),
        "placeholders": placeholders,
    });
    let mut body = serde_json::to_vec_pretty(&document)
        .map_err(|_| Refusal::of(Reason::Internal, "the answer could not be written"))?;
    body.push(b'\n');
    Ok(body)
}

fn reach(line: &policies::ReachLine) -> serde_json::Value {
    let mut shown = json!({
        "policy": line.policy.as_str(),
        "rule": line.rule.as_str(),
        "scheme": line.scheme,
        "hosts": line.hosts,
        "ports": line.ports,
        "methods": line.methods,
        "paths": line.paths,
    });
    if let (true, Some(members)) = (line.asks, shown.as_object_mut()) {
        members.insert("needs".to_owned(), "approval".into());
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use vault::Kind;

    use super::*;
    use crate::testing::{Bench, Setup, VALUE};

    fn bench() -> Bench {
        let rules = [
            "{id: read, allow: {host: api.example.com, methods: [GET], path: /items/**}, use: [token]}",
            "{id: pay, ask: {host: pay.example.com}}",
            "{id: never, deny: {host: other.example.com}}",
        ];
        Setup::new(&rules).credential("token", Kind::bearer()).build()
    }

    async fn asked(bench: &Bench, line: &str) -> Result<Vec<u8>, Refusal> {
        let asked = bench.asked(&format!("{line} HTTP/1.1\r\nHost: egret.internal\r\n\r\n")).await;
        document(bench.exchange(), &asked)
    }

    #[tokio::test]
    async fn the_document_tells_the_session_what_it_may_reach_and_no_value() {
        let bench = bench();
        let bytes = asked(&bench, "GET /").await.unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.ends_with("}\n") && !text.contains(VALUE) && !text.contains("egret_ph_"), "{text}");
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(document["session"], bench.session.id.as_str());
        assert_eq!((&document["policies"], &document["documents"]), (&json!(["p"]), &json!([])));
        assert_eq!(document["placeholders"], json!([{"credential": "token", "env": null}]));
        assert_eq!(document["expires"], bench.session.expires.unwrap().to_string());
        let read = json!({
            "policy": "p", "rule": "read", "scheme": "https", "hosts": ["api.example.com"], "ports": [443],
            "methods": ["GET"], "paths": ["/items/**"],
        });
        let pay = json!({
            "policy": "p", "rule": "pay", "scheme": "https", "hosts": ["pay.example.com"], "ports": [443],
            "methods": [], "paths": [], "needs": "approval",
        });
        assert_eq!(document["reach"], json!([pay, read]));
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        let bench = bench();
        for (line, reason) in [
            ("GET /v1/sessions", Reason::DeniedSelf),
            ("POST /v1", Reason::DeniedSelf),
            ("GET /metrics", Reason::DeniedSelf),
            ("GET /v10", Reason::DeniedPath),
            ("GET /other", Reason::DeniedPath),
            ("POST /", Reason::DeniedMethod),
        ] {
            assert_eq!(asked(&bench, line).await.unwrap_err().reason(), reason, "{line}");
        }
        assert!(asked(&bench, "HEAD /").await.is_ok());
    }

    #[tokio::test]
    async fn a_session_whose_policies_cannot_be_used_learns_that() {
        let bench = bench();
        let text = "policy: another\nrules: []\n".to_owned();
        let source = policies::PolicySource { name: "another.yaml".to_owned(), text };
        bench.core.proxy.policies.replace(policies::compile(&[source]).unwrap());
        assert_eq!(asked(&bench, "GET /").await.unwrap_err().reason(), Reason::PolicyUnavailable);
    }
}
