//! The tool calls of a session that are under way, as the runtime marks their begin and end. They live in memory: a
//! sidecar that starts anew knows of none, and what policies say of an unknown tool holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Those that are open.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    /// How many are in the list, so that requests of a session without any take no lock.
    count: AtomicUsize,
    open: Mutex<Vec<ToolCall>>,
}

impl ToolCalls {
    pub(crate) fn begin(&self, call: ToolCall) -> bool {
        let mut open = self.lock();
        if open.len() >= MAX_OPEN_CALLS || open.iter().any(|other| other.id == call.id) {
            return false;
        }
        open.push(call);
        self.count.store(open.len(), Ordering::Release);
        true
    }

    pub(crate) fn end(&self, id: &str) -> Option<ToolCall> {
        let mut open = self.lock();
        let at = open.iter().position(|call| *call.id == *id)?;
        let call = open.remove(at);
        self.count.store(open.len(), Ordering::Release);
        Some(call)
    }

    pub(crate) fn tool(&self) -> Option<Arc<str>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let open = self.lock();
        let first = open.first()?;
        open.iter().all(|call| call.tool == first.tool).then(|| first.tool.clone())
    }

    pub(crate) fn only(&self) -> Option<ToolCall> {
        if self.count.load(Ordering::Acquire) != 1 {
            return None;
        }
        self.lock().first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ToolCall>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, tool: &str) -> ToolCall {
        ToolCall { id: id.into(), tool: tool.into() }
    }

    #[test]
    fn the_tool_is_known_where_all_open_calls_are_of_one() {
        let calls = ToolCalls::default();
        assert_eq!((calls.tool(), calls.only()), (None, None));
        assert!(calls.begin(call("a", "bash")) && !calls.begin(call("a", "other")));
        assert_eq!((calls.tool().as_deref(), calls.only()), (Some("bash"), Some(call("a", "bash"))));
        assert!(calls.begin(call("b", "bash")));
        assert_eq!((calls.tool().as_deref(), calls.only()), (Some("bash"), None));
        assert!(calls.begin(call("c", "web")));
        assert_eq!(calls.tool(), None);
        assert_eq!((calls.end("b"), calls.end("b")), (Some(call("b", "bash")), None));
        assert!(calls.end("a").is_some() && calls.tool().as_deref() == Some("web"));
    }

    #[test]
    fn open_calls_are_bounded() {
        let calls = ToolCalls::default();
        assert!((0..MAX_OPEN_CALLS).all(|n| calls.begin(call(&n.to_string(), "t"))));
        assert!(!calls.begin(call("one more", "t")));
    }
}
