//! Calls about what judges a session: its own documents, and what a request of it would be answered.

use std::sync::Arc;

use axum::extract::{Path, State};
use model::SessionId;
use policies::{Question, Verdict};

use crate::problem::{Json, Problem};
use crate::session::unknown;
use crate::wire::{ExplainRequest, Explained, List, PolicyDocument};
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

/// `POST /v1/sessions/{id}/explain`: judged by the same function as its requests, with everything that is in force for it.
pub(crate) async fn explain(
    State(control): Shared,
    Path(id): Path<String>,
    Json(request): Json<ExplainRequest>,
) -> Result<axum::Json<Explained>, Problem> {
    let session = control.sessions.get(&SessionId::new(id.as_str())).ok_or_else(|| unknown(&id))?;
    let (destination, path) = policies::read_url(&request.url).map_err(Problem::invalid)?;
    let rules = control.policies.rules_of(&session).map_err(|error| Problem::policy(error.to_string()))?;
    let around = control.around(&session.tenant, &rules);
    let explanation = rules.explain(&Question {
        destination: &destination,
        method: &request.method,
        path: &path,
        websocket: request.websocket,
        tool: request.tool.as_deref(),
        now: request.at.unwrap_or_else(clock::now),
    });
    let explanation = explanation.with_misfits(&rules, &around);
    let passes = match explanation.decision.verdict {
        Verdict::Allow | Verdict::Observe => true,
        Verdict::Ask | Verdict::Deny => false,
    };
    let (text, explanation) = (explanation.to_string(), explanation.to_json());
    Ok(axum::Json(Explained { passes, explanation, text }))
}
