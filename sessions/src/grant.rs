//! That a session may use a credential: within which bounds, and how much of them is used up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use jiff::SignedDuration;
use model::{Audience, CredentialId, Host, Timestamp};

use crate::error::Withheld;
use crate::token::Fingerprint;
use crate::tool_call::CallSerial;

/// What a grant is counted and timed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// The session, from its beginning.
    #[default]
    Session,
    /// Each tool call, from its beginning to its end. Without a tool call that is known, nothing is lent.
    ToolCall,
}

/// What bounds a grant besides the end of its session. Nothing does by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How many requests it may go on.
    pub uses: Option<u32>,
    /// For how long it may be used.
    pub time: Option<SignedDuration>,
    /// The methods of the requests that it may go on; empty for any.
    pub methods: Vec<String>,
    /// What uses and time are counted by.
    pub per: Per,
}

/// That a session may use a credential.
pub struct Grant {
    /// The credential, of the session's tenant.
    pub credential: CredentialId,
    /// The environment variable under which the placeholder was offered.
    pub env: Option<String>,
    /// What bounds it.
    pub bounds: Bounds,
    /// The hosts of the credential when it was granted. They outlive the grant and the credential.
    pub(crate) audience: OnceLock<Audience>,
    /// The text before the placeholder's mark.
    pub(crate) prefix: String,
    /// Of the placeholder from its mark on; `None` for a session that was offered none.
    pub(crate) placeholder: Option<Fingerprint>,
    /// How many requests it went on, in the whole session.
    pub(crate) used: AtomicU32,
    pub(crate) revoked: AtomicBool,
}

/// One use of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantUse {
    /// When an issued credential ends, other than at the session's end.
    pub until: Option<Timestamp>,
    /// The tool call with which it ends.
    pub call: Option<CallSerial>,
    /// Whether the count must be kept across a restart: the session has to be saved before the request goes out.
    pub counts: bool,
}

impl Grant {
    /// How many requests it went on so far.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether it was taken back.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Whether the credential's audience names the host, on any port and scheme: the one that it has `now`, or the one that it had
    /// when it was granted. So a grant that was taken back, or whose credential is gone, still counts.
    pub fn names(&self, host: &Host, now: Option<&Audience>) -> bool {
        let granted = match now {
            Some(now) => Some(self.audience.get_or_init(|| now.clone())),
            None => self.audience.get(),
        };
        granted.into_iter().chain(now).any(|audience| audience.names(host))
    }

    /// Whether a request with this method may have it at all.
    pub(crate) fn fits(&self, method: &str) -> Result<(), Withheld> {
        if self.is_revoked() {
            return Err(Withheld::NotGranted);
        }
        if self.bounds.methods.is_empty() || self.bounds.methods.iter().any(|own| own == method) {
            return Ok(());
        }
        Err(Withheld::Method)
    }

    /// When its time is over, where it began then.
    pub(crate) fn until(&self, begun: Timestamp) -> Option<Timestamp> {
        begun.checked_add(self.bounds.time?).ok()
    }

    /// Counts one more use of the whole session, unless it would be one too many.
    pub(crate) fn count(&self) -> Result<(), Withheld> {
        let limit = match self.bounds.per {
            Per::Session => self.bounds.uses.unwrap_or(u32::MAX),
            Per::ToolCall => u32::MAX,
        };
        let one_more = |used: u32| if used < limit { Some(used.saturating_add(1)) } else { None };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(()),
            Err(_) if limit == u32::MAX => Ok(()),
            Err(_) => Err(Withheld::Exhausted),
        }
    }
}

/// What is known from the beginning; the rest is learned when it is seen first.
pub(crate) fn remembered(audience: Option<Audience>) -> OnceLock<Audience> {
    audience.map(OnceLock::from).unwrap_or_default()
}
