//! The threads beside the journal: one that writes records that no task waits for, and in `power` mode one that syncs.
//!
//! In `process` mode the data path writes its own records; the keeper only takes what lay too long,
//! retries a disk that failed, releases the tasks that waited too long, and notes the head.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::journal::shared::Shared;

/// One tick: a record that no task waits for is queued for two of them at most.
const TICK: Duration = Duration::from_millis(10);

/// How many ticks a writer waits for its record before the wait fails.
const PATIENCE_TICKS: u32 = 180;

/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often the head is noted.
const NOTE: Duration = Duration::from_secs(1);

/// Starts the keeper.
pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("audit-keeper".into()).spawn(move || Keeper::new(&shared).run())
}

/// Starts the thread that writes and syncs in `power` mode.
pub(super) fn start_syncer(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let body = move || {
        while !shared.stopped.load(Ordering::Acquire) {
            if shared.sync_wanted.swap(false, Ordering::AcqRel) {
                shared.flush(&shared.queues);
            } else {
                thread::park();
            }
        }
    };
    thread::Builder::new().name("audit-syncer".into()).spawn(body)
}

struct Keeper<'a> {
    shared: &'a Shared,
    /// How often each queue had been taken at the last tick.
    taken: Vec<u32>,
    noted: Instant,
    noted_seq: u64,
    tried: Instant,
}

impl<'a> Keeper<'a> {
    fn new(shared: &'a Shared) -> Self {
        let now = Instant::now();
        // The first record is noted at once: until then nothing shows that there were any.
        let noted = now.checked_sub(NOTE).unwrap_or(now);
        Self { shared, taken: vec![0; shared.queues.len()], noted, noted_seq: 0, tried: now }
    }

    fn run(&mut self) {
        while !self.shared.stopped.load(Ordering::Acquire) {
            match self.rest() {
                Some(rest) => thread::park_timeout(rest),
                None => thread::park(),
            }
            self.tick();
        }
    }

    /// How long to sleep; `None` until someone calls.
    fn rest(&self) -> Option<Duration> {
        if self.shared.keeper_awake.load(Ordering::Acquire) {
            Some(TICK)
        } else if !self.shared.healthy.load(Ordering::Acquire) {
            Some(RETRY)
        } else if self.noted_seq != self.shared.last_seq.load(Ordering::Acquire) {
            Some(NOTE.saturating_sub(self.noted.elapsed()).max(TICK))
        } else {
            None
        }
    }

    fn tick(&mut self) {
        let now = self.shared.tick.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        self.serve_queues();
        self.let_go(now);
        if !self.shared.healthy.load(Ordering::Acquire) && self.tried.elapsed() >= RETRY {
            self.tried = Instant::now();
            self.shared.recover();
        }
        let last_seq = self.shared.last_seq.load(Ordering::Acquire);
        if last_seq != self.noted_seq && self.noted.elapsed() >= NOTE && self.shared.note() {
            (self.noted, self.noted_seq) = (Instant::now(), last_seq);
        }
        self.disarm();
    }

    /// Takes the records that are queued since the last tick and that no task is about to take.
    fn serve_queues(&mut self) {
        for (queue, taken) in self.shared.queues.iter().zip(&mut self.taken) {
            let load = queue.load();
            let lies = load.pending && load.taken == *taken;
            *taken = load.taken;
            if lies {
                self.shared.serve(queue);
            }
        }
    }

    fn let_go(&self, now: u32) {
        let mut wakers = Vec::new();
        for queue in &self.shared.queues {
            queue.expire(now, PATIENCE_TICKS, &mut wakers);
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Stops ticking once there is nothing left to wait for.
    fn disarm(&self) {
        let busy = || self.shared.queues.iter().map(|queue| queue.load()).any(|load| load.pending || load.awaited);
        if busy() {
            return;
        }
        self.shared.keeper_awake.store(false, Ordering::Release);
        // A record that came in between has seen the flag still set and woken no thread.
        if busy() {
            self.shared.keeper_awake.store(true, Ordering::Release);
        }
    }
}
