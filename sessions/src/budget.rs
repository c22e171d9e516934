//! How many bytes a session has sent, where that is limited. The count survives a restart and never shrinks by one.
//!
//! A byte may leave only within a reservation that is on disk: before a session sends more than was reserved, a larger number
//! is written, in steps of a 64th of the limit. Egret killed at any instant finds the reservation and counts all of it as spent. A
//! restart therefore loses at most one step (and what one announced body had reserved), and never gives anything back. A
//! stop in order writes the exact numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use model::{PolicyName, RuleId};

/// A reservation is made in steps of this part of the limit.
const STEPS: u64 = 64;

/// Budgets of one session; its file has to stay readable.
const MAX_BUDGETS: usize = 512;

/// What a limit is counted for, within one session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The session as a whole.
    Session,
    /// One rule of one policy.
    Rule(PolicyName, RuleId),
}

/// Whether bytes may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// They are counted; they may.
    Done,
    /// They exceed what is left; nothing is counted.
    Exhausted,
    /// They exceed what is reserved on disk: [`crate::Registry::reserve_bytes`] comes first, then the same question again.
    Unreserved,
}

/// The bytes that one session has sent, by limit.
#[derive(Debug, Default)]
pub struct Budgets(Mutex<BTreeMap<Scope, Budget>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Budget {
    spent: u64,
    /// What the file holds: `spent` never exceeds it.
    reserved: u64,
    /// What the file shall hold when it is written next.
    wanted: u64,
}

impl Budgets {
    pub(crate) fn from_saved(saved: impl IntoIterator<Item = (Scope, u64)>) -> Self {
        let budget = |bytes| Budget { spent: bytes, reserved: bytes, wanted: bytes };
        Self(Mutex::new(saved.into_iter().map(|(scope, bytes)| (scope, budget(bytes))).collect()))
    }

    /// The bytes that were spent so far.
    pub fn spent(&self, scope: &Scope) -> u64 {
        self.lock().get(scope).map_or(0, |budget| budget.spent)
    }

    /// Whether so many more bytes fit into the limit. Counts nothing.
    pub fn fits(&self, scope: &Scope, limit: u64, bytes: u64) -> bool {
        self.spent(scope).checked_add(bytes).is_some_and(|all| all <= limit)
    }

    /// Counts bytes that are about to leave.
    pub fn spend(&self, scope: &Scope, limit: u64, bytes: u64) -> Spend {
        let mut all = self.lock();
        let full = all.len() >= MAX_BUDGETS;
        let budget = match all.get_mut(scope) {
            Some(budget) => budget,
            None if full => return Spend::Exhausted,
            None => all.entry(scope.clone()).or_default(),
        };
        let Some(after) = budget.spent.checked_add(bytes).filter(|after| *after <= limit) else {
            return Spend::Exhausted;
        };
        if after <= budget.reserved {
            budget.spent = after;
            return Spend::Done;
        }
        let step = (limit / STEPS).max(1);
        budget.wanted = budget.wanted.max(after.saturating_add(step).min(limit));
        Spend::Unreserved
    }

    /// What the file has to hold now.
    pub(crate) fn to_save(&self) -> Vec<(Scope, u64)> {
        let all = self.lock();
        all.iter().map(|(scope, budget)| (scope.clone(), budget.wanted.max(budget.reserved))).collect()
    }

    /// These numbers are on disk.
    pub(crate) fn saved(&self, numbers: &[(Scope, u64)]) {
        let mut all = self.lock();
        for (scope, bytes) in numbers {
            if let Some(budget) = all.get_mut(scope) {
                budget.reserved = budget.reserved.max(*bytes);
            }
        }
    }

    /// Gives unused reservations up, for a stop in order; whether there were any. Nothing may be sent after it.
    pub(crate) fn settle(&self) -> bool {
        let mut changed = false;
        for budget in self.lock().values_mut() {
            changed |= budget.reserved > budget.spent;
            (budget.reserved, budget.wanted) = (budget.spent, budget.spent);
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Scope, Budget>> {
        model::sync::lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 6_400;

    fn reserve(budgets: &Budgets) {
        budgets.saved(&budgets.to_save());
    }

    #[test]
    fn no_byte_leaves_that_is_not_reserved() {
        let budgets = Budgets::default();
        assert_eq!(budgets.spend(&Scope::Session, LIMIT, 50), Spend::Unreserved);
        assert_eq!(budgets.spent(&Scope::Session), 0);
        reserve(&budgets);
        assert_eq!(budgets.to_save(), [(Scope::Session, 150)]);
        assert_eq!(budgets.spend(&Scope::Session, LIMIT, 50), Spend::Done);
        assert_eq!(budgets.spend(&Scope::Session, LIMIT, 100), Spend::Done);
        assert_eq!(budgets.spend(&Scope::Session, LIMIT, 1), Spend::Unreserved);
    }

    #[test]
    fn the_limit_is_reached_exactly_and_never_exceeded() {
        let budgets = Budgets::default();
        assert_eq!(budgets.spend(&Scope::Session, 10, 11), Spend::Exhausted);
        assert_eq!(budgets.spend(&Scope::Session, 10, 10), Spend::Unreserved);
        reserve(&budgets);
        assert_eq!(budgets.to_save(), [(Scope::Session, 10)]);
        assert_eq!(budgets.spend(&Scope::Session, 10, 10), Spend::Done);
        assert_eq!(budgets.spend(&Scope::Session, 10, 1), Spend::Exhausted);
        assert!(budgets.fits(&Scope::Session, 10, 0) && !budgets.fits(&Scope::Session, 10, 1));
        assert_eq!(budgets.spend(&Scope::Session, u64::MAX, u64::MAX), Spend::Exhausted);
    }

    #[test]
    fn a_restart_gives_nothing_back_and_loses_at_most_a_step() {
        let budgets = Budgets::default();
        for _ in 0..30 {
            while budgets.spend(&Scope::Session, LIMIT, 70) == Spend::Unreserved {
                reserve(&budgets);
            }
            let after = Budgets::from_saved(budgets.to_save());
            let (spent, found) = (budgets.spent(&Scope::Session), after.spent(&Scope::Session));
            assert!(found >= spent && found <= spent + LIMIT / STEPS, "{spent} {found}");
        }
    }

    #[test]
    fn a_stop_in_order_keeps_the_exact_number() {
        let rule = Scope::Rule("p".into(), "r".into());
        let budgets = Budgets::default();
        assert_eq!(budgets.spend(&rule, LIMIT, 70), Spend::Unreserved);
        reserve(&budgets);
        assert_eq!(budgets.spend(&rule, LIMIT, 70), Spend::Done);
        assert!(budgets.settle() && !budgets.settle());
        assert_eq!(budgets.to_save(), [(rule, 70)]);
    }

    #[test]
    fn a_session_has_a_bounded_number_of_budgets() {
        let budgets = Budgets::default();
        for n in 0..MAX_BUDGETS {
            let rule = Scope::Rule("p".into(), n.to_string().as_str().into());
            assert_eq!(budgets.spend(&rule, LIMIT, 1), Spend::Unreserved);
        }
        assert_eq!(budgets.spend(&Scope::Session, LIMIT, 1), Spend::Exhausted);
    }
}
