//! A new session as it is asked for, and what of it is acceptable.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use model::placeholder::PLACEHOLDER_MARK;
use model::{Audience, CredentialId, Limits, PolicyName, SessionId, TenantId};

use crate::error::SessionError;
use crate::grant::Bounds;
use crate::identity::UnixPeer;
use crate::session::{Channel, OwnDocuments};

const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(24);
const MAX_TTL: SignedDuration = SignedDuration::from_hours(366 * 24);
const MAX_TEXT_BYTES: usize = 256;
const MAX_ITEMS: usize = 64;

/// What a new session shall be.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// From [`crate::Registry::draw_id`], where the id must be known before; drawn where none is given.
    pub id: Option<SessionId>,
    /// The isolation boundary.
    pub tenant: TenantId,
    /// The person on whose behalf it works.
    pub user: Option<String>,
    /// The agent's name.
    pub agent: Option<String>,
    /// Marks that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// The loaded policies that it names.
    pub policies: Vec<PolicyName>,
    /// The policy documents that it brings.
    pub documents: Option<OwnDocuments>,
    /// The credentials it may use.
    pub grants: Vec<GrantRequest>,
    /// What all its requests together may take.
    pub limits: Limits,
    /// What identifies its clients besides its token.
    pub channel: Channel,
    /// How long it lives; 24 hours by default.
    pub ttl: Option<SignedDuration>,
}

/// A credential that a new session may use.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// The credential, of the session's tenant.
    pub credential: CredentialId,
    /// The environment variable to offer the placeholder under.
    pub env: Option<String>,
    /// What clients expect before the placeholder, such as `sk-ant-`.
    pub prefix: Option<String>,
    /// What bounds its use.
    pub bounds: Bounds,
    /// The hosts that the credential may go to, where it is in the vault.
    pub audience: Option<Audience>,
}

/// Checks every field of a new session.
///
/// # Errors
/// The first field that is not acceptable.
pub(crate) fn check(new: &NewSession) -> Result<(), SessionError> {
    check_text("tenant", new.tenant.as_str())?;
    check_text("user", new.user.as_deref().unwrap_or("-"))?;
    check_text("agent", new.agent.as_deref().unwrap_or("-"))?;
    for (name, value) in &new.labels {
        check_text("labels", name)?;
        check_text("labels", if value.is_empty() { "-" } else { value })?;
    }
    for (field, count) in
        [("labels", new.labels.len()), ("policies", new.policies.len()), ("credentials", new.grants.len())]
    {
        if count > MAX_ITEMS {
            return Err(wrong(field, &format!("are {count}, more than the limit of {MAX_ITEMS}")));
        }
    }
    if new.limits.concurrent == Some(0) {
        return Err(wrong("limits", "allow no exchange at all: `concurrent` is a number from 1"));
    }
    if let Channel::Peer(UnixPeer::OVERFLOW) | Channel::Listener { peer: Some(UnixPeer::OVERFLOW) } = new.channel {
        return Err(wrong("peer", "cannot be uid:65534: the kernel reports it for every user without a number here"));
    }
    for (place, grant) in new.grants.iter().enumerate() {
        check_grant(grant)?;
        if new.grants.iter().take(place).any(|other| other.credential == grant.credential) {
            return Err(wrong("credentials", &format!("name {} twice", grant.credential)));
        }
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str) -> Result<(), SessionError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(wrong(field, &format!("must be 1 to {MAX_TEXT_BYTES} bytes without control characters")));
    }
    Ok(())
}

fn check_grant(grant: &GrantRequest) -> Result<(), SessionError> {
    let env = grant.env.as_deref().unwrap_or("A");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if env.is_empty()
        || env.len() > MAX_TEXT_BYTES
        || !env.chars().all(word)
        || env.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(wrong(
            "env",
            &format!("of credential {} is not the name of an environment variable", grant.credential),
        ));
    }
    let Bounds { uses, time, methods, per: _ } = &grant.bounds;
    let of = |what: &str| format!("of credential {} {what}", grant.credential);
    if *uses == Some(0) {
        return Err(wrong("uses", &of("must be at least 1")));
    }
    if time.is_some_and(|time| time < SignedDuration::from_secs(1) || time > MAX_TTL) {
        return Err(wrong("for", &of("must be between one second and 366 days")));
    }
    let is_method = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if methods.len() > MAX_ITEMS || !methods.iter().all(is_method) {
        return Err(wrong("methods", &of("must be methods in upper case, such as GET")));
    }
    let prefix = grant.prefix.as_deref().unwrap_or_default();
    if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic()) || prefix.contains(PLACEHOLDER_MARK) {
        return Err(wrong(
            "prefix",
            &format!("of credential {} must be at most 64 visible characters", grant.credential),
        ));
    }
    Ok(())
}

/// How long a session lives: what was asked for, or 24 hours.
///
/// # Errors
/// Less than a second, or more than 366 days.
pub(crate) fn check_ttl(ttl: Option<SignedDuration>) -> Result<SignedDuration, SessionError> {
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if ttl < SignedDuration::from_secs(1) || ttl > MAX_TTL {
        return Err(wrong("ttl", "must be between one second and 366 days"));
    }
    Ok(ttl)
}

/// A field that is not acceptable.
pub(crate) fn wrong(field: &'static str, why: &str) -> SessionError {
    SessionError::Field { field, why: why.to_owned() }
}
