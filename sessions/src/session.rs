//! One session: the client, what it may use, and until when.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use model::{CredentialId, Limits, PolicyName, SessionId, SnapshotDigest, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::budget::Budgets;
use crate::cookies::HostCookies;
use crate::error::Withheld;
use crate::grant::{Grant, GrantUse, Per};
use crate::token::{Fingerprint, Token};
use crate::tool_call::{CallSerial, ToolCall, ToolCalls};
use model::placeholder::PLACEHOLDER_MARK;

/// What a session does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At work: its credentials may be injected.
    Running,
    /// Waiting for its user: requests pass, credentials stay in the vault.
    Idle,
    /// Moving to another machine: as idle.
    Rescheduling,
    /// Over, for good.
    Terminated,
}

impl State {
    const ALL: [Self; 4] = [Self::Running, Self::Idle, Self::Rescheduling, Self::Terminated];

    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }

    /// The state that is called so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// The policy documents that a session brought: a namespace that no other session sees. Their texts are kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnDocuments {
    /// The digest of all of them; documents with another one are not those that were judged.
    pub digest: SnapshotDigest,
    /// The names of their policies, which may be those of loaded policies too.
    pub policies: Vec<PolicyName>,
}

/// What identifies the clients of a session besides its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Nothing else.
    #[default]
    Token,
    /// A unix socket of its own.
    Listener {
        /// The user whose processes may connect to it; without one, those of our own user.
        peer: Option<u32>,
    },
    /// On a unix socket of all sessions, the user of the process that connected.
    Peer(u32),
}

/// One identified client; every connection of it holds one.
pub struct Session {
    /// The id, which is also the proxy user name.
    pub id: SessionId,
    /// The isolation boundary.
    pub tenant: TenantId,
    /// The person on whose behalf it works.
    pub user: Option<Arc<str>>,
    /// The agent's name.
    pub agent: Option<Arc<str>>,
    /// Set by the control API alone.
    pub labels: BTreeMap<String, String>,
    /// The loaded policies that it names. Judged together with its documents; none of either means that nothing is allowed.
    pub policies: Vec<PolicyName>,
    /// The policy documents that it brought.
    pub documents: Option<OwnDocuments>,
    /// The credentials it may use.
    pub grants: Vec<Grant>,
    /// What all its requests together may take, besides the limits of rules.
    pub limits: Limits,
    /// The bytes it has sent, where that is limited.
    pub budgets: Budgets,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; `None` only for the default session.
    pub expires: Option<Timestamp>,
    /// What identifies its clients besides its token.
    pub channel: Channel,
    /// Whether its channel identifies clients: false until the session is recorded.
    pub(crate) announced: AtomicBool,
    /// `None` only for the default session.
    pub(crate) token: Option<Token>,
    pub(crate) token_replaced: Notify,
    pub(crate) state: AtomicU8,
    pub(crate) ended_at: OnceLock<Timestamp>,
    pub(crate) ended_notify: Notify,
    /// The cookies that hosts set in it.
    pub host_cookies: HostCookies,
    /// The tool calls that are open.
    pub(crate) calls: ToolCalls,
    /// Held while the session's file is written, so that an older state never replaces a newer one.
    pub(crate) saving: Mutex<()>,
}

impl Session {
    /// What it does at the moment; a session whose time is over is terminated.
    pub fn state(&self, now: Timestamp) -> State {
        if self.is_expired(now) { State::Terminated } else { self.stored_state() }
    }

    /// How often its token was replaced.
    pub(crate) fn token_generation(&self) -> u32 {
        self.token.as_ref().map_or(0, Token::generation)
    }

    /// Another token is its token from now on; the connections that were opened with the one before close.
    pub(crate) fn replace_token(&self, fresh: Fingerprint) {
        if let Some(token) = &self.token {
            token.replace(fresh);
            self.token_replaced.notify_waiters();
        }
    }

    /// Whether its credentials may be injected: live and in the state `running`.
    pub fn is_running(&self, now: Timestamp) -> bool {
        self.state(now) == State::Running
    }

    /// Whether its requests are judged at all: neither ended nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state(now) != State::Terminated
    }

    /// When it ended, by call or by time.
    pub fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.ended_at.get().copied().or(self.expires.filter(|end| *end <= now))
    }

    /// Resolves when the session ends, by call or because its time is over; at once if it has ended.
    ///
    /// Waiting costs one place in a list and one timer. The timer counts neither sleep of the machine nor a wall clock
    /// that is set; [`crate::Registry::wake_ended`] ends the wait then.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn ended(&self) {
        let mut call = std::pin::pin!(self.ended_notify.notified());
        call.as_mut().enable();
        if self.stored_state() == State::Terminated {
            return;
        }
        let Some(expires) = self.expires else { return call.await };
        let left = Duration::try_from(expires.duration_since(clock::now())).unwrap_or_default();
        tokio::select! {
            () = call => {}
            () = tokio::time::sleep(left) => {}
        }
    }

    /// Notes that a tool call begins; false where the id is taken or too many are open.
    pub fn begin_tool_call(&self, call: ToolCall) -> bool {
        self.calls.begin(call, clock::now())
    }

    /// Notes that a tool call ends; returns it if it was open.
    pub fn end_tool_call(&self, id: &str) -> Option<ToolCall> {
        self.calls.end(id)
    }

    /// The tool at work: known where every open call is of the same one.
    pub fn tool(&self) -> Option<Arc<str>> {
        self.calls.tool()
    }

    /// The tool call at work, where it is the only one.
    pub fn tool_call(&self) -> Option<ToolCall> {
        self.calls.only()
    }

    /// Whether it may use the credential, within the bounds of its grant.
    pub fn grants(&self, credential: &CredentialId) -> bool {
        self.grant(credential).is_some_and(|grant| !grant.is_revoked())
    }

    /// Whether a request with this method could be lent the credential now; nothing is counted.
    ///
    /// # Errors
    /// [`Withheld`] is the reason why not.
    pub fn check_use(&self, credential: &CredentialId, method: &str, now: Timestamp) -> Result<(), Withheld> {
        let (grant, grant_use) = self.look(credential, method, now)?;
        let spent = match grant_use.call {
            Some(call) => self.calls.uses(call, credential),
            None => grant.used(),
        };
        if grant.bounds.uses.is_some_and(|uses| spent >= uses) { Err(Withheld::Exhausted) } else { Ok(()) }
    }

    /// Takes one use of the grant for a request with this method.
    ///
    /// # Errors
    /// [`Withheld`] is the reason why not; nothing is counted then.
    pub fn record_use(&self, credential: &CredentialId, method: &str, now: Timestamp) -> Result<GrantUse, Withheld> {
        let (grant, grant_use) = self.look(credential, method, now)?;
        if let Some(call) = grant_use.call {
            self.calls.count(call, credential, grant.bounds.uses)?;
        }
        grant.count()?;
        Ok(grant_use)
    }

    /// Whether an issued credential may still be used: the grant is valid, and the tool call that it was issued for is open.
    pub fn still_lends(&self, credential: &CredentialId, call: Option<CallSerial>) -> bool {
        self.grants(credential) && call.is_none_or(|call| self.calls.is_open(call))
    }

    fn look(&self, credential: &CredentialId, method: &str, now: Timestamp) -> Result<(&Grant, GrantUse), Withheld> {
        let grant = self.grant(credential).ok_or(Withheld::NotGranted)?;
        grant.fits(method)?;
        let (begun, call) = match grant.bounds.per {
            Per::Session => (self.created, None),
            Per::ToolCall => {
                let (call, begun) = self.calls.only_since().ok_or(Withheld::NoToolCall)?;
                (begun, Some(call))
            }
        };
        let until = grant.until(begun);
        if until.is_some_and(|until| until <= now) {
            return Err(Withheld::Expired);
        }
        let counts = grant.bounds.uses.is_some() && call.is_none();
        Ok((grant, GrantUse { until, call, counts }))
    }

    pub(crate) fn grant(&self, credential: &CredentialId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.credential == *credential)
    }

    /// The credential whose placeholder, in this session, is exactly `text`. Constant time in the placeholder.
    pub fn placeholder(&self, text: &str) -> Option<&CredentialId> {
        let mark = text.find(PLACEHOLDER_MARK)?;
        let (range, credential) = self.placeholder_in(text.as_bytes(), mark..text.len())?;
        (range == (0..text.len())).then_some(credential)
    }

    /// The credential whose placeholder is at `mark` (one that [`crate::find_marks`] found), and
    /// the whole placeholder's place, with its prefix: what the value replaces.
    pub fn placeholder_in(&self, bytes: &[u8], mark: Range<usize>) -> Option<(Range<usize>, &CredentialId)> {
        let print = Fingerprint::of(bytes.get(mark.clone())?);
        let mut found = None;
        // Every grant is compared, whether or not one matched before.
        for grant in &self.grants {
            let held = grant.placeholder.unwrap_or(Fingerprint::DUMMY);
            if bool::from(held.matches(&print)) {
                found = Some(grant);
            }
        }
        let grant = found?;
        let before = bytes.get(..mark.start)?;
        let start = before.strip_suffix(grant.prefix.as_bytes())?.len();
        Some((start..mark.end, &grant.credential))
    }

    /// Sets beginning and end back; false where nothing changes, because it is over or `ahead` is zero.
    pub(crate) fn set_back(&mut self, ahead: SignedDuration) -> bool {
        if !ahead.is_positive() || self.stored_state() == State::Terminated {
            return false;
        }
        for time in std::iter::once(&mut self.created).chain(&mut self.expires) {
            *time = time.checked_sub(ahead).unwrap_or(Timestamp::MIN);
        }
        true
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    pub(crate) fn stored_state(&self) -> State {
        let number = usize::from(self.state.load(Ordering::Acquire));
        State::ALL.get(number).copied().unwrap_or(State::Terminated)
    }

    /// Sets the state unless the session is over; returns the previous state.
    pub(crate) fn set_state(&self, state: State) -> State {
        let terminated = State::Terminated as u8;
        let swap = |old| (old != terminated).then_some(state as u8);
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, swap) {
            Ok(old) => State::ALL.get(usize::from(old)).copied().unwrap_or(State::Terminated),
            Err(_) => State::Terminated,
        }
    }

    /// Ends it and wakes every waiter; false where it was over before.
    pub(crate) fn terminate(&self, now: Timestamp) -> bool {
        let first = self.set_state(State::Terminated) != State::Terminated;
        if first {
            let at = self.expires.map_or(now, |end| end.min(now));
            self.ended_at.get_or_init(|| at);
            self.ended_notify.notify_waiters();
        }
        first
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
