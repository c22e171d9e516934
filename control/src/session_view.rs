//! Calls about the rules of a session: its own documents, and the answer to a hypothetical request.

use std::sync::Arc;

use api::{ExplainRequest, Explained, List, PolicyDocument};
use axum::extract::{Path, State};
use model::reserved::{check_reserved, is_below_reserved, is_reserved};
use model::{CredentialId, Endpoint, Reason, SessionId, Timestamp, check_method};
use policies::{GrantState, Grants, Question, Verdict};
use sessions::{Session, Withheld};

use crate::problem::{Json, Problem};
use crate::session::unknown;
use crate::{Control, blocking};

type Shared = State<Arc<Control>>;

/// `GET /v1/sessions/{id}/documents`
pub(crate) async fn documents(
    State(control): Shared,
    Path(id): Path<String>,
) -> Result<axum::Json<List<PolicyDocument>>, Problem> {
    let session = control.sessions.get(&SessionId::new(id.as_str())).ok_or_else(|| unknown(&id))?;
    if session.documents.is_none() {
        return Ok(axum::Json(List { items: Vec::new() }));
    }
    let loaded = blocking(move || control.policies.documents.load(&session.id)).await?;
    let items = loaded.map_err(|_| Problem::not_found("the documents of the session are not there any more"))?;
    Ok(axum::Json(List { items }))
}

/// `POST /v1/sessions/{id}/explain`: judged by the same function as its requests, with all policies in force for it.
pub(crate) async fn explain(
    State(control): Shared,
    Path(id): Path<String>,
    Json(request): Json<ExplainRequest>,
) -> Result<axum::Json<Explained>, Problem> {
    let session = control.sessions.get(&SessionId::new(id.as_str())).ok_or_else(|| unknown(&id))?;
    let (destination, path) = policies::read_url(&request.url).map_err(Problem::invalid)?;
    let rules = control.policies.rules_for_session(&session).map_err(|error| Problem::policy(error.to_string()))?;
    let around = control.around(&session.tenant, &rules);
    let question = Question {
        destination: &destination,
        method: &request.method,
        path: &path,
        websocket: request.websocket,
        tool: request.tool.as_deref(),
        now: request.at.unwrap_or_else(clock::now),
    };
    let grants = grants(&control, &session, &question);
    let explanation = rules.explain(&question).with_misfits(&rules, &around);
    let explanation = match (every_request(&control, &session, question.now), before_rules(&control, &question)) {
        // What the rules would decide is still of interest.
        (Some((reason, detail)), _) => explanation.refuse(reason, detail),
        (None, Err((reason, detail))) => explanation.outside_rules().refuse(reason, detail),
        (None, Ok(true)) => explanation.outside_rules().answered("Egret itself answers, with its document for agents"),
        (None, Ok(false)) => {
            explanation.with_grants(&question, &around, &grants).with_address(&rules, &question, &around)
        }
    };
    let passes = match explanation.decision.verdict {
        Verdict::Allow | Verdict::Observe => true,
        Verdict::Ask | Verdict::Deny => false,
    };
    let (text, explanation) = (explanation.to_string(), explanation.to_json());
    Ok(axum::Json(Explained { passes, explanation, text }))
}

/// The reason that refuses every request of the session before its rules are evaluated.
fn every_request(control: &Control, session: &Session, now: Timestamp) -> Option<(Reason, &'static str)> {
    if !session.is_live(now) {
        return Some((Reason::SessionInvalid, "the session has ended"));
    }
    control.start.deny_all.then_some((Reason::DeniedAll, "the operator has stopped all requests"))
}

/// Whether Egret itself answers the request.
///
/// # Errors
/// Why the proxy refuses it before it evaluates rules, in the order of the data path.
fn before_rules(control: &Control, question: &Question<'_>) -> Result<bool, (Reason, String)> {
    let refused = |reason, detail: &str| Err((reason, detail.to_owned()));
    let (Question { destination, method, path, .. }, bounds) = (question, &control.requests);
    if is_below_reserved(destination.host()) {
        return refused(Reason::DeniedSelf, "there are no names below egret.internal");
    }
    if (bounds.is_listener)(&Endpoint { host: destination.host().clone(), port: destination.port() }) {
        return refused(Reason::DeniedSelf, "the destination is a listener of Egret");
    }
    if let Err(error) = check_method(method) {
        return Err((Reason::Malformed, error.to_string()));
    }
    if path.target().len() > bounds.max_target_bytes {
        return refused(Reason::UriTooLong, "the request target is too long");
    }
    if !is_reserved(destination.host()) {
        return Ok(false);
    }
    check_reserved(method, path.as_sent()).map(|()| true).map_err(|(reason, detail)| (reason, detail.to_owned()))
}

/// The effect on the session's credentials for a request. A named tool call counts as an open one.
fn grants(control: &Control, session: &Session, question: &Question<'_>) -> Grants {
    let overrides = question.path.query().map(model::method_overrides).unwrap_or_default();
    let methods = || std::iter::once(question.method).chain(overrides.iter().map(String::as_str));
    let has_expired = |id: &CredentialId| {
        let expires = control.vault.shape(&session.tenant, id).and_then(|shape| shape.expires());
        expires.is_some_and(|expires| expires <= question.now)
    };
    let state = |id: &CredentialId| {
        let unavailable = Reason::CredentialUnavailable;
        let (code, why) = match methods().try_for_each(|method| session.check_use(id, method, question.now)) {
            Err(Withheld::NoToolCall) if question.tool.is_some() => return GrantState::Usable,
            Ok(()) if has_expired(id) => return GrantState::Expired,
            Ok(()) => return GrantState::Usable,
            Err(Withheld::Method) => return GrantState::OtherMethod,
            Err(Withheld::Exhausted) => (Reason::BudgetExhausted, "it went on as many requests as the grant allows"),
            Err(Withheld::Expired) => (unavailable, "the time of the grant is over"),
            Err(Withheld::NoToolCall) => (unavailable, "it is granted for tool calls, and no single one is open"),
            Err(Withheld::NotGranted) => (unavailable, "it was taken away from the session"),
        };
        GrantState::Refused(code, why.to_owned())
    };
    let granted = session.grants.iter().map(|grant| &grant.credential).filter(|id| session.grants(id));
    Grants {
        is_running: session.is_running(question.now),
        credentials: granted.map(|id| (id.clone(), state(id))).collect(),
    }
}
