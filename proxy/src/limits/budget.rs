//! The memory budget of bodies that are buffered for their slots, and of the decoders of bodies: in all, and per session.
//!
//! Sessions that take as much as they can must leave some for the next one. So a session may hold no more than remains for all
//! others. The more greedy sessions there are, the smaller is the share of each, and the last bytes are never gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use model::{Reason, SessionId};

use crate::refusal::Refusal;

/// One session may take at most this fraction of the whole.
const SESSIONS: usize = 4;

/// A decoder grows by pieces; memory is taken in steps of this size, so that few pieces take the lock.
const STEP: usize = 64 << 10;

/// The bytes in use now.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    max_session: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    whole: usize,
    sessions: HashMap<SessionId, usize>,
}

/// The share of one body; dropping it returns the bytes.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    session: SessionId,
    bytes: usize,
}

/// The share of the decoders of one body.
#[derive(Debug)]
pub(crate) struct Decoding {
    share: Share,
}

impl Decoding {
    /// Takes the missing bytes up to this number, in whole steps.
    ///
    /// # Errors
    /// No memory is left for it.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Exhausted> {
        // Most bodies have no coding and take no lock.
        if bytes <= self.share.bytes {
            return Ok(());
        }
        self.share.take(bytes.div_ceil(STEP).saturating_mul(STEP) - self.share.bytes)
    }
}

/// Why a body gets no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The session has used its share.
    Session,
    /// All is in use, or no more than the session's share remains for others.
    Whole,
}

impl Exhausted {
    /// The code of this reason.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Session => Reason::SessionQuota,
            Self::Whole => Reason::Overloaded,
        }
    }

    /// The refusal of a body that gets no memory.
    pub(crate) fn refusal(self) -> Refusal {
        let detail = match self {
            Self::Session => "the session's bodies that are kept for their slots or decoded take all of its memory",
            Self::Whole => "bodies that are kept for their slots or decoded take all of the memory for them",
        };
        Refusal::of(self.reason(), detail).with_class("slot_bodies_bytes")
    }
}

impl Budget {
    /// A budget of at most `max` bytes, and for one session at most `max_session` or a quarter.
    pub(crate) fn new(max: usize, max_session: usize) -> Arc<Self> {
        Arc::new(Self { max, max_session: max_session.min(max / SESSIONS), kept: Mutex::default() })
    }

    /// An empty share.
    pub(crate) fn share(self: &Arc<Self>, session: &SessionId) -> Share {
        Share { budget: self.clone(), session: session.clone(), bytes: 0 }
    }

    /// For the decoders of one body, which use no memory yet.
    pub(crate) fn decoding(self: &Arc<Self>, session: &SessionId) -> Decoding {
        Decoding { share: self.share(session) }
    }
}

impl Share {
    /// Takes this many more bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let mut kept = model::sync::lock(&self.budget.kept);
        let own = kept.sessions.get(&self.session).copied().unwrap_or_default().saturating_add(bytes);
        let whole = kept.whole.saturating_add(bytes);
        if own > self.budget.max_session {
            return Err(Exhausted::Session);
        }
        if own > self.budget.max.saturating_sub(whole) {
            return Err(Exhausted::Whole);
        }
        kept.whole = whole;
        kept.sessions.insert(self.session.clone(), own);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut kept = model::sync::lock(&self.budget.kept);
        kept.whole = kept.whole.saturating_sub(self.bytes);
        if let Some(own) = kept.sessions.get_mut(&self.session) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                kept.sessions.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_its_part_and_leaves_as_much_for_the_next() {
        let budget = Budget::new(160, 40);
        let share = |id: &str| budget.share(&SessionId::new(id));
        let (mut one, mut more) = (share("a"), share("a"));
        assert_eq!((one.take(30), more.take(11), more.take(10)), (Ok(()), Err(Exhausted::Session), Ok(())));
        let others = ["b", "c"].map(|id| {
            let mut share = share(id);
            share.take(40).unwrap();
            share
        });
        // Each next session gets half of what remains of the 40.
        let mut late = [share("d"), share("e"), share("f")];
        assert_eq!(
            [21, 11, 6].iter().zip(&mut late).map(|(bytes, late)| late.take(*bytes)).collect::<Vec<_>>(),
            [Err(Exhausted::Whole), Ok(()), Ok(())]
        );
        assert_eq!((late[0].take(12), late[0].take(11)), (Err(Exhausted::Whole), Ok(())));
        drop(one);
        assert_eq!((late[0].take(10), late[1].take(9)), (Ok(()), Ok(())));
        drop((more, others, late));
        let kept = budget.kept.lock().unwrap();
        assert_eq!((kept.whole, kept.sessions.len()), (0, 0));
    }

    #[test]
    fn a_session_never_takes_more_than_a_quarter() {
        let budget = Budget::new(100, usize::MAX);
        let mut share = budget.share(&SessionId::new("a"));
        assert_eq!((share.take(26), share.take(25)), (Err(Exhausted::Session), Ok(())));
    }

    #[test]
    fn what_decodes_takes_whole_steps() {
        let budget = Budget::new(64 * STEP, 4 * STEP);
        let held = || budget.kept.lock().unwrap().whole;
        let (mut one, mut other) = (budget.decoding(&SessionId::new("a")), budget.decoding(&SessionId::new("a")));
        assert_eq!((one.hold(0), held()), (Ok(()), 0));
        assert_eq!((one.hold(1), held()), (Ok(()), STEP));
        assert_eq!((one.hold(STEP), held()), (Ok(()), STEP));
        assert_eq!((one.hold(STEP + 1), held()), (Ok(()), 2 * STEP));
        assert_eq!((other.hold(2 * STEP), one.hold(2 * STEP + 1)), (Ok(()), Err(Exhausted::Session)));
        drop(other);
        assert_eq!((one.hold(4 * STEP), held()), (Ok(()), 4 * STEP));
        drop(one);
        assert_eq!(held(), 0);
    }

    #[test]
    fn t293_greedy_sessions_leave_memory_for_an_honest_one() {
        let limits = crate::config::Limits::default();
        let budget = Budget::new(limits.max_slot_bodies_bytes, limits.max_session_slot_bodies_bytes);
        // Each takes windows of a mebibyte as long as it gets one.
        let greedy: Vec<Vec<Decoding>> = ["a", "b", "c", "d"]
            .map(|id| {
                let next = || {
                    let mut decoding = budget.decoding(&SessionId::new(id));
                    decoding.hold(1 << 20).is_ok().then_some(decoding)
                };
                std::iter::from_fn(next).collect()
            })
            .into();
        assert_eq!(greedy.iter().map(Vec::len).collect::<Vec<_>>(), [12; 4]);
        let mut more = budget.decoding(&SessionId::new("a"));
        assert_eq!(more.hold(1), Err(Exhausted::Session));
        let mut honest = budget.decoding(&SessionId::new("honest"));
        assert_eq!(honest.hold(8 << 20), Ok(()));
        assert_eq!(honest.hold((8 << 20) + 1), Err(Exhausted::Whole));
        let refusals =
            [Exhausted::Session, Exhausted::Whole].map(|spent| (spent.reason(), spent.refusal().row().status.as_u16()));
        assert_eq!(refusals, [(Reason::SessionQuota, 429), (Reason::Overloaded, 503)]);
    }
}
