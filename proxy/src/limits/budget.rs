//! How much memory bodies take that are kept for their slots, and the windows of bodies that are decoded: all together, and those of
//! one session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use model::SessionId;

/// One session may take this part of the whole.
const SESSIONS: usize = 4;

/// The bytes that are kept now.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    kept: Mutex<HashMap<SessionId, usize>>,
}

/// What one body takes of it; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    session: SessionId,
    bytes: usize,
}

/// What the windows of one body's codings take.
#[derive(Debug)]
pub(crate) struct Windows {
    share: Share,
}

impl Windows {
    /// Takes what is missing up to these bytes.
    ///
    /// # Errors
    /// There is no memory left for it.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Spent> {
        // Most bodies have no window, and nothing is locked for them.
        if bytes <= self.share.bytes { Ok(()) } else { self.share.take(bytes - self.share.bytes) }
    }
}

/// Why a body takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// The session has taken its part.
    Session,
    /// All is taken.
    Whole,
}

impl Budget {
    /// Of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, kept: Mutex::default() })
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Self>, session: &SessionId) -> Share {
        Share { budget: self.clone(), session: session.clone(), bytes: 0 }
    }

    /// For the windows of one body's codings, which take nothing yet.
    pub(crate) fn windows(self: &Arc<Self>, session: &SessionId) -> Windows {
        Windows { share: self.share(session) }
    }
}

impl Share {
    /// Takes these bytes more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Spent> {
        let mut kept = model::sync::lock(&self.budget.kept);
        let whole: usize = kept.values().sum();
        let own = kept.entry(self.session.clone()).or_default();
        if own.saturating_add(bytes) > self.budget.max / SESSIONS {
            return Err(Spent::Session);
        }
        if whole.saturating_add(bytes) > self.budget.max {
            return Err(Spent::Whole);
        }
        *own += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut kept = model::sync::lock(&self.budget.kept);
        if let Some(own) = kept.get_mut(&self.session) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                kept.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_its_part_and_all_take_no_more_than_there_is() {
        let budget = Budget::new(100);
        let share = |id: &str| budget.share(&SessionId::new(id));
        let (mut one, mut more) = (share("a"), share("a"));
        assert_eq!((one.take(20), more.take(6), more.take(5)), (Ok(()), Err(Spent::Session), Ok(())));
        let others: Vec<Share> = ["b", "c", "d"]
            .map(|id| {
                let mut share = share(id);
                share.take(25).unwrap();
                share
            })
            .into();
        assert_eq!(share("e").take(1), Err(Spent::Whole));
        drop(one);
        assert_eq!(share("e").take(20), Ok(()));
        assert_eq!(share("e").take(21), Err(Spent::Whole));
        drop((more, others));
        let mut windows = budget.windows(&SessionId::new("a"));
        assert_eq!((windows.hold(20), windows.hold(15), windows.hold(26)), (Ok(()), Ok(()), Err(Spent::Session)));
        assert_eq!(share("a").take(6), Err(Spent::Session));
        drop(windows);
        assert_eq!(share("a").take(25), Ok(()));
        assert!(budget.kept.lock().unwrap().is_empty());
    }
}
