//! Calls about the sidecar itself.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use crate::Control;
use crate::session::ca_view;
use crate::wire::{CaDocument, Health, Status};

/// `GET /healthz`: 200 where requests can pass, 503 where not; the document says more.
pub(crate) async fn health(State(control): State<Arc<Control>>) -> (StatusCode, axum::Json<Health>) {
    let health = judge(&control);
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(health))
}

/// `GET /v1/status`
pub(crate) async fn status(State(control): State<Arc<Control>>) -> axum::Json<Status> {
    let now = clock::now();
    axum::Json(Status {
        version: control.version.to_owned(),
        pid: std::process::id(),
        started: control.started,
        proxy: control.proxy.iter().map(ToString::to_string).collect(),
        data_dir: control.data_dir.display().to_string(),
        sessions: control.sessions.list().iter().filter(|session| session.is_live(now)).count(),
        credentials: control.vault.status().credentials,
        snapshot: control.policies.snapshot().digest().to_string(),
        last_record: control.journal.last_seq(),
        health: judge(&control),
    })
}

/// `GET /v1/ca`
pub(crate) async fn ca(State(control): State<Arc<Control>>) -> axum::Json<CaDocument> {
    axum::Json(CaDocument { files: ca_view(&control.ca), pem: control.ca.pem.clone() })
}

/// Policy files that were not taken are told but make nothing sick: the ones before stay in force,
/// and whoever restarted the sidecar for them would have none.
fn judge(control: &Control) -> Health {
    let journal_writable = control.journal.is_writable();
    Health {
        healthy: journal_writable,
        journal_writable,
        policies_rejected: control.policies.rejected(),
        // A sidecar whose vault is not open does not start.
        vault_open: true,
    }
}
