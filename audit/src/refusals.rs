//! Which exchanges that end before they were opened get a record each, and the records of those that were counted.
//!
//! Opening records are never counted: they are the evidence that something left. What ends before it was opened had no effect
//! outside, and a peer can cause as many of those as it can send requests. One place decides for all of them, behind
//! [`Trail`](crate::Trail), so that no step can write around it.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use model::{RecordId, SessionId, Timestamp};

use crate::aggregate::{Admission, Aggregate, Budget, Class, Tally};
use crate::journal::encode::draw;
use crate::record::{Decision, Kind, Outcome, Record};

/// Sessions with a count of their own in an interval: as many as can be live.
const MAX_SESSIONS: usize = 10_000;

/// Source addresses with a count of their own in an interval.
const MAX_SOURCES: usize = 256;

/// How many exchanges that end before anything was opened get a record each in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalBudget {
    /// Of one session.
    pub session: usize,
    /// Of one source address that is not identified.
    pub source: usize,
    /// Of all that are not identified.
    pub strangers: usize,
    /// The length of an interval in seconds.
    pub interval_seconds: i64,
}

/// What the journal counts.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Option<Counters>>);

struct Counters {
    sessions: Tally<SessionId, Who>,
    strangers: Tally<Option<IpAddr>, Who>,
}

/// The origin in an aggregated record.
#[derive(Clone, Debug)]
struct Who(Box<Record>);

impl Who {
    fn of(record: &Record) -> Self {
        Self(Box::new(Record {
            tenant: record.tenant.clone(),
            user: record.user.clone(),
            agent: record.agent.clone(),
            session: record.session.clone(),
            attribution: record.attribution,
            source: record.source,
            ..Record::new(Kind::Aggregated)
        }))
    }
}

impl Refusals {
    /// Begins to count what exceeds a budget.
    pub(crate) fn bound(&self, budget: RefusalBudget) {
        let RefusalBudget { session, source, strangers, interval_seconds } = budget;
        let of = |each, all, max_origins| Budget { each, all, max_origins, interval_seconds };
        *self.lock() = Some(Counters {
            sessions: Tally::new(of(session, usize::MAX, MAX_SESSIONS)),
            strangers: Tally::new(of(source, strangers, MAX_SOURCES)),
        });
    }

    /// Takes a record of something that was never opened: returns the records that are due before it, and the id of the record
    /// that counts it, or `None` where it gets a record of its own.
    pub(crate) fn admit(&self, record: &Record, now: Timestamp) -> (Vec<Record>, Option<RecordId>) {
        let mut guard = self.lock();
        let Some(counters) = guard.as_mut() else { return (Vec::new(), None) };
        let class = (record.outcome.unwrap_or(Outcome::Refused), record.code);
        let (mut due, admission) = match &record.session {
            Some(session) => take(&mut counters.sessions, session, record, class, now),
            None => take(&mut counters.strangers, &record.source, record, class, now),
        };
        drop(guard);
        match admission {
            Admission::Recorded => (due, None),
            Admission::Counted(id) => (due, Some(id)),
            Admission::Begins(id) => {
                let who = Some(Who::of(record));
                due.push(written(Aggregate { who, class, id, count: 1, first: now, last: now }, now));
                (due, Some(id))
            }
        }
    }

    /// The records of intervals that are over.
    pub(crate) fn settle(&self, now: Timestamp) -> Vec<Record> {
        let mut guard = self.lock();
        let Some(counters) = guard.as_mut() else { return Vec::new() };
        let mut counted = counters.sessions.settle(now);
        counted.extend(counters.strangers.settle(now));
        drop(guard);
        counted.into_iter().map(|aggregate| written(aggregate, now)).collect()
    }

    /// The records of everything that was counted.
    pub(crate) fn drain(&self) -> Vec<Record> {
        let mut guard = self.lock();
        let Some(counters) = guard.as_mut() else { return Vec::new() };
        let mut counted = counters.sessions.drain();
        counted.extend(counters.strangers.drain());
        drop(guard);
        let now = Timestamp::now();
        counted.into_iter().map(|aggregate| written(aggregate, now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Counters>> {
        model::sync::lock(&self.0)
    }
}

fn take<K: Clone + Eq + std::hash::Hash>(
    tally: &mut Tally<K, Who>,
    key: &K,
    record: &Record,
    class: Class,
    now: Timestamp,
) -> (Vec<Record>, Admission) {
    let due = tally.settle(now).into_iter().map(|aggregate| written(aggregate, now)).collect();
    let admission = tally.admit(key, || Who::of(record), class, now, || RecordId::from_bytes(draw(now)));
    (due, admission)
}

/// The record of a count.
fn written(aggregate: Aggregate<Who>, now: Timestamp) -> Record {
    let Aggregate { who, class: (outcome, code), id, count, first, last } = aggregate;
    let base = who.map_or_else(|| Record::new(Kind::Aggregated), |who| *who.0);
    Record {
        id: Some(id),
        time: Some(now),
        decision: (outcome == Outcome::Refused).then_some(Decision::Deny),
        code,
        outcome: Some(outcome),
        count: Some(count),
        first: Some(first),
        last: Some(last),
        ..base
    }
}

#[cfg(test)]
mod tests {
    use model::Reason;

    use super::*;

    fn refused(session: Option<&str>, source: Option<u8>) -> Record {
        Record {
            session: session.map(SessionId::new),
            source: source.map(|last| IpAddr::from([192, 0, 2, last])),
            outcome: Some(Outcome::Refused),
            code: Some(Reason::DeniedHost),
            path: Some("/not/counted".to_owned()),
            ..Record::new(Kind::ExchangeClosed)
        }
    }

    fn bounded() -> Refusals {
        let refusals = Refusals::default();
        refusals.bound(RefusalBudget { session: 2, source: 1, strangers: 2, interval_seconds: 60 });
        refusals
    }

    #[test]
    fn t178_the_count_of_a_session_has_its_fields_and_its_code() {
        let refusals = bounded();
        let now = Timestamp::now();
        let ids: Vec<_> = (0..5).map(|_| refusals.admit(&refused(Some("ses_a"), None), now).1).collect();
        assert_eq!(ids.iter().filter(|id| id.is_none()).count(), 2);
        assert_eq!(ids[3], ids[4]);
        let records = refusals.drain();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!((record.kind, record.count, record.id), (Kind::Aggregated, Some(2), ids[4]));
        assert_eq!(
            (record.session.as_ref().map(SessionId::as_str), record.code),
            (Some("ses_a"), Some(Reason::DeniedHost))
        );
        assert_eq!((record.path.clone(), record.decision), (None, Some(Decision::Deny)));
        assert!(refusals.drain().is_empty());
    }

    #[test]
    fn t210_strangers_share_a_budget_that_sessions_do_not() {
        let refusals = bounded();
        let now = Timestamp::now();
        let own = |source| refusals.admit(&refused(None, Some(source)), now).1.is_none();
        assert_eq!([own(1), own(1), own(2), own(3)], [true, false, true, false]);
        assert!(refusals.admit(&refused(Some("ses_a"), None), now).1.is_none());
        assert!(refusals.admit(&refused(Some("ses_b"), None), now).1.is_none());
    }

    #[test]
    fn without_a_budget_each_has_a_record() {
        let refusals = Refusals::default();
        assert!((0..1_000).all(|_| refusals.admit(&refused(None, Some(1)), Timestamp::now()) == (Vec::new(), None)));
    }
}
