//! `http://egret.internal/`: what an agent may ask Egret itself. It tells the session, what it may reach, and the names of its
//! placeholders; never a value, never another session.

use http::Method;
use model::{Host, Reason};
use serde_json::json;

use crate::context::Exchange;
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::rules;

const NAME: &str = "egret.internal";

/// What the control API serves: asking for it through the proxy is asking for what only people may know.
const CONTROL: [&str; 5] = ["/v1", "/healthz", "/readyz", "/metrics", "/openapi.json"];

/// Whether the host is a name below the reserved one, of which there are none.
pub(crate) fn is_below(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    name.strip_suffix(NAME).is_some_and(|front| front.ends_with('.'))
}

/// Whether Egret itself answers for this host.
pub(crate) fn is_reserved(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.as_ref() == NAME)
}

/// The answer to one request to the reserved name; nothing leaves the machine.
///
/// # Errors
/// `denied_self` for the control API, `denied_path`, `denied_method`, `policy_unavailable`.
pub(crate) fn document(exchange: Exchange<'_>, asked: &Asked) -> Result<Vec<u8>, Refusal> {
    let (core, session) = (exchange.core, exchange.session());
    let path = asked.head.target.path().map_or("", |path| path.as_sent());
    let is_in = |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if CONTROL.iter().any(|own| is_in(own)) {
        return Err(Refusal::of(Reason::DeniedSelf, "the control API cannot be reached through the proxy"));
    }
    if path != "/" {
        return Err(Refusal::of(Reason::DeniedPath, "egret.internal serves only the path /"));
    }
    if asked.head.method != Method::GET && asked.head.method != Method::HEAD {
        return Err(Refusal::of(Reason::DeniedMethod, "egret.internal serves only GET and HEAD"));
    }
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
