//! Begin and end marks of tool calls, set by the agent runtime. Rules may select by the active tool, and the records of
//! exchanges name it.

use std::sync::Arc;

use api::{ToolCallRequest, ToolCallView};
use audit::{Kind, Record};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::{SessionId, Timestamp};
use sessions::{MAX_OPEN_CALLS, Registry, Session, ToolCall};

use crate::problem::Problem;
use crate::session::{about, unknown};
use crate::{Control, blocking};

/// The longest id or name, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// `POST /v1/sessions/{id}/tool_calls`
pub(crate) async fn begin(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    crate::problem::Json(body): crate::problem::Json<ToolCallRequest>,
) -> Result<(StatusCode, Json<ToolCallView>), Problem> {
    control.recording()?;
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    if !fits(&body.tool) || body.id.as_deref().is_some_and(|id| !fits(id)) {
        let detail = format!("`tool` and `id` have 1 to {MAX_TEXT_BYTES} bytes without control characters");
        return Err(Problem::invalid(detail));
    }
    let session = live(&control, &id)?;
    let drawn = || format!("call_{}", Registry::draw_id(Timestamp::now()).as_str().trim_start_matches("ses_"));
    let call = ToolCall { id: body.id.unwrap_or_else(drawn).into(), tool: body.tool.into() };
    if !session.begin_tool_call(call.clone()) {
        let detail = format!("the tool call {:?} is open already, or {MAX_OPEN_CALLS} others are", call.id);
        return Err(Problem::conflict(detail));
    }
    let view = view(&session, &call);
    note(control, session, call, Kind::ToolCallBegun).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// `POST /v1/sessions/{id}/tool_calls/{call}/end`
pub(crate) async fn end(
    State(control): State<Arc<Control>>,
    Path((id, call)): Path<(String, String)>,
) -> Result<Json<ToolCallView>, Problem> {
    control.recording()?;
    let session = live(&control, &id)?;
    let Some(call) = session.end_tool_call(&call) else {
        return Err(Problem::not_found(format!("the session has no open tool call {call:?}")));
    };
    let view = view(&session, &call);
    note(control, session, call, Kind::ToolCallEnded).await?;
    Ok(Json(view))
}

fn live(control: &Control, id: &str) -> Result<Arc<Session>, Problem> {
    let session = control.sessions.get(&SessionId::new(id)).ok_or_else(|| unknown(id))?;
    if session.is_live(clock::now()) { Ok(session) } else { Err(Problem::conflict("the session is over".to_owned())) }
}

async fn note(control: Arc<Control>, session: Arc<Session>, call: ToolCall, kind: Kind) -> Result<(), Problem> {
    blocking(move || {
        let record = Record { tool_call: Some(call.id), tool: Some(call.tool), ..about(&session, kind) };
        control.journal.append(record);
        control.journal.flush();
    })
    .await
}

fn view(session: &Session, call: &ToolCall) -> ToolCallView {
    ToolCallView { id: call.id.to_string(), session: session.id.to_string(), tool: call.tool.to_string() }
}
