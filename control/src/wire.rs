//! The documents of the API: what goes in and what comes out. `cli` speaks these too.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/sessions`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionRequest {
    /// The isolation boundary; `default` where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The person on whose behalf it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Marks that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// Names of loaded policies.
    pub policies: Vec<String>,
    /// Observing policies that only a share of sessions gets beside their own.
    pub observe: Vec<Rollout>,
    /// Policy files of this session's own, loaded until it ends.
    pub documents: Vec<PolicyDocument>,
    /// Names of credentials.
    pub credentials: Vec<String>,
    /// Such as `1h`; 24 hours where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// A policy with `mode: observe` for a share of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The name of a loaded policy.
    pub policy: String,
    /// How many of a hundred sessions get it, 0 to 100. Whether one does depends on its id alone, and a session that
    /// gets it at one share gets it at every larger one.
    pub share: u8,
}

/// A policy file that travels with a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The file's name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A session as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// `ses_..`.
    pub id: String,
    /// `running`, `idle`, `rescheduling` or `terminated`.
    pub state: String,
    /// The isolation boundary.
    pub tenant: String,
    /// The person on whose behalf it works.
    pub user: Option<String>,
    /// The agent's name.
    pub agent: Option<String>,
    /// Marks that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// Judged together.
    pub policies: Vec<String>,
    /// Credentials it may use.
    pub credentials: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; `null` for the default session.
    pub expires: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A new session, with everything that is shown only once.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionCreated {
    /// The session.
    #[serde(flatten)]
    pub session: SessionView,
    /// The proxy password.
    pub token: String,
    /// The proxy's URL with id and token.
    pub proxy_url: String,
    /// The environment block for clients.
    pub env: BTreeMap<String, String>,
    /// Placeholders by credential.
    pub placeholders: BTreeMap<String, String>,
    /// Where the CA lies.
    pub ca: CaView,
}

/// The CA and where clients find it.
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
    /// Where it lies.
    #[serde(flatten)]
    pub files: CaView,
    /// The certificate itself.
    pub pem: String,
}

/// The query of `PUT /v1/vaults/default/credentials/{name}`; the body is the value, as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRequest {
    /// `bearer`, `basic`, `header` or `query`.
    pub kind: String,
    /// Hosts, separated by commas.
    pub audience: String,
    /// The header's name, for the kind `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What stands before the value in that header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_prefix: Option<String>,
    /// The parameter's name, for the kind `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The environment variable its placeholder is offered under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What clients expect before the placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How long the version before it is still redacted, such as `1h`; 10 minutes where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// The isolation boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// A credential as it is listed; never its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its kind, with the place it goes to.
    pub kind: String,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// The environment variable its placeholder is offered under.
    pub env: Option<String>,
    /// What its placeholders begin with.
    pub prefix: Option<String>,
    /// The version in use, from 1.
    pub version: u32,
    /// When that version was put.
    pub updated: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When its first value was put.
    pub created: Option<Timestamp>,
    /// Its versions, the oldest first and the one in use last.
    #[serde(default)]
    pub versions: Vec<VersionView>,
}

/// One version of a credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Sixteen hex digits that tell it from other versions, and nothing of what it is.
    pub fingerprint: String,
    /// When it was put.
    pub put: Timestamp,
    /// Until when it is still redacted, though it has a successor; `null` for the one in use.
    pub until: Option<Timestamp>,
}

/// The key of one tenant, as `POST /v1/vaults/default/rotate` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantKeyView {
    /// Whose it is; `egret:internal` has Egret's own values.
    pub tenant: String,
    /// Its number, from 1.
    pub key: u32,
}

/// `GET /v1/vaults/default`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaultView {
    /// Whether it is open; a sidecar whose vault is not does not start.
    pub open: bool,
    /// What it is locked with: `key file`, `passphrase` or `passphrase and key file`.
    pub key: String,
    /// How many credentials it holds, of all tenants.
    pub credentials: usize,
    /// How many times it was written.
    pub generation: u64,
}

/// `GET /v1/policies`, and the answer to a reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoliciesView {
    /// The digest of the set in force.
    pub snapshot: String,
    /// Its policies.
    pub policies: Vec<String>,
    /// Why the files as they are now were not taken, if so.
    pub rejected: Option<String>,
}

/// `GET /healthz`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Whether requests can pass.
    pub healthy: bool,
    /// Whether records can be written; without it nothing passes.
    pub journal_writable: bool,
    /// Why the policy files as they are now were not taken, if so; the older ones stay in force.
    pub policies_rejected: Option<String>,
    /// Whether the vault is open.
    pub vault_open: bool,
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
    /// Where the proxy listens.
    pub proxy: Vec<String>,
    /// The data folder.
    pub data_dir: String,
    /// Live sessions.
    pub sessions: usize,
    /// Credentials of all tenants.
    pub credentials: usize,
    /// The digest of the policies in force.
    pub snapshot: String,
    /// The newest record's number.
    pub last_record: u64,
    /// As `/healthz` says.
    pub health: Health,
}

/// A list with a name, so that it can grow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The things.
    pub items: Vec<T>,
}
