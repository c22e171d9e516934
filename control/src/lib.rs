//! The control API: sessions, credentials, policies and records, over the unix socket in the data folder.
//!
//! It can replace or revoke a secret but never read one. It is never on the request line, and the proxy refuses to
//! forward a request to it.

pub mod change;
mod credential;
mod guard;
pub mod import;
mod load_error;
mod loader;
mod path_text;
mod policy;
mod policy_files;
mod problem;
mod record;
mod scan;
mod session;
mod session_documents;
mod session_view;
mod span;
mod state;
mod surroundings;
mod tool_call;
mod uses;
mod vault_file;

pub mod env;
pub mod trust;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use audit::{Index, Journal, Kind, Record};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use model::{Endpoint, Reason, Timestamp};
use sessions::Registry;
use vault::Vault;

use crate::problem::Problem;
use crate::trust::TrustFiles;

pub use crate::guard::{Gate, Peer, Stream};
pub use crate::load_error::LoadError;
pub use crate::loader::Loader;
pub use crate::path_text::shown;
pub use crate::policy_files::{files_of, read_library, read_path};
pub use crate::session::{session_record, void_tokens};
pub use crate::span::{parse_span, print_span};

const MAX_BODY_BYTES: usize = 1 << 20;
/// The size of the largest vault.
const MAX_BACKUP_BYTES: usize = ::vault::store::MAX_FILE_BYTES as usize;

/// The dependencies of the API.
pub struct Control {
    /// All sessions.
    pub sessions: Arc<Registry>,
    /// The vault.
    pub vault: Arc<Vault>,
    /// The policies, and their sources.
    pub policies: Arc<Loader>,
    /// The journal for changes.
    pub journal: Journal,
    /// The reader for queries of records.
    pub index: Arc<Index>,
    /// Fixed addresses of names (`upstream.resolve`).
    pub resolve: BTreeMap<String, IpAddr>,
    /// The CA that clients trust.
    pub ca: CaFacts,
    /// The TCP addresses of the proxy; new sessions get the first.
    pub proxy: Vec<SocketAddr>,
    /// The bounds of requests that an explanation names.
    pub requests: RequestBounds,
    /// How the sidecar was started.
    pub start: Start,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The version of Egret.
    pub version: &'static str,
    /// When the process started.
    pub started: Timestamp,
}

/// What the proxy refuses before it evaluates rules.
pub struct RequestBounds {
    /// The longest request target, in bytes.
    pub max_target_bytes: usize,
    /// Whether an endpoint is a listener of the proxy itself, as far as this is possible without a lookup.
    pub is_listener: Box<dyn Fn(&Endpoint) -> bool + Send + Sync>,
}

/// How the sidecar was started, for `/v1/status`.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Every listener, as text.
    pub listeners: Vec<String>,
    /// Whether it refuses every request.
    pub deny_all: bool,
    /// A sentence for each setting in its configuration or environment that is unsafe or without effect.
    pub warnings: Vec<String>,
}

/// The public side of the CA.
pub struct CaFacts {
    /// The certificate, PEM.
    pub pem: String,
    /// Its SHA-256, hex.
    pub fingerprint: String,
    /// Its path for clients.
    pub files: TrustFiles,
}

/// Serves the API until `shutdown` resolves; active calls are finished.
///
/// # Errors
/// When the listener fails for good.
///
/// # Cancellation
/// Dropping the future drops every connection.
pub async fn serve(
    gate: Gate,
    control: Arc<Control>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    for session in control.sessions.list() {
        session::watch(&control, session);
    }
    let service = router(control).into_make_service_with_connect_info::<Peer>();
    axum::serve(gate, service).with_graceful_shutdown(shutdown).await
}

fn router(control: Arc<Control>) -> Router {
    let credentials = "/v1/vaults/default/credentials";
    Router::new()
        .route("/healthz", get(state::health))
        .route("/v1/status", get(state::status))
        .route("/v1/ca", get(state::ca))
        .route("/v1/sessions", get(session::list).post(session::create))
        .route("/v1/sessions/end", post(session::end_all))
        .route("/v1/sessions/{id}", get(session::show).delete(session::end))
        .route("/v1/sessions/{id}/documents", get(session_view::documents))
        .route("/v1/sessions/{id}/explain", post(session_view::explain))
        .route("/v1/sessions/{id}/end", post(session::end))
        .route("/v1/sessions/{id}/state", put(session::set_state))
        .route("/v1/sessions/{id}/token", post(session::renew_token))
        .route("/v1/sessions/{id}/credentials/{name}", delete(session::revoke))
        .route("/v1/sessions/{id}/tool_calls", post(tool_call::begin))
        .route("/v1/sessions/{id}/tool_calls/{call}/end", post(tool_call::end))
        .route("/v1/vaults/default", get(credential::status))
        .route("/v1/vaults/default/scan", post(scan::scan))
        .route("/v1/vaults/default/rotate", post(vault_file::rotate))
        .route("/v1/vaults/default/key", put(vault_file::rekey))
        .route(
            "/v1/vaults/default/backup",
            get(vault_file::backup).put(vault_file::restore).layer(DefaultBodyLimit::max(MAX_BACKUP_BYTES)),
        )
        .route(
            credentials,
            get(credential::list).post(import::import).layer(DefaultBodyLimit::max(import::MAX_DOCUMENT_BYTES)),
        )
        .route(
            &format!("{credentials}/{{name}}"),
            get(credential::show).put(credential::put).delete(credential::remove),
        )
        .route("/v1/policies", get(policy::list))
        .route("/v1/policies/reload", post(policy::reload))
        .route("/v1/records", get(record::query))
        .fallback(|| async { Problem::of_status(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { Problem::of_status(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(control.clone(), guard::guard))
        .with_state(control)
}

impl Control {
    /// No change is made that cannot be recorded.
    pub(crate) fn recording(&self) -> Result<(), Problem> {
        if self.journal.is_writable() { Ok(()) } else { Err(Problem::audit_unavailable()) }
    }

    pub(crate) fn record_denied(&self, why: &'static str) {
        let code = Some(Reason::ControlDenied);
        self.journal.append(Record { code, detail: Some(why.into()), ..Record::new(Kind::ControlDenied) });
    }
}

/// Runs blocking disk work outside of the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
}

#[cfg(test)]
mod tests;
