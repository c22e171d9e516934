//! The counters of limits: requests and concurrent exchanges, by session and rule, shared by all cores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::sync::lock;
use model::{Rate, SessionId};
use sessions::Scope;
use tokio::time::Instant;

use crate::limits::bucket::TokenBucket;

/// The counters of all sessions. A session has at most one for each rule with limits, and they are removed with the
/// session.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<HashMap<SessionId, HashMap<Scope, Arc<Counter>>>>);

/// The counter of one limit of one session.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    bucket: Mutex<Option<TokenBucket>>,
    running: Mutex<u64>,
}

/// One of the concurrent exchanges; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Counter>);

impl Counters {
    /// The counter of a limit.
    pub(crate) fn of(&self, session: &SessionId, scope: &Scope) -> Arc<Counter> {
        let mut all = lock(&self.0);
        if let Some(counter) = all.get(session).and_then(|own| own.get(scope)) {
            return counter.clone();
        }
        all.entry(session.clone()).or_default().entry(scope.clone()).or_default().clone()
    }

    /// Removes sessions that are over.
    pub(crate) fn sweep(&self, live: impl Fn(&SessionId) -> bool) {
        lock(&self.0).retain(|session, _| live(session));
    }
}

impl Counter {
    /// Counts one request.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn take(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        lock(&self.bucket).get_or_insert_with(|| TokenBucket::full(rate, now)).take(rate, now)
    }

    /// Removes a request from the count that another limit refuses.
    pub(crate) fn give_back(&self) {
        if let Some(bucket) = &mut *lock(&self.bucket) {
            bucket.give_back();
        }
    }

    /// Counts one more exchange if fewer than `max` are in progress.
    pub(crate) fn enter(self: &Arc<Self>, max: u64) -> Option<Slot> {
        let mut running = lock(&self.running);
        if *running >= max {
            return None;
        }
        *running += 1;
        Some(Slot(self.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = lock(&self.0.running);
        *running = running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str) -> Scope {
        Scope::Rule("p".into(), id.into())
    }

    #[test]
    fn a_slot_is_given_back_when_it_is_dropped() {
        let counters = Counters::default();
        let counter = counters.of(&"s".into(), &rule("r"));
        let (one, two) = (counter.enter(2).unwrap(), counter.enter(2).unwrap());
        assert!(counter.enter(2).is_none());
        drop(one);
        let three = counter.enter(2).unwrap();
        assert!(counter.enter(2).is_none());
        drop((two, three));
        assert_eq!(*counter.running.lock().unwrap(), 0);
    }

    #[test]
    fn sessions_and_rules_are_counted_apart() {
        let (counters, now, one) = (Counters::default(), Instant::now(), Rate::parse("1/h").unwrap());
        for (session, scope) in [("a", rule("r")), ("a", rule("q")), ("b", rule("r")), ("a", Scope::Session)] {
            assert_eq!(counters.of(&session.into(), &scope).take(one, now), Ok(()), "{session} {scope:?}");
            assert!(counters.of(&session.into(), &scope).take(one, now).is_err(), "{session} {scope:?}");
        }
        counters.sweep(|session| session.as_str() == "b");
        assert_eq!(counters.of(&"a".into(), &rule("r")).take(one, now), Ok(()));
        assert!(counters.of(&"b".into(), &rule("r")).take(one, now).is_err());
    }
}
