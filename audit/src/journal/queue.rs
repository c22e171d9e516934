//! The queues of records, and the results for the tasks that wait for them.
//!
//! There are a few queues, and a thread always uses the same one: the tasks of one runtime meet
//! here, the runtimes hardly ever do. Every lock is held for a few instructions only.

use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use crate::chain::Link;

/// The most bytes of contents that one queue holds.
pub(super) const MAX_QUEUE_BYTES: usize = 4 << 20;

/// Many records on their way, in one buffer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) contents: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// One record in a batch; its contents are the next `length` bytes of the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) link: Link,
    pub(super) length: u32,
    /// The task that waits for it.
    pub(super) waiter: Option<u32>,
    /// For a closing record: the segment that holds its opening one; 0 where there is none.
    pub(super) opened_in: u32,
    /// The task that waited for it gave up before it was written.
    pub(super) given_up: bool,
}

impl Batch {
    pub(super) fn push(&mut self, entry: Entry, contents: &[u8]) {
        self.contents.extend_from_slice(contents);
        self.entries.push(entry);
    }

    /// The records with their contents.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut rest = &*self.contents;
        self.entries.iter().map(move |entry| {
            let (contents, tail) = rest.split_at(entry.length as usize);
            rest = tail;
            (entry, contents)
        })
    }

    /// Empties it; a buffer that one burst has grown is not kept.
    pub(super) fn clear(&mut self) {
        self.contents.clear();
        self.contents.shrink_to(256 * 1024);
        self.entries.clear();
        self.entries.shrink_to(1024);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The state of an awaited record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// In the queue.
    Waiting,
    /// Being written.
    Taken,
    /// Durable, in this segment.
    Written(u32),
    /// Not written, and never will be.
    Failed,
    /// Being written for longer than a task waits; it may or may not succeed.
    Lapsed,
}

/// A waiting task. Both the record and the future refer to it; it is free again when neither does.
#[derive(Debug)]
struct Waiter {
    progress: Progress,
    waker: Option<Waker>,
    since: u32,
    queued: bool,
    awaited: bool,
}

/// Records that could not be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LostRecords {
    pub(super) count: u64,
    pub(super) first: i64,
    pub(super) last: i64,
}

impl LostRecords {
    pub(super) fn add(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        self.first = if self.count == 0 { other.first } else { self.first.min(other.first) };
        self.last = if self.count == 0 { other.last } else { self.last.max(other.last) };
        self.count += other.count;
    }

    pub(super) fn one(time: i64) -> Self {
        Self { count: 1, first: time, last: time }
    }
}

/// What a record becomes when it is put into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enqueued {
    /// Another task writes it.
    Follower(u32),
    /// The caller has to write the queue.
    Leader(u32),
    /// There is no room.
    Full,
}

/// What a queue has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Something is to be written.
    pub(super) pending: bool,
    /// A task waits, or has not yet read its result.
    pub(super) awaited: bool,
    /// How often the queue was taken so far.
    pub(super) taken: u32,
}

/// One queue, on cache lines of its own.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    waiters: Vec<Waiter>,
    free: Vec<u32>,
    /// A task is about to write this queue.
    has_leader: bool,
    /// How often it was taken: shows the keeper that it is being written anyway.
    taken: u32,
    lost: LostRecords,
}

impl Queue {
    /// Adds a record that no task waits for.
    pub(super) fn put(&self, link: Link, opened_in: u32, contents: &[u8]) {
        let mut state = self.lock();
        if state.batch.contents.len() + contents.len() > MAX_QUEUE_BYTES {
            state.lost.add(LostRecords::one(link.time));
            return;
        }
        let length = contents.len() as u32;
        state.batch.push(Entry { link, length, waiter: None, opened_in, given_up: false }, contents);
    }

    /// Puts a record whose writer waits for it; `now` is in ticks of the keeper.
    pub(super) fn put_awaited(&self, link: Link, contents: &[u8], now: u32) -> Enqueued {
        let mut state = self.lock();
        if state.batch.contents.len() + contents.len() > MAX_QUEUE_BYTES {
            return Enqueued::Full;
        }
        let waiter = state.admit(now);
        let length = contents.len() as u32;
        state.batch.push(Entry { link, length, waiter: Some(waiter), opened_in: 0, given_up: false }, contents);
        if std::mem::replace(&mut state.has_leader, true) {
            Enqueued::Follower(waiter)
        } else {
            Enqueued::Leader(waiter)
        }
    }

    /// The state of a record; stores the waker if it is still open.
    pub(super) fn poll(&self, waiter: u32, waker: &Waker) -> Progress {
        let mut state = self.lock();
        let found = &mut state.waiters[waiter as usize];
        let progress = found.progress;
        let mut former = None;
        match progress {
            Progress::Waiting | Progress::Taken => {
                if !found.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    former = found.waker.replace(waker.clone());
                }
            }
            Progress::Written(_) | Progress::Failed | Progress::Lapsed => {
                state.release(waiter, |found| found.awaited = false);
            }
        }
        drop(state);
        // A waker may be the last to hold its task, whose drop may come back here.
        drop(former);
        progress
    }

    /// The future is gone. A record that is still in the queue is not written then.
    pub(super) fn abandon(&self, waiter: u32) -> Progress {
        let mut state = self.lock();
        let found = &mut state.waiters[waiter as usize];
        let progress = found.progress;
        let waker = found.waker.take();
        if progress == Progress::Waiting {
            found.progress = Progress::Failed;
        }
        state.release(waiter, |found| found.awaited = false);
        drop(state);
        drop(waker);
        progress
    }

    /// Takes what is in the queue, into an empty batch; returns the records that were lost meanwhile.
    pub(super) fn take(&self, batch: &mut Batch) -> LostRecords {
        let mut state = self.lock();
        std::mem::swap(&mut state.batch, batch);
        state.has_leader = false;
        state.taken = state.taken.wrapping_add(1);
        for entry in batch.entries.iter_mut() {
            let Some(waiter) = entry.waiter else { continue };
            let found = &mut state.waiters[waiter as usize];
            if found.progress == Progress::Waiting {
                found.progress = Progress::Taken;
            } else {
                entry.given_up = true;
                entry.waiter = None;
                state.release(waiter, |found| found.queued = false);
            }
        }
        std::mem::take(&mut state.lost)
    }

    /// Reports the result to the tasks that wait for a batch; returns the number of openings without such a task.
    pub(super) fn complete(&self, batch: &Batch, outcome: Progress, wakers: &mut Vec<Waker>) -> usize {
        let mut unknown = 0;
        let mut state = self.lock();
        for (entry, waiter) in batch.entries.iter().filter_map(|entry| Some((entry, entry.waiter?))) {
            let found = &mut state.waiters[waiter as usize];
            wakers.extend(found.waker.take());
            if found.awaited && found.progress == Progress::Taken {
                found.progress = outcome;
            } else {
                unknown += usize::from(entry.link.kind.opens());
            }
            state.release(waiter, |found| found.queued = false);
        }
        unknown
    }

    /// Releases the tasks that have waited since before `limit`, in ticks of the keeper.
    pub(super) fn expire(&self, now: u32, limit: u32, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        for waiter in &mut state.waiters {
            let lapsed = match waiter.progress {
                Progress::Waiting => Progress::Failed,
                Progress::Taken => Progress::Lapsed,
                Progress::Written(_) | Progress::Failed | Progress::Lapsed => continue,
            };
            if waiter.awaited && now.wrapping_sub(waiter.since) > limit {
                waiter.progress = lapsed;
                wakers.extend(waiter.waker.take());
            }
        }
    }

    /// The state that the keeper needs.
    pub(super) fn load(&self) -> Load {
        let state = self.lock();
        Load {
            pending: !state.batch.is_empty() || state.lost.count > 0,
            awaited: state.waiters.len() > state.free.len(),
            taken: state.taken,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        model::sync::lock(&self.0)
    }
}

impl State {
    fn admit(&mut self, since: u32) -> u32 {
        let waiter = Waiter { progress: Progress::Waiting, waker: None, since, queued: true, awaited: true };
        if let Some(free) = self.free.pop() {
            self.waiters[free as usize] = waiter;
            return free;
        }
        self.waiters.push(waiter);
        self.waiters.len() as u32 - 1
    }

    fn release(&mut self, waiter: u32, let_go: impl FnOnce(&mut Waiter)) {
        let found = &mut self.waiters[waiter as usize];
        let_go(found);
        if !found.queued && !found.awaited {
            self.free.push(waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    fn link(time: i64) -> Link {
        Link { time, kind: Kind::ExchangeOpened, salt: [0; 16], digest: [0; 32] }
    }

    fn waiter(place: Enqueued) -> u32 {
        match place {
            Enqueued::Leader(waiter) | Enqueued::Follower(waiter) => waiter,
            Enqueued::Full => panic!("nobody waits"),
        }
    }

    #[test]
    fn one_leads_until_the_queue_is_taken() {
        let queue = Queue::default();
        let mut batch = Batch::default();
        assert!(matches!(queue.put_awaited(link(1), b"{}", 0), Enqueued::Leader(_)));
        assert!(matches!(queue.put_awaited(link(2), b"{}", 0), Enqueued::Follower(_)));
        queue.take(&mut batch);
        assert!(matches!(queue.put_awaited(link(3), b"{}", 0), Enqueued::Leader(_)));
        assert_eq!(batch.records().map(|(entry, _)| entry.link.time).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn places_are_used_again() {
        let queue = Queue::default();
        for _ in 0..100 {
            let mut batch = Batch::default();
            let mine = waiter(queue.put_awaited(link(1), b"{}", 0));
            queue.take(&mut batch);
            queue.complete(&batch, Progress::Written(1), &mut Vec::new());
            assert_eq!(queue.poll(mine, Waker::noop()), Progress::Written(1));
        }
        assert_eq!(queue.lock().waiters.len(), 1);
    }

    #[test]
    fn a_record_whose_writer_left_is_not_written() {
        let queue = Queue::default();
        let mut batch = Batch::default();
        let mine = waiter(queue.put_awaited(link(1), b"{}", 0));
        queue.abandon(mine);
        queue.take(&mut batch);
        assert!(batch.entries[0].given_up);
        assert_eq!(queue.lock().free.len(), 1);
    }

    #[test]
    fn a_record_whose_writer_left_during_the_write_is_reported() {
        let queue = Queue::default();
        let mut batch = Batch::default();
        let mine = waiter(queue.put_awaited(link(1), b"{}", 0));
        queue.take(&mut batch);
        assert_eq!(queue.abandon(mine), Progress::Taken);
        assert_eq!(queue.complete(&batch, Progress::Written(1), &mut Vec::new()), 1);
        assert_eq!(queue.lock().free.len(), 1);
    }

    #[test]
    fn t171_who_waits_too_long_is_let_go() {
        let queue = Queue::default();
        let old = waiter(queue.put_awaited(link(1), b"{}", 0));
        let young = waiter(queue.put_awaited(link(2), b"{}", 150));
        queue.expire(201, 200, &mut Vec::new());
        assert_eq!(queue.poll(old, Waker::noop()), Progress::Failed);
        assert_eq!(queue.poll(young, Waker::noop()), Progress::Waiting);
    }

    #[test]
    fn a_full_queue_counts_what_it_cannot_hold() {
        let queue = Queue::default();
        let contents = vec![b' '; MAX_QUEUE_BYTES];
        queue.put(link(1), 0, &contents);
        queue.put(link(2), 0, b"{}");
        queue.put(link(3), 0, b"{}");
        assert_eq!(queue.put_awaited(link(4), b"{}", 0), Enqueued::Full);
        let lost = queue.take(&mut Batch::default());
        assert_eq!((lost.count, lost.first, lost.last), (2, 2, 3));
    }
}
