//! The documents of the control API: what goes in and what comes out. The server (`control`) and its clients (`cli`, an SDK)
//! share them; there is no HTTP here.

use std::collections::BTreeMap;
use std::fmt;

use model::Timestamp;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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

/// Limits for a whole session, written as in policies: `600/m`, `8`, `10MiB`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Requests in a second, minute, hour or day.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub requests: Option<String>,
    /// Exchanges at once.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub concurrent: Option<String>,
    /// Bytes of one request's body.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub request_body: Option<String>,
    /// Bytes of one response's body.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub response_body: Option<String>,
    /// Bytes of all requests together.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub bytes_out: Option<String>,
}

impl LimitsDocument {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each limit that is set, by name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("requests", &self.requests),
            ("concurrent", &self.concurrent),
            ("request_body", &self.request_body),
            ("response_body", &self.response_body),
            ("bytes_out", &self.bytes_out),
        ];
        all.into_iter().filter_map(|(name, limit)| Some((name, limit.as_deref()?)))
    }

    /// The limit of this name.
    pub fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "requests" => Some(&mut self.requests),
            "concurrent" => Some(&mut self.concurrent),
            "request_body" => Some(&mut self.request_body),
            "response_body" => Some(&mut self.response_body),
            "bytes_out" => Some(&mut self.bytes_out),
            _ => None,
        }
    }
}

/// A text, or a number for one of digits alone.
fn text_or_number<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a limit such as \"600/m\", 8 or \"10MiB\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    source.deserialize_any(Either).map(Some)
}

/// That a session may use a credential, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// The credential.
    pub name: String,
    /// How many requests it may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// For how long it may be used, such as `15m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The methods of the requests that it may go on; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What uses and time are counted by: `session` (as where nothing is said), or `tool_call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
}

impl GrantDocument {
    /// A grant that is bounded by its session alone.
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A grant as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its bounds.
    #[serde(flatten)]
    pub grant: GrantDocument,
    /// How many requests it went on so far.
    pub used: u32,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A list in which a name stands for a grant without bounds.
fn names_or_grants<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<GrantDocument>, D::Error> {
    struct One(GrantDocument);
    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            struct Either;
            impl<'de> Visitor<'de> for Either {
                type Value = GrantDocument;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a credential's name, or a grant such as {\"name\": \"github\", \"uses\": 10}")
                }

                fn visit_str<E: de::Error>(self, name: &str) -> Result<GrantDocument, E> {
                    Ok(GrantDocument::of(name))
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GrantDocument, A::Error> {
                    GrantDocument::deserialize(MapAccessDeserializer::new(map))
                }
            }
            source.deserialize_any(Either).map(One)
        }
    }
    let all: Vec<One> = Vec::deserialize(source)?;
    Ok(all.into_iter().map(|One(grant)| grant).collect())
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
pub struct CredentialRequest {
    /// `bearer`, `basic`, `header`, `query`, `cookie` or `body`.
    pub kind: String,
    /// Further locations in which its placeholder is substituted: `bearer`, `header:NAME`, `query:NAME`, `cookie:NAME`; separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<String>,
    /// Hosts, separated by commas.
    pub audience: String,
    /// Where in bodies its placeholder is swapped; in a query as JSON: `[{"json": "/auth/secret"}, {"form": "secret"}]`.
    #[serde(default, deserialize_with = "slots_or_text", skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<BodySlotDocument>,
    /// How often it may be swapped in one body; once where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_swaps: Option<u8>,
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
    /// Whether a value is taken that can be guessed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
    /// What the kind needs to know: `header` and `header_prefix`, `template`, `query`, `cookie`. Anything else here is refused.
    #[serde(flatten)]
    pub options: BTreeMap<String, String>,
}

/// One place in bodies where a placeholder is swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BodySlotDocument {
    /// The text at this pointer of a JSON document (RFC 6901).
    Json(String),
    /// The field of this name in a form.
    Form(String),
}

impl fmt::Display for BodySlotDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(f, "json {pointer}"),
            Self::Form(field) => write!(f, "form {field}"),
        }
    }
}

/// A list, or the text of one, as a query has it.
fn slots_or_text<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<BodySlotDocument>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Vec<BodySlotDocument>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list such as [{\"json\": \"/secret\"}, {\"form\": \"secret\"}]")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            serde_json::from_str(text).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    source.deserialize_any(Either)
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
    /// Further locations in which its placeholder is substituted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Where a rule attaches it by itself, such as `header authorization`; `null` where only a placeholder in a body brings it.
    #[serde(default)]
    pub location: Option<String>,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// Where in bodies its placeholder is swapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<BodySlotDocument>,
    /// How often it may be swapped in one body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_swaps: Option<u8>,
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
    /// With how many requests it went, as the records tell; `null` where they were not asked.
    pub uses: Option<u64>,
    /// When it last went on a request; `null` where it never did.
    pub last_used: Option<Timestamp>,
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

/// A credential as `POST /v1/vaults/default/credentials` put it, or would.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportedView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its kind.
    pub kind: String,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// The environment variable its placeholder is offered under.
    pub env: Option<String>,
    /// The version that it got, or would get; 1 for a credential that was not there.
    pub version: u32,
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
    /// How plaintext is kept in memory: `secret`, `locked` or `ordinary`.
    #[serde(default)]
    pub memory: String,
    /// How many times a value was opened since the vault was.
    #[serde(default)]
    pub opened: u64,
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
    /// Rules that do not fit the vault or `upstream.resolve`: they are in force, and requests go out without a credential or are
    /// refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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
    /// Live sessions whose requests are refused as `policy_unavailable`, and why; the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions_unusable: Vec<UnusableSession>,
    /// Whether the vault is open.
    pub vault_open: bool,
}

/// The body of `POST /v1/sessions/end`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Ends only the sessions to which this credential was granted, even if the grant was revoked later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// A live session whose policies cannot be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnusableSession {
    /// `session ses_..`, or `sessions.default` in backquotes.
    pub session: String,
    /// The cause, with the rules or the policy that it is about.
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
    /// Where the proxy listens over TCP.
    pub proxy: Vec<String>,
    /// Every listener: an address, `https://address` where clients speak TLS to it, or `unix:path`.
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
    /// What someone should look at, a sentence each; nothing of it keeps requests from passing.
    #[serde(default)]
    pub warnings: Vec<String>,
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

/// Texts that may hold a value of the vault, by name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// Whose values; `default` where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The texts.
    pub texts: BTreeMap<String, String>,
}

/// Which of them do.
#[derive(Serialize, Deserialize)]
pub struct ScanDocument {
    /// The names.
    pub found: Vec<String>,
}
