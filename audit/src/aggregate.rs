//! Counts refusals that are too many for a record each.
//!
//! A peer can cause a refusal with a few bytes, and a record takes 700. In each interval, one origin (a session, or a source
//! address as long as no client is identified) gets a record for each of its first refusals; the rest is counted by outcome and
//! code, and the counts are recorded at the end of the interval. The first refusal that is counted is recorded at once as a
//! count of one: a process that is killed within the interval leaves a mark that it was counting.
//!
//! The state is bounded: origins beyond a full table are counted together.

use std::collections::HashMap;
use std::hash::Hash;

use model::{Reason, RecordId, Timestamp};

use crate::record::Outcome;

/// How many refusals get a record each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Of one origin, in an interval.
    pub(crate) each: usize,
    /// Of all origins together, in an interval.
    pub(crate) all: usize,
    /// Origins that have a count of their own.
    pub(crate) max_origins: usize,
    /// The length of an interval in seconds.
    pub(crate) interval_seconds: i64,
}

/// What is counted together within an origin.
pub(crate) type Class = (Outcome, Option<Reason>);

/// What becomes of one refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It gets a record of its own.
    Recorded,
    /// It is the first one that is counted: a record of this id is written at once.
    Begins(RecordId),
    /// It is counted; the record of this id will contain the count.
    Counted(RecordId),
}

/// Refusals of one class and origin that were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aggregate<W> {
    /// Who caused them; `None` where origins were counted together.
    pub(crate) who: Option<W>,
    /// What they have in common.
    pub(crate) class: Class,
    /// The id of the record to write.
    pub(crate) id: RecordId,
    /// How many.
    pub(crate) count: u64,
    /// When the first of them happened.
    pub(crate) first: Timestamp,
    /// When the last of them happened.
    pub(crate) last: Timestamp,
}

/// The refusals of one interval. `K` identifies an origin, `W` is the part of a record that describes it.
#[derive(Debug)]
pub(crate) struct Tally<K, W> {
    budget: Budget,
    since: Option<Timestamp>,
    recorded: usize,
    origins: HashMap<Option<K>, Origin<W>>,
}

#[derive(Debug)]
struct Origin<W> {
    who: Option<W>,
    recorded: usize,
    /// What was counted, by class; `None` where only the record of the beginning was written.
    counts: HashMap<Class, Option<Aggregate<W>>>,
}

impl<K: Clone + Eq + Hash, W: Clone> Tally<K, W> {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, since: None, recorded: 0, origins: HashMap::new() }
    }

    /// Takes one refusal. If the interval is over, call [`Tally::settle`] first.
    pub(crate) fn admit(
        &mut self,
        key: &K,
        who: impl FnOnce() -> W,
        class: Class,
        now: Timestamp,
        draw: impl FnOnce() -> RecordId,
    ) -> Admission {
        self.since.get_or_insert(now);
        let key = Some(key.clone());
        let full = self.origins.len() >= self.budget.max_origins && !self.origins.contains_key(&key);
        let key = key.filter(|_| !full);
        let named = key.is_some();
        let origin = self.origins.entry(key).or_insert_with(|| Origin {
            who: named.then(who),
            recorded: 0,
            counts: HashMap::new(),
        });
        if origin.recorded < self.budget.each && self.recorded < self.budget.all {
            origin.recorded += 1;
            self.recorded += 1;
            return Admission::Recorded;
        }
        let Some(counted) = origin.counts.get_mut(&class) else {
            origin.counts.insert(class, None);
            return Admission::Begins(draw());
        };
        let aggregate = counted.get_or_insert_with(|| Aggregate {
            who: origin.who.clone(),
            class,
            id: draw(),
            count: 0,
            first: now,
            last: now,
        });
        aggregate.count += 1;
        aggregate.last = now;
        Admission::Counted(aggregate.id)
    }

    /// The counts of an interval that is over; the next one begins with the next refusal. A clock that was set back ends it.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Vec<Aggregate<W>> {
        let passed = self.since.map(|since| now.as_second() - since.as_second());
        match passed {
            Some(seconds) if !(0..self.budget.interval_seconds).contains(&seconds) => self.drain(),
            Some(_) | None => Vec::new(),
        }
    }

    /// All counts; a new interval begins with the next refusal.
    pub(crate) fn drain(&mut self) -> Vec<Aggregate<W>> {
        (self.since, self.recorded) = (None, 0);
        let origins = std::mem::take(&mut self.origins);
        origins.into_values().flat_map(|origin| origin.counts.into_values().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Class = (Outcome::Refused, Some(Reason::SessionRequired));
    const OTHER: Class = (Outcome::Refused, Some(Reason::Malformed));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn id(number: u8) -> RecordId {
        RecordId::from_bytes([number; 16])
    }

    fn tally(each: usize, all: usize, max_origins: usize) -> Tally<u32, u32> {
        Tally::new(Budget { each, all, max_origins, interval_seconds: 60 })
    }

    #[test]
    fn t210_what_exceeds_the_budget_of_a_source_is_counted_with_first_and_last() {
        let mut tally = tally(2, 100, 10);
        let mut admit = |key: u32, class, second, number| tally.admit(&key, || key, class, at(second), || id(number));
        assert_eq!(admit(1, REFUSED, 0, 1), Admission::Recorded);
        assert_eq!(admit(1, OTHER, 0, 1), Admission::Recorded);
        assert_eq!(admit(1, REFUSED, 1, 1), Admission::Begins(id(1)));
        assert_eq!(admit(1, REFUSED, 2, 2), Admission::Counted(id(2)));
        assert_eq!(admit(1, REFUSED, 3, 3), Admission::Counted(id(2)));
        assert_eq!(admit(1, OTHER, 4, 4), Admission::Begins(id(4)));
        // Another source has a budget of its own.
        assert_eq!(admit(2, REFUSED, 5, 5), Admission::Recorded);
        assert_eq!(tally.settle(at(59)), []);
        let counted = Aggregate { who: Some(1), class: REFUSED, id: id(2), count: 2, first: at(2), last: at(3) };
        assert_eq!(tally.settle(at(60)), [counted]);
        assert_eq!(tally.admit(&1, || 1, REFUSED, at(61), || id(6)), Admission::Recorded);
    }

    #[test]
    fn t178_a_million_refusals_are_a_few_records_that_add_up_to_a_million() {
        let mut tally = tally(100, usize::MAX, 10_000);
        let (mut single, mut counted, mut records) = (0u64, 0u64, 0u64);
        for number in 0..1_000_000 {
            let now = at(number / 5_000);
            for aggregate in tally.settle(now) {
                (counted, records) = (counted + aggregate.count, records + 1);
            }
            match tally.admit(&7, || 7, REFUSED, now, || id(1)) {
                Admission::Recorded => single += 1,
                Admission::Begins(_) => (counted, records) = (counted + 1, records + 1),
                Admission::Counted(_) => {}
            }
        }
        for aggregate in tally.drain() {
            (counted, records) = (counted + aggregate.count, records + 1);
        }
        assert_eq!((single + counted, single, records), (1_000_000, 400, 8));
    }

    #[test]
    fn origins_beyond_the_bound_are_counted_together_and_all_have_one_budget() {
        let mut tally = tally(10, 3, 4);
        let outcomes: Vec<_> = (0..1_000).map(|n| tally.admit(&n, || n, REFUSED, at(0), || id(9))).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Admission::Recorded).count(), 3);
        let begun = outcomes.iter().filter(|outcome| matches!(outcome, Admission::Begins(_))).count();
        assert_eq!(begun, 2, "one for the fourth origin, one for all others");
        let left = tally.drain();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].who, left[0].count), (None, 995));
        assert!(tally.origins.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_interval() {
        let mut tally = tally(0, 0, 4);
        tally.admit(&1, || 1, REFUSED, at(500), || id(1));
        tally.admit(&1, || 1, REFUSED, at(500), || id(2));
        assert_eq!(tally.settle(at(100)).len(), 1);
    }
}
