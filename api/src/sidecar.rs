//! Calls about the sidecar: its state, its policies, its CA.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::vault::VaultView;

/// The CA and its paths for clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaView {
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// Our CA alone, PEM.
    pub certificate: String,
    /// The system's roots and our CA, PEM.
    pub bundle: String,
    /// The same as a Java trust store.
    pub truststore: String,
}

/// `GET /v1/ca`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaDocument {
    /// Its paths.
    #[serde(flatten)]
    pub files: CaView,
    /// The certificate itself.
    pub pem: String,
}

/// `GET /v1/policies`, and the answer to a reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoliciesView {
    /// The digest of the set in force.
    pub snapshot: String,
    /// Its policies.
    pub policies: Vec<String>,
    /// Why the files, as last read, were rejected, if they were.
    pub rejected: Option<String>,
    /// Rules that do not match the vault or `upstream.resolve`. They are in force, and requests are sent without a credential or
    /// are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `GET /healthz`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Whether requests can pass.
    pub healthy: bool,
    /// Whether records can be written; without them no request passes.
    pub journal_writable: bool,
    /// Why the policy files, as last read, were rejected, if they were; the older ones stay in force.
    pub policies_rejected: Option<String>,
    /// Live sessions whose requests are refused as `policy_unavailable`, and why; the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions_unusable: Vec<UnusableSession>,
    /// Whether the vault is open.
    pub vault_open: bool,
}

/// A live session whose policies cannot be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnusableSession {
    /// `session ses_..`, or `sessions.default` in backquotes.
    pub session: String,
    /// The cause, with its rules or policy.
    pub cause: String,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of Egret.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The TCP addresses of the proxy.
    pub proxy: Vec<String>,
    /// Every listener: an address, `https://address` if clients use TLS to it, or `unix:path`.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Whether every request is refused (`serve --deny-all`).
    #[serde(default)]
    pub deny_all: bool,
    /// The data folder.
    pub data_dir: String,
    /// Live sessions.
    pub sessions: usize,
    /// Live sessions by state.
    #[serde(default)]
    pub session_states: BTreeMap<String, usize>,
    /// Credentials of all tenants.
    pub credentials: usize,
    /// The vault.
    #[serde(default)]
    pub vault: Option<VaultView>,
    /// The digest of the policies in force.
    pub snapshot: String,
    /// The policies in force.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A sentence for each problem that needs attention; none of them blocks requests.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The newest record's number.
    pub last_record: u64,
    /// As in `/healthz`.
    pub health: Health,
}
