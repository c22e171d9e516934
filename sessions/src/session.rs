//! One session: who, what it may use, and until when.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use model::{CredentialId, PolicyName, SessionId, TenantId, Timestamp};
use tokio::sync::Notify;

use crate::token::{Fingerprint, PLACEHOLDER_MARK};
use crate::tool_call::{ToolCall, ToolCalls};

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

/// That a session may use a credential.
pub struct Grant {
    /// The credential, of the session's tenant.
    pub credential: CredentialId,
    /// The environment variable under which the placeholder was offered.
    pub env: Option<String>,
    /// What stands before the placeholder's mark.
    pub(crate) prefix: String,
    /// Of the placeholder from its mark on; `None` for a session that was offered none.
    pub(crate) placeholder: Option<Fingerprint>,
}

/// One identified client; held by every connection that speaks for it.
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
    /// Judged together; none means that nothing is allowed.
    pub policies: Vec<PolicyName>,
    /// The credentials it may use.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; `None` only for the default session.
    pub expires: Option<Timestamp>,
    pub(crate) token: Option<Fingerprint>,
    pub(crate) state: AtomicU8,
    pub(crate) ended_at: OnceLock<Timestamp>,
    pub(crate) over: Notify,
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

    /// Resolves when the session ends, by call or because its time is over; at once where it has.
    ///
    /// Waiting costs one place in a list and one timer. The deadline is taken from the wall clock
    /// once: a clock that is set later moves the judgment of new requests, not a running wait.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn ended(&self) {
        let mut call = std::pin::pin!(self.over.notified());
        call.as_mut().enable();
        if self.stored_state() == State::Terminated {
            return;
        }
        let Some(expires) = self.expires else { return call.await };
        let left = Duration::try_from(expires.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            () = call => {}
            () = tokio::time::sleep(left) => {}
        }
    }

    /// Notes that a tool call begins; false where the id is taken or too many are open.
    pub fn begin_tool_call(&self, call: ToolCall) -> bool {
        self.calls.begin(call)
    }

    /// Notes that a tool call ends; gives it back, where it was open.
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

    /// Whether it may use the credential.
    pub fn grants(&self, credential: &CredentialId) -> bool {
        self.grants.iter().any(|grant| grant.credential == *credential)
    }

    /// The credential whose placeholder, in this session, is exactly `text`. Constant time in the placeholder.
    pub fn placeholder(&self, text: &str) -> Option<&CredentialId> {
        let mark = text.find(PLACEHOLDER_MARK)?;
        let (range, credential) = self.placeholder_in(text.as_bytes(), mark..text.len())?;
        (range == (0..text.len())).then_some(credential)
    }

    /// The credential whose placeholder stands at `mark` (one that [`crate::find_marks`] found), and
    /// the whole placeholder's place, with its prefix: what the value replaces.
    pub fn placeholder_in(&self, bytes: &[u8], mark: Range<usize>) -> Option<(Range<usize>, &CredentialId)> {
        let print = Fingerprint::of(bytes.get(mark.clone())?);
        let mut found = None;
        // Every grant is compared, whether or not one matched before.
        for grant in &self.grants {
            let held = grant.placeholder.unwrap_or(Fingerprint::of_nothing());
            if bool::from(held.matches(&print)) {
                found = Some(grant);
            }
        }
        let grant = found?;
        let before = bytes.get(..mark.start)?;
        let start = before.strip_suffix(grant.prefix.as_bytes())?.len();
        Some((start..mark.end, &grant.credential))
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    pub(crate) fn stored_state(&self) -> State {
        let number = usize::from(self.state.load(Ordering::Acquire));
        State::ALL.get(number).copied().unwrap_or(State::Terminated)
    }

    /// Sets the state unless the session is over; gives the state before.
    pub(crate) fn set_state(&self, state: State) -> State {
        let terminated = State::Terminated as u8;
        let swap = |old| (old != terminated).then_some(state as u8);
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, swap) {
            Ok(old) => State::ALL.get(usize::from(old)).copied().unwrap_or(State::Terminated),
            Err(_) => State::Terminated,
        }
    }

    /// Ends it and wakes whoever waits; false where it was over before.
    pub(crate) fn terminate(&self, now: Timestamp) -> bool {
        let first = self.set_state(State::Terminated) != State::Terminated;
        if first {
            let at = self.expires.map_or(now, |end| end.min(now));
            self.ended_at.get_or_init(|| at);
            self.over.notify_waiters();
        }
        first
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
