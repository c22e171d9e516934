//! Calls about the sidecar itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{CaDocument, Health, Status, UnusableSession};
use axum::extract::State;
use http::StatusCode;
use jiff::SignedDuration;
use model::{PolicyName, TenantId, Timestamp};
use sessions::Session;

use crate::Control;
use crate::credential::vault_view;
use crate::loader::named;
use crate::session::ca_view;

/// A credential that expires within this time causes a warning.
const SOON: SignedDuration = SignedDuration::from_hours(72);

/// `GET /healthz`: 200 if requests can pass, 503 if not; the document has the details.
pub(crate) async fn health(State(control): State<Arc<Control>>) -> (StatusCode, axum::Json<Health>) {
    let health = judge(&control);
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(health))
}

/// `GET /v1/status`
pub(crate) async fn status(State(control): State<Arc<Control>>) -> axum::Json<Status> {
    let now = clock::now();
    let live: Vec<_> = control.sessions.list().into_iter().filter(|session| session.is_live(now)).collect();
    let policies = control.policies.snapshot();
    axum::Json(Status {
        version: control.version.to_owned(),
        pid: std::process::id(),
        started: control.started,
        proxy: control.proxy.iter().map(ToString::to_string).collect(),
        listeners: control.start.listeners.clone(),
        deny_all: control.start.deny_all,
        data_dir: control.data_dir.display().to_string(),
        sessions: live.len(),
        session_states: states(&live, now),
        credentials: control.vault.status().credentials,
        vault: Some(vault_view(&control.vault)),
        snapshot: policies.digest().to_string(),
        policies: policies.names().map(PolicyName::to_string).collect(),
        warnings: warnings(&control, &live, now),
        last_record: control.journal.last_seq(),
        health: judge(&control),
    })
}

fn states(live: &[Arc<Session>], now: Timestamp) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for session in live {
        *states.entry(session.state(now).as_str().to_owned()).or_default() += 1;
    }
    states
}

/// The problems found at the start, and the current ones of rules, sessions and credentials.
fn warnings(control: &Control, live: &[Arc<Session>], now: Timestamp) -> Vec<String> {
    let mut warnings = control.start.warnings.clone();
    warnings.extend(control.misfits_in_force().iter().map(ToString::to_string));
    for session in live {
        if let Err(error) = control.policies.rules_for_session(session) {
            warnings.push(format!("requests of {} are refused (policy_unavailable): {error}", session.id));
        }
        if control.sessions.is_listener_missing(session, now) {
            warnings.push(format!(
                "the listener of {} could not be opened (see the log): its clients need proxy credentials, or a new session",
                session.id
            ));
        }
    }
    let soon = now.saturating_add(SOON).unwrap_or(now);
    let tenants: BTreeSet<_> = live.iter().map(|session| session.tenant.clone()).chain([TenantId::default()]).collect();
    for tenant in tenants {
        for held in control.vault.list(&tenant) {
            let Some(end) = held.spec.expires.filter(|end| *end <= soon) else { continue };
            let whose = if tenant == TenantId::default() { String::new() } else { format!(" of the tenant {tenant}") };
            let when = if end <= now { "has expired" } else { "expires soon" };
            warnings.push(format!("the credential {}{whose} {when} ({end}); put a new value", held.id));
        }
    }
    warnings
}

/// `GET /v1/ca`
pub(crate) async fn ca(State(control): State<Arc<Control>>) -> axum::Json<CaDocument> {
    axum::Json(CaDocument { files: ca_view(&control.ca, &control.ca.files), pem: control.ca.pem.clone() })
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
