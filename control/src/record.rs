//! Calls about audit records.

use std::sync::Arc;

use api::{List, RecordQuery};
use audit::{Decision, Filter, Kind, Row};
use axum::extract::State;
use model::SessionId;

use crate::problem::{Problem, Query};
use crate::{Control, blocking};

/// `GET /v1/records`: including everything in the journal by now.
pub(crate) async fn query(
    State(control): State<Arc<Control>>,
    Query(wanted): Query<RecordQuery>,
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

fn filter(wanted: RecordQuery) -> Result<Filter, Problem> {
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
