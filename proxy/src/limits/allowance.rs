//! The allowance of one request body: its own limit, and the remaining budgets of its session and rules.
//!
//! Bytes are counted as they arrive from the client, before a credential replaces a placeholder: the count would
//! otherwise reveal the length of a secret.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use model::{PolicyName, Reason, RuleId};
use sessions::{Registry, Scope, Session, Spend};

use crate::refusal::Refusal;

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) reason: Reason,
    detail: Cow<'static, str>,
    /// The limit, by name; for clients and records.
    limit: &'static str,
    /// The owner of the limit; `None` for the session's own.
    rule: Option<(PolicyName, RuleId)>,
    retry_after: Option<u64>,
}

impl Limited {
    pub(crate) fn new(
        reason: Reason,
        limit: &'static str,
        scope: &Scope,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let rule = match scope {
            Scope::Session => None,
            Scope::Rule(policy, rule) => Some((policy.clone(), rule.clone())),
        };
        Self { reason, detail: detail.into(), limit, rule, retry_after: None }
    }

    /// With the seconds after which a request may pass.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The limit, by name.
    pub(crate) fn limit(&self) -> &'static str {
        self.limit
    }

    /// The answer, if none has begun.
    pub(crate) fn refusal(&self) -> Refusal {
        let mut refusal = Refusal::of(self.reason, self.detail.clone()).with_class(self.limit);
        if let Some((policy, rule)) = &self.rule {
            refusal = refusal.under(Some(rule), policy);
        }
        if let Some(seconds) = self.retry_after {
            refusal = refusal.with_retry_after(seconds);
        }
        refusal
    }
}

/// A bound in bytes, and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByteLimit {
    pub(crate) scope: Scope,
    pub(crate) bytes: u64,
}

/// The rest of the allowance for one body.
pub(crate) struct Allowance {
    session: Arc<Session>,
    sessions: Arc<Registry>,
    body: Option<ByteLimit>,
    taken: u64,
    budgets: Vec<ByteLimit>,
    /// The next budget to ask for the current piece.
    next: usize,
    reserving: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
}

impl Allowance {
    /// For a body of at most `body` bytes, against these budgets; `None` if it has no bound.
    pub(crate) fn new(
        session: &Arc<Session>,
        sessions: &Arc<Registry>,
        body: Option<ByteLimit>,
        budgets: Vec<ByteLimit>,
    ) -> Option<Self> {
        if body.is_none() && budgets.is_empty() {
            return None;
        }
        let (session, sessions) = (session.clone(), sessions.clone());
        Some(Self { session, sessions, body, taken: 0, budgets, next: 0, reserving: None })
    }

    /// Counts a piece of the body before it is accepted. While it is pending, callers must ask for the same piece
    /// again.
    ///
    /// # Errors
    /// The limit that it exceeds; the body ends there.
    pub(crate) fn poll_take(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<Result<(), Limited>> {
        let bytes = bytes as u64;
        if self.next == 0
            && let Some(limit) = &self.body
            && self.taken.saturating_add(bytes) > limit.bytes
        {
            return Poll::Ready(Err(body_too_large(limit)));
        }
        ready!(self.poll_spend(bytes, cx))?;
        self.taken += bytes;
        Poll::Ready(Ok(()))
    }

    /// Counts bytes outside of the body, such as the head, against the budgets alone.
    ///
    /// # Errors
    /// As [`Allowance::poll_take`].
    pub(crate) fn poll_spend(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<Result<(), Limited>> {
        while let Some(budget) = self.budgets.get(self.next) {
            if let Some(reserving) = &mut self.reserving {
                let reserved = ready!(reserving.as_mut().poll(cx));
                self.reserving = None;
                if !reserved {
                    return Poll::Ready(Err(unwritten(budget)));
                }
            }
            match self.session.budgets.spend(&budget.scope, budget.bytes, bytes) {
                Spend::Done => self.next += 1,
                Spend::Exhausted => return Poll::Ready(Err(exhausted(budget))),
                Spend::Unreserved => self.reserving = Some(Box::pin(reserve(&self.sessions, &self.session))),
            }
        }
        self.next = 0;
        Poll::Ready(Ok(()))
    }
}

/// Persists more bytes as spent; returns whether that succeeded.
fn reserve(sessions: &Arc<Registry>, session: &Arc<Session>) -> impl Future<Output = bool> + Send + use<> {
    let (sessions, session) = (sessions.clone(), session.clone());
    let writing = tokio::task::spawn_blocking(move || sessions.reserve_bytes(&session));
    async move { matches!(writing.await, Ok(Ok(()))) }
}

pub(crate) fn body_too_large(limit: &ByteLimit) -> Limited {
    let detail = format!("the request body exceeds {} bytes", limit.bytes);
    Limited::new(Reason::BodyTooLarge, "request_body", &limit.scope, detail)
}

pub(crate) fn exhausted(budget: &ByteLimit) -> Limited {
    let detail = format!("the request exceeds the {} bytes that the session may send in all", budget.bytes);
    Limited::new(Reason::BudgetExhausted, "bytes_out", &budget.scope, detail)
}

fn unwritten(budget: &ByteLimit) -> Limited {
    let detail = "the session's count of bytes cannot be written";
    Limited::new(Reason::Internal, "bytes_out", &budget.scope, detail)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use model::Timestamp;
    use sessions::NewSession;

    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
        sessions: Arc<Registry>,
        session: Arc<Session>,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let sessions = Arc::new(Registry::open(folder.path(), Timestamp::now()).unwrap());
            let session = sessions.create(NewSession::default(), Timestamp::now()).unwrap().session;
            Self { folder, sessions, session }
        }

        fn allowance(&self, body: Option<u64>, budgets: &[(Scope, u64)]) -> Allowance {
            let body = body.map(|bytes| ByteLimit { scope: Scope::Session, bytes });
            let budgets = budgets.iter().map(|(scope, bytes)| ByteLimit { scope: scope.clone(), bytes: *bytes });
            Allowance::new(&self.session, &self.sessions, body, budgets.collect()).unwrap()
        }

        /// The state of the session that another process finds.
        fn spent_on_disk(&self) -> u64 {
            let again = Registry::open(self.folder.path(), Timestamp::now()).unwrap();
            again.get(&self.session.id).unwrap().budgets.spent(&Scope::Session)
        }
    }

    async fn take(allowance: &mut Allowance, bytes: usize) -> Result<(), Reason> {
        poll_fn(|cx| allowance.poll_take(bytes, cx)).await.map_err(|limited| limited.reason)
    }

    #[tokio::test]
    async fn a_body_ends_at_its_limit() {
        let bench = Bench::new();
        let mut allowance = bench.allowance(Some(10), &[]);
        assert_eq!(take(&mut allowance, 6).await, Ok(()));
        assert_eq!(take(&mut allowance, 5).await, Err(Reason::BodyTooLarge));
        assert_eq!(take(&mut allowance, 4).await, Ok(()));
        assert_eq!(take(&mut allowance, 1).await, Err(Reason::BodyTooLarge));
    }

    #[tokio::test]
    async fn every_budget_is_asked_and_is_on_disk_before_a_byte_passes() {
        let bench = Bench::new();
        let rule = Scope::Rule("p".into(), "r".into());
        let both = [(Scope::Session, 1_000), (rule.clone(), 500)];
        let mut allowance = bench.allowance(None, &both);
        assert_eq!(take(&mut allowance, 400).await, Ok(()));
        assert!((400..=416).contains(&bench.spent_on_disk()));
        assert_eq!(take(&mut allowance, 200).await, Err(Reason::BudgetExhausted));
        // The next request of another rule still has the rest of the session's budget.
        let mut other = bench.allowance(None, &[(Scope::Session, 1_000)]);
        assert_eq!(take(&mut other, 400).await, Ok(()));
        assert_eq!(take(&mut other, 1).await, Err(Reason::BudgetExhausted));
    }

    #[tokio::test]
    async fn a_count_that_cannot_be_written_lets_nothing_pass() {
        let bench = Bench::new();
        std::fs::remove_dir_all(bench.folder.path()).unwrap();
        let mut allowance = bench.allowance(None, &[(Scope::Session, 1_000)]);
        assert_eq!(take(&mut allowance, 1).await, Err(Reason::Internal));
        assert_eq!(bench.session.budgets.spent(&Scope::Session), 0);
    }
}
