//! The tool calls of a session that are in progress, as the runtime marks their begin and end. They live in memory: a
//! sidecar that starts again has none, and policies treat the tool as unknown.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use model::{CredentialId, Timestamp};

use crate::error::Withheld;

/// How many tool calls of one session can be open at once.
pub const MAX_OPEN_CALLS: usize = 64;

/// One tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What the runtime calls it.
    pub id: Arc<str>,
    /// The tool's name.
    pub tool: Arc<str>,
}

/// A tool call from its beginning to its end: one that begins again under the same id is another.
pub type CallSerial = u64;

/// Those that are open.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    /// How many began.
    begun: AtomicU64,
    /// How many are in the list, so that requests of a session without any take no lock.
    count: AtomicUsize,
    open: Mutex<Vec<Open>>,
}

/// One that is open, and what was lent by it.
#[derive(Debug)]
struct Open {
    call: ToolCall,
    serial: CallSerial,
    begun: Timestamp,
    /// How many requests of it each credential went on.
    uses: Vec<(CredentialId, u32)>,
}

impl ToolCalls {
    pub(crate) fn begin(&self, call: ToolCall, begun: Timestamp) -> bool {
        let mut open = self.lock();
        if open.len() >= MAX_OPEN_CALLS || open.iter().any(|other| other.call.id == call.id) {
            return false;
        }
        let serial = self.begun.fetch_add(1, Ordering::Relaxed);
        open.push(Open { call, serial, begun, uses: Vec::new() });
        self.count.store(open.len(), Ordering::Release);
        true
    }

    pub(crate) fn end(&self, id: &str) -> Option<ToolCall> {
        let mut open = self.lock();
        let at = open.iter().position(|open| *open.call.id == *id)?;
        let call = open.remove(at).call;
        self.count.store(open.len(), Ordering::Release);
        Some(call)
    }

    pub(crate) fn tool(&self) -> Option<Arc<str>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let open = self.lock();
        let first = &open.first()?.call;
        open.iter().all(|open| open.call.tool == first.tool).then(|| first.tool.clone())
    }

    pub(crate) fn only(&self) -> Option<ToolCall> {
        if self.count.load(Ordering::Acquire) != 1 {
            return None;
        }
        match self.lock().as_slice() {
            [only] => Some(only.call.clone()),
            _ => None,
        }
    }

    /// The only one that is open, and when it began.
    pub(crate) fn only_since(&self) -> Option<(CallSerial, Timestamp)> {
        match self.lock().as_slice() {
            [only] => Some((only.serial, only.begun)),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self, call: CallSerial) -> bool {
        self.lock().iter().any(|open| open.serial == call)
    }

    /// How many requests of the call the credential went on.
    pub(crate) fn uses(&self, call: CallSerial, credential: &CredentialId) -> u32 {
        let open = self.lock();
        let call = open.iter().find(|open| open.serial == call);
        call.and_then(|open| open.uses.iter().find(|(name, _)| name == credential)).map_or(0, |(_, uses)| *uses)
    }

    /// Counts one more request of the call, unless it would be one more than `limit`.
    pub(crate) fn count(
        &self,
        call: CallSerial,
        credential: &CredentialId,
        limit: Option<u32>,
    ) -> Result<(), Withheld> {
        let mut open = self.lock();
        let call = open.iter_mut().find(|open| open.serial == call).ok_or(Withheld::NoToolCall)?;
        let at = match call.uses.iter().position(|(name, _)| name == credential) {
            Some(at) => at,
            None => {
                call.uses.push((credential.clone(), 0));
                call.uses.len() - 1
            }
        };
        let Some((_, uses)) = call.uses.get_mut(at) else { return Err(Withheld::Exhausted) };
        if limit.is_some_and(|limit| *uses >= limit) {
            return Err(Withheld::Exhausted);
        }
        *uses = uses.saturating_add(1);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        model::sync::lock(&self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, tool: &str) -> ToolCall {
        ToolCall { id: id.into(), tool: tool.into() }
    }

    fn begin(calls: &ToolCalls, id: &str, tool: &str) -> bool {
        calls.begin(call(id, tool), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_tool_is_known_where_all_open_calls_are_of_one() {
        let calls = ToolCalls::default();
        assert_eq!((calls.tool(), calls.only()), (None, None));
        assert!(begin(&calls, "a", "bash") && !begin(&calls, "a", "other"));
        assert_eq!((calls.tool().as_deref(), calls.only()), (Some("bash"), Some(call("a", "bash"))));
        assert!(begin(&calls, "b", "bash"));
        assert_eq!((calls.tool().as_deref(), calls.only()), (Some("bash"), None));
        assert!(begin(&calls, "c", "web"));
        assert_eq!(calls.tool(), None);
        assert_eq!((calls.end("b"), calls.end("b")), (Some(call("b", "bash")), None));
        assert!(calls.end("a").is_some() && calls.tool().as_deref() == Some("web"));
    }

    #[test]
    fn open_calls_are_bounded() {
        let calls = ToolCalls::default();
        assert!((0..MAX_OPEN_CALLS).all(|n| begin(&calls, &n.to_string(), "t")));
        assert!(!begin(&calls, "one more", "t"));
    }
}
