//! A share of each core for each session: the work of one session cannot block another session.
//!
//! Every task of a connection (the connection itself, HTTP/2 streams, upstream connections) is polled through [`Fair`]. It
//! measures each poll and charges the time to the account of the session on this core; connections without a session share
//! one account. While the core is busy and several accounts are in use, an account that has used more than the average is
//! *over*. Its tasks are queued instead of polled at once. `release_deferred` runs one of them after each round of all other
//! ready tasks and of the sockets. So the core is never idle while a task waits, and a request of a modest session waits for
//! at most one slice of a greedy one.
//!
//! This requires short polls: [`pace`] ends a poll after [`SLICE`], wherever bytes are read or written.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use model::sync::lock;
use model::{SessionId, Timestamp};
use tokio::sync::Notify;

/// The longest time for which one poll may read or write.
const SLICE: Duration = Duration::from_micros(200);

/// How often the core checks which accounts are over.
const WINDOW: Duration = Duration::from_millis(10);

/// Seven eighths of the earlier use count in the next window: a burst is forgotten after a quarter of a second.
const KEEP: (u64, u64) = (7, 8);

/// The use that a core without pauses keeps in the memory of its accounts, in nanoseconds: the limit of the sum above.
const FULL: u64 = 7 * 10_000_000;

/// An account with less than this in memory, in nanoseconds, competes with no other: its last use is a quarter of a second old, or
/// was minimal. Deferring costs the deferred account about a microsecond a poll.
const IN_USE: u64 = 10_000;

/// The least time between two checks outside of the windows: each reads all accounts.
const JUDGE_INTERVAL: Duration = Duration::from_millis(1);

/// An account is over when it has used this much of the average, in percent. Without a margin, equal accounts would
/// take turns.
const OVER_PERCENT: u64 = 110;

/// One of this many reads and writes in a poll reads the clock: each moves at most 16 KiB and takes a few microseconds.
const UNCLOCKED: u8 = 4;

thread_local! {
    /// When the poll in progress on this thread began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The time at which the poll in progress evaluates ends, once it was read.
    static JUDGING_TIME: Cell<Option<Timestamp>> = const { Cell::new(None) };
    /// Reads and writes until the clock is read again.
    static UNTIL_CLOCK: Cell<u8> = const { Cell::new(UNCLOCKED) };
}

/// The time, with the precision of timers of seconds: when the poll in progress began.
pub(crate) fn now() -> tokio::time::Instant {
    BEGAN.get().map_or_else(tokio::time::Instant::now, tokio::time::Instant::from_std)
}

/// The time for evaluating ends, as [`clock::now`] gives it. It is read once in a poll: a poll is short, and an exchange needs it
/// some ten times.
pub(crate) fn judging_time() -> Timestamp {
    if BEGAN.get().is_none() {
        return clock::now();
    }
    JUDGING_TIME.get().unwrap_or_else(|| {
        let now = clock::now();
        JUDGING_TIME.set(Some(now));
        now
    })
}

/// The use of one core, by session.
pub(crate) struct Shares {
    began: Instant,
    /// When the window ends, in nanoseconds since `began`.
    window_end: AtomicU64,
    /// When accounts were last checked, in nanoseconds since `began`.
    judged: AtomicU64,
    ledger: Mutex<Ledger>,
    /// Whether the session of the poll in progress is identified.
    moved: AtomicBool,
    deferred: Notify,
}

#[derive(Default)]
struct Ledger {
    /// By session; without one for connections that have none yet.
    accounts: HashMap<Option<SessionId>, Arc<Account>>,
    /// Accounts with tasks that wait.
    waiting: Vec<Arc<Account>>,
    moved_to: Option<Arc<Account>>,
}

/// The use of one core by one session. Touched by the threads of one core only.
#[derive(Default)]
pub(crate) struct Account {
    /// Nanoseconds of this window.
    used: AtomicU64,
    /// Nanoseconds of the earlier windows; older ones count less.
    recent: AtomicU64,
    over: AtomicBool,
    queue: Mutex<VecDeque<Arc<Turn>>>,
}

/// Whether a task may be polled.
#[derive(Default)]
struct Turn {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const FREE: u8 = 0;
const QUEUED: u8 = 1;
const GRANTED: u8 = 2;
const GONE: u8 = 3;

impl Shares {
    /// No use yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            window_end: AtomicU64::new(nanos(WINDOW)),
            judged: AtomicU64::new(0),
            ledger: Mutex::default(),
            moved: AtomicBool::new(false),
            deferred: Notify::new(),
        })
    }

    /// A task of a connection without a session.
    pub(crate) fn of_stranger<F: Future>(self: &Arc<Self>, future: F) -> Fair<F> {
        self.fair(self.account(None), future)
    }

    /// From here on, the current task is charged to this session.
    pub(crate) fn charge_to(&self, session: &SessionId) {
        let account = self.account(Some(session));
        lock(&self.ledger).moved_to = Some(account);
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Starts the tasks of this session's connections.
    pub(crate) fn spawner(self: &Arc<Self>, session: &SessionId) -> Spawner {
        Spawner { shares: self.clone(), account: self.account(Some(session)) }
    }

    fn fair<F: Future>(self: &Arc<Self>, account: Arc<Account>, future: F) -> Fair<F> {
        Fair { shares: self.clone(), account, turn: Arc::default(), future: Box::pin(future) }
    }

    fn account(&self, session: Option<&SessionId>) -> Arc<Account> {
        lock(&self.ledger).accounts.entry(session.cloned()).or_default().clone()
    }

    /// Charges a poll that ended at `now`, a time since `began`.
    fn charge(&self, account: &Account, spent: Duration, now: Duration) {
        let spent = nanos(spent).max(1);
        let before = account.used.fetch_add(spent, Ordering::Relaxed) + account.recent.load(Ordering::Relaxed);
        let comes_into_use = before < IN_USE && before + spent >= IN_USE;
        let (now, end) = (nanos(now), self.window_end.load(Ordering::Relaxed));
        if now >= end {
            let windows = 1 + (now - end) / nanos(WINDOW);
            self.window_end.store(end + windows * nanos(WINDOW), Ordering::Relaxed);
            self.judged.store(now, Ordering::Relaxed);
            lock(&self.ledger).roll(windows);
        } else if comes_into_use && now >= self.judged.load(Ordering::Relaxed) + nanos(JUDGE_INTERVAL) {
            // A session that was idle need not wait for the end of the window until the others yield.
            self.judged.store(now, Ordering::Relaxed);
            lock(&self.ledger).judge();
        }
    }

    /// Runs the task that has waited longest, of the account with the least use. Returns whether more may wait.
    fn release(&self) -> bool {
        let mut ledger = lock(&self.ledger);
        loop {
            let least = ledger.waiting.iter().enumerate().min_by_key(|(_, account)| account.total());
            let Some((position, account)) = least.map(|(position, account)| (position, account.clone())) else {
                return false;
            };
            let mut queue = lock(&account.queue);
            let granted = std::iter::from_fn(|| queue.pop_front()).any(|turn| turn.grant());
            if queue.is_empty() {
                ledger.waiting.swap_remove(position);
            }
            if granted {
                return !ledger.waiting.is_empty();
            }
        }
    }

    fn defer(&self, account: &Arc<Account>, turn: &Arc<Turn>) {
        let mut ledger = lock(&self.ledger);
        let mut queue = lock(&account.queue);
        if queue.is_empty() {
            ledger.waiting.push(account.clone());
        }
        queue.push_back(turn.clone());
        self.deferred.notify_one();
    }
}

impl Ledger {
    /// Ends this many windows.
    fn roll(&mut self, windows: u64) {
        for account in self.accounts.values() {
            let mut recent = account.total();
            for _ in 0..windows.min(256) {
                recent = recent * KEEP.0 / KEEP.1;
            }
            account.recent.store(recent, Ordering::Relaxed);
            account.used.store(0, Ordering::Relaxed);
        }
        self.accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.total() > 0);
        self.judge();
    }

    /// Determines which accounts are over.
    fn judge(&self) {
        let in_use = || self.accounts.values().map(|account| account.total()).filter(|used| *used >= IN_USE);
        let (sum, count) = (in_use().sum::<u64>(), in_use().count() as u64);
        let contended = count > 1 && sum >= FULL / 2;
        for account in self.accounts.values() {
            let over = contended && account.total() * 100 > sum / count * OVER_PERCENT;
            account.over.store(over, Ordering::Relaxed);
        }
    }
}

impl Account {
    fn total(&self) -> u64 {
        self.used.load(Ordering::Relaxed) + self.recent.load(Ordering::Relaxed)
    }
}

impl Turn {
    /// Wakes the task to run, if it still waits.
    fn grant(&self) -> bool {
        if self.state.compare_exchange(QUEUED, GRANTED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
        true
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs deferred tasks one after the other, each after all ready tasks.
///
/// # Cancellation
/// Deferred tasks wait forever.
pub(crate) async fn release_deferred(shares: Arc<Shares>) {
    loop {
        shares.deferred.notified().await;
        // On a current-thread runtime this returns after all ready tasks have run and the sockets were polled.
        tokio::task::yield_now().await;
        while shares.release() {
            tokio::task::yield_now().await;
        }
    }
}

/// Ready as long as the poll in progress may continue; otherwise the task is woken for its next turn.
pub(crate) fn pace(cx: &Context<'_>) -> Poll<()> {
    let Some(began) = BEGAN.get() else { return Poll::Ready(()) };
    let left = UNTIL_CLOCK.get();
    if left > 0 {
        UNTIL_CLOCK.set(left - 1);
        return Poll::Ready(());
    }
    if Instant::now() < began + SLICE {
        UNTIL_CLOCK.set(UNCLOCKED - 1);
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// A task whose time is charged to a session.
pub(crate) struct Fair<F> {
    shares: Arc<Shares>,
    account: Arc<Account>,
    turn: Arc<Turn>,
    future: Pin<Box<F>>,
}

impl<F> Fair<F> {
    /// Whether it must wait for its turn; it is woken then.
    fn must_wait(&self, cx: &Context<'_>) -> bool {
        let state = self.turn.state.load(Ordering::Relaxed);
        if state == GRANTED || (state == FREE && !self.account.over.load(Ordering::Relaxed)) {
            self.turn.state.store(FREE, Ordering::Relaxed);
            return false;
        }
        let mut waker = lock(&self.turn.waker);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if state == FREE {
            self.turn.state.store(QUEUED, Ordering::Relaxed);
            self.shares.defer(&self.account, &self.turn);
        }
        true
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.must_wait(cx) {
            return Poll::Pending;
        }
        let started = Instant::now();
        BEGAN.set(Some(started));
        UNTIL_CLOCK.set(UNCLOCKED);
        let polled = self.future.as_mut().poll(cx);
        BEGAN.set(None);
        JUDGING_TIME.set(None);
        let ended = Instant::now();
        if self.shares.moved.swap(false, Ordering::Relaxed) {
            let account = lock(&self.shares.ledger).moved_to.take();
            self.account = account.unwrap_or_else(|| self.account.clone());
        }
        self.shares.charge(&self.account, ended - started, ended - self.shares.began);
        polled
    }
}

impl<F> Drop for Fair<F> {
    fn drop(&mut self) {
        self.turn.state.store(GONE, Ordering::Relaxed);
    }
}

/// Starts tasks on this core whose time is charged to one session.
#[derive(Clone)]
pub(crate) struct Spawner {
    shares: Arc<Shares>,
    account: Arc<Account>,
}

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(self.shares.fair(self.account.clone(), future));
    }
}

#[cfg(test)]
mod tests;
