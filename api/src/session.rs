//! Calls about sessions.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bounds::{GrantDocument, GrantView, LimitsDocument, names_or_grants};
use crate::sidecar::CaView;

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
    /// Policy documents of this session's own: in force for it alone, until it ends.
    pub documents: Vec<PolicyDocument>,
    /// Credentials that it may use: names, or grants with bounds.
    #[serde(deserialize_with = "names_or_grants")]
    pub credentials: Vec<GrantDocument>,
    /// What all its requests together may take.
    #[serde(skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
    /// Such as `1h`; 24 hours where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Where the sandbox sees the folder `trust/`, if not at its own path; the environment names files there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<String>,
    /// Whether it gets a listener of its own: a unix socket whose clients belong to it without proxy credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub listen: bool,
    /// The user whose processes are its clients, such as `uid:1000`: on its listener, or without one on the unix sockets of
    /// `listen.proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
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
    /// Judged together: the loaded policies that it names, and those that it brought.
    pub policies: Vec<String>,
    /// Of these, the ones that it brought.
    #[serde(default)]
    pub documents: Vec<String>,
    /// What judges it now; only where one session is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewDocument>,
    /// Credentials it may use.
    pub credentials: Vec<String>,
    /// The same with what bounds their use, and how much of that is used up.
    #[serde(default)]
    pub grants: Vec<GrantView>,
    /// What all its requests together may take.
    #[serde(default, skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
    /// The bytes that count against `bytes_out` of `limits` so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// The socket of its listener, while that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The user whose processes are its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; `null` for the default session.
    pub expires: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// What judges a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewDocument {
    /// The digest of what judges it, as in the records of its exchanges.
    pub snapshot: Option<String>,
    /// Why its requests are refused as `policy_unavailable`, if so.
    pub unusable: Option<String>,
}

/// `POST /v1/sessions/{id}/explain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainRequest {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// The tool call that it belongs to, by the tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
    /// When it is asked; now where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What a request of a session is answered, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// Whether it passes.
    pub passes: bool,
    /// The explanation as `egret policy explain --format json` prints it.
    pub explanation: serde_json::Value,
    /// The same for people.
    pub text: String,
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
    /// What probably does not work as it was meant: rules that do not fit the vault or `upstream.resolve`, and credentials that
    /// no rule uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Another token for a session, which is shown only once.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionToken {
    /// The session's id.
    pub id: String,
    /// The proxy password.
    pub token: String,
    /// The proxy's URL with id and token.
    pub proxy_url: String,
    /// The environment block for clients, without placeholders: those that the session has stay valid.
    pub env: BTreeMap<String, String>,
}

/// The query of `POST /v1/sessions/{id}/token`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenQuery {
    /// Where the sandbox sees the folder `trust/`, if not at its own path.
    pub ca_path: Option<String>,
}

/// The body of `PUT /v1/sessions/{id}/state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// `running`, `idle`, `rescheduling` or `terminated`.
    pub state: String,
}

/// The body of `POST /v1/sessions/end`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Ends only the sessions to which this credential was granted, even if the grant was revoked later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The body of `POST /v1/sessions/{id}/tool_calls`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCallRequest {
    /// What the runtime calls it; drawn where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool's name.
    pub tool: String,
}

/// A tool call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolCallView {
    /// What the runtime calls it.
    pub id: String,
    /// The session's id.
    pub session: String,
    /// The tool's name.
    pub tool: String,
}
