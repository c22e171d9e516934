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
    /// The isolation boundary; `default` if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The person on whose behalf it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Labels that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// Names of loaded policies.
    pub policies: Vec<String>,
    /// Policies in observe mode that only a share of sessions gets in addition to their own.
    pub observe: Vec<Rollout>,
    /// The session's own policy documents: in force for it alone, until it ends.
    pub documents: Vec<PolicyDocument>,
    /// Credentials that it may use: names, or grants with bounds.
    #[serde(deserialize_with = "names_or_grants")]
    pub credentials: Vec<GrantDocument>,
    /// The limits of all its requests together.
    #[serde(skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
    /// Such as `1h`; 24 hours by default.
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
    /// The share of sessions that get it, in percent, 0 to 100. It depends only on the session's id, and a session that
    /// gets it at one share gets it at every larger one.
    pub share: u8,
}

/// A policy file that is part of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The file's name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A session in a list.
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
    /// Labels that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// The policies that are judged together: the loaded ones that it names, and its own.
    pub policies: Vec<String>,
    /// Its own policies among these.
    #[serde(default)]
    pub documents: Vec<String>,
    /// Its current rules; only in the answer about one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewDocument>,
    /// Credentials it may use.
    pub credentials: Vec<String>,
    /// The same with the bounds of their use, and the used amounts.
    #[serde(default)]
    pub grants: Vec<GrantView>,
    /// The limits of all its requests together.
    #[serde(default, skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
    /// The bytes counted against `bytes_out` of `limits` so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// The socket of its listener, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The user whose processes are its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it ends by itself; `null` for the default session.
    pub expires: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// The rules of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewDocument {
    /// The digest of its rules, as in the records of its exchanges.
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
    /// The time of the request; now by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The answer to a request of a session, with its reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// Whether it passes.
    pub passes: bool,
    /// The explanation as `egret policy explain --format json` prints it.
    pub explanation: serde_json::Value,
    /// The same in text form.
    pub text: String,
}

/// A new session, including the secrets that are shown only once.
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
    /// The CA file.
    pub ca: CaView,
    /// Probable mistakes: rules that do not match the vault or `upstream.resolve`, and credentials that no rule uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A new token of a session, which is shown only once.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionToken {
    /// The session's id.
    pub id: String,
    /// The proxy password.
    pub token: String,
    /// The proxy's URL with id and token.
    pub proxy_url: String,
    /// The environment block for clients, without placeholders: the existing ones stay valid.
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
    /// The runtime's id for it; generated if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool's name.
    pub tool: String,
}

/// A tool call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolCallView {
    /// The runtime's id for it.
    pub id: String,
    /// The session's id.
    pub session: String,
    /// The tool's name.
    pub tool: String,
}
