//! Calls about audit records.

use std::sync::Arc;

use api::List;
use audit::{Decision, Filter, Kind, Row};
use axum::extract::State;
use model::{SessionId, Timestamp};
use serde::Deserialize;

use crate::problem::{Problem, Query};
use crate::{Control, blocking};

/// The query of `GET /v1/records`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    session: Option<String>,
    host: Option<String>,
    decision: Option<String>,
    code: Option<String>,
    kind: Option<String>,
    method: Option<String>,
    credential: Option<String>,
    id: Option<String>,
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /v1/records`: with everything that is in the journal by now.
pub(crate) async fn query(
    State(control): State<Arc<Control>>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<List<Row>>, Problem> {
    let filter = filter(wanted)?;
    let rows = blocking(move || {
        control.journal.flush();
        control.index.catch_up()?;
        control.index.query(&filter)
    });
    let rows = rows.await?.map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(List { items: rows }))
}

fn filter(wanted: Wanted) -> Result<Filter, Problem> {
    let decision = wanted.decision.map(|word| {
        let known = "decision is one of allow, deny, ask and observe";
        Decision::from_word(&word).ok_or_else(|| Problem::invalid(known))
    });
    let kind = wanted.kind.map(|word| {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        Kind::from_word(&word).ok_or_else(|| Problem::invalid(format!("kind is one of {}", known.join(", "))))
    });
    Ok(Filter {
        since: wanted.since,
        until: wanted.until,
        session: wanted.session.map(SessionId::new),
        host: wanted.host,
        decision: decision.transpose()?,
        code: wanted.code,
        kind: kind.transpose()?,
        method: wanted.method,
        credential: wanted.credential,
        id: wanted.id,
        after: wanted.after,
        before: wanted.before,
        limit: wanted.limit.unwrap_or(Filter::default().limit),
    })
}
