//! A session at rest: one JSON file, mode 0600, replaced whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::sync::{Mutex, OnceLock};

use jiff::SignedDuration;
use model::text_file::without_mark;
use model::{Audience, CredentialId, Limits, PolicyName, Rate, RuleId, SessionId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::budget::{Budgets, Scope};
use crate::grant::{Bounds, Grant, Per};
use crate::session::{Channel, OwnDocuments, Session, State};
use crate::token::{Fingerprint, Token};

const VERSION: u32 = 1;
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    id: SessionId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    policies: Vec<PolicyName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<OwnDocuments>,
    grants: Vec<GrantDocument>,
    #[serde(default, skip_serializing_if = "LimitsDocument::is_empty")]
    limits: LimitsDocument,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bytes_out: Vec<BudgetDocument>,
    created: Timestamp,
    expires: Timestamp,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    token_sha256: String,
    #[serde(default, skip_serializing_if = "is_false")]
    listener: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer_uid: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantDocument {
    credential: CredentialId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prefix: String,
    placeholder_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    per_tool_call: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    #[serde(default)]
    used: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    revoked: bool,
}

/// What all requests of the session together may take; numbers are bytes.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_out: Option<u64>,
}

impl LimitsDocument {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How many bytes count as sent: for a rule, or without one for the session.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<RuleId>,
    bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(fact: &bool) -> bool {
    !fact
}

/// The file of a session.
pub(crate) fn path_of(dir: &Path, id: &SessionId) -> PathBuf {
    dir.join(format!("{id}.json"))
}

/// Writes the session's file: a new file, flushed, then renamed over the old one.
///
/// # Errors
/// The error of the file system.
pub(crate) fn save(dir: &Path, session: &Session, budgets: &[(Scope, u64)]) -> io::Result<()> {
    let text = serde_json::to_vec(&document(session, budgets)?)?;
    let target = path_of(dir, &session.id);
    let fresh = target.with_extension("json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&fresh, &target)?;
    File::open(dir)?.sync_all()
}

fn document(session: &Session, budgets: &[(Scope, u64)]) -> io::Result<Document> {
    // A session without an end or a token lives in memory only.
    let (Some(expires), Some(token)) = (session.expires, &session.token) else {
        return Err(io::Error::other("the default session has no file"));
    };
    let grant = |grant: &Grant| GrantDocument {
        credential: grant.credential.clone(),
        env: grant.env.clone(),
        prefix: grant.prefix.clone(),
        placeholder_sha256: grant.placeholder.map(Fingerprint::to_hex).unwrap_or_default(),
        uses: grant.bounds.uses,
        seconds: grant.bounds.time.map(|time| time.as_secs()),
        methods: grant.bounds.methods.clone(),
        per_tool_call: grant.bounds.per == Per::ToolCall,
        audience: grant.audience.get().map(Audience::patterns).unwrap_or_default(),
        used: grant.used(),
        revoked: grant.is_revoked(),
    };
    let (listener, peer_uid) = match session.channel {
        Channel::Token => (false, None),
        Channel::Listener { peer } => (true, peer),
        Channel::Peer(uid) => (false, Some(uid)),
    };
    Ok(Document {
        version: VERSION,
        id: session.id.clone(),
        tenant: session.tenant.clone(),
        user: session.user.as_deref().map(str::to_owned),
        agent: session.agent.as_deref().map(str::to_owned),
        labels: session.labels.clone(),
        policies: session.policies.clone(),
        documents: session.documents.clone(),
        grants: session.grants.iter().map(grant).collect(),
        limits: limits_document(&session.limits),
        bytes_out: budgets.iter().map(budget_document).collect(),
        created: session.created,
        expires,
        state: session.stored_state().as_str().to_owned(),
        ended: session.ended_at.get().copied(),
        token_sha256: token.read().0.to_hex(),
        listener,
        peer_uid,
    })
}

fn limits_document(limits: &Limits) -> LimitsDocument {
    let Limits { requests, concurrent, request_body, response_body, bytes_out } = *limits;
    let requests = requests.map(|rate| rate.to_string());
    LimitsDocument { requests, concurrent, request_body, response_body, bytes_out }
}

fn limits(document: LimitsDocument) -> io::Result<Limits> {
    let LimitsDocument { requests, concurrent, request_body, response_body, bytes_out } = document;
    let rate = |text: String| Rate::parse(&text).ok_or_else(|| broken("has a rate that cannot be read"));
    Ok(Limits { requests: requests.map(rate).transpose()?, concurrent, request_body, response_body, bytes_out })
}

fn budget_document((scope, bytes): &(Scope, u64)) -> BudgetDocument {
    let (policy, rule) = match scope {
        Scope::Session => (None, None),
        Scope::Rule(policy, rule) => (Some(policy.clone()), Some(rule.clone())),
    };
    BudgetDocument { policy, rule, bytes: *bytes }
}

fn budget(document: BudgetDocument) -> io::Result<(Scope, u64)> {
    let scope = match (document.policy, document.rule) {
        (None, None) => Scope::Session,
        (Some(policy), Some(rule)) => Scope::Rule(policy, rule),
        (Some(_), None) | (None, Some(_)) => return Err(broken("has a count of bytes for half a rule")),
    };
    Ok((scope, document.bytes))
}

/// Reads a session's file.
///
/// # Errors
/// The error of the file system, or `InvalidData` with what is wrong in it.
pub(crate) fn load(path: &Path) -> io::Result<Session> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(broken("is larger than a session can be"));
    }
    let document: Document = serde_json::from_slice(without_mark(&text))?;
    if document.version != VERSION {
        return Err(broken("was written by another version of Egret"));
    }
    if path.file_stem().and_then(|name| name.to_str()) != Some(document.id.as_str()) {
        return Err(broken("holds the session of another file"));
    }
    session(document)
}

fn session(document: Document) -> io::Result<Session> {
    let state = State::from_name(&document.state).ok_or_else(|| broken("has an unknown state"))?;
    let grants = document.grants.into_iter().map(grant).collect::<io::Result<Vec<_>>>()?;
    let budgets = document.bytes_out.into_iter().map(budget).collect::<io::Result<Vec<_>>>()?;
    Ok(Session {
        id: document.id,
        tenant: document.tenant,
        user: document.user.map(Into::into),
        agent: document.agent.map(Into::into),
        labels: document.labels,
        policies: document.policies,
        documents: document.documents,
        grants,
        limits: limits(document.limits)?,
        budgets: Budgets::from_saved(budgets),
        channel: match (document.listener, document.peer_uid) {
            (false, None) => Channel::Token,
            (false, Some(uid)) => Channel::Peer(uid),
            (true, peer) => Channel::Listener { peer },
        },
        created: document.created,
        expires: Some(document.expires),
        announced: AtomicBool::new(true),
        token: Some(Token::new(fingerprint(&document.token_sha256)?)),
        token_replaced: Notify::new(),
        state: AtomicU8::new(state as u8),
        ended_at: document.ended.map(OnceLock::from).unwrap_or_default(),
        ended_notify: Notify::new(),
        host_cookies: crate::cookies::HostCookies::default(),
        calls: crate::tool_call::ToolCalls::default(),
        saving: Mutex::new(()),
    })
}

fn grant(document: GrantDocument) -> io::Result<Grant> {
    let placeholder = Some(fingerprint(&document.placeholder_sha256)?);
    let audience = match document.audience.as_slice() {
        [] => None,
        hosts => Some(Audience::parse(hosts).map_err(|_| broken("has an audience that cannot be read"))?),
    };
    Ok(Grant {
        credential: document.credential,
        env: document.env,
        bounds: Bounds {
            uses: document.uses,
            time: document.seconds.map(SignedDuration::from_secs),
            methods: document.methods,
            per: if document.per_tool_call { Per::ToolCall } else { Per::Session },
        },
        audience: crate::grant::remembered(audience),
        prefix: document.prefix,
        placeholder,
        used: AtomicU32::new(document.used),
        revoked: AtomicBool::new(document.revoked),
    })
}

fn fingerprint(hex: &str) -> io::Result<Fingerprint> {
    Fingerprint::from_hex(hex).ok_or_else(|| broken("has a digest that is not 64 hex digits"))
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
