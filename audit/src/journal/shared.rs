//! The state that the journal, its threads and the waiting tasks share.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::task::Waker;
use std::thread::Thread;

use crate::journal::Durability;
use crate::journal::queue::Queue;
use crate::journal::writer::Writer;
use crate::refusals::Refusals;

/// Enough that the threads of a large machine rarely share one.
const QUEUES: usize = 16;

thread_local! {
    static LANE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    static WAKERS: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// The state that the journal, its threads and the waiting tasks share.
pub(super) struct Shared {
    pub(super) queues: [Queue; QUEUES],
    pub(super) writer: Mutex<Writer>,
    pub(super) durability: Durability,
    /// Records can be written.
    pub(super) healthy: AtomicBool,
    /// The keeper is awake and will look at the queues.
    pub(super) keeper_awake: AtomicBool,
    /// Counts the keeper's ticks.
    pub(super) tick: AtomicU32,
    pub(super) sync_wanted: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) stopped: AtomicBool,
    pub(super) last_seq: AtomicU64,
    pub(super) wake_handles: WakeHandles,
    pub(super) refusals: Refusals,
}

/// The threads that can be woken.
#[derive(Default)]
pub(super) struct WakeHandles {
    keeper: OnceLock<Thread>,
    syncer: OnceLock<Thread>,
}

impl WakeHandles {
    pub(super) fn keeper(&self, thread: Thread) {
        self.keeper.get_or_init(|| thread);
    }

    pub(super) fn syncer(&self, thread: Thread) {
        self.syncer.get_or_init(|| thread);
    }
}

impl Shared {
    pub(super) fn new(writer: Writer, durability: Durability) -> Self {
        Self {
            queues: Default::default(),
            durability,
            healthy: AtomicBool::new(writer.is_good()),
            keeper_awake: AtomicBool::new(false),
            tick: AtomicU32::new(0),
            sync_wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            last_seq: AtomicU64::new(writer.head().seq),
            writer: Mutex::new(writer),
            wake_handles: WakeHandles::default(),
            refusals: Refusals::default(),
        }
    }

    /// The queue of the calling thread.
    pub(super) fn queue(&self) -> &Queue {
        &self.queues[LANE.with(|lane| *lane) % QUEUES]
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        model::sync::lock(&self.writer)
    }

    /// The writer, unless another thread is writing.
    pub(super) fn idle_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Writes what is in some queues and wakes the tasks that waited for it.
    pub(super) fn flush(&self, queues: &[Queue]) {
        self.flush_with(self.writer(), queues);
    }

    pub(super) fn flush_with(&self, mut writer: MutexGuard<'_, Writer>, queues: &[Queue]) {
        let mut wakers = WAKERS.take();
        writer.flush(queues, &mut wakers);
        self.publish(&writer);
        if self.closed.load(Ordering::Acquire) {
            writer.note();
        }
        drop(writer);
        // Outside of every lock: a waker may drop a task, and with it a future that comes back here.
        wakers.drain(..).for_each(Waker::wake);
        WAKERS.set(wakers);
    }

    /// For the keeper, which must not wait: a thread that may wait writes the queue.
    pub(super) fn serve(&self, queue: &Queue) {
        match self.durability {
            Durability::Power => self.call_syncer(),
            Durability::Process => {
                if let Some(writer) = self.idle_writer() {
                    self.flush_with(writer, std::slice::from_ref(queue));
                }
            }
        }
    }

    pub(super) fn recover(&self) {
        if let Some(mut writer) = self.idle_writer() {
            writer.recover();
            self.publish(&writer);
        }
    }

    /// Notes the head; false if another thread is writing.
    pub(super) fn note(&self) -> bool {
        let writer = self.idle_writer();
        let free = writer.is_some();
        writer.into_iter().for_each(|mut writer| writer.note());
        free
    }

    pub(super) fn publish(&self, writer: &Writer) {
        self.last_seq.store(writer.head().seq, Ordering::Release);
        if !writer.is_good() && self.healthy.swap(false, Ordering::AcqRel) {
            self.wake_handles.keeper.get().into_iter().for_each(Thread::unpark);
        } else if writer.is_good() {
            self.healthy.store(true, Ordering::Release);
        }
    }

    /// Makes sure that the keeper is awake, without a system call where it is.
    pub(super) fn wake_keeper(&self) {
        if !self.keeper_awake.load(Ordering::Acquire) && !self.keeper_awake.swap(true, Ordering::AcqRel) {
            self.wake_handles.keeper.get().into_iter().for_each(Thread::unpark);
        }
    }

    pub(super) fn call_syncer(&self) {
        if !self.sync_wanted.swap(true, Ordering::AcqRel) {
            self.wake_handles.syncer.get().into_iter().for_each(Thread::unpark);
        }
    }
}
