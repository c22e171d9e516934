//! Calls about the sidecar itself.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use crate::Control;
use crate::loader::named;
use crate::session::ca_view;
use crate::wire::{CaDocument, Health, Status, UnusableSession};

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

/// How many sessions a health answer lists.
const MAX_LISTED: usize = 20;

/// Rejected policy files, and sessions whose policies cannot be used, are reported but do not make the sidecar unhealthy: the
/// older files stay in force, and a restart for the new ones would leave every session without rules.
fn judge(control: &Control) -> Health {
    let journal_writable = control.journal.is_writable();
    let unusable = control.policies.unusable(&control.sessions);
    Health {
        healthy: journal_writable,
        journal_writable,
        policies_rejected: control.policies.rejected(),
        sessions_unusable: unusable
            .into_iter()
            .take(MAX_LISTED)
            .map(|(session, error)| UnusableSession { session: named(&session), cause: error.to_string() })
            .collect(),
        // A sidecar whose vault is not open does not start.
        vault_open: true,
    }
}
